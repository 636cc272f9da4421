"""clip.json: clip headers, ends and heads (SPEC section 6)."""

import hashlib
import struct

from . import rsa_oaep, tink_judge
from .reference import BOOT, CLIP, CLIP_KEYS, DEVICE, K_DEV, Case, case, chain_key, ctr, flipped, hkdf, mac, made
from .stream_vectors import MAIN, segment_record

FIELDS = ">BBBB8sIIQQBBBBII8sI32sII"
END = ">BBBB8sIIIQIIQQ32s"
SEED = made("seed 0", 32)
Fields = dict[str, int | bytes]

HEADER: Fields = {
    "type": 1,
    "version": 1,
    "suite": 1,
    "flags": 0,
    "device": DEVICE,
    "clip": CLIP,
    "boot": BOOT,
    "wall_ms": 1_760_000_000_123,
    "mono_ms": 7_654_321,
    "trust": 3,
    "notice": 1,
    "codec": 1,
    "zero": 0,
    "prompted_ms": 9_500,
    "confirmed_ms": 1_200,
    "key_id": bytes(8),
    "previous_clip": CLIP - 2,
    "previous_head": made("head of the clip before", 32),
    "alarm_boot": 0,
    "alarm_counter": 0,
}
CLIP_END: Fields = {
    "type": 3,
    "version": 1,
    "reason": 1,
    "zero": 0,
    "device": DEVICE,
    "clip": CLIP,
    "segments": 3,
    "duration_ms": 61_000,
    "size_bytes": 8_865,
    "frames": 120,
    "dropped": 2,
    "wall_ms": 1_760_000_061_123,
    "mono_ms": 7_715_321,
    "head": made("head", 32),
}
_NOT_FIELDS = ("type", "version", "suite", "zero")


def plain_fields(fields: Fields) -> Case:
    """The fields that our classes have, bytes in hex."""
    return {
        name: value.hex() if isinstance(value, bytes) else value
        for name, value in fields.items()
        if name not in _NOT_FIELDS
    }


def _header(change: Fields | None = None) -> Fields:
    return {**HEADER, "key_id": rsa_oaep.key_id(), **(change or {})}


class Header:
    """A sealed header and what follows from it."""

    def __init__(self, change: Fields | None = None, tink_header: bytes = MAIN.tink_header) -> None:
        self.fields = _header(change)
        self.wrapped = rsa_oaep.wrap(SEED, made("oaep seed 0", 32))
        self.associated = struct.pack(FIELDS, *self.fields.values()) + self.wrapped
        self.ikm = mac(CLIP_KEYS.clip_enc, SEED)
        both = hkdf(self.ikm, tink_header[1:33], self.associated, 64)
        self.aes_key, self.mac_key = both[:32], both[32:]
        pad = mac(CLIP_KEYS.clip_auth, b"seal", tink_header)
        self.tink_header = tink_header
        body = self.associated + tink_header + bytes(a ^ b for a, b in zip(self.mac_key, pad, strict=True))
        self.record = body + mac(CLIP_KEYS.clip_auth, body)
        if len(self.record) != 588:
            raise SystemExit("a clip header has 588 bytes")


def end_record(change: Fields | None = None) -> bytes:
    """A sealed clip end."""
    body = struct.pack(END, *{**CLIP_END, **(change or {})}.values())
    return body + mac(CLIP_KEYS.clip_auth, body)


def _sealed_headers() -> list[Case]:
    cases: list[Case] = []
    changes: dict[str, Fields] = {
        "ordinary": {},
        "started by an alarm": {"flags": 1, "notice": 4, "alarm_boot": BOOT, "alarm_counter": 7, "prompted_ms": 0},
        "first clip of the device": {"previous_clip": 0, "previous_head": bytes(32)},
        "clip before unsettled": {"previous_head": b"\xff" * 32},
        "no time, no camera": {"notice": 3, "codec": 2, "trust": 0, "wall_ms": 0},
        "prompted by policy": {"notice": 2, "trust": 1},
        "continued": {"notice": 5, "trust": 2},
        "largest times": {"wall_ms": 2**64 - 1, "mono_ms": 2**64 - 1, "prompted_ms": 2**32 - 1},
    }
    for name, change in changes.items():
        header = Header(change)
        given = case(f"header: {name}", "clip_header", fields=plain_fields(header.fields), record=header.record.hex())
        cases.append({**given, "aes_key": header.aes_key.hex(), "mac_key": header.mac_key.hex()})
    return cases


