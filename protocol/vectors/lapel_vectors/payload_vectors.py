"""payload.json: what events and commands carry, at every edge and beyond it (SPEC sections 7 and 8)."""

import struct

from . import rsa_oaep
from .reference import Case, made

Value = int | bytes | str
_U8, _U16, _U32, _U64 = 2**8 - 1, 2**16 - 1, 2**32 - 1, 2**64 - 1

# name -> (layout, fields in order with an ordinary value each; names that begin with "zero" are reserved)
LAYOUTS: dict[str, tuple[str, dict[str, Value]]] = {
    "heartbeat": (
        ">8sBBHIIIBBHI",
        {
            "challenge": made("challenge", 8),
            "flags": 2,
            "battery_percent": 67,
            "battery_minutes": 210,
            "storage_free_kib": 1_000_000,
            "alarm_boot": 41,
            "alarm_counter": 7,
            "alarm_state": 3,
            "zero": 0,
            "clips_held": 4,
            "refused_commands": 1,
        },
    ),
    "alarm_raised": (">BBBBI", {"kind": 1, "flags": 0, "battery_percent": 55, "zero": 0, "clip": 44}),
    "alarm_cancelled": (">II", {"boot": 41, "counter": 7}),
    "recording_note": (">BBHII", {"what": 2, "why": 1, "zero": 0, "clip": 44, "elapsed_ms": 8_300}),
    "clip_cut": (
        ">IIBBH32s",
        {"clip": 44, "segments": 17, "why": 2, "zero": 0, "zero_2": 0, "head": made("head", 32)},
    ),
    "storage_note": (">BBHII", {"why": 3, "zero": 0, "zero_2": 0, "clip": 44, "free_kib": 512}),
    "visit": (">BBHI", {"what": 1, "zero": 0, "minutes": 45, "visit": 12}),
    "location": (
        ">iiHHIII",
        {
            "latitude": 593_293_235,
            "longitude": -180_685_808,
            "accuracy_m": 8,
            "age_s": 3,
            "alarm_boot": 41,
            "alarm_counter": 7,
            "visit": 12,
        },
    ),
    "alarm_sending": (">IIHH", {"counter": 7, "after_ms": 340, "tries": 2, "zero": 0}),
    "welcome": (">Q8sI", {"wall_ms": 1_760_000_000_123, "challenge": made("challenge", 8), "ledger_to": 41}),
    "receipt": (
        ">IIBBH32s",
        {"clip": 44, "segments": 17, "level": 1, "zero": 0, "zero_2": 0, "head": made("head", 32)},
    ),
    "want": (">IIIBBH", {"clip": 44, "first": 3, "count": 5, "parts": 4, "zero": 0, "zero_2": 0}),
    "alarm_receipt": (">IIQ", {"boot": 41, "counter": 7, "received_ms": 1_760_000_000_123}),
    "alarm_resolved": (">IIB", {"boot": 41, "counter": 7, "reason": 1}),
    "unopenable": (">I", {"clip": 44}),
    "settings": (
        ">IBBHHHBBH",
        {
            "version": 2,
            "notice_policy": 0,
            "delete_level": 1,
            "notice_timeout_ms": 20_000,
            "frame_interval_ms": 0,
            "heartbeat_s": 30,
            "silent": 0,
            "audio": 1,
            "clip_limit_s": 3_600,
        },
    ),
    "stop_recording": (">I", {"clip": 44}),
    "visit_state": (
        ">IBBHQQ",
        {
            "visit": 12,
            "state": 2,
            "zero": 0,
            "check_in_s": 900,
            "due_ms": 1_760_002_700_123,
            "next_check_in_ms": 1_760_000_900_123,
        },
    ),
}
LAYOUTS |= {
    "update_note": (">BBHI8s", {"what": 5, "why": 0, "zero": 0, "number": 7, "release": made("release", 8)}),
    "update_ask": (">8sII", {"release": made("release", 8), "offset": 6976, "size": 4032}),
    "update_offer": (">8sII", {"release": made("release", 8), "number": 7, "content_at": 448 + 96 * 68}),
}
_NO_VISIT: dict[str, Value] = {"visit": 0, "state": 0, "check_in_s": 0, "due_ms": 0, "next_check_in_ms": 0}
# type -> field -> (values at the edge of what is accepted, values just beyond it)
EDGES: dict[str, dict[str, tuple[tuple[int, ...], tuple[int, ...]]]] = {
    "heartbeat": {
        "flags": ((0, 7), (8, _U8)),
        "battery_percent": ((0, 100), (101, _U8)),
        "battery_minutes": ((0, _U16), ()),
        "storage_free_kib": ((0, _U32), ()),
        "alarm_state": ((0, 6), (7, _U8)),
        "zero": ((), (1,)),
        "clips_held": ((0, _U16), ()),
        "refused_commands": ((0, _U32), ()),
    },
    "alarm_raised": {
        "kind": ((1, 5), (0, 6, _U8)),
        "flags": ((0, 1), (2, 3, 0x80, _U8)),
        "battery_percent": ((0, 100), (101,)),
        "zero": ((), (1,)),
        "clip": ((0, _U32), ()),
    },
    "alarm_cancelled": {"boot": ((0, _U32), ()), "counter": ((0, _U32), ())},
    "recording_note": {
        "what": ((1, 8), (0, 9, _U8)),
        "why": ((0, 9), (10, _U8)),
        "zero": ((), (1, _U16)),
        "clip": ((0, _U32), ()),
        "elapsed_ms": ((0, _U32), ()),
    },
    "clip_cut": {
        "clip": ((_U32,), ()),
        "segments": ((0, 1_000_000), (1_000_001, _U32)),
        "why": ((0, 9), (10,)),
        "zero": ((), (1,)),
        "zero_2": ((), (1,)),
    },
    "storage_note": {
        "why": ((0, 9), (10,)),
        "zero": ((), (1,)),
        "zero_2": ((), (1,)),
        "free_kib": ((0, _U32), ()),
    },
    "visit": {
        "what": ((1, 3), (0, 2, 4, 5, _U8)),
        "zero": ((), (1,)),
        "minutes": ((0, 1440), (1441, _U16)),
        "visit": ((0, _U32), ()),
    },
    "location": {
        "latitude": ((-900_000_000, 0, 900_000_000), (-900_000_001, 900_000_001, -(2**31), 2**31 - 1)),
        "longitude": ((-1_800_000_000, 0, 1_800_000_000), (-1_800_000_001, 1_800_000_001, -(2**31), 2**31 - 1)),
        "accuracy_m": ((0, _U16), ()),
        "age_s": ((0, _U16), ()),
        "alarm_boot": ((0, _U32), ()),
        "alarm_counter": ((0, _U32), ()),
        "visit": ((0, _U32), ()),
    },
    "alarm_sending": {
        "counter": ((1, _U32), (0,)),
        "after_ms": ((0, _U32), ()),
        "tries": ((1, _U16), (0,)),
        "zero": ((), (1, _U16)),
    },
    "welcome": {"wall_ms": ((0, _U64), ()), "ledger_to": ((0, _U32), ())},
    "receipt": {
        "segments": ((0, _U32), ()),
        "level": ((1, 2), (0, 3, _U8)),
        "zero": ((), (1,)),
        "zero_2": ((), (1,)),
    },
    "want": {
        "first": ((0, 999_995), (999_996, _U32)),
        "count": ((0, 999_997), (999_998, _U32)),
        "parts": ((1, 7), (0, 8, _U8)),
        "zero": ((), (1,)),
        "zero_2": ((), (1,)),
    },
    "alarm_receipt": {"received_ms": ((0, _U64), ())},
    "alarm_resolved": {"reason": ((1, 2, 3), (0, 4, _U8))},
    "unopenable": {"clip": ((0, _U32), ())},
    "settings": {
        "version": ((0, _U32), ()),
        "notice_policy": ((0, 1), (2, _U8)),
        "delete_level": ((1, 2), (0, 3)),
        "notice_timeout_ms": ((3_000, 60_000), (2_999, 60_001)),
        "frame_interval_ms": ((0, 10_000), (10_001,)),
        "heartbeat_s": ((5, 3_600), (4, 3_601)),
        "silent": ((0, 1), (2,)),
        "audio": ((0, 1), (2,)),
        "clip_limit_s": ((10, 14_400), (9, 14_401)),
    },
    "stop_recording": {"clip": ((0, _U32), ())},
    "visit_state": {
        "visit": ((1, _U32), (0,)),
        "state": ((1, 4), (0, 5, 6, _U8)),
        "zero": ((), (1,)),
        "check_in_s": ((0, _U16), ()),
        "due_ms": ((0, _U64), ()),
        "next_check_in_ms": ((0, _U64), ()),
    },
}
EDGES |= {
    "update_note": {
        "what": ((1, 5), (0, 6, _U8)),
        "why": ((0, 11), (12, _U8)),
        "zero": ((), (1, _U16)),
        "number": ((1, _U32), (0,)),
    },
    "update_ask": {
        "offset": ((0, _U32 - 4032), (_U32 - 4031, _U32)),
        "size": ((1, 8064), (0, 8065, _U32)),
    },
    "update_offer": {
        "number": ((1, _U32), (0,)),
        "content_at": ((544, 448 + 96 * 256), (0, 448, 543, 545, 448 + 96 * 257, _U32)),
    },
}
# type -> (name, whether it is accepted, the fields that differ from the ordinary ones): what no field shows alone
TOGETHER: dict[str, list[tuple[str, bool, dict[str, Value]]]] = {
    "visit": [
        ("check-in", True, {"what": 2, "minutes": 0}),
        ("extension", True, {"what": 3, "minutes": 30}),
        ("extension as the policy has it", True, {"what": 3, "minutes": 0}),
        ("end", True, {"what": 4, "minutes": 0}),
        ("the device's own visit, as long as the policy has it", True, {"minutes": 0, "visit": 0}),
        ("check-in with minutes", False, {"what": 2, "minutes": 1}),
        ("end with minutes", False, {"what": 4, "minutes": 1}),
        ("what 0 without minutes", False, {"what": 0, "minutes": 0}),
        ("what 5 without minutes", False, {"what": 5, "minutes": 0}),
    ],
    "location": [
        ("of a visit", True, {"alarm_boot": 0, "alarm_counter": 0}),
        ("of an alarm", True, {"visit": 0}),
        ("of an alarm of boot 0", True, {"alarm_boot": 0, "visit": 0}),
        ("of a boot alone", True, {"alarm_counter": 0, "visit": 0}),
        ("of neither", False, {"alarm_boot": 0, "alarm_counter": 0, "visit": 0}),
        ("at a pole and the antimeridian", True, {"latitude": -900_000_000, "longitude": -1_800_000_000}),
    ],
    "update_offer": [
        ("none", True, {"release": bytes(8), "number": 0, "content_at": 0}),
        ("none of a release", False, {"number": 0, "content_at": 0}),
    ],
    "visit_state": [
        ("none", True, _NO_VISIT),
        ("planned", True, {"state": 1, "next_check_in_ms": 0}),
        ("without check-ins and end", True, {"check_in_s": 0, "due_ms": 0, "next_check_in_ms": 0}),
        ("none of a visit", False, {**_NO_VISIT, "visit": 12}),
        ("none with check-ins", False, {**_NO_VISIT, "check_in_s": 1}),
        ("none with an end", False, {**_NO_VISIT, "due_ms": 1}),
        ("none with a next check-in", False, {**_NO_VISIT, "next_check_in_ms": 2**63}),
        ("none with a reserved byte", False, {**_NO_VISIT, "zero": 1}),
        ("ended, which is told as none", False, {"state": 5}),
        ("planned without a visit", False, {**_NO_VISIT, "state": 1}),
    ],
}
HELLO = {
    "nonce": made("nonce", 8),
    "suite": 1,
    "major": 1,
    "minor": 2,
    "patch": 3,
    "battery_percent": 80,
    "zero": 0,
    "battery_minutes": 300,
    "storage_free_kib": 900_000,
    "storage_total_kib": 1_000_000,
    "next_epoch": 1000,
}
_PAIRS = ((44, 3), (45, 0), (_U32, _U32))


