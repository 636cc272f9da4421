"""A device's network in memory: bytes wait in two pipes until the schedule moves them."""

from __future__ import annotations

import errno
import random

from .broker import Broker, Connection

_PIPE_BYTES = 32 * 1024  # a stalled peer takes this much and no more, as a socket buffer does


class MemoryLink:
    """One connection; see `boards.contract.Link`."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._up = bytearray()
        self._down = bytearray()
        self._reset = False
        self._closed = False

    def send(self, data: memoryview) -> int | None:
        self._alive()
        take = min(len(data), _PIPE_BYTES - len(self._up))
        if not take:
            return None
        self._up += data[:take]
        return take

    def recv_into(self, buffer: memoryview) -> int | None:
        self._alive()
        if not self._down:
            return None if self._connection.open else 0
        size = min(len(buffer), len(self._down))
        buffer[:size] = self._down[:size]
        del self._down[:size]
        return size

    def close(self) -> None:
        self._closed = True
        self._connection.open = False

    def _alive(self) -> None:
        if self._reset or self._closed:
            raise OSError(errno.ECONNRESET)

    def move(self, up: int, down: int) -> None:
        """Carry at most so many bytes each way."""
        if self._connection.open and not self._reset:
            data = bytes(self._up[:up])
            del self._up[:up]
            self._connection.receive(data)
        out = self._connection.outgoing
        self._down += out[:down]
        del out[:down]

    def drop(self, rng: random.Random) -> None:
        """The link is lost: some prefix of what was under way still arrives, at any byte; the rest never does."""
        self.move(rng.randrange(len(self._up) + 1), rng.randrange(len(self._connection.outgoing) + 1))
        self._connection.open = False
        self._reset = True


class MemoryNetwork:
    """A bearer that the schedule switches; see `boards.contract.Network`."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self._up = True
        self.link: MemoryLink | None = None

    def is_up(self) -> bool:
        return self._up

    def open(self, host: str, port: int, tls: object) -> MemoryLink:
        if not self._up:
            raise OSError(errno.EHOSTUNREACH)
        self.link = MemoryLink(self._broker.connect())
        return self.link

    def switch(self, up: bool, rng: random.Random) -> None:
        """Join or lose the bearer."""
        self._up = up
        if not up and self.link is not None:
            self.link.drop(rng)
            self.link = None

    def move(self, up: int, down: int) -> None:
        """Carry bytes on the present link."""
        if self.link is not None:
            self.link.move(up, down)
