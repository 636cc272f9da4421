"""MQTT 3.1.1 packets of a device, and no more of the standard than a device uses (OASIS MQTT 3.1.1, chapter 3)."""

from __future__ import annotations

import struct
from collections.abc import Iterator

CONNACK = 2
PUBLISH = 3
PUBACK = 4
SUBACK = 9
PINGRESP = 13

DUP = 0x08
PINGREQ = b"\xc0\x00"
DISCONNECT = b"\xe0\x00"

MAX_PACKET_BYTES = 1 << 16
"""Of what a broker sends: a command with its topic is below 1.3 kB, so a longer packet is a fault."""

_QOS_1 = 0x02


class PacketError(Exception):
    """The broker sent what a device cannot read."""


def connect(client_id: str, keep_alive_s: int, clean: bool) -> bytes:
    """CONNECT with a client id and nothing else."""
    body = struct.pack(">H4sBBH", 4, b"MQTT", 4, 0x02 if clean else 0, keep_alive_s) + _text(client_id)
    return _packet(0x10, body)


def subscribe(number: int, topic: str) -> bytes:
    """SUBSCRIBE to one topic with QoS 1."""
    return _packet(0x82, struct.pack(">H", number) + _text(topic) + b"\x01")


def publish(topic: str, payload: bytes, number: int = 0) -> bytes:
    """PUBLISH with QoS 1 and this packet number, or with QoS 0 without one."""
    if not number:
        return _packet(0x30, _text(topic) + payload)
    return _packet(0x30 | _QOS_1, _text(topic) + struct.pack(">H", number) + payload)


def again(packet: bytes) -> bytes:
    """The same PUBLISH, marked as a repeat."""
    return bytes((packet[0] | DUP,)) + packet[1:]


def puback(number: int) -> bytes:
    """PUBACK."""
    return struct.pack(">BBH", 0x40, 2, number)


def read_publish(flags: int, body: bytes) -> tuple[str, int, bytes]:
    """(topic, packet number or 0, payload) of a PUBLISH. Raises PacketError."""
    try:
        (length,) = struct.unpack_from(">H", body)
        topic = body[2 : 2 + length].decode()
        at = 2 + length
        number = 0
        if flags & 0x06:
            (number,) = struct.unpack_from(">H", body, at)
            at += 2
    except (struct.error, UnicodeDecodeError) as error:
        raise PacketError(f"PUBLISH cannot be read: {error}") from None
    return topic, number, body[at:]


class Reader:
    """Cuts a stream of bytes into packets."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> Iterator[tuple[int, int, bytes]]:
        """(kind, flags, body) of every packet that is whole now. Raises PacketError."""
        buffer = self._rest + data if self._rest else data
        at = 0
        # What follows an exception or an abandoned iteration is never read: the connection is closed then.
        while True:
            head = _length(buffer, at + 1)
            if head is None:
                break
            length, start = head
            if length > MAX_PACKET_BYTES:
                raise PacketError(f"packet of {length} bytes")
            if start + length > len(buffer):
                break
            yield buffer[at] >> 4, buffer[at] & 0x0F, buffer[start : start + length]
            at = start + length
        self._rest = buffer[at:]


def _length(buffer: bytes, at: int) -> tuple[int, int] | None:
    """(remaining length, where the body starts), None while its bytes are not all here. Raises PacketError."""
    length = shift = 0
    while at < len(buffer):
        byte = buffer[at]
        length |= (byte & 0x7F) << shift
        at += 1
        if byte < 0x80:
            return length, at
        shift += 7
        if shift > 21:
            raise PacketError("remaining length of more than four bytes")
    return None


def _text(text: str) -> bytes:
    data = text.encode()
    return struct.pack(">H", len(data)) + data


def _packet(head: int, body: bytes) -> bytes:
    length = len(body)
    if length < 128:
        return bytes((head, length)) + body
    encoded = bytearray((head,))
    while True:
        length, low = length >> 7, length & 0x7F
        encoded.append(low | 0x80 if length else low)
        if not length:
            return bytes(encoded) + body