def _refused_headers() -> list[Case]:
    """Altered on the way (MAC no longer right), and authentic but out of range."""
    record = Header().record
    cases: list[Case] = []

    def open_header(name: str, expect: str, data: bytes | None = None, **change: object) -> None:
        given: Case = {} if data is None else {"record": data.hex()}
        cases.append(case(name, "open_header", expect, **given, **change))

    names = iter(HEADER)
    offset = 0
    for size in (1, 1, 1, 1, 8, 4, 4, 8, 8, 1, 1, 1, 1, 4, 4, 8, 4, 32, 4, 4):
        name = next(names)
        expect = {"type": "malformed", "version": "unsupported_version", "suite": "unsupported_version"}
        for at in sorted({offset, offset + size - 1}):
            open_header(f"byte {at} altered ({name})", expect.get(name, "bad_mac"), patch=flipped(record, at))
        offset += size
    for at, what in (
        (100, "wrapped seed"),
        (483, "end of the wrapped seed"),
        (484, "Tink header length"),
        (485, "salt"),
        (523, "prefix"),
        (524, "sealed K_h"),
        (555, "end of the sealed K_h"),
        (556, "MAC"),
        (587, "end of the MAC"),
    ):
        open_header(f"byte {at} altered ({what})", "bad_mac", patch=flipped(record, at))
    open_header("cut by one byte", "malformed", keep=587)
    open_header("followed by a byte", "malformed", append="00")
    open_header("empty", "malformed", keep=0)
    out_of_range: list[tuple[str, Fields, str]] = [
        ("version 2", {"version": 2}, "unsupported_version"),
        ("suite 0", {"suite": 0}, "unsupported_version"),
        ("suite 2", {"suite": 2}, "unsupported_version"),
        ("unknown flag", {"flags": 2}, "malformed"),
        ("reserved byte", {"zero": 1}, "malformed"),
        ("trust 4", {"trust": 4}, "malformed"),
        ("notice 0", {"notice": 0}, "malformed"),
        ("notice 6", {"notice": 6}, "malformed"),
        ("codec 0", {"codec": 0}, "malformed"),
        ("codec 3", {"codec": 3}, "malformed"),
        ("boot not before the clip", {"boot": CLIP}, "malformed"),
        ("clip before not before the clip", {"previous_clip": CLIP}, "malformed"),
        ("no clip before, yet a head", {"previous_clip": 0}, "malformed"),
    ]
    for name, change, wanted in out_of_range:
        open_header(f"authentic, {name}", wanted, Header(change).record)
    wrong_length = Header(tink_header=b"\x27" + MAIN.tink_header[1:])
    open_header("authentic, Tink header that says 39", "malformed", wrong_length.record)
    for epoch in (CLIP - 1, CLIP + 1, BOOT):
        open_header(f"under the keys of epoch {epoch}", "bad_mac", chain_key=chain_key(K_DEV, DEVICE, epoch).hex())
    return cases


def _opening() -> list[Case]:
    record = Header().record
    wrong = bytes([SEED[0] ^ 1]) + SEED[1:]
    # A device that sealed another K_h than its seed gives, with everything else right and authentic.
    body = record[:524] + bytes([record[524] ^ 1]) + record[525:556]
    forged = body + mac(CLIP_KEYS.clip_auth, body)
    return [
        case("opening proved", "prove_opening", seed=SEED.hex()),
        case("another seed", "prove_opening", "unopenable", seed=wrong.hex()),
        case("K_h that is not the stream's", "prove_opening", "unopenable", seed=SEED.hex(), record=forged.hex()),
    ]


