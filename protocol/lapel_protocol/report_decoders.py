"""Reading the payloads of events: lengths and ranges checked, or Malformed (SPEC section 7).

Apart from `reports`, so that a device, which only writes them, does not carry the readers.
"""

import struct

from .alarm import RESOLVED
from .errors import Malformed
from .layout import fields
from .limits import MAX_LEDGER_ENTRIES, MAX_SEGMENTS, MAX_VISIT_MINUTES, RSA_BYTES
from .reports import (
    ALARM_TAMPER,
    ALARM_TEST,
    EPOCH_LOST,
    HEART_FLAGS,
    NOTE_REFUSED,
    VISIT_CHECK_IN,
    VISIT_END,
    WHY_UNOPENABLE,
    AlarmCancelled,
    AlarmRaised,
    AlarmSending,
    ClipCut,
    Heartbeat,
    Hello,
    Location,
    Probe,
    RecordingNote,
    StorageNote,
    VisitNote,
)
from .updating import decode_running_release

_MAX_LATITUDE = 900_000_000  # 90 degrees, in 1e-7 degrees
_MAX_LONGITUDE = 1_800_000_000


def decode_hello(payload: bytes) -> Hello:
    """Check and read a Hello payload."""
    size = struct.calcsize(Hello.LAYOUT)
    if len(payload) < size:
        raise Malformed("hello length")
    hello = Hello()
    (
        hello.nonce,
        hello.suite,
        major,
        minor,
        patch,
        hello.battery_percent,
        zero,
        hello.battery_minutes,
        hello.storage_free_kib,
        hello.storage_total_kib,
        hello.next_epoch,
        count,
    ) = struct.unpack_from(Hello.LAYOUT, payload, 0)
    hello.firmware = (major, minor, patch)
    if zero or hello.battery_percent > 100 or count > MAX_LEDGER_ENTRIES or len(payload) < size + 5 * count:
        raise Malformed("hello field out of range")
    hello.tail = payload[size + 5 * count :]
    if hello.tail:
        decode_running_release(hello.tail)
    before = -1
    for i in range(count):
        epoch, what = struct.unpack_from(">IB", payload, size + 5 * i)
        if epoch <= before or epoch >= hello.next_epoch or not 0 < what <= EPOCH_LOST:
            raise Malformed("hello epoch ledger")
        hello.epochs.append((epoch, what))
        before = epoch
    return hello


def decode_heartbeat(payload: bytes) -> Heartbeat:
    """Check and read a Heartbeat payload."""
    beat = Heartbeat()
    if len(payload) != struct.calcsize(Heartbeat.LAYOUT):
        raise Malformed("payload length")
    (
        beat.challenge,
        beat.flags,
        beat.battery_percent,
        beat.battery_minutes,
        beat.storage_free_kib,
        beat.alarm_boot,
        beat.alarm_counter,
        beat.alarm_state,
        zero,
        beat.clips_held,
        beat.refused_commands,
    ) = struct.unpack(Heartbeat.LAYOUT, payload)
    if zero or beat.flags & ~HEART_FLAGS or beat.battery_percent > 100 or beat.alarm_state > RESOLVED:
        raise Malformed("heartbeat field out of range")
    return beat


def decode_alarm_raised(payload: bytes) -> AlarmRaised:
    """Check and read an AlarmRaised payload."""
    kind, flags, battery, zero, clip = fields(AlarmRaised.LAYOUT, payload)
    if flags & ~ALARM_TEST or zero or not 0 < kind <= ALARM_TAMPER or battery > 100:
        raise Malformed("alarm field out of range")
    return AlarmRaised(kind, battery, clip, flags)


def decode_alarm_cancelled(payload: bytes) -> AlarmCancelled:
    """Check and read an AlarmCancelled payload."""
    boot, counter = fields(AlarmCancelled.LAYOUT, payload)
    return AlarmCancelled(boot, counter)


def decode_recording_note(payload: bytes) -> RecordingNote:
    """Check and read a RecordingNote payload."""
    what, why, zero, clip, elapsed = fields(RecordingNote.LAYOUT, payload)
    if zero or not 0 < what <= NOTE_REFUSED or why > WHY_UNOPENABLE:
        raise Malformed("recording note field out of range")
    return RecordingNote(what, why, clip, elapsed)


def decode_clip_cut(payload: bytes) -> ClipCut:
    """Check and read a ClipCut payload."""
    if len(payload) != struct.calcsize(ClipCut.LAYOUT):
        raise Malformed("payload length")
    clip, segments, why, zero, zero2, head = struct.unpack(ClipCut.LAYOUT, payload)
    if zero or zero2 or why > WHY_UNOPENABLE or segments > MAX_SEGMENTS:
        raise Malformed("clip cut field out of range")
    return ClipCut(clip, segments, why, head)


def decode_storage_note(payload: bytes) -> StorageNote:
    """Check and read a StorageNote payload."""
    why, zero, zero2, clip, free = fields(StorageNote.LAYOUT, payload)
    if zero or zero2 or why > WHY_UNOPENABLE:
        raise Malformed("storage note field out of range")
    return StorageNote(why, clip, free)


def decode_probe(payload: bytes) -> Probe:
    """Check and read a Probe payload."""
    if len(payload) != 64 + RSA_BYTES:
        raise Malformed("payload length")
    return Probe(payload[:32], payload[32:64], payload[64:])


def decode_visit_note(payload: bytes) -> VisitNote:
    """Check and read a VisitNote payload."""
    what, zero, minutes, visit = fields(VisitNote.LAYOUT, payload)
    if zero or not 0 < what <= VISIT_END or minutes > MAX_VISIT_MINUTES:
        raise Malformed("visit note field out of range")
    if minutes and what in (VISIT_CHECK_IN, VISIT_END):
        raise Malformed("minutes of a check-in or an end")
    return VisitNote(what, minutes, visit)


def decode_location(payload: bytes) -> Location:
    """Check and read a Location payload; one that names neither an alarm nor a visit is Malformed."""
    latitude, longitude, accuracy, age, boot, counter, visit = fields(Location.LAYOUT, payload)
    if abs(latitude) > _MAX_LATITUDE or abs(longitude) > _MAX_LONGITUDE:
        raise Malformed("location out of range")  # and no figure of it in the message, which is logged
    if not (boot or counter or visit):
        raise Malformed("location outside a visit and an alarm")
    return Location(latitude, longitude, accuracy, age, boot, counter, visit)


def decode_alarm_sending(payload: bytes) -> AlarmSending:
    """Check and read an AlarmSending payload."""
    counter, after, tries, zero = fields(AlarmSending.LAYOUT, payload)
    if zero or not counter or not tries:
        raise Malformed("alarm sending field out of range")
    return AlarmSending(counter, after, tries)
