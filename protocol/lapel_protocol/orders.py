"""Payloads of commands: what the gateway orders or confirms (SPEC section 8).

Fixed big-endian layouts, one class a message. `encode()` gives the payload, `decode_…(payload)` checks its length and
ranges and raises Malformed. A device only reads them; the settings it writes too, into its own storage. To add a
message: a kind in `command`, a class here, a row in SPEC, vectors.
"""

import struct

from .errors import Malformed
from .layout import fields, gateway_only
from .limits import MAX_CREDIT_CLIPS, MAX_EVENT_RECEIPTS, MAX_NAME_BYTES, MAX_SEGMENTS

WANT_HEADER = 1
WANT_END = 2
WANT_SEGMENTS = 4
WANT_FLAGS = 7

LEVEL_VERIFIED = 1  # every tag checked; the private key is elsewhere
LEVEL_OPENED = 2  # and the opening proved with the private key

RESOLVED_TRUE = 1
RESOLVED_FALSE = 2
RESOLVED_TEST = 3

_MAN_DOWN_DEFAULTS = b"\x00\x00\x02\x58\x07\xd0\x2d\x0a"

POLICY_CANCEL = 0
POLICY_START = 1

# VisitState.state: the states of `visit` that are told; one that is over is told as none
VISIT_NONE = 0
VISIT_PLANNED = 1
VISIT_ACTIVE = 2
VISIT_AMBER = 3
VISIT_OVERDUE = 4


class Welcome:
    """Answers one hello: the gateway's Unix time, a heartbeat challenge; epochs below `ledger_to` are receipted."""

    LAYOUT = ">Q8sI"

    def __init__(self, wall_ms: int, challenge: bytes, ledger_to: int) -> None:
        self.wall_ms = wall_ms
        self.challenge = challenge
        self.ledger_to = ledger_to

    @gateway_only
    def encode(self) -> bytes:
        """The payload."""
        return struct.pack(self.LAYOUT, self.wall_ms, self.challenge, self.ledger_to)


def decode_welcome(payload: bytes) -> Welcome:
    """Check and read a Welcome payload."""
    if len(payload) != struct.calcsize(Welcome.LAYOUT):
        raise Malformed("payload length")
    wall, challenge, ledger_to = struct.unpack(Welcome.LAYOUT, payload)
    return Welcome(wall, challenge, ledger_to)


class Credit:
    """How many distinct unreceipted bytes the gateway takes, an absolute window, and what it holds of each clip.

    `clips` lists (clip, contiguous segments held). Alarm clips have their own window. `challenge` replaces the last.
    """

    LAYOUT = ">8sIIBBH"

    def __init__(
        self, challenge: bytes, window_bytes: int, alarm_window_bytes: int, clips: "list[tuple[int, int]]"
    ) -> None:
        self.challenge = challenge
        self.window_bytes = window_bytes
        self.alarm_window_bytes = alarm_window_bytes
        self.clips = clips

    @gateway_only
    def encode(self) -> bytes:
        """The payload; at most MAX_CREDIT_CLIPS clips."""
        out = struct.pack(
            self.LAYOUT, self.challenge, self.window_bytes, self.alarm_window_bytes, len(self.clips), 0, 0
        )
        for clip, contiguous in self.clips:
            out += struct.pack(">II", clip, contiguous)
        return out


def decode_credit(payload: bytes) -> Credit:
    """Check and read a Credit payload."""
    size = struct.calcsize(Credit.LAYOUT)
    if len(payload) < size:
        raise Malformed("credit length")
    challenge, window, alarm_window, count, zero, zero2 = struct.unpack_from(Credit.LAYOUT, payload, 0)
    if zero or zero2 or count > MAX_CREDIT_CLIPS or len(payload) != size + 8 * count:
        raise Malformed("credit field out of range")
    clips = [struct.unpack_from(">II", payload, size + 8 * i) for i in range(count)]
    return Credit(challenge, window, alarm_window, clips)


class Receipt:
    """Custody of one clip has passed: the gateway holds `segments` authentic segments with this head, durably."""

    LAYOUT = ">IIBBH32s"

    def __init__(self, clip: int, segments: int, level: int, head: bytes) -> None:
        self.clip = clip
        self.segments = segments
        self.level = level
        self.head = head

    @gateway_only
    def encode(self) -> bytes:
        """The payload."""
        return struct.pack(self.LAYOUT, self.clip, self.segments, self.level, 0, 0, self.head)


def decode_receipt(payload: bytes) -> Receipt:
    """Check and read a Receipt payload."""
    if len(payload) != struct.calcsize(Receipt.LAYOUT):
        raise Malformed("payload length")
    clip, segments, level, zero, zero2, head = struct.unpack(Receipt.LAYOUT, payload)
    if zero or zero2 or not 0 < level <= LEVEL_OPENED:
        raise Malformed("receipt field out of range")
    return Receipt(clip, segments, level, head)


