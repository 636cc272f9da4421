"""Messages between the thread that reads them and the one that takes them, bounded in bytes."""

from __future__ import annotations

import threading
import time
from collections import deque

from lapel_gateway.transport.link import MAX_WAITING_BYTES, MESSAGE_OVERHEAD_BYTES, Delivery


class Waiting:
    """A queue of deliveries. `full` bounds it: the reader asks before it reads on."""

    def __init__(self, most_bytes: int = MAX_WAITING_BYTES) -> None:
        self._most_bytes = most_bytes
        self._deliveries: deque[Delivery] = deque()
        self._lock = threading.Lock()
        self._filled = threading.Condition(self._lock)
        self._taken = threading.Condition(self._lock)
        self._wanted = 0
        self.size_bytes = 0
        """Payloads that wait, each with its overhead."""

    @property
    def full(self) -> bool:
        """Whether no more should be read."""
        return self.size_bytes >= self._most_bytes

    def __len__(self) -> int:
        return len(self._deliveries)

    def put(self, deliveries: list[Delivery]) -> None:
        """Add messages, whatever the bound: the reader has them already."""
        size = sum([len(delivery.payload) for delivery in deliveries]) + MESSAGE_OVERHEAD_BYTES * len(deliveries)
        with self._lock:
            self._deliveries.extend(deliveries)
            self.size_bytes += size
            if self._wanted and (len(self._deliveries) >= self._wanted or self.full):
                self._filled.notify()

    def take(self, most: int, wait_s: float, gather_s: float) -> list[Delivery]:
        """Wait up to ``wait_s`` seconds for a message, then up to ``gather_s`` for more, ``most`` in all."""
        with self._lock:
            self._wait(1, wait_s)
            if self._deliveries:
                self._wait(most, gather_s)
            count = min(most, len(self._deliveries))
            found = [self._deliveries.popleft() for _ in range(count)]
            for delivery in found:
                self.size_bytes -= len(delivery.payload) + MESSAGE_OVERHEAD_BYTES
            self._taken.notify_all()
        return found

    def clear(self) -> None:
        """Forget what waits."""
        with self._lock:
            self._deliveries.clear()
            self.size_bytes = 0
            self._taken.notify_all()

    def linger(self, wait_s: float) -> None:
        """Return when everything was taken, or after ``wait_s`` seconds."""
        with self._lock:
            if self._deliveries:
                self._taken.wait(wait_s)

    def room(self, wait_s: float) -> bool:
        """Wait up to ``wait_s`` seconds until it is not full; returns whether it is not."""
        with self._lock:
            return self._taken.wait_for(lambda: not self.full, wait_s)

    def _wait(self, count: int, wait_s: float) -> None:
        """Wait until so many are here, at most ``wait_s`` seconds, or until it is full."""
        deadline = time.monotonic() + wait_s
        while len(self._deliveries) < count and not self.full:
            left = deadline - time.monotonic()
            if left <= 0:
                return
            self._wanted = count
            self._filled.wait(left)
            self._wanted = 0
