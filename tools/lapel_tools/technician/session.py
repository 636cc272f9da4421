"""A device that was stopped for a question, and goes on afterwards.

Rules that hold here:

- A device that runs is interrupted only where its technician says so, and one that has an alarm latched or was
  recording not even then without another word. Whatever happened, it is started again.
- What its board is made of is reached through its own drivers, from a version that its own loader has verified.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from .condition import Condition, read_condition
from .link import BoardError, BoardLink
from .ports import SerialPort, named_ports

_TAKE_BOARD = """\
import gc,sys
import lapel_board,lapel_loader
_r=lapel_loader.start(lapel_board.HARDWARE)
del sys.modules['lapel_loader']
del lapel_loader
if _r is None:raise OSError('no firmware')
gc.collect()
board=lapel_board.board()
"""


class SessionError(Exception):
    """The device was left alone, or cannot be asked; the message says what to do."""


@dataclass(frozen=True)
class Stopped:
    """A device at its raw REPL. `ran`: it was interrupted for this."""

    port: SerialPort
    link: BoardLink
    condition: Condition
    ran: bool

    def take_board(self) -> None:
        """Have the device's own drivers as `board`, its storage mounted. Raises LinkError and SessionError."""
        self.link.stop(fresh=True)
        try:
            self.link.run(_TAKE_BOARD)
        except BoardError as error:
            raise SessionError(
                f"{self.port.device}: the device has no firmware that could do this ({error}): flash it"
            ) from None


@contextmanager
def stopped(name: str, interrupt: bool, even_busy: bool = False, starts_again: bool = True) -> Iterator[Stopped]:
    """Hold the device at a port. `interrupt`: also one that runs; `even_busy`: also one that records or has an alarm.

    `starts_again`: at the end; else that is left to the caller, where nothing went wrong.

    Raises LinkError, BoardError and SessionError.
    """
    (port,) = named_ports([name])
    with BoardLink(port.device) as link:
        ran = not link.is_idle()
        if ran and not interrupt:
            raise SessionError(f"{port.device}: it runs a program, or is silent; --ask interrupts it for a moment")
        link.stop(fresh=False)
        try:
            condition = read_condition(link)
            if ran and condition.objections and not even_busy:
                raise SessionError(
                    f"{port.device}: {' and '.join(condition.objections)}: it was started again and is left alone "
                    "without --even-busy"
                )
            yield Stopped(port, link, condition, ran)
        except BaseException:
            link.reset()
            raise
        if starts_again:
            link.reset()