def _json(value: object) -> object:
    return value.hex() if isinstance(value, bytes) else value


def _case(name: str, kind: str, expect: str, payload: bytes, fields: dict[str, Value] | None = None) -> Case:
    case: Case = {"name": f"{kind}: {name}", "op": "payload", "type": kind, "expect": expect, "payload": payload.hex()}
    if expect == "ok" and fields is not None:
        case["fields"] = {key: _json(value) for key, value in fields.items() if not key.startswith("zero")}
    return case


def _pack(kind: str, change: dict[str, Value] | None = None) -> tuple[bytes, dict[str, Value]]:
    layout, ordinary = LAYOUTS[kind]
    fields = {**ordinary, **(change or {})}
    return struct.pack(layout, *fields.values()), fields


def _fixed() -> list[Case]:
    """Every payload that is one fixed layout."""
    cases: list[Case] = []
    for kind, edges in EDGES.items():
        payload, fields = _pack(kind)
        cases.append(_case("ordinary", kind, "ok", payload, fields))
        cases.append(_case("empty", kind, "malformed", b""))
        cases.append(_case("cut by one byte", kind, "malformed", payload[:-1]))
        cases.append(_case("followed by a byte", kind, "malformed", payload + b"\0"))
        for field, (accepted, refused) in edges.items():
            cases += [_case(f"{field} {value}", kind, "ok", *_pack(kind, {field: value})) for value in accepted]
            cases += [_case(f"{field} {value}", kind, "malformed", _pack(kind, {field: value})[0]) for value in refused]
        for name, good, change in TOGETHER.get(kind, ()):
            cases.append(_case(name, kind, "ok" if good else "malformed", *_pack(kind, change)))
    return cases


