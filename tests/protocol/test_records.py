"""Every record: what was sealed opens again, and nothing else does (SPEC sections 5 to 8)."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lapel_protocol.clip import (
    CODEC_MATROSKA_MJPEG_PCM,
    CODEC_MATROSKA_PCM,
    END_RESTART,
    END_WEARER,
    FLAG_ALARM,
    NOTICE_CONFIRMED,
    NOTICE_CONTINUED,
    TRUST_GATEWAY,
    ClipEnd,
    ClipHeader,
    peek_clip,
    seal_clip_end,
    seal_clip_header,
)
from lapel_protocol.command import STOP_RECORDING, UPDATE_BLOCK, WELCOME, Command, open_command
from lapel_protocol.commanding import seal_command
from lapel_protocol.errors import Malformed, Oversized, ProtocolError
from lapel_protocol.event import ALARM_RAISED, ALARM_SENDING, HELLO, Event, peek_event, seal_event
from lapel_protocol.limits import (
    CLIP_END_BYTES,
    CLIP_HEADER_BYTES,
    COMMAND_HEADER_BYTES,
    EVENT_HEADER_BYTES,
    MAX_COMMAND_PAYLOAD_BYTES,
    MAX_COMMAND_RECORD_BYTES,
    MAX_EVENT_PAYLOAD_BYTES,
    MAX_EVENT_RECORD_BYTES,
    MAX_SEGMENTS,
    TAG_BYTES,
)
from lapel_protocol.opening import open_event, prove_opening
from lapel_protocol.orders import StopRecording
from lapel_protocol.reports import ALARM_PANIC, AlarmRaised
from tests.protocol.pair import BOOT, CLIP, WALL_MS, DevicePair, SealedClip, flip, verify

QUICK = settings(deadline=None, derandomize=True, max_examples=60)
U32, U64 = st.integers(0, 2**32 - 1), st.integers(0, 2**64 - 1)
KEY = st.binary(min_size=32, max_size=32)
PAIR = DevicePair()


@cache
def sealed_clip() -> SealedClip:
    return DevicePair().clip(b"a short clip" * 9)


def alarm() -> bytes:
    return DevicePair().event(ALARM_RAISED, AlarmRaised(ALARM_PANIC, 80, CLIP).encode())


def stop() -> bytes:
    return PAIR.command(STOP_RECORDING, StopRecording(CLIP).encode(), b"nonce678", 1, WALL_MS + 1)


def _check_segment(record: bytes) -> None:
    verify(sealed_clip().fields_as_opened(), record)


# Every record that crosses the broker, with how its receiver opens it.
RECORDS: dict[str, tuple[bytes, Callable[[bytes], object]]] = {
    "event": (alarm(), PAIR.open_event),
    "command": (stop(), PAIR.open_command),
    "clip header": (sealed_clip().header, PAIR.open_header),
    "clip end": (sealed_clip().end, PAIR.open_end),
    "segment": (sealed_clip().segments[0], _check_segment),
}
EACH_RECORD = pytest.mark.parametrize("name", RECORDS)


@EACH_RECORD
def test_what_was_sealed_is_accepted(name: str) -> None:
    record, receive = RECORDS[name]
    receive(record)


@EACH_RECORD
def test_any_single_bit_flipped_is_refused(name: str) -> None:
    record, receive = RECORDS[name]
    for bit in range(8 * len(record)):
        with pytest.raises(ProtocolError):
            receive(flip(record, bit))


@EACH_RECORD
def test_any_cut_is_refused(name: str) -> None:
    record, receive = RECORDS[name]
    for size in range(16, len(record)):  # below 16 bytes the record does not name its epoch; see the next test
        with pytest.raises(ProtocolError):
            receive(record[:size])


@EACH_RECORD
@QUICK
@given(more=st.binary(min_size=1, max_size=200))
def test_any_extension_is_refused(name: str, more: bytes) -> None:
    record, receive = RECORDS[name]
    with pytest.raises(ProtocolError):
        receive(record + more)


@EACH_RECORD
def test_bytes_missing_at_the_front_are_refused(name: str) -> None:
    record, receive = RECORDS[name]
    for size in (1, 2, 4, 8):
        with pytest.raises(ProtocolError):
            receive(record[size:])


def test_a_record_too_short_to_name_its_epoch_is_malformed() -> None:
    for size in range(16):
        with pytest.raises(Malformed):
            peek_clip(sealed_clip().header[:size])
        with pytest.raises(Malformed):
            peek_event(alarm()[:size])


@QUICK
@given(
    st.integers(HELLO, ALARM_SENDING),
    U32,
    U64,
    U64,
    st.integers(0, TRUST_GATEWAY),
    st.binary(max_size=MAX_EVENT_PAYLOAD_BYTES),
)
def test_any_event_opens_as_it_was_sealed(
    kind: int, counter: int, wall_ms: int, mono_ms: int, trust: int, payload: bytes
) -> None:
    keys = PAIR.keys(BOOT)
    record = seal_event(keys, Event(kind, PAIR.device, BOOT, counter, wall_ms, mono_ms, trust, payload))
    opened = open_event(keys, memoryview(record))
    assert (opened.kind, opened.device, opened.boot, opened.counter) == (kind, PAIR.device, BOOT, counter)
    assert (opened.wall_ms, opened.mono_ms, opened.trust, opened.payload) == (wall_ms, mono_ms, trust, payload)
    assert peek_event(record) == (kind, PAIR.device, BOOT, counter)
    assert len(record) == EVENT_HEADER_BYTES + len(payload) + TAG_BYTES
    assert len(payload) < 8 or payload != record[EVENT_HEADER_BYTES:-TAG_BYTES]


@QUICK
@given(
    st.integers(WELCOME, UPDATE_BLOCK),
    st.binary(min_size=8, max_size=8),
    U32,
    U64,
    U64,
    st.binary(max_size=MAX_COMMAND_PAYLOAD_BYTES),
)
def test_any_command_opens_as_it_was_sealed(
    kind: int, nonce: bytes, counter: int, issued_ms: int, expires_ms: int, payload: bytes
) -> None:
    keys = PAIR.keys(BOOT)
    record = seal_command(keys, Command(kind, PAIR.device, BOOT, payload, nonce, counter, issued_ms, expires_ms))
    opened = open_command(keys, memoryview(record), PAIR.device, BOOT)
    assert (opened.kind, opened.device, opened.boot, opened.nonce) == (kind, PAIR.device, BOOT, nonce)
    assert (opened.counter, opened.issued_ms, opened.expires_ms) == (counter, issued_ms, expires_ms)
    assert opened.payload == payload
    assert len(record) == COMMAND_HEADER_BYTES + len(payload) + TAG_BYTES
    assert len(payload) < 8 or payload != record[COMMAND_HEADER_BYTES:-TAG_BYTES]


@QUICK
@given(
    flags=st.sampled_from([0, FLAG_ALARM]),
    numbers=st.tuples(U64, U64, U32, U32, U32, U32),
    trust=st.integers(0, TRUST_GATEWAY),
    notice=st.integers(NOTICE_CONFIRMED, NOTICE_CONTINUED),
    codec=st.sampled_from([CODEC_MATROSKA_MJPEG_PCM, CODEC_MATROSKA_PCM]),
    boot=st.integers(0, CLIP - 1),
    previous=st.integers(0, CLIP - 1),
    head=KEY,
    seed=KEY,
)
def test_any_clip_header_opens_as_it_was_sealed(
    flags: int,
    numbers: tuple[int, ...],
    trust: int,
    notice: int,
    codec: int,
    boot: int,
    previous: int,
    head: bytes,
    seed: bytes,
) -> None:
    header = ClipHeader()
    header.device, header.clip, header.boot, header.flags = PAIR.device, CLIP, boot, flags
    header.wall_ms, header.mono_ms, header.prompted_ms, header.confirmed_ms = numbers[:4]
    header.alarm_boot, header.alarm_counter = numbers[4:]
    header.trust, header.notice, header.codec = trust, notice, codec
    header.previous_clip, header.previous_head = previous, head if previous else bytes(32)
    header.wrapped_seed, header.tink_header = bytes(range(96)) * 4, b"\x28" + head + seed[:7]
    header.key_id = seed[:8]
    keys = PAIR.keys(CLIP)
    record, stream = seal_clip_header(header, keys, seed)
    assert len(record) == CLIP_HEADER_BYTES
    opened = PAIR.open_header(record)
    assert opened.mac_key == stream.mac_key
    assert {**vars(opened), "mac_key": b""} == vars(header)
    assert opened.associated_data() == record[:484]
    assert prove_opening(opened, keys, seed).aes_key == stream.aes_key
    assert peek_clip(record) == (PAIR.device, CLIP)
    assert stream.mac_key not in record
    assert stream.aes_key not in record


@QUICK
@given(st.integers(END_WEARER, END_RESTART), st.integers(1, MAX_SEGMENTS), st.tuples(U32, U64, U32, U32, U64, U64), KEY)
def test_any_clip_end_opens_as_it_was_sealed(reason: int, segments: int, numbers: tuple[int, ...], head: bytes) -> None:
    end = ClipEnd()
    end.device, end.clip, end.reason, end.segments, end.head = PAIR.device, CLIP, reason, segments, head
    end.duration_ms, end.size_bytes, end.frames, end.dropped, end.wall_ms, end.mono_ms = numbers
    record = seal_clip_end(end, PAIR.keys(CLIP))
    assert len(record) == CLIP_END_BYTES
    assert vars(PAIR.open_end(record)) == vars(end)
    assert peek_clip(record) == (PAIR.device, CLIP)


def test_records_longer_than_their_limit_are_refused_before_they_are_looked_at() -> None:
    keys = PAIR.keys(BOOT)
    with pytest.raises(Oversized):
        open_event(keys, bytes(MAX_EVENT_RECORD_BYTES + 1))
    with pytest.raises(Oversized):
        open_command(keys, bytes(MAX_COMMAND_RECORD_BYTES + 1), PAIR.device, BOOT)


def test_a_payload_over_its_limit_is_not_sealed() -> None:
    keys = PAIR.keys(BOOT)
    with pytest.raises(ValueError, match="too long"):
        seal_event(keys, Event(HELLO, PAIR.device, BOOT, 1, 0, 0, 0, bytes(MAX_EVENT_PAYLOAD_BYTES + 1)))
    with pytest.raises(ValueError, match="too long"):
        seal_command(keys, Command(WELCOME, PAIR.device, BOOT, bytes(MAX_COMMAND_PAYLOAD_BYTES + 1)))


@pytest.mark.parametrize("field", ["device", "key_id", "previous_head", "wrapped_seed", "tink_header"])
def test_a_header_with_a_field_of_the_wrong_length_is_not_sealed(field: str) -> None:
    header = PAIR.open_header(sealed_clip().header)
    setattr(header, field, getattr(header, field)[:-1])
    with pytest.raises((ValueError, Malformed)):
        seal_clip_header(header, PAIR.keys(CLIP), bytes(32))
