"""Payloads of events: what a device reports (SPEC section 7).

Fixed big-endian layouts, one class a message. `encode()` gives the payload, `decode_…(payload)` checks its length and
ranges and raises Malformed. To add a message: a kind in
`event`, a class here, a row in SPEC, vectors.
"""

import struct

# What became of an epoch
EPOCH_BOOT = 1
EPOCH_CLIP = 2
EPOCH_BURNED = 3  # consumed by a power cut before anything was made with it
EPOCH_LOST = 4  # a clip was started in it, and its storage is gone

ALARM_PANIC = 1
ALARM_DURESS = 2
ALARM_MAN_DOWN = 3
ALARM_LOW_BATTERY = 4
ALARM_TAMPER = 5

ALARM_TEST = 1  # AlarmRaised.flags: a drill

# RecordingNote.what
NOTE_PROMPTED = 1
NOTE_CONFIRMED = 2
NOTE_SKIPPED = 3
NOTE_TIMED_OUT = 4
NOTE_CANCELLED = 5
NOTE_STARTED = 6
NOTE_STOPPED = 7
NOTE_REFUSED = 8

# why something was cut, refused or stopped
WHY_NONE = 0
WHY_WEARER = 1
WHY_POWER = 2
WHY_STORAGE_FULL = 3
WHY_STORAGE_ERROR = 4
WHY_BATTERY = 5
WHY_POLICY = 6
WHY_ALARM = 7
WHY_REMOTE = 8
WHY_UNOPENABLE = 9

# VisitNote.what
VISIT_START = 1
VISIT_CHECK_IN = 2
VISIT_EXTEND = 3
VISIT_END = 4

ACCURACY_UNKNOWN = 65_535  # Location.accuracy_m

HEART_BLOCKED = 1  # has something to send and no credit for it
HEART_RECORDING = 2
HEART_STORAGE_FULL = 4
HEART_FLAGS = 7


class Hello:
    """Opens a conversation. `epochs` is the unreceipted part of the epoch ledger: (epoch, EPOCH_*), ascending."""

    LAYOUT = ">8sBBBBBBHIIIH"

    def __init__(self) -> None:
        self.nonce = bytes(8)
        self.suite = 1
        self.firmware = (0, 0, 0)
        self.battery_percent = 0
        self.battery_minutes = 0
        self.storage_free_kib = 0
        self.storage_total_kib = 0
        self.next_epoch = 0
        self.epochs: list[tuple[int, int]] = []
        self.tail = b""  # an encoded RunningRelease, of a device whose loader chose one

    def encode(self) -> bytes:
        """The payload; at most MAX_LEDGER_ENTRIES epochs."""
        out = struct.pack(
            self.LAYOUT,
            self.nonce,
            self.suite,
            self.firmware[0],
            self.firmware[1],
            self.firmware[2],
            self.battery_percent,
            0,
            self.battery_minutes,
            self.storage_free_kib,
            self.storage_total_kib,
            self.next_epoch,
            len(self.epochs),
        )
        for epoch, what in self.epochs:
            out += struct.pack(">IB", epoch, what)
        return out + self.tail


class Heartbeat:
    """Contact: echoes the gateway's latest `challenge`. The alarm fields show the latched alarm (0, 0, 0 if none)."""

    LAYOUT = ">8sBBHIIIBBHI"

    def __init__(self) -> None:
        self.challenge = bytes(8)
        self.flags = 0
        self.battery_percent = 0
        self.battery_minutes = 0
        self.storage_free_kib = 0
        self.alarm_boot = 0
        self.alarm_counter = 0
        self.alarm_state = 0
        self.clips_held = 0
        self.refused_commands = 0

    def encode(self) -> bytes:
        """The payload."""
        return struct.pack(
            self.LAYOUT,
            self.challenge,
            self.flags,
            self.battery_percent,
            self.battery_minutes,
            self.storage_free_kib,
            self.alarm_boot,
            self.alarm_counter,
            self.alarm_state,
            0,
            self.clips_held,
            self.refused_commands,
        )


class AlarmRaised:
    """Somebody must come. `clip` is the clip that is, or is about to be, recorded with it (0 = none).

    `flags` ALARM_TEST: a drill, which goes the whole way, says so everywhere, and never stands for a real alarm.
    """

    LAYOUT = ">BBBBI"

    def __init__(self, kind: int, battery_percent: int, clip: int, flags: int = 0) -> None:
        self.kind = kind
        self.battery_percent = battery_percent
        self.clip = clip
        self.flags = flags

    def encode(self) -> bytes:
        """The payload."""
        return struct.pack(self.LAYOUT, self.kind, self.flags, self.battery_percent, 0, self.clip)