MAN_DOWN = {
    "man_down": 1,
    "no_movement_min": 5,
    "fall_dip_mg": 550,
    "fall_impact_mg": 2_500,
    "fall_turn_deg": 60,
    "fall_still_s": 15,
}
MAN_DOWN_DEFAULTS = dict(zip(MAN_DOWN, (0, 0, 600, 2_000, 45, 10), strict=True))
MAN_DOWN_EDGES: dict[str, tuple[tuple[int, ...], tuple[int, ...]]] = {
    "man_down": ((0, 1), (2, _U8)),
    "no_movement_min": ((0, 240), (241, _U8)),
    "fall_dip_mg": ((200, 900), (199, 901, _U16)),
    "fall_impact_mg": ((1_500, 6_000), (1_499, 6_001, _U16)),
    "fall_turn_deg": ((0, 90), (91, _U8)),
    "fall_still_s": ((5, 120), (4, 121)),
}


def settings(man_down: dict[str, int]) -> bytes:
    """A settings payload with the part about man-down."""
    return _pack("settings")[0] + struct.pack(">BBHHBB", *man_down.values())


def _settings() -> list[Case]:
    cases: list[Case] = []

    def good(name: str, man_down: dict[str, int]) -> None:
        fields: dict[str, Value] = {**LAYOUTS["settings"][1], **man_down}
        cases.append(_case(name, "settings", "ok", settings(man_down), fields))

    fields: dict[str, Value] = {**LAYOUTS["settings"][1], **MAN_DOWN_DEFAULTS}
    cases.append(_case("man-down by default", "settings", "ok", _pack("settings")[0], fields))
    good("with man-down", MAN_DOWN)
    whole = settings(MAN_DOWN)
    for name, payload in (
        ("man-down written out although it is the default", settings(MAN_DOWN_DEFAULTS)),
        ("man-down cut by one byte", whole[:-1]),
        ("man-down followed by a byte", whole + b"\0"),
        ("man-down without what goes before", whole[16:]),
    ):
        cases.append(_case(name, "settings", "malformed", payload))
    for field, (accepted, refused) in MAN_DOWN_EDGES.items():
        for value in accepted:
            good(f"{field} {value}", {**MAN_DOWN, field: value})
        for value in refused:
            payload = settings({**MAN_DOWN, field: value})
            cases.append(_case(f"{field} {value}", "settings", "malformed", payload))
    return cases


