"""release.json: releases of firmware, signed with the test key by `cryptography` (SPEC section 16)."""

import hashlib
import struct

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding

from . import rsa_oaep
from .reference import Case, case, flipped, made, patch

_HEADER = 64
_ENTRY = 96
_FILES = (("lapel_device/__init__.mpy", 0), ("lapel_device/uplink.mpy", 700), ("lapel_protocol/names_2.mpy", 33))

Row = tuple[bytes, int, bytes]


def _rows(files: tuple[tuple[str, int], ...]) -> list[Row]:
    return [(name.encode(), size, hashlib.sha256(made(name, size)).digest()) for name, size in files]


def _manifest(
    rows: list[Row],
    magic: bytes = b"LPFW",
    form: int = 1,
    code: tuple[int, int, int] = (6, 3, 4),
    number: int = 7,
    floor: int = 5,
    content: int | None = None,
    count: int | None = None,
    zero: int = 0,
    hardware: bytes = b"pico_w",
    version: bytes = b"0.2.0",
) -> bytes:
    content = sum(size for _, size, _ in rows) if content is None else content
    head = magic + bytes([form, *code]) + struct.pack(">III", number, floor, content)
    head += struct.pack(">HH", len(rows) if count is None else count, zero)
    head += hardware.ljust(16, b"\0") + version.ljust(24, b"\0")
    return head + b"".join(struct.pack(">I", size) + digest + name.ljust(60, b"\0") for name, size, digest in rows)


def _sign(manifest: bytes) -> bytes:
    return rsa_oaep.test_only_key().sign(manifest, padding.PKCS1v15(), hashes.SHA256())


def _power(block: bytes) -> bytes:
    """What the key makes of a padded block, well padded or not."""
    numbers = rsa_oaep.test_only_key().private_numbers()
    return pow(int.from_bytes(block, "big"), numbers.d, numbers.public_numbers.n).to_bytes(384, "big")


def _blocks(digest: bytes) -> dict[str, bytes]:
    """Paddings that a lenient reader takes, and a strict one does not."""
    info = bytes.fromhex("3031300d060960864801650304020105000420")
    without_null = bytes.fromhex("302f300b0609608648016503040201") + b"\x04\x20"

    def block(tail: bytes, kind: int = 1, fill: bytes = b"\xff") -> bytes:
        return bytes([0, kind]) + fill * (384 - 3 - len(tail)) + b"\0" + tail

    short = b"\0\1" + b"\xff" * 8 + b"\0" + info + digest
    return {
        "with what follows the hash": short + made("garbage", 384 - len(short)),
        "with another block type": block(info + digest, kind=2),
        "with another filling": block(info + digest, fill=b"\xfe"),
        "without the algorithm's parameters": block(without_null + digest),
        "with the hash alone": block(digest),
    }


