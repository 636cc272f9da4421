"""stream.json: sealed segments, every length edge, and what must be refused (SPEC section 5)."""

import struct
from dataclasses import dataclass
from pathlib import Path

from . import tink_judge
from .reference import CLIP, DEVICE, OTHER_DEVICE, Case, case, crc32, ctr, flipped, hkdf, mac, made, patch

FIRST_PLAIN, NEXT_PLAIN = 4024, 4064
MAX_SEGMENTS = 1_000_000
_TINK_MADE = Path(__file__).parent.parent / "tink_made_stream.hex"
_TINK_MADE_BYTES = FIRST_PLAIN + NEXT_PLAIN + 100


def segment_record(
    device: bytes,
    clip: int,
    index: int,
    last: bool,
    body: bytes,
    *,
    kind: int = 2,
    version: int = 1,
    flags: int | None = None,
    zero: int = 0,
    size: int | None = None,
) -> bytes:
    """A segment record with a right check; the keywords make it wrong elsewhere."""
    flag_bits = int(last) if flags is None else flags
    length = len(body) if size is None else size
    head = struct.pack(">BBBB8sIII", kind, version, flag_bits, zero, device, clip, index, length)
    return head + struct.pack(">I", crc32(checked_bytes(head, body))) + body


def checked_bytes(head: bytes, body: bytes) -> bytes:
    """What the check of a segment is the CRC-32 of."""
    cipher_text, tag = body[:-32], body[-32:]
    words = [cipher_text[at : at + 4] for at in range(0, len(cipher_text), 64)]
    return head + b"".join(word for word in words if len(word) == 4) + tag


@dataclass
class Stream:
    """One Tink stream and the clip it belongs to."""

    name: str
    clip: int
    length: int
    last_is_empty: bool = False
    device: bytes = DEVICE

    @property
    def plain(self) -> bytes:
        return made(self.plain_label, self.length)

    @property
    def plain_label(self) -> str:
        return f"plain {self.name}"

    @property
    def ikm(self) -> bytes:
        return made(f"ikm of clip {self.clip}", 32)

    @property
    def salt(self) -> bytes:
        return made(f"salt of clip {self.clip}", 32)

    @property
    def prefix(self) -> bytes:
        return made(f"prefix of clip {self.clip}", 7)

    @property
    def associated_data(self) -> bytes:
        return made(f"associated data of clip {self.clip}", 484)

    @property
    def keys(self) -> tuple[bytes, bytes]:
        both = hkdf(self.ikm, self.salt, self.associated_data, 64)
        return both[:32], both[32:]

    @property
    def tink_header(self) -> bytes:
        return b"\x28" + self.salt + self.prefix

    def pieces(self) -> list[bytes]:
        """The plaintext of each segment."""
        pieces = [self.plain[:FIRST_PLAIN]]
        pieces += [self.plain[at : at + NEXT_PLAIN] for at in range(FIRST_PLAIN, self.length, NEXT_PLAIN)]
        return [*pieces, b""] if self.last_is_empty else pieces

    def body(self, index: int, last: bool, plain: bytes) -> bytes:
        """One sealed segment, without its record header."""
        aes_key, mac_key = self.keys
        nonce = self.prefix + struct.pack(">IB", index, last) + bytes(4)
        cipher_text = ctr(aes_key, nonce[:12], plain)
        return cipher_text + mac(mac_key, nonce, cipher_text)

    def bodies(self) -> list[bytes]:
        pieces = self.pieces()
        return [self.body(i, i == len(pieces) - 1, piece) for i, piece in enumerate(pieces)]

    def records(self) -> list[bytes]:
        """Proved with Tink, which must give the plaintext back."""
        bodies = self.bodies()
        if tink_judge.opens(self.ikm, self.associated_data, self.tink_header + b"".join(bodies)) != self.plain:
            raise SystemExit(f"Tink does not open {self.name}")
        return [segment_record(self.device, self.clip, i, i == len(bodies) - 1, body) for i, body in enumerate(bodies)]

    def as_json(self) -> Case:
        aes_key, mac_key = self.keys
        return {
            "device": self.device.hex(),
            "clip": self.clip,
            "ikm": self.ikm.hex(),
            "salt": self.salt.hex(),
            "prefix": self.prefix.hex(),
            "associated_data": self.associated_data.hex(),
            "aes_key": aes_key.hex(),
            "mac_key": mac_key.hex(),
            "plain": {"label": self.plain_label, "length": self.length},
            "last_is_empty": self.last_is_empty,
            "records": [record.hex() for record in self.records()],
        }


MAIN = Stream("three segments", CLIP, FIRST_PLAIN + NEXT_PLAIN + 777)
OTHER = Stream("another clip", CLIP + 1, FIRST_PLAIN + 33)
# Bytes of a full segment's record about the words that its check looks at: the first two, the last, and the tag.
_CHANGED = (28, 31, 32, 91, 92, 95, 96, 1999, 2000, 4059, 4060, 4063, 4064, 4091, 4092, 4123)