class Want:
    """Please send again: WANT_* parts of one clip, and segments first .. first + count - 1."""

    LAYOUT = ">IIIBBH"

    def __init__(self, clip: int, parts: int, first: int, count: int) -> None:
        self.clip = clip
        self.parts = parts
        self.first = first
        self.count = count

    @gateway_only
    def encode(self) -> bytes:
        """The payload."""
        return struct.pack(self.LAYOUT, self.clip, self.first, self.count, self.parts, 0, 0)


def decode_want(payload: bytes) -> Want:
    """Check and read a Want payload."""
    clip, first, count, parts, zero, zero2 = fields(Want.LAYOUT, payload)
    if zero or zero2 or not parts or parts & ~WANT_FLAGS or first + count > MAX_SEGMENTS:
        raise Malformed("want field out of range")
    return Want(clip, parts, first, count)


class EventReceipt:
    """The gateway holds these journalled events durably: a list of (boot, counter)."""

    def __init__(self, events: "list[tuple[int, int]]") -> None:
        self.events = events

    @gateway_only
    def encode(self) -> bytes:
        """The payload; at most MAX_EVENT_RECEIPTS events."""
        out = struct.pack(">H", len(self.events))
        for boot, counter in self.events:
            out += struct.pack(">II", boot, counter)
        return out


def decode_event_receipt(payload: bytes) -> EventReceipt:
    """Check and read an EventReceipt payload."""
    if len(payload) < 2:
        raise Malformed("event receipt length")
    (count,) = struct.unpack_from(">H", payload, 0)
    if count > MAX_EVENT_RECEIPTS or len(payload) != 2 + 8 * count:
        raise Malformed("event receipt length")
    events = [struct.unpack_from(">II", payload, 2 + 8 * i) for i in range(count)]
    return EventReceipt(events)


class AlarmReceipt:
    """The gateway has the alarm durably, since `received_ms` (Unix)."""

    LAYOUT = ">IIQ"

    def __init__(self, boot: int, counter: int, received_ms: int) -> None:
        self.boot = boot
        self.counter = counter
        self.received_ms = received_ms

    @gateway_only
    def encode(self) -> bytes:
        """The payload."""
        return struct.pack(self.LAYOUT, self.boot, self.counter, self.received_ms)


def decode_alarm_receipt(payload: bytes) -> AlarmReceipt:
    """Check and read an AlarmReceipt payload."""
    boot, counter, received = fields(AlarmReceipt.LAYOUT, payload)
    return AlarmReceipt(boot, counter, received)


class AlarmAck:
    """A named human has seen the alarm, at `wall_ms` (Unix). `name` is UTF-8, cut at MAX_NAME_BYTES."""

    LAYOUT = ">IIQ"

    def __init__(self, boot: int, counter: int, wall_ms: int, name: str) -> None:
        self.boot = boot
        self.counter = counter
        self.wall_ms = wall_ms
        self.name = name

    @gateway_only
    def encode(self) -> bytes:
        """The payload."""
        text = self.name[:MAX_NAME_BYTES]
        while len(text.encode()) > MAX_NAME_BYTES:
            text = text[:-1]  # a whole character less
        return struct.pack(self.LAYOUT, self.boot, self.counter, self.wall_ms) + text.encode()


def decode_alarm_ack(payload: bytes) -> AlarmAck:
    """Check and read an AlarmAck payload."""
    size = struct.calcsize(AlarmAck.LAYOUT)
    if not size <= len(payload) <= size + MAX_NAME_BYTES:
        raise Malformed("alarm acknowledgement length")
    boot, counter, wall = struct.unpack_from(AlarmAck.LAYOUT, payload, 0)
    try:
        name = str(payload[size:], "utf-8")
    except (UnicodeError, ValueError):
        raise Malformed("alarm acknowledgement name")
    return AlarmAck(boot, counter, wall, name)


class AlarmResolved:
    """The alarm is over: RESOLVED_TRUE, _FALSE or _TEST. The device may unlatch it."""

    LAYOUT = ">IIB"

    def __init__(self, boot: int, counter: int, reason: int) -> None:
        self.boot = boot
        self.counter = counter
        self.reason = reason

    @gateway_only
    def encode(self) -> bytes:
        """The payload."""
        return struct.pack(self.LAYOUT, self.boot, self.counter, self.reason)


def decode_alarm_resolved(payload: bytes) -> AlarmResolved:
    """Check and read an AlarmResolved payload."""
    boot, counter, reason = fields(AlarmResolved.LAYOUT, payload)
    if not 0 < reason <= RESOLVED_TEST:
        raise Malformed("alarm resolution reason")
    return AlarmResolved(boot, counter, reason)


class UnopenableNotice:
    """The gateway cannot open this clip: keep it, and start a new one if it is still being recorded."""

    def __init__(self, clip: int) -> None:
        self.clip = clip

    @gateway_only
    def encode(self) -> bytes:
        """The payload."""
        return struct.pack(">I", self.clip)


def decode_unopenable(payload: bytes) -> UnopenableNotice:
    """Check and read an UnopenableNotice payload."""
    (clip,) = fields(">I", payload)
    return UnopenableNotice(clip)