def release() -> Case:
    """The content of release.json."""
    rows = _rows(_FILES)
    manifest = _manifest(rows)
    signature = _sign(manifest)
    record = manifest + signature
    whole = record + b"".join(made(name, size) for name, size in _FILES)
    modulus = rsa_oaep.modulus()
    facts = {"number": 7, "floor": 5, "hardware": "pico_w", "version": "0.2.0", "code": [6, 3, 4], "content_bytes": 733}
    files = [[name.decode(), size, digest.hex()] for name, size, digest in rows]
    release_id = hashlib.sha256(manifest).digest()[:8].hex()
    cases = [case("release", "release", release=release_id, fields=facts, files=files)]
    one = _manifest(rows[:1], number=1, floor=0, code=(6, 0, 0))
    cases.append(
        case(
            "release of one empty file, without native code",
            "release",
            record=(one + _sign(one)).hex(),
            release=hashlib.sha256(one).digest()[:8].hex(),
            fields={**facts, "number": 1, "floor": 0, "code": [6, 0, 0], "content_bytes": 0},
            files=files[:1],
        )
    )
    for at in (0, 4, 5, 15, 19, 22, 24, 40, _HEADER, _HEADER + 4, _HEADER + 36, len(manifest) - 1):
        expect = "malformed" if at in (0, 4, 22) else "bad_signature"
        cases.append(case(f"bit flipped at {at}", "open_release", expect, patch=flipped(manifest, at)))
    cases += [
        case(f"bit flipped at {at} of the signature", "open_release", "bad_signature", patch=flipped(record, at))
        for at in (len(manifest), len(manifest) + 1, len(manifest) + 200, len(record) - 1)
    ]
    over = (int.from_bytes(signature, "big") + int.from_bytes(modulus, "big")) % (1 << 3072)
    same = int.from_bytes(signature, "big") + int.from_bytes(modulus, "big") < 1 << 3072
    for name, forged in {
        "of zeros": bytes(384),
        "of one": bytes(383) + b"\1",
        "that is the modulus": modulus,
        f"plus the modulus{'' if same else ', cut'}": over.to_bytes(384, "big"),
        **{name: _power(block) for name, block in _blocks(hashlib.sha256(manifest).digest()).items()},
    }.items():
        cases.append(case(f"signature {name}", "open_release", "bad_signature", patch=patch(len(manifest), forged)))
    cases += [
        case(f"cut to {keep} bytes", "open_release", "malformed", keep=keep)
        for keep in (0, 3, _HEADER - 1, _HEADER, len(manifest), len(record) - 1)
    ]
    cases += _signed_and_malformed(rows)
    cases += [
        case("for its board at its floor", "release_for", hardware="pico_w", code=[6, 3, 4], floor=7),
        case("below the floor", "release_for", "below_floor", hardware="pico_w", code=[6, 3, 4], floor=8),
        case("for another board", "release_for", "wrong_hardware", hardware="pico2_w", code=[6, 3, 4], floor=0),
        case("for another architecture", "release_for", "wrong_code", hardware="pico_w", code=[6, 3, 7], floor=0),
        case("for another .mpy version", "release_for", "wrong_code", hardware="pico_w", code=[7, 3, 4], floor=0),
        case("for another .mpy sub-version", "release_for", "wrong_code", hardware="pico_w", code=[6, 2, 4], floor=0),
    ]
    for name, wrong in (("of 383 bytes", modulus[1:]), ("that is even", modulus[:-1] + bytes([modulus[-1] & 0xFE]))):
        cases.append(case(f"key {name}", "open_release", "invalid_argument", modulus=wrong.hex()))
    shared = {
        "test_only_rsa_3072_modulus": modulus.hex(),
        "record": record.hex(),
        "whole": whole.hex(),
    }
    return {"shared": shared, "cases": cases}


def _signed_and_malformed(rows: list[Row]) -> list[Case]:
    """Manifests that the key's holder signed and no device takes."""
    name, size, digest = rows[1]

    def path(spelt: bytes) -> list[Row]:
        return [(spelt, size, digest)]

    manifests = {
        "of format 2": _manifest(rows, form=2),
        "of another magic": _manifest(rows, magic=b"LPFX"),
        "with a set zero field": _manifest(rows, zero=1),
        "without a file": _manifest([]),
        "of number 0": _manifest(rows, number=0, floor=0),
        "with a floor above its number": _manifest(rows, floor=8),
        "with sizes that do not add up": _manifest(rows, content=734),
        "with more than it may hold": _manifest(rows, content=(1 << 20) + 1),
        "of no hardware": _manifest(rows, hardware=b""),
        "of a hardware in capitals": _manifest(rows, hardware=b"Pico"),
        "of a hardware with a zero inside": _manifest(rows, hardware=b"pi\0o"),
        "of a version with a space": _manifest(rows, version=b"0 2"),
        "out of order": _manifest([rows[1], rows[0]]),
        "with a file twice": _manifest([rows[1], rows[1]]),
        "with a file that is too long": _manifest([(name, (1 << 18) + 1, digest)]),
        "with an absolute path": _manifest(path(b"/main.mpy")),
        "with a path upwards": _manifest(path(b"../main.mpy")),
        "with a path upwards inside": _manifest(path(b"a/../main.mpy")),
        "with a folder of no name": _manifest(path(b"a//b.mpy")),
        "with a path that is a suffix only": _manifest(path(b".mpy")),
        "with a module of no name": _manifest(path(b"a/.mpy")),
        "with a source": _manifest(path(b"main.py")),
        "with a path in capitals": _manifest(path(b"Main.mpy")),
        "with a path that is not ASCII": _manifest(path("mäin.mpy".encode())),
        "with a path with a backslash": _manifest(path(b"a\\b.mpy")),
        "with an empty path": _manifest(path(b"")),
    }
    return [
        case(f"signed manifest {name}", "open_release", "malformed", record=(manifest + _sign(manifest)).hex())
        for name, manifest in manifests.items()
    ]