def hello(ledger: list[tuple[int, int]], count: int | None = None, **change: int) -> bytes:
    """A hello payload with an epoch ledger."""
    values = {**HELLO, **change}
    out = struct.pack(">8sBBBBBBHIII", *values.values())
    out += struct.pack(">H", len(ledger) if count is None else count)
    return out + b"".join(struct.pack(">IB", epoch, what) for epoch, what in ledger)


def running(number: int = 7, flags: int = 0, zero: int = 0, zero_2: int = 0, hardware: bytes = b"pico2_w") -> bytes:
    """What a device that runs from a slot puts behind its hello."""
    return struct.pack(">I8sBBH16s", number, made("release", 8), flags, zero, zero_2, hardware)


def _hellos() -> list[Case]:
    cases: list[Case] = []

    def good(name: str, ledger: list[tuple[int, int]], tail: bytes = b"", **change: int) -> None:
        values = {**HELLO, **change}
        case = _case(name, "hello", "ok", hello(ledger, **change) + tail)
        fields: Case = {key: _json(values[key]) for key in values if key not in ("major", "minor", "patch", "zero")}
        fields["firmware"] = [values["major"], values["minor"], values["patch"]]
        fields["epochs"] = [list(entry) for entry in ledger]
        fields["tail"] = tail.hex()
        cases.append({**case, "fields": fields})

    good("ordinary", [(40, 1), (41, 2), (42, 3), (43, 4)])
    good("empty ledger", [])
    good("as long a ledger as can be", [(epoch, 2) for epoch in range(128)])
    good("newest epoch", [(999, 1)])
    good("first epoch", [(0, 1)], next_epoch=1)
    good("battery empty", [], battery_percent=0)
    good("largest numbers", [(_U32 - 1, 4)], next_epoch=_U32, battery_minutes=_U16, storage_free_kib=_U32)
    good("another suite", [], suite=2)
    good("running a release", [(40, 1)], running())
    good("running a release on trial", [], running(number=_U32, flags=1, hardware=b"a_board_of_16_ch"))
    good("running a release in place", [], running(flags=2))
    ordinary = hello([(40, 1)])
    for name, payload in (
        ("empty", b""),
        ("cut inside the fields", ordinary[:29]),
        ("cut inside the ledger", ordinary[:-1]),
        ("followed by a byte", ordinary + b"\0"),
        ("battery 101", hello([], battery_percent=101)),
        ("reserved byte", hello([], zero=1)),
        ("ledger of 129", hello([(epoch, 2) for epoch in range(129)])),
        ("running a release of number 0", hello([]) + running(number=0)),
        ("running a release in place and on trial", hello([]) + running(flags=3)),
        ("running a release with another flag", hello([]) + running(flags=4)),
        ("running a release with a reserved byte", hello([]) + running(zero=1)),
        ("running a release with a reserved number", hello([]) + running(zero_2=1)),
        ("running a release of no hardware", hello([]) + running(hardware=b"")),
        ("running a release of a hardware in capitals", hello([]) + running(hardware=b"Pico")),
        ("running a release cut by one byte", hello([]) + running()[:-1]),
        ("running a release followed by a byte", hello([]) + running() + b"\0"),
        ("ledger says one more", hello([(40, 1)], count=2)),
        ("ledger says one less", hello([(40, 1), (41, 2)], count=1)),
        ("ledger not ascending", hello([(41, 1), (40, 2)])),
        ("ledger names an epoch twice", hello([(41, 1), (41, 1)])),
        ("ledger names the next epoch", hello([(1000, 1)])),
        ("ledger with an outcome 0", hello([(40, 0)])),
        ("ledger with an outcome 5", hello([(40, 5)])),
    ):
        cases.append(_case(name, "hello", "malformed", payload))
    return cases