EDGES = (
    Stream("empty", 51, 0),
    Stream("one byte", 52, 1),
    Stream("one less than the first segment holds", 53, FIRST_PLAIN - 1),
    Stream("exactly the first segment", 54, FIRST_PLAIN),
    Stream("the first segment full and an empty last", 55, FIRST_PLAIN, True),
    Stream("one more than the first segment holds", 56, FIRST_PLAIN + 1),
    Stream("exactly two segments", 57, FIRST_PLAIN + NEXT_PLAIN),
    Stream("two segments full and an empty last", 58, FIRST_PLAIN + NEXT_PLAIN, True),
    *(Stream(f"{length} bytes", 100 + length, length) for length in (3, 4, 5, 63, 64, 65, 66, 67, 68, 69)),
)


class _TinkMade(Stream):
    """A stream that Tink's own writer made once; it draws salt and prefix, so the stream is kept in a file."""

    def __init__(self) -> None:
        super().__init__("made by Tink", 60, _TINK_MADE_BYTES)
        self._stream = bytes.fromhex(_TINK_MADE.read_text())

    @property
    def salt(self) -> bytes:
        return self._stream[1:33]

    @property
    def prefix(self) -> bytes:
        return self._stream[33:40]

    def bodies(self) -> list[bytes]:
        return [self._stream[40:4096], self._stream[4096:8192], self._stream[8192:]]


def _refuse(name: str, expect: str, index: int, stream: Stream = MAIN, **change: object) -> Case:
    return case(name, "open_segment", expect, stream=stream.name, index=index, **change)


def _replaced(record: bytes, wanted: bytes) -> list[list[object]]:
    """The patch from one record's first 28 bytes to another's."""
    return patch(0, wanted[:28]) if wanted[28:] == record[28:] else patch(0, wanted)


def _tampered() -> list[Case]:
    """Segments of MAIN that an attacker, or a failing medium, changed."""
    first, middle, last = MAIN.records()
    other = OTHER.records()
    body = middle[28:]

    def remade(index: int, is_last: bool, body: bytes, **wrong: int) -> bytes:
        return segment_record(MAIN.device, MAIN.clip, index, is_last, body, **wrong)

    cases = [
        _refuse(f"byte {at} of the segment header changed", "malformed", 1, patch=flipped(middle, at))
        for at in range(28)
        if at != 1
    ]
    cases.append(_refuse("version changed", "unsupported_version", 1, patch=flipped(middle, 1, 3)))
    for at in _CHANGED:
        expect = "malformed" if at >= 4092 or (at - 28) % 64 < 4 else "bad_mac"
        cases.append(_refuse(f"byte {at} of the record changed", expect, 1, patch=flipped(middle, at)))
    for name, at in (("first byte of the cipher text", 0), ("last byte of the cipher text", 4063)):
        forged = remade(1, False, _flip(body, at))
        cases.append(_refuse(f"{name} forged", "bad_mac", 1, patch=patch(24, forged[24:28]) + flipped(middle, 28 + at)))
    for at in (4064, 4095):
        forged = remade(1, False, _flip(body, at))
        name = f"tag byte {at - 4064} forged"
        cases.append(_refuse(name, "bad_mac", 1, patch=patch(24, forged[24:28]) + flipped(middle, 28 + at)))
    cases += [
        _refuse("cut by one byte", "malformed", 1, keep=4123),
        _refuse("cut inside the header", "malformed", 1, keep=27),
        _refuse("cut after the header", "malformed", 1, keep=28),
        _refuse("empty", "malformed", 1, keep=0),
        _refuse("followed by a byte", "malformed", 1, append="00"),
        _refuse("last cut by one byte", "malformed", 2, keep=len(last) - 1),
        _refuse("index moved on by one", "bad_mac", 1, patch=_replaced(middle, remade(2, False, body))),
        _refuse("index 0 renamed 1", "malformed", 0, patch=_replaced(first, remade(1, False, first[28:]))),
        _refuse("index 1 renamed 0", "malformed", 1, patch=_replaced(middle, remade(0, False, body))),
        _refuse("middle declared last", "bad_mac", 1, patch=_replaced(middle, remade(1, True, body))),
        _refuse("last declared middle", "malformed", 2, patch=_replaced(last, remade(2, False, last[28:]))),
        _refuse("unknown flag", "malformed", 1, patch=_replaced(middle, remade(1, False, body, flags=2))),
        _refuse("reserved byte set", "malformed", 1, patch=_replaced(middle, remade(1, False, body, zero=1))),
        _refuse("another record type", "malformed", 1, patch=_replaced(middle, remade(1, False, body, kind=1))),
        _refuse("version 2", "unsupported_version", 1, patch=_replaced(middle, remade(1, False, body, version=2))),
        _refuse("length one more", "malformed", 1, patch=_replaced(middle, remade(1, False, body, size=4097))),
        _refuse("length one less", "malformed", 1, patch=_replaced(middle, remade(1, False, body, size=4095))),
        _refuse("length 31 and last", "malformed", 1, patch=_replaced(middle, remade(1, True, body, size=31))),
        _refuse("length of 4 GiB", "malformed", 1, patch=_replaced(middle, remade(1, False, body, size=2**32 - 1))),
    ]
    spliced = remade(1, True, other[1][28:])
    cases.append(_refuse("spliced from another clip", "bad_mac", 1, patch=patch(0, spliced), keep=len(spliced)))
    cut_last = remade(2, True, last[28:-33] + last[-32:])
    cases.append(
        _refuse("last without its last plain byte", "bad_mac", 2, patch=patch(0, cut_last), keep=len(cut_last))
    )
    early_end = remade(1, True, body[:100] + body[-32:])
    cases.append(_refuse("middle shortened into a last", "bad_mac", 1, patch=patch(0, early_end), keep=len(early_end)))
    for changed in (
        [MAIN.bodies()[0], OTHER.bodies()[1]],
        [MAIN.bodies()[0], _flip(body, 0), MAIN.bodies()[2]],
        [MAIN.bodies()[1], MAIN.bodies()[0], MAIN.bodies()[2]],
        [MAIN.bodies()[0], MAIN.bodies()[1]],
    ):
        if tink_judge.opens(MAIN.ikm, MAIN.associated_data, MAIN.tink_header + b"".join(changed)) is not None:
            raise SystemExit("Tink opens a stream that must be refused")
    return cases


