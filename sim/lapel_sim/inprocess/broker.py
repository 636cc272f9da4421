"""An MQTT 3.1.1 broker core for one process: QoS 1, persistent sessions, no sockets.

It parses the very bytes that the firmware sends and answers with bytes. It is untrusted by design: on the seed's word
it drops connections in the middle of a packet, delivers twice, and delivers out of order across lanes.
"""

from __future__ import annotations

import struct
from collections import deque
from collections.abc import Callable

_CONNECT, _CONNACK, _PUBLISH, _PUBACK, _SUBSCRIBE, _SUBACK, _PINGREQ, _PINGRESP, _DISCONNECT = (
    1,
    2,
    3,
    4,
    8,
    9,
    12,
    13,
    14,
)


def _packet(kind: int, flags: int, body: bytes) -> bytes:
    size = len(body)
    head = bytearray([kind << 4 | flags])
    while True:
        head.append((size & 0x7F) | (0x80 if size > 0x7F else 0))
        size >>= 7
        if not size:
            return bytes(head) + body


class Session:
    """One device's session: it outlives connections unless the device asks for a clean one."""

    def __init__(self) -> None:
        self.subscribed = False
        self.queue: deque[tuple[str, bytes]] = deque()
        self.in_flight: dict[int, tuple[str, bytes]] = {}
        self.next_id = 1


class Connection:
    """One TCP connection's broker side: bytes in by `receive`, bytes out in `outgoing`."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self._buffer = bytearray()
        self.client = ""
        self.outgoing = bytearray()
        self.open = True

    def receive(self, data: bytes) -> None:
        """Take bytes as they arrive and act on every whole packet."""
        self._buffer += data
        while self.open:
            packet = self._take()
            if packet is None:
                return
            self._handle(*packet)

    def _take(self) -> tuple[int, int, bytes] | None:
        size = shift = 0
        at = 1
        while True:
            if at >= len(self._buffer):
                return None
            byte = self._buffer[at]
            size |= (byte & 0x7F) << shift
            shift += 7
            at += 1
            if not byte & 0x80:
                break
        if len(self._buffer) < at + size:
            return None
        kind, flags, body = self._buffer[0] >> 4, self._buffer[0] & 0x0F, bytes(self._buffer[at : at + size])
        del self._buffer[: at + size]
        return kind, flags, body

    def _handle(self, kind: int, flags: int, body: bytes) -> None:
        if kind == _CONNECT:
            clean = bool(body[7] & 2)
            (length,) = struct.unpack_from(">H", body, 10)
            self.client = body[12 : 12 + length].decode()
            present = self._broker.attach(self, clean)
            self.outgoing += _packet(_CONNACK, 0, bytes([1 if present else 0, 0]))
            self._broker.resume(self)
        elif not self.client:
            self.open = False
        elif kind == _PUBLISH:
            (length,) = struct.unpack_from(">H", body, 0)
            topic = body[2 : 2 + length].decode()
            if not flags & 6:  # QoS 0 has no packet id and no answer
                self._broker.publish(topic, body[2 + length :])
                return
            (identifier,) = struct.unpack_from(">H", body, 2 + length)
            self._broker.publish(topic, body[4 + length :])
            self.outgoing += _packet(_PUBACK, 0, struct.pack(">H", identifier))
        elif kind == _PUBACK:
            self._broker.sessions[self.client].in_flight.pop(struct.unpack(">H", body)[0], None)
        elif kind == _SUBSCRIBE:
            self._broker.sessions[self.client].subscribed = True
            self.outgoing += _packet(_SUBACK, 0, body[:2] + b"\x01")
            self._broker.pump(self.client)
        elif kind == _PINGREQ:
            self.outgoing += _packet(_PINGRESP, 0, b"")
        elif kind == _DISCONNECT:
            self.open = False


class Broker:
    """Sessions of the devices by client id, and one sink for everything that devices publish."""

    def __init__(self, on_publish: Callable[[str, bytes], None]) -> None:
        self.sessions: dict[str, Session] = {}
        self._connections: dict[str, Connection] = {}
        self._on_publish = on_publish

    def connect(self) -> Connection:
        """A new connection, not yet a client."""
        return Connection(self)

    def forget(self) -> None:
        """The broker's program was killed and kept nothing: every session and connection is gone."""
        for connection in self._connections.values():
            connection.open = False
        self._connections.clear()
        self.sessions.clear()

    def attach(self, connection: Connection, clean: bool) -> bool:
        """Bind a connection to its client's session; an older connection of that client is closed."""
        before = self._connections.get(connection.client)
        if before is not None:
            before.open = False
        self._connections[connection.client] = connection
        present = connection.client in self.sessions and not clean
        if not present:
            self.sessions[connection.client] = Session()
        return present

    def resume(self, connection: Connection) -> None:
        """Send again what the client never acknowledged, with DUP, then what is queued."""
        session = self.sessions[connection.client]
        for identifier, (topic, payload) in session.in_flight.items():
            connection.outgoing += self._publish_packet(identifier, topic, payload, dup=True)
        self.pump(connection.client)

    @staticmethod
    def _publish_packet(identifier: int, topic: str, payload: bytes, dup: bool) -> bytes:
        name = topic.encode()
        body = struct.pack(">H", len(name)) + name + struct.pack(">H", identifier) + payload
        return _packet(_PUBLISH, 0x0A if dup else 0x02, body)

    def publish(self, topic: str, payload: bytes) -> None:
        """A device's message arrived."""
        self._on_publish(topic, payload)

    def send(self, client: str, topic: str, payload: bytes) -> None:
        """The gateway publishes to one device; queued while it is away, gone if it has no session."""
        session = self.sessions.get(client)
        if session is not None and session.subscribed:
            session.queue.append((topic, payload))
            self.pump(client)

    def pump(self, client: str) -> None:
        """Put queued messages on the client's open connection."""
        session = self.sessions[client]
        connection = self._connections.get(client)
        if connection is None or not connection.open or not session.subscribed:
            return
        while session.queue:
            topic, payload = session.queue.popleft()
            identifier = session.next_id
            session.next_id = identifier % 65535 + 1
            session.in_flight[identifier] = (topic, payload)
            connection.outgoing += self._publish_packet(identifier, topic, payload, dup=False)
