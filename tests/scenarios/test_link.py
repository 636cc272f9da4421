"""The link proxy: slow, late, lossy, silent, refused and cut, as a program at either end sees it."""

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from lapel_sim.device import SimDevice
from lapel_sim.world import World

from .conftest import run_program


class EchoBroker:
    """Stands for a broker: sends everything back, and remembers what it got and how each connection ended."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.received = bytearray()
        self.ends: list[str] = []
        self.connections = 0
        self._open: list[socket.socket] = []
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    def _accept(self) -> None:
        while True:
            try:
                peer, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            self._open.append(peer)
            threading.Thread(target=self._echo, args=(peer,), daemon=True).start()

    def _echo(self, peer: socket.socket) -> None:
        with peer:
            try:
                while piece := peer.recv(65536):
                    self.received += piece
                    peer.sendall(piece)
                self.ends.append("closed")
            except OSError:
                self.ends.append("reset")

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join()


@pytest.fixture
def broker() -> Iterator[EchoBroker]:
    made = EchoBroker()
    yield made
    made.close()


@contextmanager
def connected(device: SimDevice, broker: EchoBroker) -> Iterator[socket.socket]:
    """A connection as the device's own, but held by the test."""
    with socket.create_connection(("127.0.0.1", device.link.route("127.0.0.1", broker.port))) as peer:
        peer.settimeout(10)
        yield peer


def exchange(peer: socket.socket, content: bytes) -> tuple[bytes, float]:
    """(what came back, seconds it took)."""
    started = time.monotonic()
    peer.sendall(content)
    back = bytearray()
    while len(back) < len(content):
        piece = peer.recv(65536)
        if not piece:
            break
        back += piece
    return bytes(back), time.monotonic() - started


def exchange_until_broken(peer: socket.socket, content: bytes, most: int = 100) -> int:
    """How many exchanges succeed before the connection breaks, at most `most`."""
    for count in range(most):
        try:
            if exchange(peer, content)[0] != content:
                return count
        except OSError:
            return count
    return most


def taken_until_full(peer: socket.socket, most: int = 4_000_000) -> int:
    """How many bytes are taken before sending stops for as long as the socket's timeout."""
    taken = 0
    while taken < most:
        try:
            taken += peer.send(bytes(4096))
        except TimeoutError:
            break
    return taken


def test_bytes_pass_unchanged_and_are_counted(world: World, broker: EchoBroker) -> None:
    device = world.add_device("one")
    content = bytes(range(256)) * 400
    with connected(device, broker) as peer:
        assert exchange(peer, content)[0] == content
    assert device.link.bytes_up == device.link.bytes_down == len(content)
    world.wait_until(lambda: broker.ends == ["closed"])


def test_a_slow_link_carries_no_more_than_its_bits_per_second(world: World, broker: EchoBroker) -> None:
    device = world.add_device("one")
    device.link.slow(400_000)
    with connected(device, broker) as peer:
        _, seconds = exchange(peer, bytes(20_000))
    assert seconds >= 0.4  # 160,000 bits, while the answer overlaps


def test_latency_is_added_in_each_direction(world: World, broker: EchoBroker) -> None:
    device = world.add_device("one")
    device.link.latency(60, jitter_ms=10)
    with connected(device, broker) as peer:
        _, seconds = exchange(peer, b"ping")
    assert seconds >= 0.12


def test_a_full_link_pushes_back_instead_of_buffering_without_bound(world: World, broker: EchoBroker) -> None:
    device = world.add_device("one")
    device.link.drop()
    device.link.restore()
    with connected(device, broker) as peer:
        exchange(peer, b"up")
        device.link.drop()
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        peer.settimeout(0.5)
        assert taken_until_full(peer) < 200_000


