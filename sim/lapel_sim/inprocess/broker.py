"""An MQTT 3.1.1 broker core for one process: QoS 1, persistent sessions, no sockets.

It parses the very bytes that the firmware sends and answers with bytes. It is untrusted by design: on the schedule's
word it delivers twice, late, out of order and long after, forgets sessions, queues or what is in flight, goes back to
an older state of itself, and drops what its queues cannot hold. It reads no clock: `tick` tells it the time.
"""

from __future__ import annotations

import copy
import random
import struct
from collections import Counter, deque
from collections.abc import Callable

from lapel_protocol.topics import parse_topic

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

KEEP_ALIVE_MS = 45_000
"""Silence after which a connection is given up: one and a half times the keep-alive that devices ask for."""

MAX_IN_FLIGHT = 20
"""Messages sent to one client and not acknowledged, as Mosquitto has it by default."""

MAX_QUEUED = 1000
"""Messages kept for one client, as Mosquitto has it by default; what comes beyond that is dropped."""

_REMEMBERED = 40
_SWAP_MS = 400
_DELAYS_MS = (2_000, 8_000, 15_000)  # at most; a welcome that took ten seconds is refused

Message = tuple[str, bytes]


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
        self.queue: deque[Message] = deque()
        self.in_flight: dict[int, Message] = {}
        self.next_id = 1