class SettingsChange:
    """A device's settings as a whole; bounds are the device's own (SPEC 8.7). `version` names the set.

    Those of man-down follow when one of them is not its default, and only then.
    """

    LAYOUT = ">IBBHHHBBH"
    MAN_DOWN_LAYOUT = ">BBHHBB"

    def __init__(self) -> None:
        self.version = 0
        self.notice_policy = POLICY_CANCEL
        self.delete_level = LEVEL_VERIFIED
        self.notice_timeout_ms = 20_000
        self.frame_interval_ms = 0  # 0: the board's own
        self.heartbeat_s = 30
        self.silent = 0
        self.audio = 1
        self.clip_limit_s = 3600
        self.man_down = 0
        self.no_movement_min = 0  # 0: stillness alone does not warn
        self.fall_dip_mg = 600
        self.fall_impact_mg = 2000
        self.fall_turn_deg = 45
        self.fall_still_s = 10

    def encode(self) -> bytes:
        """The payload."""
        return self._encode() + self.man_down_part()

    def man_down_part(self) -> bytes:
        """The settings of man-down as they follow in the payload; empty when all are their defaults."""
        part = struct.pack(
            self.MAN_DOWN_LAYOUT,
            self.man_down,
            self.no_movement_min,
            self.fall_dip_mg,
            self.fall_impact_mg,
            self.fall_turn_deg,
            self.fall_still_s,
        )
        return b"" if part == _MAN_DOWN_DEFAULTS else part

    def _encode(self) -> bytes:
        return struct.pack(
            self.LAYOUT,
            self.version,
            self.notice_policy,
            self.delete_level,
            self.notice_timeout_ms,
            self.frame_interval_ms,
            self.heartbeat_s,
            self.silent,
            self.audio,
            self.clip_limit_s,
        )


def decode_settings(payload: bytes) -> SettingsChange:
    """Check and read a SettingsChange payload."""
    s = SettingsChange()
    size = struct.calcsize(SettingsChange.LAYOUT)
    if len(payload) > size:
        _decode_man_down(s, payload[size:])
        payload = payload[:size]
    (
        s.version,
        s.notice_policy,
        s.delete_level,
        s.notice_timeout_ms,
        s.frame_interval_ms,
        s.heartbeat_s,
        s.silent,
        s.audio,
        s.clip_limit_s,
    ) = fields(SettingsChange.LAYOUT, payload)
    if (
        s.notice_policy not in (POLICY_CANCEL, POLICY_START)
        or s.delete_level not in (LEVEL_VERIFIED, LEVEL_OPENED)
        or not 3_000 <= s.notice_timeout_ms <= 60_000
        or s.frame_interval_ms > 10_000
        or not 5 <= s.heartbeat_s <= 3_600
        or s.silent > 1
        or s.audio > 1
        or not 10 <= s.clip_limit_s <= 14_400
    ):
        raise Malformed("setting out of range")
    return s


def _decode_man_down(s: SettingsChange, part: bytes) -> None:
    (
        s.man_down,
        s.no_movement_min,
        s.fall_dip_mg,
        s.fall_impact_mg,
        s.fall_turn_deg,
        s.fall_still_s,
    ) = fields(SettingsChange.MAN_DOWN_LAYOUT, part)
    if (
        part == _MAN_DOWN_DEFAULTS
        or s.man_down > 1
        or s.no_movement_min > 240
        or not 200 <= s.fall_dip_mg <= 900
        or not 1_500 <= s.fall_impact_mg <= 6_000
        or s.fall_turn_deg > 90
        or not 5 <= s.fall_still_s <= 120
    ):
        raise Malformed("man-down setting out of range")


class StopRecording:
    """Stop the clip that is being recorded, if it is this one."""

    def __init__(self, clip: int) -> None:
        self.clip = clip

    @gateway_only
    def encode(self) -> bytes:
        """The payload."""
        return struct.pack(">I", self.clip)


def decode_stop_recording(payload: bytes) -> StopRecording:
    """Check and read a StopRecording payload."""
    (clip,) = fields(">I", payload)
    return StopRecording(clip)


class VisitState:
    """The visit that the device is in: VISIT_*, seconds between check-ins, Unix ms of its end and the next check-in.

    0 where there is none; all of it is 0 with VISIT_NONE.
    """

    LAYOUT = ">IBBHQQ"

    def __init__(self, visit: int, state: int, check_in_s: int, due_ms: int, next_check_in_ms: int) -> None:
        self.visit = visit
        self.state = state
        self.check_in_s = check_in_s
        self.due_ms = due_ms
        self.next_check_in_ms = next_check_in_ms

    @gateway_only
    def encode(self) -> bytes:
        """The payload."""
        return struct.pack(self.LAYOUT, self.visit, self.state, 0, self.check_in_s, self.due_ms, self.next_check_in_ms)


def decode_visit_state(payload: bytes) -> VisitState:
    """Check and read a VisitState payload."""
    visit, state, zero, check_in, due, next_check_in = fields(VisitState.LAYOUT, payload)
    times = check_in or due or next_check_in
    if zero or state > VISIT_OVERDUE or (not visit) != (not state) or (times and not state):
        raise Malformed("visit state field out of range")
    return VisitState(visit, state, check_in, due, next_check_in)
