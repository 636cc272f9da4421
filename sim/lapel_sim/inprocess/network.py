"""A device's network in memory: bytes wait in two pipes until the schedule moves them.

Faults: the bearer lost, with or without the broker noticing; a link that is half open (bytes of one direction, or of
both, go nowhere, and no close gets through) until somebody's keep-alive ends it; a link that is slow or stands still.
"""

from __future__ import annotations

import errno
import random
from collections import Counter

from .broker import Broker, Connection

_PIPE_BYTES = 32 * 1024  # a stalled peer takes this much and no more, as a socket buffer does


class MemoryLink:
    """One connection; see `boards.contract.Link`. `stuck_up`, `stuck_down`: nothing gets through that way."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._up = bytearray()
        self._down = bytearray()
        self._reset = False
        self._closed = False
        self.stuck_up = False
        self.stuck_down = False

    @property
    def received(self) -> bool:
        """Whether bytes wait for the device, or the end of the connection."""
        return bool(self._down) or (not self._connection.open and not self.stuck_down)

    @property
    def sent(self) -> int:
        """Bytes of the device that are still under way."""
        return len(self._up)

    @property
    def coming(self) -> int:
        """Bytes of the broker that are still under way."""
        return len(self._connection.outgoing)

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
            return None if self._connection.open or self.stuck_down else 0
        size = min(len(buffer), len(self._down))
        buffer[:size] = self._down[:size]
        del self._down[:size]
        return size

    def close(self) -> None:
        self._closed = True
        if not self.stuck_up:
            self._connection.open = False

    def _alive(self) -> None:
        if self._reset or self._closed:
            raise OSError(errno.ECONNRESET)

    def move(self, up: int, down: int) -> None:
        """Carry at most so many bytes each way."""
        if self._up and self._connection.open and not self._reset and not self.stuck_up:
            data = bytes(self._up[:up])
            del self._up[:up]
            self._connection.receive(data)
        out = self._connection.outgoing
        if out and not self.stuck_down:
            self._down += out[:down]
            del out[:down]

    def drop(self, rng: random.Random, noticed: bool = True) -> None:
        """The link is lost: some prefix of what was under way still arrives, at any byte; the rest never does.

        `noticed`: the broker learns of it at once, and not from its keep-alive or the device's next connection.
        """
        self.move(rng.randrange(len(self._up) + 1), rng.randrange(len(self._connection.outgoing) + 1))
        if noticed:
            self._connection.open = False
        self._reset = True


class MemoryNetwork:
    """A bearer that the schedule switches; see `boards.contract.Network`.

    `still`: nothing moves. `slow_bytes`: at most so many move each way at a time, 0 = as many as there are. `effects`
    counts how often a fault kept bytes from moving.
    """

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self._up = True
        self.link: MemoryLink | None = None
        self.still = False
        self.slow_bytes = 0
        self.effects: Counter[str] = Counter()

    def is_up(self) -> bool:
        return self._up

    def open(self, host: str, port: int, tls: object) -> MemoryLink:
        if not self._up:
            raise OSError(errno.EHOSTUNREACH)
        self.link = MemoryLink(self._broker.connect())
        return self.link

    def switch(self, up: bool, rng: random.Random, noticed: bool = True) -> None:
        """Join or lose the bearer; see `MemoryLink.drop`."""
        self._up = up
        if not up and self.link is not None:
            self.link.drop(rng, noticed)
            self.link = None

    def stick(self, up: bool, down: bool) -> bool:
        """Make the present link half open; False when there is none."""
        if self.link is None:
            return False
        self.link.stuck_up = up
        self.link.stuck_down = down
        return True

    def move(self, up: int, down: int) -> None:
        """Carry bytes on the present link."""
        link = self.link
        if link is None:
            return
        if self.still:
            self.effects["latency"] += bool(link.sent or link.coming)
            return
        if self.slow_bytes:
            self.effects["slow_link"] += max(link.sent, link.coming) > self.slow_bytes
            up, down = min(up, self.slow_bytes), min(down, self.slow_bytes)
        if link.stuck_up or link.stuck_down:
            self.effects["half_open"] += bool((link.stuck_up and link.sent) or (link.stuck_down and link.coming))
        link.move(up, down)
