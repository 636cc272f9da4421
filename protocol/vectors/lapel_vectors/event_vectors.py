"""event.json: event records (SPEC section 7). What is inside the payloads is in payload.json."""

import struct

from .payload_vectors import EVENT_SAMPLES
from .reference import BOOT, BOOT_KEYS, DEVICE, K_DEV, Case, case, chain_key, ctr, flipped, mac, made

LAYOUT = ">BBBB8sIIQQBBH"
KINDS = len(EVENT_SAMPLES)


def event_record(
    kind: int,
    payload: bytes,
    *,
    counter: int = 5,
    wall_ms: int = 1_760_000_000_123,
    mono_ms: int = 7_654_321,
    trust: int = 3,
    record_type: int = 0x10,
    version: int = 1,
    flags: int = 0,
    zero: int = 0,
    size: int | None = None,
    device: bytes = DEVICE,
    boot: int = BOOT,
) -> bytes:
    """A sealed event; the keywords of the second half make it wrong."""
    length = len(payload) if size is None else size
    head = struct.pack(
        LAYOUT, record_type, version, kind, flags, device, boot, counter, wall_ms, mono_ms, trust, zero, length
    )
    body = head + ctr(BOOT_KEYS.event_enc, counter.to_bytes(4, "big") + bytes(8), payload)
    return body + mac(BOOT_KEYS.event_auth, body)


def _good() -> list[Case]:
    cases: list[Case] = []

    def add(name: str, kind: int, payload: bytes, **fields: int) -> None:
        given: Case = {"counter": 5, "wall_ms": 1_760_000_000_123, "mono_ms": 7_654_321, "trust": 3, **fields}
        record = event_record(kind, payload, **given)
        cases.append(case(name, "event", kind=kind, payload=payload.hex(), **given, record=record.hex()))

    for kind, (name, payload) in enumerate(EVENT_SAMPLES.items(), 1):
        add(f"event: {name}", kind, payload)
    add("the same event again, byte for byte", 3, EVENT_SAMPLES["alarm_raised"])
    add("the next counter gives another cipher text", 3, EVENT_SAMPLES["alarm_raised"], counter=6)
    add("empty payload", 7, b"")
    for length in (1, 15, 16, 17, 1023, 1024):
        add(f"payload of {length} bytes", 7, made("payload", length))
    add("smallest numbers", 7, b"x", counter=0, wall_ms=0, mono_ms=0, trust=0)
    add("largest numbers", 7, b"x", counter=2**32 - 1, wall_ms=2**64 - 1, mono_ms=2**64 - 1)
    return cases


def _refused() -> list[Case]:
    payload = EVENT_SAMPLES["alarm_raised"]
    record = event_record(3, payload)
    cases: list[Case] = []

    def refuse(name: str, expect: str, data: bytes | None = None, **change: object) -> None:
        given: Case = {} if data is None else {"record": data.hex()}
        cases.append(case(name, "open_event", expect, **given, **change))

    for at in range(len(record)):
        expect = {0: "malformed", 1: "unsupported_version"}.get(at, "bad_mac")
        refuse(f"byte {at} altered", expect, patch=flipped(record, at))
    for keep in (0, 1, 39, 71):
        refuse(f"cut to {keep} bytes", "malformed", keep=keep)
    refuse("cut by one byte", "bad_mac", keep=len(record) - 1)
    refuse("followed by a byte", "bad_mac", append="00")
    refuse("payload of 1025 bytes", "oversized", event_record(7, bytes(1025)))
    refuse("authentic, version 2", "unsupported_version", event_record(3, payload, version=2))
    refuse("authentic, another record type", "malformed", event_record(3, payload, record_type=0x20))
    refuse("authentic, unknown flag", "malformed", event_record(3, payload, flags=1))
    refuse("authentic, reserved byte", "malformed", event_record(3, payload, zero=1))
    refuse("authentic, trust 4", "malformed", event_record(3, payload, trust=4))
    refuse("authentic, kind 0", "malformed", event_record(0, payload))
    refuse("authentic, unknown kind", "malformed", event_record(KINDS + 1, payload))
    refuse("authentic, length one more", "malformed", event_record(3, payload, size=len(payload) + 1))
    refuse("authentic, length one less", "malformed", event_record(3, payload, size=len(payload) - 1))
    for epoch in (BOOT - 1, BOOT + 1):
        refuse(f"under the keys of epoch {epoch}", "bad_mac", chain_key=chain_key(K_DEV, DEVICE, epoch).hex())
    return cases


def _peeks() -> list[Case]:
    record = event_record(3, b"")
    cases = [case("peek", "peek_event", record=record.hex(), kind=3, device=DEVICE.hex(), boot=BOOT, counter=5)]
    for name, data, expect in (
        ("at 71 bytes", record[:71], "malformed"),
        ("at another type", b"\x01" + record[1:], "malformed"),
        ("at version 0", record[:1] + b"\0" + record[2:], "unsupported_version"),
        ("at 1097 bytes", event_record(3, bytes(1025)), "oversized"),
    ):
        cases.append(case(f"peek {name}", "peek_event", expect, record=data.hex()))
    return cases


def event() -> Case:
    """The content of event.json; cases without a record change the shared one."""
    return {
        "shared": {
            "device": DEVICE.hex(),
            "boot": BOOT,
            "chain_key": BOOT_KEYS.chain_key.hex(),
            "record": event_record(3, EVENT_SAMPLES["alarm_raised"]).hex(),
        },
        "cases": _good() + _refused() + _peeks(),
    }
