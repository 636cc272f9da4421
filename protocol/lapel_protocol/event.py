"""Event records: what a device says outside its clips, alarms included (SPEC section 7).

Unique by (device, boot, counter) for ever; a repeat is byte-identical, because the IV is the counter and the keys are
the boot's. Encrypt-then-MAC under the boot's event keys. What a payload means lives in `reports`.
"""

import struct

from . import PROTOCOL_VERSION
from .crypto import AesCtr, Mac
from .errors import Malformed, Oversized, UnsupportedVersion
from .keys import EpochKeys
from .limits import EVENT_HEADER_BYTES, MAX_EVENT_PAYLOAD_BYTES, MAX_EVENT_RECORD_BYTES, TAG_BYTES

RECORD_EVENT = 0x10

HELLO = 1  # opens a boot or a connection; not journalled
HEARTBEAT = 2  # contact, progress and polling; not journalled
ALARM_RAISED = 3  # lane alarm
ALARM_CANCELLED = 4  # lane alarm; the wearer's word about one alarm
RECORDING_NOTE = 5  # notice given, confirmed, skipped, timed out; recording refused
CLIP_CUT = 6  # settles a clip that has no end record
STORAGE_NOTE = 7
PROBE = 8  # a throw-away seed with its wrap, for gateways that do not hold the private key
VISIT = 9  # a visit begins, is checked in to, takes longer, ends
LOCATION = 10  # within a visit or an alarm only; not journalled
UPDATE_NOTE = 11  # a step of an update of the firmware
UPDATE_ASK = 12  # for pieces of a release; not journalled
ALARM_SENDING = 13  # how an alarm of this boot left the device, once the gateway has it
ALARM_KINDS = (ALARM_RAISED, ALARM_CANCELLED)
FLEETING_KINDS = (HELLO, HEARTBEAT, LOCATION, UPDATE_ASK)  # never journalled, never receipted

# type, version, kind, flags, device, boot, counter, wall, mono, trust, zero, payload length
EVENT_LAYOUT = ">BBBB8sIIQQBBH"


class Event:
    """One event. `wall_ms` is Unix time with its `trust`, `mono_ms` since boot, `payload` at most 1,024 bytes."""

    def __init__(
        self, kind: int, device: bytes, boot: int, counter: int, wall_ms: int, mono_ms: int, trust: int, payload: bytes
    ) -> None:
        self.kind = kind
        self.device = device
        self.boot = boot
        self.counter = counter
        self.wall_ms = wall_ms
        self.mono_ms = mono_ms
        self.trust = trust
        self.payload = payload


def event_iv(counter: int) -> bytes:
    """The CTR start block of an event: a boot's counter is used once."""
    return struct.pack(">IQ", counter, 0)


def seal_event(keys: EpochKeys, event: Event) -> bytes:
    """The event's record under the keys of its boot. Raises ValueError for a payload that is too long."""
    size = len(event.payload)
    if size > MAX_EVENT_PAYLOAD_BYTES:
        raise ValueError("event payload too long")
    record = bytearray(EVENT_HEADER_BYTES + size + TAG_BYTES)
    struct.pack_into(
        EVENT_LAYOUT,
        record,
        0,
        RECORD_EVENT,
        PROTOCOL_VERSION,
        event.kind,
        0,
        event.device,
        event.boot,
        event.counter,
        event.wall_ms,
        event.mono_ms,
        event.trust,
        0,
        size,
    )
    view = memoryview(record)
    end = EVENT_HEADER_BYTES + size
    if size:
        record[EVENT_HEADER_BYTES:end] = event.payload
        AesCtr(keys.event_enc).apply(event_iv(event.counter), view[EVENT_HEADER_BYTES:end])
    record[end:] = Mac(keys.event_auth).digest(view[:end])
    return bytes(record)


def peek_event(record: "bytes | bytearray | memoryview") -> "tuple[int, bytes, int, int]":
    """(kind, device, boot, counter) that a record names, nothing verified; raises ProtocolError on a wrong shape."""
    if len(record) > MAX_EVENT_RECORD_BYTES:
        raise Oversized("event longer than %d bytes" % MAX_EVENT_RECORD_BYTES)
    if len(record) < EVENT_HEADER_BYTES + TAG_BYTES or record[0] != RECORD_EVENT:
        raise Malformed("not an event")
    if record[1] != PROTOCOL_VERSION:
        raise UnsupportedVersion("event version %d" % record[1])
    kind, _, device, boot, counter = struct.unpack_from(">BB8sII", record, 2)
    return kind, device, boot, counter
