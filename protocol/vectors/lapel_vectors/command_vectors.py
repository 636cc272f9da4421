"""command.json: command records and the gate that decides on freshness (SPEC section 8)."""

import struct

from .payload_vectors import COMMAND_SAMPLES
from .reference import BOOT, BOOT_KEYS, DEVICE, K_DEV, OTHER_DEVICE, Case, case, chain_key, ctr, flipped, mac, made

LAYOUT = ">BBBB8sI8sIQQHH"
NONCE = made("nonce", 8)
OLD_NONCE = made("nonce of the connection before", 8)
NOW_MS = 1_760_000_000_000
KINDS = len(COMMAND_SAMPLES)
WELCOME, CREDIT, SETTINGS, STOP, VISIT_STATE, UPDATE_OFFER = 1, 2, 10, 11, 12, 13
GUARDED = (SETTINGS, STOP, VISIT_STATE, UPDATE_OFFER)


def command_record(
    kind: int,
    payload: bytes,
    *,
    nonce: bytes = bytes(8),
    counter: int = 0,
    issued_ms: int = 0,
    expires_ms: int = 0,
    record_type: int = 0x20,
    version: int = 1,
    flags: int = 0,
    zero: int = 0,
    size: int | None = None,
    device: bytes = DEVICE,
    boot: int = BOOT,
) -> bytes:
    """A sealed command; the keywords of the second half make it wrong."""
    length = len(payload) if size is None else size
    head = struct.pack(
        LAYOUT, record_type, version, kind, flags, device, boot, nonce, counter, issued_ms, expires_ms, length, zero
    )
    iv = mac(BOOT_KEYS.command_iv, head, payload)[:12]
    body = head + iv + ctr(BOOT_KEYS.command_enc, iv, payload)
    return body + mac(BOOT_KEYS.command_auth, body)


def _guarded(kind: int) -> dict[str, int]:
    return {"counter": 9, "issued_ms": NOW_MS, "expires_ms": NOW_MS + 60_000} if kind in GUARDED else {}


def _good() -> list[Case]:
    cases: list[Case] = []

    def add(name: str, kind: int, payload: bytes, nonce: bytes, **numbers: int) -> None:
        given: Case = {"counter": 0, "issued_ms": 0, "expires_ms": 0, **numbers}
        record = command_record(kind, payload, nonce=nonce, **given)
        sealed: Case = {"nonce": nonce.hex(), **given, "record": record.hex()}
        cases.append(case(name, "command", kind=kind, payload=payload.hex(), **sealed))

    for kind, (name, payload) in enumerate(COMMAND_SAMPLES.items(), 1):
        nonce = NONCE if kind in (WELCOME, *GUARDED) else bytes(8)
        add(f"command: {name}", kind, payload, nonce, **_guarded(kind))
    add("the same command again, byte for byte", CREDIT, COMMAND_SAMPLES["credit"], bytes(8))
    add("another payload gives another IV", CREDIT, COMMAND_SAMPLES["credit"][:-1] + b"\x01", bytes(8))
    add("another time gives another IV", CREDIT, COMMAND_SAMPLES["credit"], bytes(8), issued_ms=1)
    add("empty payload", CREDIT, b"", bytes(8))
    for length in (1, 15, 16, 17, 1023, 1024):
        add(f"payload of {length} bytes", CREDIT, made("payload", length), bytes(8))
    largest = {"counter": 2**32 - 1, "issued_ms": 2**64 - 1, "expires_ms": 2**64 - 1}
    add("largest numbers", STOP, b"x", b"\xff" * 8, **largest)
    return cases


def _refused() -> list[Case]:
    payload = COMMAND_SAMPLES["stop_recording"]
    guard: Case = {"counter": 9, "issued_ms": NOW_MS, "expires_ms": NOW_MS + 60_000}
    record = command_record(STOP, payload, nonce=NONCE, **guard)
    cases: list[Case] = []

    def refuse(name: str, expect: str, data: bytes | None = None, **change: object) -> None:
        given: Case = {} if data is None else {"record": data.hex()}
        cases.append(case(name, "open_command", expect, **given, **change))

    for at in range(len(record)):
        expect = {0: "malformed", 1: "unsupported_version"}.get(at, "bad_mac")
        refuse(f"byte {at} altered", expect, patch=flipped(record, at))
    for keep in (0, 1, 59, 91):
        refuse(f"cut to {keep} bytes", "malformed", keep=keep)
    refuse("cut by one byte", "bad_mac", keep=len(record) - 1)
    refuse("followed by a byte", "bad_mac", append="00")
    refuse("payload of 1025 bytes", "oversized", command_record(CREDIT, bytes(1025)))
    refuse("authentic, for another device", "wrong_device", command_record(STOP, payload, device=OTHER_DEVICE))
    refuse("authentic, for the boot before", "replayed", command_record(STOP, payload, boot=BOOT - 1))
    refuse("authentic, for a later boot", "replayed", command_record(STOP, payload, boot=BOOT + 1))
    refuse("authentic, version 2", "unsupported_version", command_record(STOP, payload, version=2))
    refuse("authentic, another record type", "malformed", command_record(STOP, payload, record_type=0x10))
    refuse("authentic, unknown flag", "malformed", command_record(STOP, payload, flags=0x80))
    refuse("authentic, reserved bytes", "malformed", command_record(STOP, payload, zero=1))
    refuse("authentic, kind 0", "malformed", command_record(0, payload))
    refuse("authentic, unknown kind", "malformed", command_record(KINDS + 1, payload))
    refuse("authentic, length one more", "malformed", command_record(STOP, payload, size=len(payload) + 1))
    refuse("authentic, length one less", "malformed", command_record(STOP, payload, size=len(payload) - 1))
    for epoch in (BOOT - 1, BOOT + 1):
        refuse(f"under the keys of epoch {epoch}", "bad_mac", chain_key=chain_key(K_DEV, DEVICE, epoch).hex())
    return cases


