"""Bytes on a link, told apart by what they are for."""

from __future__ import annotations

import struct

import pytest

from lapel_tools.budget.counting import LinkCount, UnknownSuite, Way

ECDHE_RSA_AES_128_GCM = 0xC02F


def record(kind: int, body: bytes) -> bytes:
    return struct.pack(">BHH", kind, 0x0303, len(body)) + body


def server_hello(suite: int) -> bytes:
    body = b"\x03\x03" + bytes(32) + b"\x04" + b"\x01\x02\x03\x04" + struct.pack(">H", suite) + b"\x00"
    return record(22, b"\x02" + len(body).to_bytes(3, "big") + body)


def publish(topic: bytes, payload: bytes, qos: int) -> bytes:
    body = struct.pack(">H", len(topic)) + topic + (b"\x00\x07" if qos else b"") + payload
    size = bytes([len(body) & 0x7F | 0x80, len(body) >> 7]) if len(body) > 127 else bytes([len(body)])
    return bytes([0x30 | qos << 1]) + size + body


@pytest.mark.parametrize("step", [1, 7, 1460])
def test_tls_is_told_apart_however_the_bytes_arrive(step: int) -> None:
    count = LinkCount(tls=True)
    hello = server_hello(ECDHE_RSA_AES_128_GCM)
    said = hello + record(20, b"\x01") + record(23, bytes(24 + 100)) + record(23, bytes(24 + 2))
    for at in range(0, len(said), step):
        count(1, False, said[at : at + step])
    counted = count.counted
    assert counted.down == Way(handshake=len(hello) + 6, framing=29, application=100)
    assert counted.ping_down == Way(framing=29, application=2)
    assert counted.up == Way()
    assert counted.down.total + counted.ping_down.total == len(said), "nothing is lost"


def test_each_connection_has_a_suite_of_its_own() -> None:
    count = LinkCount(tls=True)
    count(1, False, server_hello(ECDHE_RSA_AES_128_GCM))
    count(2, False, server_hello(0xCCA8))
    count(1, True, record(23, bytes(124)))
    count(2, True, record(23, bytes(124)))
    assert count.counted.up == Way(framing=29 + 21, application=100 + 108)


def test_a_suite_that_is_not_known_is_said_and_not_guessed() -> None:
    count = LinkCount(tls=True)
    count(1, False, server_hello(0x1301))
    with pytest.raises(UnknownSuite, match="1301"):
        count.counted  # noqa: B018 - it raises


def test_records_are_what_is_published_and_pings_are_apart() -> None:
    count = LinkCount(tls=False)
    small, large = publish(b"lapel/v1/00/d/event", bytes(20), 0), publish(b"lapel/v1/00/d/clip", bytes(4000), 1)
    said = small + large + b"\xc0\x00" + b"\x40\x02\x00\x07"
    for at in range(0, len(said), 11):
        count(1, True, said[at : at + 11])
    counted = count.counted
    assert counted.up == Way(application=len(small) + len(large) + 4, records=4020)
    assert (counted.pings, counted.ping_up) == (1, Way(application=2))