def credit(pairs: list[tuple[int, int]], count: int | None = None, zero: int = 0, zero_2: int = 0) -> bytes:
    """A credit payload."""
    head = struct.pack(">8sIIBBH", made("challenge", 8), 1 << 20, 1 << 18, len(pairs) % 256, zero, zero_2)
    if count is not None:
        head = head[:16] + bytes([count]) + head[17:]
    return head + b"".join(struct.pack(">II", *pair) for pair in pairs)


def event_receipt(pairs: list[tuple[int, int]], count: int | None = None) -> bytes:
    """An event receipt payload."""
    return struct.pack(">H", len(pairs) if count is None else count) + b"".join(struct.pack(">II", *p) for p in pairs)


def _lists() -> list[Case]:
    cases: list[Case] = []
    for name, pairs in (
        ("ordinary", list(_PAIRS)),
        ("no clip", []),
        ("as many clips as can be", [(n, n) for n in range(60)]),
    ):
        case = _case(name, "credit", "ok", credit(pairs))
        fields: Case = {"challenge": made("challenge", 8).hex(), "window_bytes": 1 << 20, "alarm_window_bytes": 1 << 18}
        cases.append({**case, "fields": {**fields, "clips": [list(pair) for pair in pairs]}})
    for name, payload in (
        ("empty", b""),
        ("cut inside the fields", credit([])[:-1]),
        ("cut inside the list", credit([(1, 1)])[:-1]),
        ("followed by a byte", credit([(1, 1)]) + b"\0"),
        ("61 clips", credit([(n, n) for n in range(61)])),
        ("says one more", credit([(1, 1)], count=2)),
        ("says one less", credit([(1, 1)], count=0)),
        ("reserved byte", credit([], zero=1)),
        ("reserved bytes", credit([], zero_2=1)),
    ):
        cases.append(_case(name, "credit", "malformed", payload))
    for name, pairs in (
        ("ordinary", list(_PAIRS)),
        ("no event", []),
        ("as many events as can be", [(n, n) for n in range(100)]),
    ):
        case = _case(name, "event_receipt", "ok", event_receipt(pairs))
        cases.append({**case, "fields": {"events": [list(pair) for pair in pairs]}})
    for name, payload in (
        ("empty", b""),
        ("one byte", b"\0"),
        ("cut inside the list", event_receipt([(1, 1)])[:-1]),
        ("followed by a byte", event_receipt([(1, 1)]) + b"\0"),
        ("101 events", event_receipt([(n, n) for n in range(101)])),
        ("says one more", event_receipt([(1, 1)], count=2)),
        ("says one less", event_receipt([(1, 1)], count=0)),
        ("says 65,535", event_receipt([(1, 1)], count=_U16)),
    ):
        cases.append(_case(name, "event_receipt", "malformed", payload))
    return cases