class Connection:
    """One TCP connection's broker side: bytes in by `receive`, bytes out in `outgoing`."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self._buffer = bytearray()
        self.client = ""
        self.outgoing = bytearray()
        self.open = True
        self.heard_ms = broker.now_ms

    def receive(self, data: bytes) -> None:
        """Take bytes as they arrive and act on every whole packet."""
        if data:
            self.heard_ms = self._broker.now_ms
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
        elif not self.client or self.client not in self._broker.sessions:
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
            self._broker.pump(self.client)
        elif kind == _SUBSCRIBE:
            self._broker.sessions[self.client].subscribed = True
            self.outgoing += _packet(_SUBACK, 0, body[:2] + b"\x01")
            self._broker.pump(self.client)
        elif kind == _PINGREQ:
            self.outgoing += _packet(_PINGRESP, 0, b"")
        elif kind == _DISCONNECT:
            self.open = False


class Mischief:
    """How a poor or hostile broker treats messages in either direction: chances between 0 and 1 for each message."""

    def __init__(self) -> None:
        self.duplicate = 0.0
        self.swap = 0.0  # the next one to the same end overtakes it
        self.delay = 0.0
        self.replay = 0.0  # something that was said before is said again after it


class _Late:
    """A message that is held back."""

    def __init__(self, due_ms: int, end: str, message: Message, swapped: bool) -> None:
        self.due_ms = due_ms
        self.end = end
        self.message = message
        self.swapped = swapped


class Broker:
    """Sessions of the devices by client id, and one sink for everything that devices publish.

    `effects` counts what its faults did to messages: duplicated, reordered, delayed, replayed, dropped.
    """

    def __init__(self, on_publish: Callable[[str, bytes], None], rng: random.Random | None = None) -> None:
        self.sessions: dict[str, Session] = {}
        self.now_ms = 0
        self.mischief = Mischief()
        self.effects: Counter[str] = Counter()
        self._rng = rng or random.Random(0)
        self._connections: dict[str, Connection] = {}
        self._on_publish = on_publish
        self._late: list[_Late] = []
        self._recent: deque[tuple[str, Message]] = deque(maxlen=_REMEMBERED)

    # -- time and faults --------------------------------------------------------------------------------------------

    @property
    def quiet(self) -> bool:
        """Whether nothing is held back."""
        return not self._late

    def tick(self, now_ms: int) -> None:
        """It is `now_ms`: deliver what is due, give up connections that have been silent for too long."""
        self.now_ms = now_ms
        if self._late:
            due = [late for late in self._late if late.due_ms <= now_ms]
            self._late = [late for late in self._late if late.due_ms > now_ms]
            for late in due:
                self._hand_on(late.end, late.message)
        for connection in list(self._connections.values()):
            if connection.open and now_ms - connection.heard_ms > KEEP_ALIVE_MS:
                connection.open = False
                self.effects["silent connection closed"] += 1

    def calm(self) -> None:
        """No more mischief; what is held back comes with the next tick."""
        self.mischief = Mischief()
        for late in self._late:
            late.due_ms = self.now_ms

    def disconnect_all(self) -> None:
        """Close every connection; sessions stay."""
        for connection in self._connections.values():
            connection.open = False
        self._connections.clear()

    def forget(self) -> int:
        """The broker's program was killed and kept nothing: every session and connection is gone. How many messages."""
        lost = self.forget_queues() + self.forget_in_flight() + len(self._late)
        self._late.clear()
        self.disconnect_all()
        self.sessions.clear()
        return lost

    def forget_queues(self) -> int:
        """Lose what waits for devices, and say how many messages; sessions and connections stay."""
        lost = sum(len(session.queue) for session in self.sessions.values())
        for session in self.sessions.values():
            session.queue.clear()
        return lost

    def forget_in_flight(self) -> int:
        """Lose what devices have not acknowledged, and say how many messages."""
        lost = sum(len(session.in_flight) for session in self.sessions.values())
        for session in self.sessions.values():
            session.in_flight.clear()
        return lost

    def snapshot(self) -> dict[str, Session]:
        """What its persistence file would hold now."""
        return copy.deepcopy(self.sessions)

    def roll_back(self, sessions: dict[str, Session]) -> None:
        """It was killed, and starts with an older persistence file."""
        self.disconnect_all()
        self._late.clear()
        self.sessions = copy.deepcopy(sessions)

    # -- sessions ---------------------------------------------------------------------------------------------------

    def connect(self) -> Connection:
        """A new connection, not yet a client."""
        return Connection(self)

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

    # -- messages ---------------------------------------------------------------------------------------------------

    def publish(self, topic: str, payload: bytes) -> None:
        """A device's message arrived."""
        self._treat("", (topic, payload))

    def send(self, client: str, topic: str, payload: bytes) -> None:
        """The gateway publishes to one device; queued while it is away, gone if it has no session."""
        self._treat(client, (topic, payload))

    def _treat(self, end: str, message: Message) -> None:
        mischief, rng = self.mischief, self._rng
        # Lanes are ends of their own: each has its own connection of the gateway.
        key = end or parse_topic(message[0])[1]
        chance = rng.random()
        self._recent.append((end, message))
        if chance < mischief.delay:
            self.effects["delayed"] += 1
            self._late.append(_Late(self.now_ms + rng.randint(200, rng.choice(_DELAYS_MS)), end, message, False))
            return
        chance -= mischief.delay
        if chance < mischief.swap:
            self._late.append(_Late(self.now_ms + _SWAP_MS, end, message, True))
            return
        self._hand_on(end, message)
        for late in [late for late in self._late if late.swapped and late.end == end]:
            if end or parse_topic(late.message[0])[1] == key:
                self.effects["reordered"] += 1
                self._late.remove(late)
                self._hand_on(end, late.message)
        chance -= mischief.swap
        if chance < mischief.duplicate:
            self.effects["duplicated"] += 1
            self._hand_on(end, message)
        elif chance < mischief.duplicate + mischief.replay:
            self.effects["replayed"] += 1
            self._hand_on(*rng.choice(self._recent))

    def _hand_on(self, end: str, message: Message) -> None:
        if not end:
            self._on_publish(*message)
            return
        session = self.sessions.get(end)
        if session is None or not session.subscribed or len(session.queue) >= MAX_QUEUED:
            self.effects["dropped"] += 1
            return
        session.queue.append(message)
        self.pump(end)

    def pump(self, client: str) -> None:
        """Put queued messages on the client's open connection."""
        session = self.sessions[client]
        connection = self._connections.get(client)
        if connection is None or not connection.open or not session.subscribed:
            return
        while session.queue and len(session.in_flight) < MAX_IN_FLIGHT:
            topic, payload = session.queue.popleft()
            identifier = session.next_id
            session.next_id = identifier % 65535 + 1
            session.in_flight[identifier] = (topic, payload)
            connection.outgoing += self._publish_packet(identifier, topic, payload, dup=False)


class Inbox:
    """What the broker keeps for one of the gateway's own connections until it is acknowledged."""

    def __init__(self) -> None:
        self.messages: deque[Message] = deque()
        self.limit = MAX_QUEUED
        self.dropped = 0

    def __len__(self) -> int:
        return len(self.messages)

    def put(self, topic: str, payload: bytes) -> None:
        """A device's message for the gateway; dropped where the queue is full."""
        if len(self.messages) >= self.limit:
            self.dropped += 1
        else:
            self.messages.append((topic, payload))

    def first(self, most: int) -> list[Message]:
        """The oldest messages, as they would be handed in again after a restart."""
        return [self.messages[at] for at in range(min(most, len(self.messages)))]

    def acknowledge(self, positions: set[int]) -> None:
        """The gateway has these, counted from the oldest."""
        self.messages = deque(message for at, message in enumerate(self.messages) if at not in positions)

    def clear(self) -> int:
        """Lose everything, and say how many messages."""
        lost = len(self.messages)
        self.messages.clear()
        return lost
