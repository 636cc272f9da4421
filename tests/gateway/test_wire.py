"""MQTT as bytes: the same packets however they are cut up, and nothing kept for a broker that does not speak it."""

from __future__ import annotations

import random
import tracemalloc

import pytest

from lapel_gateway.transport import wire
from lapel_gateway.transport.wire import Inbound, MqttFault
from lapel_protocol.limits import MAX_MESSAGE_BYTES

NAME = "lapel/v1/8a/0011223344556677/clip"


def taken(data: bytes, pieces: list[int]) -> tuple[list[tuple[str, bytes, int, int]], list[wire.Control]]:
    """What `data`, cut at these places, is read as."""
    inbound = Inbound(3)
    messages = []
    for start, end in zip([0, *pieces], [*pieces, len(data)], strict=True):
        messages += [(one.topic, bytes(one.payload), one.mid, one.qos) for one in inbound.take(data[start:end])]
    return messages, inbound.controls


def qos_0(name: str, payload: bytes) -> bytes:
    return wire.packet(wire.PUBLISH, len(name).to_bytes(2, "big") + name.encode() + payload)


def test_packets_are_the_same_however_they_are_cut_up() -> None:
    chance = random.Random(7)
    sizes = (0, 1, 80, 4096, 16_500, MAX_MESSAGE_BYTES)
    payloads = [chance.randbytes(size) for size in sizes]
    data = wire.packet(wire.CONNACK, b"\0\0") + b"".join(
        wire.publish(NAME, payload, mid) + wire.packet(wire.PUBACK, mid.to_bytes(2, "big")) + qos_0(NAME, payload)
        for mid, payload in enumerate(payloads, 1)
    )
    expected = [
        message
        for mid, payload in enumerate(payloads, 1)
        for message in ((NAME, payload, mid, 1), (NAME, payload, 0, 0))
    ]
    for pieces in (range(0), range(1, len(data), 1000), range(1, len(data), 7), range(1, 5000)):
        messages, controls = taken(data, list(pieces))
        assert messages == expected
        assert [control.kind for control in controls] == [wire.CONNACK, *[wire.PUBACK] * len(sizes)]
    for _ in range(50):
        assert taken(data, sorted(chance.sample(range(1, len(data)), 12)))[0] == expected


def test_a_delivery_names_its_connection_and_shares_what_was_received() -> None:
    data = wire.publish(NAME, bytes(5000), 9)
    (message,) = Inbound(3).take(data)
    assert message.connection == 3
    assert isinstance(message.payload, memoryview)
    assert message.payload.obj is data


@pytest.mark.parametrize("size", [MAX_MESSAGE_BYTES + 1, MAX_MESSAGE_BYTES + 5000, 3_000_000])
@pytest.mark.parametrize("piece", [1 << 20, 1400, 1])
def test_a_message_that_is_too_long_is_cut_and_the_next_is_whole(size: int, piece: int) -> None:
    if piece == 1 and size > 100_000:
        piece = 17
    data = wire.publish(NAME, b"\1" * size, 4) + wire.publish(NAME, b"next", 5)
    messages, _ = taken(data, list(range(piece, len(data), piece)))
    assert [(name, mid) for name, _, mid, _ in messages] == [(NAME, 4), (NAME, 5)]
    assert MAX_MESSAGE_BYTES < len(messages[0][1]) <= MAX_MESSAGE_BYTES + 1024
    assert messages[1][1] == b"next"


def test_nothing_is_kept_of_a_message_that_never_ends() -> None:
    inbound = Inbound(1)
    inbound.take(b"\x32\xff\xff\xff\x7f" + len(NAME).to_bytes(2, "big") + NAME.encode() + b"\0\1")
    tracemalloc.start()
    for _ in range(64):
        inbound.take(bytes(1 << 20))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 4 << 20


@pytest.mark.parametrize(
    "data",
    [
        b"\x32\xff\xff\xff\xff\x01",  # a length of five bytes
        b"\x20\xff\x7f",  # a CONNACK of 16 KiB
        b"\x90\x80\x80\x01",  # a SUBACK of 16 KiB
        b"\x34\x05\x00\x01a\x00\x01",  # QoS 2, which nobody asked for
        b"\x36\x05\x00\x01a\x00\x01",  # QoS 3, which does not exist
        b"\x32\x00",  # a message of nothing
        b"\x32\x01\x00",
        b"\x32\x03\x00\x01a",  # no packet id
        b"\x32\x05\x00\x01a\x00\x00",  # packet id 0
        b"\x32\x05\x00\x09a\x00\x01",  # a topic longer than the packet
        b"\x32\x05\x00\x01\xff\x00\x01",  # a topic that is no text
        wire.publish("a" * (wire.MAX_TOPIC_BYTES + 1), b"", 1),
    ],
)
def test_a_broker_that_does_not_speak_mqtt_is_told_at_once(data: bytes) -> None:
    for pieces in ([], list(range(1, len(data)))):
        with pytest.raises(MqttFault):
            taken(data, pieces)


@pytest.mark.parametrize("body", [b"", b"\0", b"\2\0", b"\0\0\0"])
def test_a_malformed_connack_is_refused(body: bytes) -> None:
    with pytest.raises(MqttFault):
        wire.connack_of(body)


def test_what_the_broker_answers_is_read() -> None:
    assert wire.connack_of(b"\1\0") == (True, "")
    assert wire.connack_of(b"\0\5") == (False, "not authorised")
    assert wire.connack_of(b"\0\x63") == (False, "reason 99")
    assert wire.suback_of(b"\0\7\1\x80\0") == (7, [True, False, False])
    assert wire.puback_of(b"\1\0") == 256


def test_random_bytes_never_do_anything_but_fail() -> None:
    chance = random.Random(1)
    for _ in range(3000):
        inbound = Inbound(1)
        try:
            for _ in range(4):
                for message in inbound.take(chance.randbytes(chance.randint(1, 200))):
                    assert len(message.payload) <= 800
        except MqttFault:
            continue


def test_what_is_sent_is_as_the_standard_has_it() -> None:
    assert wire.connect("abc", 30) == bytes.fromhex("100f00044d5154540400001e0003616263")
    assert wire.subscribe(7, ["a/b"]) == bytes.fromhex("8208000700 03612f6201".replace(" ", ""))
    assert wire.publish("t", b"xy", 258) == bytes.fromhex("32070001740102") + b"xy"
    assert wire.again(wire.publish("t", b"xy", 258))[0] == 0x3A
    assert wire.pubacks([1, 65_535]) == bytes.fromhex("400200014002ffff")