def _hello(nonce: bytes) -> Case:
    return {"hello": nonce.hex()}


def _admit(kind: int, nonce: bytes, expect: str, counter: int = 0, wall_ms: int = NOW_MS, expires_ms: int = 0) -> Case:
    step: Case = {"kind": kind, "nonce": nonce.hex(), "counter": counter, "expires_ms": expires_ms}
    return {**step, "wall_ms": wall_ms, "expect": expect}


def _gate() -> list[Case]:
    ahead = NOW_MS + 1
    sequences: dict[str, list[Case]] = {
        "a welcome is taken once": [
            _hello(NONCE),
            _admit(WELCOME, NONCE, "ok", wall_ms=0),
            _admit(WELCOME, NONCE, "replayed"),
        ],
        "a welcome before any hello": [_admit(WELCOME, NONCE, "replayed"), _admit(WELCOME, bytes(8), "replayed")],
        "a welcome to the hello before": [
            _hello(OLD_NONCE),
            _hello(NONCE),
            _admit(WELCOME, OLD_NONCE, "replayed"),
            _admit(WELCOME, NONCE, "ok"),
        ],
        "a guarded command before any hello": [
            _admit(STOP, bytes(8), "replayed", 1, expires_ms=ahead),
            _admit(STOP, NONCE, "replayed", 1, expires_ms=ahead),
        ],
        "a guarded command is taken once": [
            _hello(NONCE),
            _admit(STOP, NONCE, "ok", 3, expires_ms=ahead),
            _admit(STOP, NONCE, "replayed", 3, expires_ms=ahead),
            _admit(SETTINGS, NONCE, "replayed", 2, expires_ms=ahead),
            _admit(SETTINGS, NONCE, "ok", 4, expires_ms=ahead),
        ],
        "a visit's state is guarded as a stop is, and shares its counter": [
            _admit(VISIT_STATE, bytes(8), "replayed", 1, expires_ms=ahead),
            _hello(OLD_NONCE),
            _hello(NONCE),
            _admit(VISIT_STATE, OLD_NONCE, "replayed", 5, expires_ms=ahead),
            _admit(VISIT_STATE, NONCE, "replayed", 1, expires_ms=NOW_MS),
            _admit(VISIT_STATE, NONCE, "replayed", 1, wall_ms=0, expires_ms=ahead),
            _admit(VISIT_STATE, NONCE, "ok", 1, expires_ms=ahead),
            _admit(VISIT_STATE, NONCE, "replayed", 1, expires_ms=ahead),
            _admit(STOP, NONCE, "ok", 2, expires_ms=ahead),
            _admit(VISIT_STATE, NONCE, "replayed", 2, expires_ms=ahead),
            _admit(VISIT_STATE, NONCE, "ok", 3, expires_ms=ahead),
        ],
        "counter 0 is never above the last": [_hello(NONCE), _admit(STOP, NONCE, "replayed", 0, expires_ms=ahead)],
        "a guarded command of the connection before": [
            _hello(OLD_NONCE),
            _hello(NONCE),
            _admit(STOP, OLD_NONCE, "replayed", 5, expires_ms=ahead),
        ],
        "counters start anew with a hello, as a restored gateway's do": [
            _hello(OLD_NONCE),
            _admit(STOP, OLD_NONCE, "ok", 500, expires_ms=ahead),
            _hello(NONCE),
            _admit(STOP, OLD_NONCE, "replayed", 501, expires_ms=ahead),
            _admit(STOP, NONCE, "ok", 5, expires_ms=ahead),
            _admit(STOP, NONCE, "replayed", 5, expires_ms=ahead),
        ],
        "expiry": [
            _hello(NONCE),
            _admit(STOP, NONCE, "replayed", 1, wall_ms=NOW_MS, expires_ms=NOW_MS),
            _admit(STOP, NONCE, "replayed", 1, wall_ms=NOW_MS + 1, expires_ms=NOW_MS),
            _admit(STOP, NONCE, "ok", 1, wall_ms=NOW_MS - 1, expires_ms=NOW_MS),
        ],
        "a clock that knows no time refuses what expires": [
            _hello(NONCE),
            _admit(STOP, NONCE, "replayed", 1, wall_ms=0, expires_ms=ahead),
        ],
        "what is refused leaves no trace": [
            _hello(NONCE),
            _admit(STOP, OLD_NONCE, "replayed", 100, expires_ms=ahead),
            _admit(STOP, NONCE, "replayed", 100, expires_ms=1),
            _admit(STOP, NONCE, "ok", 1, expires_ms=ahead),
        ],
        "idempotent kinds pass at any time, again and again": [
            _admit(kind, bytes(8), "ok", wall_ms=wall)
            for kind in range(2, 10)
            for wall in (0, NOW_MS)
            for _ in range(2)
        ],
    }
    return [case(f"gate: {name}", "gate", steps=steps) for name, steps in sequences.items()]


def command() -> Case:
    """The content of command.json; cases without a record change the shared one."""
    payload = COMMAND_SAMPLES["stop_recording"]
    record = command_record(STOP, payload, nonce=NONCE, counter=9, issued_ms=NOW_MS, expires_ms=NOW_MS + 60_000)
    return {
        "shared": {
            "device": DEVICE.hex(),
            "boot": BOOT,
            "chain_key": BOOT_KEYS.chain_key.hex(),
            "record": record.hex(),
        },
        "cases": _good() + _refused() + _gate(),
    }
