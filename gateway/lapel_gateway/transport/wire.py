"""MQTT 3.1.1 as bytes, for the side that subscribes. No sockets, no clock.

Rules that hold here
- The broker is untrusted: a length is compared with its bound before anything is kept for it, and a packet that a
  broker may not send ends the connection (`MqttFault`).
- A message longer than the protocol allows is handed out cut, one byte too long, and the rest is never kept: whoever
  reads it refuses it as oversized and it is acknowledged, or it would come again for ever.
- Payloads are slices of what was received, not copies: they stay valid as long as somebody holds them.

Section numbers are those of the OASIS standard "MQTT Version 3.1.1".
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from lapel_gateway.transport.link import Delivery
from lapel_protocol.limits import MAX_MESSAGE_BYTES

CONNACK = 0x20
PUBLISH = 0x30
PUBACK = 0x40
SUBACK = 0x90
PINGRESP = 0xD0
DUP = 0x08

PINGREQ = b"\xc0\x00"
DISCONNECT = b"\xe0\x00"

MAX_CONTROL_BYTES = 1024
"""Of any packet that is no message: a SUBACK has one byte for each of a few lanes, the others two or four."""

MAX_TOPIC_BYTES = 256
"""Of a message's topic: four times the longest of ours, so that a strange one is refused by its reader, and told of."""

_LONGEST = MAX_MESSAGE_BYTES + MAX_TOPIC_BYTES + 16
"""Of a packet as far as it is kept: the longest topic, a payload one byte too long, and what stands around them."""

_REFUSALS = {
    1: "unacceptable protocol version",
    2: "client identifier rejected",
    3: "server unavailable",
    4: "bad user name or password",
    5: "not authorised",
}
_PUBACK = struct.Struct(">BBH")


class MqttFault(Exception):
    """The other end does not speak MQTT as it should; the message says in what."""


class Control(NamedTuple):
    """Any other packet: its kind (upper half of the first byte) and what follows its length."""

    kind: int
    body: bytes


def packet(first: int, body: bytes) -> bytes:
    """A packet of this first byte (section 2.2)."""
    return bytes((first,)) + _length(len(body)) + body


def connect(client_id: str, keep_alive_s: int) -> bytes:
    """CONNECT to a session that outlives the connection (3.1)."""
    return packet(0x10, struct.pack(">H4sBBH", 4, b"MQTT", 4, 0, keep_alive_s) + _text(client_id))


def subscribe(mid: int, filters: Sequence[str]) -> bytes:
    """SUBSCRIBE with QoS 1 (3.8)."""
    return packet(0x82, struct.pack(">H", mid) + b"".join(_text(name) + b"\x01" for name in filters))


def publish(name: str, payload: bytes, mid: int) -> bytes:
    """PUBLISH with QoS 1 (3.3)."""
    return packet(PUBLISH | 2, _text(name) + struct.pack(">H", mid) + payload)


def again(message: bytes) -> bytes:
    """The same PUBLISH marked as possibly sent before."""
    return bytes((message[0] | DUP,)) + message[1:]


def pubacks(mids: Iterable[int]) -> bytes:
    """One PUBACK for each (3.4), one after the other."""
    pack = _PUBACK.pack
    return b"".join([pack(PUBACK, 2, mid) for mid in mids])


def connack_of(body: bytes) -> tuple[bool, str]:
    """(whether the broker kept the session, why it refuses or "") of a CONNACK (3.2). Raises MqttFault."""
    if len(body) != 2 or body[0] > 1:
        raise MqttFault("malformed CONNACK")
    return bool(body[0]), _REFUSALS.get(body[1], f"reason {body[1]}") if body[1] else ""


def suback_of(body: bytes) -> tuple[int, list[bool]]:
    """(packet id, whether each subscription was granted with QoS 1) of a SUBACK (3.9). Raises MqttFault."""
    if len(body) < 3:
        raise MqttFault("malformed SUBACK")
    return int.from_bytes(body[:2], "big"), [code == 1 for code in body[2:]]


def puback_of(body: bytes) -> int:
    """The packet id of a PUBACK. Raises MqttFault."""
    if len(body) != 2:
        raise MqttFault("malformed PUBACK")
    return int.from_bytes(body, "big")


