"""Our own reader against brokers that are hostile, slow, forgetful or silent: the test plays the broker."""

from __future__ import annotations

import contextlib
import select
import socket
import threading
import time
from collections.abc import Callable, Iterator

import pytest
from structlog.testing import capture_logs

from lapel_gateway.brokers.broker import BrokerAccess
from lapel_gateway.transport import Delivery, SocketLink, link, socket_link, waiting, wire
from lapel_protocol.limits import MAX_MESSAGE_BYTES
from lapel_protocol.topics import LANE_CLIP

NAME = "lapel/v1/8a/0011223344556677/clip"
DOWN = "lapel/v1/8a/0011223344556677/down"
TIMEOUT_S = 15.0


class Broker:
    """The test's end of a link's connections."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.settimeout(TIMEOUT_S)
        self.port = int(self._listener.getsockname()[1])
        self.connection: socket.socket | None = None
        self._rest = b""

    def accept(self, answer: bytes | None = b"\x20\x02\x00\x00", granted: int = 1) -> None:
        """Take the next connection, and answer CONNECT (None: not) and SUBSCRIBE."""
        self.hang_up()
        self.connection, _ = self._listener.accept()
        self.connection.settimeout(TIMEOUT_S)
        self._rest = b""
        assert self.read()[0] & 0xF0 == 0x10
        if answer is not None:
            self.send(answer)
        if answer is not None and answer[3] == 0:
            subscribe = self.read()
            assert subscribe[0] == 0x82
            self.send(b"\x90\x03" + subscribe[2:4] + bytes([granted]))

    def send(self, data: bytes) -> None:
        assert self.connection is not None
        self.connection.sendall(data)

    def read(self) -> bytes:
        """The next packet, with a length of one byte."""
        assert self.connection is not None
        while len(self._rest) < 2 or len(self._rest) < 2 + self._rest[1]:
            data = self.connection.recv(65_536)
            assert data, "the link hung up"
            self._rest += data
        size = 2 + self._rest[1]
        packet, self._rest = self._rest[:size], self._rest[size:]
        return packet

    def is_left(self) -> bool:
        """Whether the link hangs up in time; what it still sends is thrown away."""
        assert self.connection is not None
        deadline_s = time.monotonic() + TIMEOUT_S
        with contextlib.suppress(ConnectionResetError):
            while self.connection.recv(65_536):
                if time.monotonic() > deadline_s:
                    return False
        return True

    def hang_up(self) -> None:
        if self.connection is not None:
            self.connection.close()
            self.connection = None

    def close(self) -> None:
        self.hang_up()
        self._listener.close()


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(link, "FIRST_RETRY_S", 0.02)
    monkeypatch.setattr(link, "LAST_RETRY_S", 0.1)


@pytest.fixture
def broker() -> Iterator[Broker]:
    broker = Broker()
    yield broker
    broker.close()


@pytest.fixture
def start(broker: Broker) -> Iterator[Callable[[], SocketLink]]:
    made: list[SocketLink] = []

    def begin() -> SocketLink:
        made.append(SocketLink(BrokerAccess("127.0.0.1", broker.port, "gateway-ingest", None), [LANE_CLIP]))
        made[-1].start()
        return made[-1]

    yield begin
    broker.hang_up()
    for one in made:
        one.stop()


Start = Callable[[], SocketLink]


def test_acknowledgements_of_a_batch_go_out_together(broker: Broker, start: Start) -> None:
    ours = start()
    broker.accept()
    broker.send(b"".join(wire.publish(NAME, bytes(100), mid) for mid in range(1, 6)) + wire.packet(0x30, b"\0\1aqos 0"))
    found: list[Delivery] = []
    while len(found) < 6:
        found += ours.receive(10, TIMEOUT_S, 0.0)
    ours.acknowledge(found)
    assert [broker.read() for _ in range(5)] == [bytes([0x40, 2, 0, mid]) for mid in range(1, 6)]


def test_downlinks_under_way_go_out_again_marked_as_repeats_when_the_session_was_kept(
    broker: Broker, start: Start
) -> None:
    ours = start()
    broker.accept()
    assert ours.ready.wait(TIMEOUT_S)
    ours.publish([(DOWN, b"one"), (DOWN, b"two")])
    first, second = broker.read(), broker.read()
    broker.send(b"\x40\x02" + first[4 + len(DOWN) : 6 + len(DOWN)])
    broker.accept(b"\x20\x02\x01\x00")
    assert broker.read() == wire.again(second)


def test_downlinks_under_way_are_forgotten_by_a_broker_that_kept_nothing(broker: Broker, start: Start) -> None:
    ours = start()
    broker.accept()
    assert ours.ready.wait(TIMEOUT_S)
    ours.publish([(DOWN, b"one")])
    broker.read()
    broker.accept()
    assert ours.ready.wait(TIMEOUT_S)
    ours.publish([(DOWN, b"new")])
    assert broker.read()[-3:] == b"new"


def test_downlinks_beyond_what_may_be_under_way_wait_and_beyond_that_are_dropped_aloud(
    broker: Broker, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(socket_link, "MAX_IN_FLIGHT", 2)
    monkeypatch.setattr(socket_link, "MAX_QUEUED", 3)
    ours = start()
    broker.accept()
    assert ours.ready.wait(TIMEOUT_S)
    with capture_logs() as lines:
        ours.publish([(DOWN, bytes([number])) for number in range(10)])
    assert [line["event"] for line in lines] == ["downlinks are dropped"]
    seen = []
    for _ in range(3):
        packet = broker.read()
        seen.append(packet[-1])
        broker.send(b"\x40\x02" + packet[4 + len(DOWN) : 6 + len(DOWN)])
    assert seen == [0, 1, 2]


@pytest.mark.parametrize(
    "nonsense",
    [
        b"\x32\xff\xff\xff\xff\x01",
        b"\x00\x00",
        b"\xf0\x00",
        b"\x20\x02\x00\x00",
        wire.packet(0x34, b"\0\1a\0\1"),
        b"\x90\x01\x00",
        b"\x40\x01\x00",
    ],
)
def test_a_broker_that_talks_nonsense_is_left_and_tried_again(broker: Broker, start: Start, nonsense: bytes) -> None:
    with capture_logs() as lines:
        ours = start()
        broker.accept()
        assert ours.ready.wait(TIMEOUT_S)
        broker.send(nonsense)
        assert broker.is_left()
        broker.accept()
        assert ours.ready.wait(TIMEOUT_S)
        broker.send(wire.publish(NAME, b"sense", 1))
        assert bytes(ours.receive(1, TIMEOUT_S, 0.0)[0].payload) == b"sense"
    assert [line["event"] for line in lines] == ["broker connected", "broker connection lost", "broker connected"]


@pytest.mark.parametrize("early", [wire.publish(NAME, b"x", 1), b"\x90\x03\x00\x01\x01", b"\xd0\x00"])
def test_nothing_is_taken_before_the_connection_was_accepted(broker: Broker, start: Start, early: bytes) -> None:
    ours = start()
    broker.accept(answer=None)
    broker.send(early)
    assert broker.is_left()
    assert ours.receive(1, 0.0, 0.0) == []


def test_a_broker_that_refuses_is_told_of_once(broker: Broker, start: Start) -> None:
    with capture_logs() as lines:
        start()
        for _ in range(3):
            broker.accept(b"\x20\x02\x00\x05")
            assert broker.is_left()
    assert [(line["event"], line["reason"]) for line in lines] == [("broker refuses the gateway", "not authorised")]


def test_a_refused_subscription_is_an_error_and_the_link_is_not_ready(broker: Broker, start: Start) -> None:
    with capture_logs() as lines:
        ours = start()
        broker.accept(granted=0x80)
        broker.send(wire.publish(NAME, b"after it", 1))
        assert ours.receive(1, TIMEOUT_S, 0.0)
    assert lines[-1]["event"] == "broker refuses a subscription: check its access list"
    assert not ours.ready.is_set()


def test_a_broker_that_stops_answering_is_left(broker: Broker, start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket_link, "PING_AFTER_S", 0.2)
    monkeypatch.setattr(socket_link, "ANSWER_TIMEOUT_S", 0.2)
    with capture_logs() as lines:
        start()
        broker.accept(answer=None)
        assert broker.is_left()
        broker.accept()
        assert broker.read() == wire.PINGREQ
        broker.send(b"\xd0\x00")
        assert broker.read() == wire.PINGREQ
        assert broker.is_left()
    assert "does not answer" in lines[0]["reason"]


def test_a_half_open_connection_is_left_although_we_have_much_to_say(
    broker: Broker, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(socket_link, "PING_AFTER_S", 0.2)
    monkeypatch.setattr(socket_link, "ANSWER_TIMEOUT_S", 0.2)
    # What waits unanswered must not be what silences us.
    monkeypatch.setattr(socket_link, "MAX_IN_FLIGHT", socket_link.MAX_MID)
    ours = start()
    broker.accept()
    silenced = threading.Event()

    def talk() -> None:
        while not silenced.wait(0.02):
            ours.publish([(NAME, b"a command")])

    talker = threading.Thread(target=talk)
    talker.start()
    try:
        assert broker.is_left()
    finally:
        silenced.set()
        talker.join()


def test_a_connection_is_read_no_further_while_too_much_waits(
    broker: Broker, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waiting.Waiting.__init__, "__defaults__", (2 << 20,))
    ours = start()
    broker.accept()
    message = wire.publish(NAME, bytes(MAX_MESSAGE_BYTES), 1)
    connection = broker.connection
    assert connection is not None
    connection.setblocking(False)
    sent, data = 0, message * 64
    # The kernel's buffers take some megabytes; then nothing more leaves, because nothing more is read.
    while select.select([], [connection], [], 1.0)[1]:
        sent += connection.send(data[sent % len(message) :])
        assert sent < 64 << 20, "it reads on"
    held = sum(len(one.payload) for one in ours.receive(10_000, 0.0, 0.0))
    assert held <= (2 << 20) + socket_link.READ_BYTES
    taken = held
    while taken < sent // len(message) * MAX_MESSAGE_BYTES:
        found = ours.receive(10_000, TIMEOUT_S, 0.0)
        assert found
        taken += sum(len(one.payload) for one in found)


def test_a_link_can_be_stopped_while_too_much_waits(
    broker: Broker, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waiting.Waiting.__init__, "__defaults__", (1000,))
    ours = start()
    broker.accept()
    broker.send(wire.publish(NAME, bytes(2000), 1))
    while not ours.receive(0, TIMEOUT_S, 0.0) and not ours._waiting.full:
        continue
    broker.hang_up()
    ours.stop()
    assert not ours.ready.is_set()