def _ends() -> list[Case]:
    record = end_record()
    cases: list[Case] = []
    changes: dict[str, Fields] = {f"reason {reason}": {"reason": reason} for reason in range(1, 8)}
    changes["one segment"] = {"segments": 1, "size_bytes": 0, "frames": 0, "dropped": 0, "duration_ms": 0}
    changes["as many segments as can be"] = {"segments": 1_000_000, "size_bytes": 4_063_999_960}
    for name, change in changes.items():
        fields = plain_fields({**CLIP_END, **change})
        cases.append(case(f"end: {name}", "clip_end", record=end_record(change).hex(), fields=fields))
    expect = {0: "malformed", 1: "unsupported_version"}
    for at in (0, 1, 2, 3, 4, 11, 12, 15, 16, 19, 20, 24, 31, 32, 36, 40, 48, 56, 87, 88, 119):
        changed = flipped(record, at)
        cases.append(case(f"end byte {at} altered", "open_end", expect.get(at, "bad_mac"), patch=changed))
    out_of_range: list[tuple[str, Fields, str]] = [
        ("reason 0", {"reason": 0}, "malformed"),
        ("reason 8", {"reason": 8}, "malformed"),
        ("reserved byte", {"zero": 1}, "malformed"),
        ("no segment", {"segments": 0}, "malformed"),
        ("one segment too many", {"segments": 1_000_001}, "malformed"),
        ("version 2", {"version": 2}, "unsupported_version"),
    ]
    for name, change, wanted in out_of_range:
        cases.append(case(f"end, authentic, {name}", "open_end", wanted, record=end_record(change).hex()))
    other = chain_key(K_DEV, DEVICE, CLIP + 1).hex()
    return [
        *cases,
        case("end cut by one byte", "open_end", "malformed", keep=119),
        case("end followed by a byte", "open_end", "malformed", append="00"),
        case("end under the next epoch's keys", "open_end", "bad_mac", chain_key=other),
    ]


def _heads() -> list[Case]:
    tags = [made(f"tag {n}", 32) for n in range(5)]
    heads = [hashlib.sha256(b"lapel/v1 head" + Header().record).digest()]
    for tag in tags:
        heads.append(hashlib.sha256(heads[-1] + tag).digest())
    tag_texts, head_texts = [tag.hex() for tag in tags], [head.hex() for head in heads]
    return [case("heads of every prefix", "heads", tags=tag_texts, out=head_texts)]


def _peeks() -> list[Case]:
    named: Case = {"device": DEVICE.hex(), "clip": CLIP}
    version_2 = end_record({"version": 2})
    return [
        case("peek at a header", "peek_clip", record=Header().record.hex(), **named),
        case("peek at an end", "peek_clip", record=end_record().hex(), **named),
        case("peek at a segment", "peek_clip", "malformed", record=MAIN.records()[2][:60].hex()),
        case("peek at 15 bytes", "peek_clip", "malformed", record=end_record()[:15].hex()),
        case("peek at version 2", "peek_clip", "unsupported_version", record=version_2.hex()),
    ]


def _file() -> list[Case]:
    """A whole clip file, from the device's secrets to a plaintext that Tink agrees with."""
    header = Header()
    plain = made("plain of the file", 500)
    nonce = header.tink_header[33:] + struct.pack(">IB", 0, 1) + bytes(4)
    cipher_text = ctr(header.aes_key, nonce[:12], plain)
    tag = mac(header.mac_key, nonce, cipher_text)
    if tink_judge.opens(header.ikm, header.associated, header.tink_header + cipher_text + tag) != plain:
        raise SystemExit("Tink does not open the clip file")
    head = hashlib.sha256(hashlib.sha256(b"lapel/v1 head" + header.record).digest() + tag).digest()
    segment = segment_record(DEVICE, CLIP, 0, True, cipher_text + tag)
    end = end_record({"segments": 1, "size_bytes": len(plain), "head": head})
    shown: Case = {"plain": {"label": "plain of the file", "length": len(plain)}, "head": head.hex()}
    return [case("a whole clip file", "clip_file", file=(header.record + segment + end).hex(), **shown)]


def clip() -> Case:
    """The content of clip.json; cases without a record change the shared one."""
    header = Header()
    return {
        "shared": {
            "chain_key": CLIP_KEYS.chain_key.hex(),
            "seed": SEED.hex(),
            "wrapped_seed": header.wrapped.hex(),
            "tink_header": header.tink_header.hex(),
            "header": header.record.hex(),
            "end": end_record().hex(),
        },
        "cases": _sealed_headers() + _refused_headers() + _opening() + _ends() + _heads() + _peeks() + _file(),
    }
