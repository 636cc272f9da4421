"""What every ring shares: the ring plugin and a few fixtures."""

import contextlib
import socket

import pytest

pytest_plugins = ["tests.rings", "pytester"]


@pytest.fixture
def free_ports() -> list[int]:
    """Four TCP ports of 127.0.0.1 that nothing listens on; every test has brokers and servers of its own there."""
    with contextlib.ExitStack() as stack:
        probes = [stack.enter_context(socket.socket()) for _ in range(4)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [int(probe.getsockname()[1]) for probe in probes]


@pytest.fixture
def free_port(free_ports: list[int]) -> int:
    """One such port."""
    return free_ports[0]