def alarm_ack(name: bytes) -> bytes:
    """An alarm acknowledgement payload."""
    return struct.pack(">IIQ", 41, 7, 1_760_000_000_123) + name


def probe() -> bytes:
    """A probe payload."""
    seed, oaep_seed = made("seed 1", 32), made("oaep seed 1", 32)
    return seed + oaep_seed + rsa_oaep.wrap(seed, oaep_seed)


def update_block(data: bytes) -> bytes:
    """An update block payload."""
    return struct.pack(">8sI", made("release", 8), 6976) + data


def _tails() -> list[Case]:
    cases: list[Case] = []
    for name in ("", "Ada", "Ångström, 救急", "x" * 48):
        fields: dict[str, Value] = {"boot": 41, "counter": 7, "wall_ms": 1_760_000_000_123, "name": name}
        cases.append(_case(f"name {name!r}", "alarm_ack", "ok", alarm_ack(name.encode()), fields))
    for name, payload in (
        ("empty", b""),
        ("cut inside the fields", alarm_ack(b"")[:-1]),
        ("name of 49 bytes", alarm_ack(b"x" * 49)),
        ("name cut inside a character", alarm_ack("å".encode()[:1])),
        ("name that is not UTF-8", alarm_ack(b"\xff\xfe")),
    ):
        cases.append(_case(name, "alarm_ack", "malformed", payload))
    for size in (1, 500, 1008):
        data = made("block", size)
        block: dict[str, Value] = {"release": made("release", 8), "offset": 6976, "data": data}
        cases.append(_case(f"of {size} bytes", "update_block", "ok", update_block(data), block))
    for size in (0, 1009):
        name = f"of {size} bytes"
        cases.append(_case(name, "update_block", "malformed", update_block(made("block", size))))
    cases.append(_case("empty", "update_block", "malformed", b""))
    good = probe()
    split: dict[str, Value] = {"seed": good[:32], "oaep_seed": good[32:64], "wrapped": good[64:]}
    cases.append(_case("ordinary", "probe", "ok", good, split))
    for name, payload in (("empty", b""), ("cut by one byte", good[:-1]), ("followed by a byte", good + b"\0")):
        cases.append(_case(name, "probe", "malformed", payload))
    return cases


# One of each kind, in the order of the kinds' numbers.
EVENT_SAMPLES = {
    "hello": hello([(40, 1), (41, 1), (44, 2)]),
    "heartbeat": _pack("heartbeat")[0],
    "alarm_raised": _pack("alarm_raised")[0],
    "alarm_cancelled": _pack("alarm_cancelled")[0],
    "recording_note": _pack("recording_note")[0],
    "clip_cut": _pack("clip_cut")[0],
    "storage_note": _pack("storage_note")[0],
    "probe": probe(),
    "visit": _pack("visit")[0],
    "location": _pack("location")[0],
    "update_note": _pack("update_note")[0],
    "update_ask": _pack("update_ask")[0],
    "alarm_sending": _pack("alarm_sending")[0],
}
COMMAND_SAMPLES = {
    "welcome": _pack("welcome")[0],
    "credit": credit(list(_PAIRS)),
    "receipt": _pack("receipt")[0],
    "want": _pack("want")[0],
    "event_receipt": event_receipt(list(_PAIRS)),
    "alarm_receipt": _pack("alarm_receipt")[0],
    "alarm_ack": alarm_ack(b"Ada"),
    "alarm_resolved": _pack("alarm_resolved")[0],
    "unopenable": _pack("unopenable")[0],
    "settings": _pack("settings")[0],
    "stop_recording": _pack("stop_recording")[0],
    "visit_state": _pack("visit_state")[0],
    "update_offer": _pack("update_offer")[0],
    "update_block": update_block(made("block", 100)),
}


def payload() -> Case:
    """The content of payload.json."""
    return {"cases": _fixed() + _settings() + _hellos() + _lists() + _tails()}
