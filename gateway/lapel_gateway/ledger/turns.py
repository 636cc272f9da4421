"""Whose turn it is to write to the ledger, among all threads and processes of the gateway.

SQLite lets a second writer sleep and try again, up to a tenth of a second at a time and without any order: beside a
busy ingest another role waited for seconds. Here writers wait for each other in the kernel and are woken at once.

Rules that hold here
- Whoever writes holds the turn; it is given back when the transaction ends, and by the kernel when the process does.
- An urgent writer (an alarm) is next, whoever else waits: it waits for the transaction under way and for no other.
- SQLite's own lock stays the truth. A writer that takes no turn costs time, never consistency.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import struct
import threading
from collections.abc import Iterator
from pathlib import Path

# Bytes of the file that are locked; nothing is ever written there.
_QUEUE = 0  # held while waiting for the turn, so that only one ordinary writer competes for it
_TURN = 1
_URGENT = 2  # held by an urgent writer until it has the turn; ordinary ones step back from it
_ALL = 3

_FLOCK = "hhqqi4x"  # struct flock of Linux: kind, whence, start, length, process (0: the lock belongs to the open file)


_mine = threading.local()


class Turns:
    """One connection's place in the order of writers; for one thread at a time."""

    def __init__(self, ledger: Path) -> None:
        """Raises OSError when the file beside the ledger cannot be opened."""
        self._file = os.open(f"{ledger}-turns", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)

    @contextlib.contextmanager
    def turn(self, *, urgent: bool) -> Iterator[None]:
        """Wait for the turn, and hold it during the block.

        Raises RuntimeError in a thread that has a turn already, on whatever connection: it would wait for itself.
        """
        if getattr(_mine, "held", False):
            raise RuntimeError("this thread is writing to a ledger already: end that transaction first")
        _mine.held = True
        try:
            if urgent:
                self._take_next()
            else:
                self._take()
            yield
        finally:
            _mine.held = False
            self._set(fcntl.F_UNLCK, _QUEUE, _ALL)

    def close(self) -> None:
        """Let go of the file."""
        os.close(self._file)

    def _take_next(self) -> None:
        self._set(fcntl.F_WRLCK, _URGENT)
        self._set(fcntl.F_WRLCK, _TURN)
        self._set(fcntl.F_UNLCK, _URGENT)

    def _take(self) -> None:
        self._set(fcntl.F_WRLCK, _QUEUE)
        while True:
            self._set(fcntl.F_WRLCK, _TURN)
            try:
                self._set(fcntl.F_RDLCK, _URGENT, wait=False)
            except (BlockingIOError, PermissionError):
                self._set(fcntl.F_UNLCK, _TURN)
                self._set(fcntl.F_RDLCK, _URGENT)
                self._set(fcntl.F_UNLCK, _URGENT)
            else:
                self._set(fcntl.F_UNLCK, _URGENT)
                self._set(fcntl.F_UNLCK, _QUEUE)
                return

    def _set(self, kind: int, first: int, count: int = 1, *, wait: bool = True) -> None:
        command = fcntl.F_OFD_SETLKW if wait else fcntl.F_OFD_SETLK
        fcntl.fcntl(self._file, command, struct.pack(_FLOCK, kind, os.SEEK_SET, first, count, 0))
