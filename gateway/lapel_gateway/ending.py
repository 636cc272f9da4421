"""That this program is to end: said by a signal's handler, waited for by its main thread.

Python runs a handler inside whatever the main thread is doing. One that set a `threading.Event` on which that thread is
about to wait would want the event's lock from its own thread, which has it: the program would hang and not end. Here
the handler makes one system call, eventfd(2), and takes no lock.
"""

from __future__ import annotations

import os
import select
from types import FrameType, TracebackType


class Ending:
    """Once it is asked for, it stays so. Use as a context manager, which ends after the handlers that `ask`."""

    def __init__(self) -> None:
        """Raises OSError: no file left to open."""
        self._asked = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._poll = select.poll()
        self._poll.register(self._asked, select.POLLIN)

    def __enter__(self) -> Ending:
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        os.close(self._asked)

    def ask(self, _number: int = 0, _frame: FrameType | None = None) -> None:
        """Ask for it; a handler for `signal.signal`."""
        os.eventfd_write(self._asked, 1)

    def wait(self, timeout_s: float) -> bool:
        """Wait for at most ``timeout_s`` seconds; returns whether it was asked for."""
        return bool(self._poll.poll(timeout_s * 1000))