class Inbound:
    """Cuts what a broker sends into packets; keeps at most one packet's beginning."""

    def __init__(self, connection: int) -> None:
        """`connection` is what its deliveries are to name."""
        self._connection = connection
        self.controls: list[Control] = []
        """Packets that are no messages, in order, for the caller to take out."""
        self._rest = bytearray()
        self._skip = 0

    def take(self, data: bytes) -> list[Delivery]:
        """The messages that are whole now. Raises MqttFault."""
        messages: list[Delivery] = []
        view = memoryview(data)
        at, end = 0, len(data)
        while at < end:
            if self._skip:
                step = min(self._skip, end - at)
                self._skip -= step
                at += step
            elif self._rest:
                at = self._complete(data, at, messages)
            else:
                at = self._scan(view, at, messages)
                if not self._skip:
                    self._rest += view[at:]
                    break
        return messages

    def _complete(self, data: bytes, at: int, messages: list[Delivery]) -> int:
        """Add to the packet that began earlier; returns how far `data` was used for it."""
        rest = self._rest
        whole = _whole(rest)
        piece = data[at : at + (1 if whole is None else min(whole[1], _LONGEST) - len(rest))]
        rest += piece
        whole = whole or _whole(rest)
        if whole is not None and len(rest) >= min(whole[1], _LONGEST):
            self._rest = bytearray()
            self._scan(memoryview(bytes(rest)), 0, messages)
        return at + len(piece)

    def _scan(self, view: memoryview, at: int, messages: list[Delivery]) -> int:
        """Take the whole packets from `at` on; returns where the first begins that is not, or is to be skipped."""
        end = len(view)
        while end - at >= 2:
            first, size = view[at], view[at + 1]
            body = at + 2
            if size & 0x80:
                whole = _whole(view[at : at + 5])
                if whole is None:
                    break
                body, stop = at + whole[0], at + whole[1]
            else:
                stop = body + size
            kept = min(stop, at + _LONGEST)
            if kept > end:
                break
            if first & 0xF0 == PUBLISH:
                messages.append(_message(view, at, body, kept, self._connection))
            else:
                self.controls.append(Control(first & 0xF0, bytes(view[body:stop])))
            at = kept
            if stop > kept:
                self._skip = stop - kept
                break
        return at


def _message(view: memoryview, at: int, body: int, end: int, connection: int) -> Delivery:
    """The PUBLISH in `view[at:end]`, whose variable part begins at `body`. Raises MqttFault."""
    qos = view[at] >> 1 & 3
    name = body + 2
    if qos > 1 or end < name:
        raise MqttFault("message of a quality that was not asked for" if qos > 1 else "malformed message")
    payload = name + (view[body] << 8 | view[body + 1])
    mid = 0
    if payload + 2 * qos > end or payload - name > MAX_TOPIC_BYTES:
        raise MqttFault("malformed message")
    if qos:
        mid = view[payload] << 8 | view[payload + 1]
        payload += 2
        if not mid:
            raise MqttFault("malformed message")
        name_end = payload - 2
    else:
        name_end = payload
    try:
        topic = str(view[name:name_end], "utf-8")
    except UnicodeDecodeError:
        raise MqttFault("malformed message") from None
    return Delivery(topic, view[payload:end], mid, qos, connection)


def _whole(data: bytes | bytearray | memoryview) -> tuple[int, int] | None:
    """(where the body of the packet begins, its whole size); None when its length is not here yet. Raises MqttFault."""
    size = 0
    for at in range(1, min(len(data), 5)):
        digit = data[at]
        size |= (digit & 0x7F) << 7 * (at - 1)
        if not digit & 0x80:
            if data[0] & 0xF0 != PUBLISH and size > MAX_CONTROL_BYTES:
                raise MqttFault(f"packet of {size} bytes")
            return at + 1, at + 1 + size
    if len(data) >= 5:
        raise MqttFault("malformed length")
    return None


def _length(size: int) -> bytes:
    digits = bytearray()
    while True:
        size, digit = divmod(size, 128)
        digits.append(digit | (0x80 if size else 0))
        if not size:
            return bytes(digits)


def _text(text: str) -> bytes:
    data = text.encode()
    return struct.pack(">H", len(data)) + data