def _flip(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


def _headers() -> list[Case]:
    """Segment headers alone, at the edges of the index."""
    cases: list[Case] = []
    for index, last, size, expect in (
        (0, False, 4056, "ok"),
        (0, True, 32, "ok"),
        (0, True, 31, "malformed"),
        (0, True, 0, "malformed"),
        (0, False, 4055, "malformed"),
        (1, False, 32, "malformed"),
        (0, True, 4057, "malformed"),
        (1, False, 4096, "ok"),
        (1, True, 4096, "ok"),
        (MAX_SEGMENTS - 1, True, 32, "ok"),
        (MAX_SEGMENTS - 1, False, 4096, "ok"),
        (MAX_SEGMENTS, True, 32, "malformed"),
        (2**32 - 1, False, 4096, "malformed"),
    ):
        record = segment_record(OTHER_DEVICE, 2**32 - 1, index, last, b"", size=size)
        one = case(f"segment header {index} last {last} of {size}", "segment_header", expect, record=record.hex())
        if expect == "ok":
            one["fields"] = {
                "device": OTHER_DEVICE.hex(),
                "clip": 2**32 - 1,
                "index": index,
                "last": last,
                "size_bytes": size,
            }
        cases.append(one)
    for index, offset in ((0, 588), (1, 588 + 4084), (2, 588 + 4084 + 4124), (999_999, 588 + 4084 + 999_998 * 4124)):
        cases.append(case(f"offset of segment {index} in a clip file", "segment_offset", index=index, out=offset))
    for name, header, expect in (
        ("Tink header", MAIN.tink_header, "ok"),
        ("Tink header that says 39", b"\x27" + MAIN.tink_header[1:], "malformed"),
        ("Tink header cut", MAIN.tink_header[:-1], "malformed"),
        ("Tink header too long", MAIN.tink_header + b"\0", "malformed"),
        ("Tink header empty", b"", "malformed"),
    ):
        one = case(name, "tink_header", expect, header=header.hex())
        if expect == "ok":
            one.update(salt=MAIN.salt.hex(), prefix=MAIN.prefix.hex())
        cases.append(one)
    return cases


def _checks() -> list[Case]:
    """Checks of last segments of every length about the first sampled words."""
    cases = []
    for size in [*range(32, 105), *range(156, 168), 4095, 4096]:
        record = segment_record(DEVICE, CLIP, 7, True, made(f"body of {size} bytes", size))
        cases.append(case(f"check of a body of {size} bytes", "segment_check", record=record.hex()))
    return cases


def stream() -> Case:
    """The content of stream.json."""
    made_by_tink = _TinkMade()
    ours = [MAIN, OTHER, *EDGES]
    cases = [case(f"seal: {entry.name}", "seal_stream", stream=entry.name) for entry in ours]
    cases += [
        case(f"open {order}: {entry.name}", "open_stream", stream=entry.name, order=order)
        for entry in [*ours, made_by_tink]
        for order in ("forward", "backward")
    ]
    cases += _checks() + _tampered() + _headers()
    return {"streams": {entry.name: entry.as_json() for entry in [*ours, made_by_tink]}, "cases": cases}
