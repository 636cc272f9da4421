"""Decoders meet arbitrary bytes: a checked object or a ProtocolError, never another exception (SPEC section 3)."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lapel_protocol.clip import peek_clip
from lapel_protocol.errors import ProtocolError
from lapel_protocol.event import peek_event
from lapel_protocol.opening import decode_clip_header, open_clip_end, open_clip_header, open_event
from lapel_protocol.stream import decode_segment_header, segment_body, split_tink_header
from lapel_protocol.topics import LANES, parse_topic, topic
from tests.protocol.pair import BOOT, CLIP, DevicePair
from tests.protocol.vector_runner import DECODERS

QUICK = settings(deadline=None, derandomize=True, max_examples=100)
PAIR = DevicePair()
VECTORS = Path(__file__).parents[2] / "protocol" / "vectors"
SAMPLES = {
    case["type"]: bytes.fromhex(case["payload"])
    for case in json.loads((VECTORS / "payload.json").read_text())["cases"]
    if case["expect"] == "ok"
}
BOOT_KEYS, CLIP_KEYS = PAIR.keys(BOOT), PAIR.keys(CLIP)


def _segment(data: bytes) -> None:
    segment_body(decode_segment_header(data), data)


READERS: dict[str, Callable[[bytes], object]] = {
    "event": lambda data: open_event(BOOT_KEYS, data),
    "command": PAIR.open_command,
    "clip header": lambda data: open_clip_header(CLIP_KEYS, data),
    "clip header's fields": decode_clip_header,
    "clip end": lambda data: open_clip_end(CLIP_KEYS, data),
    "segment": _segment,
    "event's names": peek_event,
    "clip's names": peek_clip,
    "Tink header": split_tink_header,
}
# Bytes that get past the first checks: the right type and version, and lengths that records have.
SHAPED = st.builds(
    lambda kind, size, filling: bytes([kind, 1]) + (filling * (size // max(1, len(filling)) + 1))[: size - 2],
    st.sampled_from([0x01, 0x02, 0x03, 0x10, 0x20]),
    st.sampled_from([2, 28, 60, 72, 92, 120, 588, 1096, 1116, 4084, 4124]),
    st.binary(max_size=64),
)


@pytest.mark.parametrize("name", READERS)
@QUICK
@given(data=st.one_of(st.binary(max_size=1200), SHAPED))
def test_arbitrary_bytes_are_no_record(name: str, data: bytes) -> None:
    try:
        READERS[name](data)
    except ProtocolError:
        return
    # Only what carries no MAC can be read from bytes that nobody sealed.
    assert name in ("clip header's fields", "segment", "event's names", "clip's names", "Tink header")


@pytest.mark.parametrize("name", DECODERS)
@QUICK
@given(data=st.binary(max_size=1100))
def test_arbitrary_payloads_are_read_or_refused(name: str, data: bytes) -> None:
    try:
        decoded = DECODERS[name](data)
    except ProtocolError:
        return
    assert decoded.encode() == data, "more than one encoding is accepted"


@pytest.mark.parametrize("name", DECODERS)
@QUICK
@given(
    at=st.integers(0, 2000),
    piece=st.binary(min_size=1, max_size=8),
    keep=st.integers(0, 3000),
    more=st.one_of(st.just(b""), st.binary(max_size=20)),
)
def test_payloads_almost_right_are_read_or_refused(name: str, at: int, piece: bytes, keep: int, more: bytes) -> None:
    data = bytearray(SAMPLES[name])
    at %= len(data)
    data[at : at + len(piece)] = piece
    payload = bytes(data[:keep]) + more
    try:
        decoded = DECODERS[name](payload)
    except ProtocolError:
        return
    assert decoded.encode() == payload, "more than one encoding is accepted"


@QUICK
@given(
    st.one_of(
        st.text(max_size=70),
        st.builds("/".join, st.lists(st.sampled_from(["lapel", "v1", "", "+", "00", "clip", "a1b2c3d4e5f60718"]))),
    )
)
def test_arbitrary_text_is_no_topic(name: str) -> None:
    try:
        device, lane = parse_topic(name)
    except ProtocolError:
        return
    assert topic(device, lane) == name


@QUICK
@given(st.binary(min_size=8, max_size=8), st.sampled_from(LANES))
def test_every_topic_names_its_device_and_lane(device: bytes, lane: str) -> None:
    assert parse_topic(topic(device, lane)) == (device, lane)