class AlarmCancelled:
    """The wearer's cancel of exactly one alarm, named by its boot and counter: harmless to replay.

    It is noted and told, and never stops escalation: nobody knows who pressed.
    """

    LAYOUT = ">II"

    def __init__(self, boot: int, counter: int) -> None:
        self.boot = boot
        self.counter = counter

    def encode(self) -> bytes:
        """The payload."""
        return struct.pack(self.LAYOUT, self.boot, self.counter)


class RecordingNote:
    """One step of a recording's life. `elapsed_ms` since the prompt began (0 if none); `clip` 0 where there is none."""

    LAYOUT = ">BBHII"

    def __init__(self, what: int, why: int, clip: int, elapsed_ms: int) -> None:
        self.what = what
        self.why = why
        self.clip = clip
        self.elapsed_ms = elapsed_ms

    def encode(self) -> bytes:
        """The payload."""
        return struct.pack(self.LAYOUT, self.what, self.why, 0, self.clip, self.elapsed_ms)


class ClipCut:
    """Settles a clip without an end record: it has exactly `segments` segments, and this head (32 bytes)."""

    LAYOUT = ">IIBBH32s"

    def __init__(self, clip: int, segments: int, why: int, head: bytes) -> None:
        self.clip = clip
        self.segments = segments
        self.why = why
        self.head = head

    def encode(self) -> bytes:
        """The payload."""
        return struct.pack(self.LAYOUT, self.clip, self.segments, self.why, 0, 0, self.head)


class StorageNote:
    """Storage is nearly full, full, or failing. `clip` is the one that suffered (0 = none)."""

    LAYOUT = ">BBHII"

    def __init__(self, why: int, clip: int, free_kib: int) -> None:
        self.why = why
        self.clip = clip
        self.free_kib = free_kib

    def encode(self) -> bytes:
        """The payload."""
        return struct.pack(self.LAYOUT, self.why, 0, 0, self.clip, self.free_kib)


class Probe:
    """A throw-away seed, its OAEP seed and their wrap: the gateway recomputes the wrap byte for byte."""

    def __init__(self, seed: bytes, oaep_seed: bytes, wrapped: bytes) -> None:
        self.seed = seed
        self.oaep_seed = oaep_seed
        self.wrapped = wrapped

    def encode(self) -> bytes:
        """The payload."""
        return self.seed + self.oaep_seed + self.wrapped


class VisitNote:
    """One step of a visit, VISIT_*. `visit` is the gateway's number, 0 the device's own visit.

    `minutes`: expected with a start (0: as planned, or the policy's), how many more with an extension (0: the
    policy's), else 0.
    """

    LAYOUT = ">BBHI"

    def __init__(self, what: int, minutes: int, visit: int) -> None:
        self.what = what
        self.minutes = minutes
        self.visit = visit

    def encode(self) -> bytes:
        """The payload; at most MAX_VISIT_MINUTES."""
        return struct.pack(self.LAYOUT, self.what, 0, self.minutes, self.visit)


class Location:
    """Where the device is, for the alarm (boot and counter) or the visit that it names, or both; it names one at least.

    Latitude and longitude in 1e-7 degrees, north and east positive; `accuracy_m` ACCURACY_UNKNOWN where it is;
    `age_s` since it was measured.
    """

    LAYOUT = ">iiHHIII"

    def __init__(
        self,
        latitude: int,
        longitude: int,
        accuracy_m: int,
        age_s: int,
        alarm_boot: int = 0,
        alarm_counter: int = 0,
        visit: int = 0,
    ) -> None:
        self.latitude = latitude
        self.longitude = longitude
        self.accuracy_m = accuracy_m
        self.age_s = age_s
        self.alarm_boot = alarm_boot
        self.alarm_counter = alarm_counter
        self.visit = visit

    def encode(self) -> bytes:
        """The payload."""
        return struct.pack(
            self.LAYOUT,
            self.latitude,
            self.longitude,
            self.accuracy_m,
            self.age_s,
            self.alarm_boot,
            self.alarm_counter,
            self.visit,
        )


class AlarmSending:
    """How the alarm of this boot with this `counter` left the device, said once the gateway has it.

    `after_ms`: from the press (the alarm's own time) until the link had taken all of it for the first time. `tries`:
    how often it was handed to the link before its receipt came, at least 1.
    """

    LAYOUT = ">IIHH"

    def __init__(self, counter: int, after_ms: int, tries: int) -> None:
        self.counter = counter
        self.after_ms = after_ms
        self.tries = tries

    def encode(self) -> bytes:
        """The payload."""
        return struct.pack(self.LAYOUT, self.counter, self.after_ms, self.tries, 0)