def test_silence_keeps_the_connection_and_delivers_after_it_is_over(world: World, broker: EchoBroker) -> None:
    device = world.add_device("one")
    with connected(device, broker) as peer:
        exchange(peer, b"before")
        device.link.drop()
        peer.sendall(b"during")
        peer.settimeout(0.3)
        with pytest.raises(TimeoutError):
            peer.recv(100)
        assert broker.received == b"before"
        device.link.restore()
        peer.settimeout(10)
        assert peer.recv(100) == b"during"
    assert broker.connections == 1


def test_what_was_swallowed_is_lost_when_the_connection_is_reset(world: World, broker: EchoBroker) -> None:
    device = world.add_device("one")
    with connected(device, broker) as peer:
        exchange(peer, b"before")
        device.link.drop()
        peer.sendall(b"swallowed")
        device.link.restore(reset=True)
        with pytest.raises(ConnectionResetError):
            peer.recv(100)
    world.wait_until(lambda: broker.ends == ["reset"])
    assert broker.received == b"before"
    with connected(device, broker) as peer:
        assert exchange(peer, b"again")[0] == b"again"


def test_a_dropped_link_resets_connections_and_refuses_new_ones(world: World, broker: EchoBroker) -> None:
    device = world.add_device("one")
    with connected(device, broker) as peer:
        exchange(peer, b"before")
        device.link.drop(silent=False)
        with pytest.raises(ConnectionResetError):
            peer.recv(100)
    with connected(device, broker) as peer:
        assert exchange_until_broken(peer, b"x") == 0
    assert broker.connections == 1


def test_a_connection_begun_in_silence_is_made_when_it_is_over(world: World, broker: EchoBroker) -> None:
    device = world.add_device("one")
    device.link.drop()
    with connected(device, broker) as peer:
        peer.sendall(b"early")
        peer.settimeout(0.3)
        with pytest.raises(TimeoutError):
            peer.recv(100)
        assert broker.connections == 0
        device.link.restore()
        peer.settimeout(10)
        assert peer.recv(100) == b"early"


def test_a_lossy_link_stalls_but_loses_nothing(world: World, broker: EchoBroker) -> None:
    device = world.add_device("one")
    device.link.lossy(stall_chance=0.3, stall_ms=60)
    content = bytes(range(256)) * 100
    with connected(device, broker) as peer:
        back, seconds = exchange(peer, content)
    assert back == content
    assert seconds > 0.1


def test_a_link_with_resets_breaks_connections(world: World, broker: EchoBroker) -> None:
    device = world.add_device("one")
    device.link.lossy(stall_chance=0, reset_chance=0.2)
    with connected(device, broker) as peer:
        assert exchange_until_broken(peer, bytes(3000)) < 100
    world.wait_until(lambda: world.journal.entries("link_closed", reason="reset by the link"))


def test_a_broker_that_is_not_there_refuses(world: World, free_port: int) -> None:
    device = world.add_device("one")
    with socket.create_connection(("127.0.0.1", device.link.route("127.0.0.1", free_port))) as peer:
        peer.settimeout(10)
        with pytest.raises(ConnectionResetError):
            peer.recv(1)
    world.wait_until(lambda: world.journal.entries("link_refused"))


def test_a_device_that_loses_power_leaves_its_broker_with_a_half_open_connection(
    world: World, broker: EchoBroker
) -> None:
    device = world.add_device("talker")
    run_program(device, "talker", str(broker.port))
    world.wait_until(lambda: device.console_has("answer 5"))
    device.cut_power()
    world.wait_until(lambda: device.link.open_connections == 0, what="the proxy to let go of the device's end")
    assert broker.ends == []
    run_program(device, "talker", str(broker.port))
    world.wait_until(lambda: broker.connections == 2)
    assert broker.ends == []


def test_a_device_sees_the_latency_of_its_link(world: World, broker: EchoBroker) -> None:
    device = world.add_device("talker")
    device.link.latency(40)
    run_program(device, "talker", str(broker.port))
    world.wait_until(lambda: device.console_has("answer 5"))
    waits = [int(entry["line"].split()[2]) for entry in world.journal.entries("console")]
    assert min(waits) >= 80
