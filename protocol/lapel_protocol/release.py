"""A release of firmware: what a device checks before it runs one (SPEC section 16).

One file, manifest ‖ signature ‖ contents. Rules that hold here:

- Nothing of a manifest is believed before its signature is right, but the count that says where it ends.
- One encoding: names in ascending order, padding zero, sizes that add up; a path can leave its folder by no spelling.
- This module imports nothing of Lapel: a device's loader carries a copy of it, outside of what it judges.

Signatures are RSASSA-PKCS1-v1_5 with SHA-256 under RSA-3072 (RFC 8017 section 8.2.2), public exponent 65537. The
padding is compared as a whole, which leaves nothing to parse.
"""

import hashlib
import struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any, Protocol

    class Readable(Protocol):
        def read(self, __size: int) -> bytes: ...

        def seek(self, __offset: int) -> int: ...


# magic, format, .mpy version, .mpy sub-version, architecture, number, floor, bytes of contents, files, zero, hardware,
# version
RELEASE_LAYOUT = ">4sBBBBIIIHH16s24s"
RELEASE_HEADER_BYTES = 64
ENTRY_LAYOUT = ">I32s60s"  # size, SHA-256, path
ENTRY_BYTES = 96
RELEASE_ID_BYTES = 8  # the first of the manifest's SHA-256: names a release in messages

MAGIC = b"LPFW"
FORMAT = 1
MAX_RELEASE_FILES = 256  # 25 KiB of manifest; a firmware has some seventy modules
MAX_RELEASE_FILE_BYTES = 1 << 18  # larger than any heap that would load it
MAX_CONTENT_BYTES = 1 << 20  # what two slots of a 4 MiB flash leave room for
SIGNATURE_BYTES = 384  # RSA-3072

_EXPONENT = 65537
# RFC 8017 section 9.2, note 1: DER of the DigestInfo of a SHA-256 hash, without the hash
_DIGEST_INFO = b"\x30\x31\x30\x0d\x06\x09\x60\x86\x48\x01\x65\x03\x04\x02\x01\x05\x00\x04\x20"
_NAME_BYTES = b"abcdefghijklmnopqrstuvwxyz0123456789_"
_VERSION_BYTES = _NAME_BYTES + b"ABCDEFGHIJKLMNOPQRSTUVWXYZ.+-"

MALFORMED = "malformed"
BAD_SIGNATURE = "bad_signature"
WRONG_HARDWARE = "wrong_hardware"
WRONG_CODE = "wrong_code"
BELOW_FLOOR = "below_floor"
DAMAGED = "damaged"


class ReleaseError(Exception):
    """A release is not acceptable. `reason` is one of the words above."""

    def __init__(self, reason: str, about: str = "") -> None:
        super().__init__("%s: %s" % (reason, about) if about else reason)
        self.reason = reason


class Manifest:
    """The head of a manifest. `release` names it, 8 bytes; `code` is (.mpy version, sub-version, architecture) as in
    `sys.implementation._mpy`; `number` rises with every release, and a device that was told so runs none below `floor`.
    The signature lies behind `manifest_bytes`, the contents from `content_at` on.
    """

    def __init__(self, header: bytes) -> None:
        fields: tuple[Any, ...] = struct.unpack(RELEASE_LAYOUT, header)
        magic, form, mpy, sub, march, number, floor, size, count, zero, hardware, version = fields
        if magic != MAGIC or form != FORMAT or zero or not 0 < count <= MAX_RELEASE_FILES:
            raise ReleaseError(MALFORMED, "not a release of format %d" % FORMAT)
        if size > MAX_CONTENT_BYTES or not number or floor > number:
            raise ReleaseError(MALFORMED, "a number is out of its range")
        self.code: tuple[int, int, int] = (mpy, sub, march)
        self.number: int = number
        self.floor: int = floor
        self.content_bytes: int = size
        self.count: int = count
        self.manifest_bytes: int = RELEASE_HEADER_BYTES + count * ENTRY_BYTES
        self.content_at: int = self.manifest_bytes + SIGNATURE_BYTES
        self.hardware = _text(hardware, _NAME_BYTES)
        self.version = _text(version, _VERSION_BYTES)
        self.release = b""

    def check_for(self, hardware: str, code: "tuple[int, int, int]", floor: int) -> None:
        """Raise ReleaseError unless a board of this hardware and code may run it, and the floor allows it."""
        if self.hardware != hardware:
            raise ReleaseError(WRONG_HARDWARE, "it is for %s, this is %s" % (self.hardware, hardware))
        if self.code != code:
            raise ReleaseError(WRONG_CODE, "it is code %d.%d for %d, this loads %d.%d for %d" % (self.code + code))
        if self.number < floor:
            raise ReleaseError(BELOW_FLOOR, "it is number %d, the floor is %d" % (self.number, floor))


def code_of(mpy: int) -> "tuple[int, int, int]":
    """(.mpy version, sub-version, architecture) of `sys.implementation._mpy`, or of bytes 1 and 2 of a .mpy file."""
    return mpy & 0xFF, mpy >> 8 & 3, mpy >> 10 & 15


def verify_manifest(file: "Readable", modulus: bytes) -> Manifest:
    """The manifest that a file begins with, signed by `modulus`' holder. Raises ReleaseError; ValueError when `modulus`
    is no RSA-3072 key.
    """
    file.seek(0)
    header = _exactly(file, RELEASE_HEADER_BYTES)
    manifest = Manifest(header)
    state = hashlib.sha256(header)
    for _ in range(manifest.count):
        state.update(_exactly(file, ENTRY_BYTES))
    digest = state.digest()
    _check_signature(digest, _exactly(file, SIGNATURE_BYTES), modulus)
    manifest.release = digest[:RELEASE_ID_BYTES]
    total = 0
    for _, size, _ in entries(file, manifest):
        total += size
    if total != manifest.content_bytes:
        raise ReleaseError(MALFORMED, "sizes do not add up")
    return manifest


def entries(file: "Readable", manifest: Manifest, first: int = 0) -> "Iterator[tuple[str, int, bytes]]":
    """(path, size, SHA-256) of each file that a verified manifest names, in order, from the `first` on. Raises
    ReleaseError.
    """
    before = ""
    for row in range(first, manifest.count):
        file.seek(RELEASE_HEADER_BYTES + row * ENTRY_BYTES)
        size, digest, name = struct.unpack(ENTRY_LAYOUT, _exactly(file, ENTRY_BYTES))
        path = _path(name)
        if path <= before or size > MAX_RELEASE_FILE_BYTES:
            raise ReleaseError(MALFORMED, "a file is out of order or too long")
        before = path
        yield path, size, digest


def _exactly(file: "Readable", size: int) -> bytes:
    data = file.read(size)
    if len(data) != size:
        raise ReleaseError(MALFORMED, "it ends early")
    return data


def _check_signature(digest: bytes, signature: bytes, modulus: bytes) -> None:
    if len(modulus) != SIGNATURE_BYTES or not modulus[0] & 0x80 or not modulus[-1] & 1:
        raise ValueError("a firmware key is an odd modulus of exactly 3,072 bits")
    n = int.from_bytes(modulus, "big")
    value = int.from_bytes(signature, "big")
    wanted = b"\x00\x01" + b"\xff" * (SIGNATURE_BYTES - 3 - 19 - 32) + b"\x00" + _DIGEST_INFO + digest
    if value >= n or pow(value, _EXPONENT, n).to_bytes(SIGNATURE_BYTES, "big") != wanted:
        raise ReleaseError(BAD_SIGNATURE, "not signed by the key that this device was given")


def _text(field: bytes, allowed: bytes) -> str:
    """The text of a field that is padded with zeros."""
    text = field.rstrip(b"\x00")
    if not text:
        raise ReleaseError(MALFORMED, "a name is empty")
    for byte in text:
        if byte not in allowed:
            raise ReleaseError(MALFORMED, "a name has a letter that it may not have")
    return str(text, "ascii")


def _path(field: bytes) -> str:
    """Folders without a dot, and a module: nothing else can be spelt."""
    text = _text(field, _NAME_BYTES + b"/.")
    stem = text[:-4]
    if text[-4:] != ".mpy" or "." in stem:
        raise ReleaseError(MALFORMED, "a file is no module")
    for part in stem.split("/"):
        if not part:
            raise ReleaseError(MALFORMED, "a path is not inside its folder")
    return text
