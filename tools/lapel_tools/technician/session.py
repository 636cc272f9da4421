"""A device that was stopped for a question, and goes on afterwards.

Rules that hold here:

- A device that runs is interrupted only where its technician says so, and one that has an alarm latched or was
  recording not even then without another word. Whatever happened, it is started again.
- What its board is made of is reached through its own drivers, from the version that it runs.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from lapel_device.slots import NO_SLOT, SLOTS, SlotState, slot_folder

from .condition import Condition, read_condition
from .link import BoardError, BoardLink
from .ports import SerialPort, named_ports
from .survey import LinkFiles


class SessionError(Exception):
    """The device was left alone, or cannot be asked; the message says what to do."""


@dataclass(frozen=True)
class Stopped:
    """A device at its raw REPL. `ran`: it was interrupted for this. `has_board`: see take_board."""

    port: SerialPort
    link: BoardLink
    condition: Condition
    ran: bool
    has_board: bool

    def need_board(self) -> None:
        """Raise SessionError unless the device's own drivers are there, as `board`."""
        if not self.has_board:
            raise SessionError(f"{self.port.device}: the device has no firmware that could do this: flash it")


def make_board(link: BoardLink, folders: Sequence[str]) -> None:
    """Make a stopped device's own drivers, as `board`, from the first of these slots that has them.

    Raises LinkError and BoardError.
    """
    link.run(f"import sys\nsys.path[:0]={list(folders)!r}\nimport lapel_board\nboard=lapel_board.board()")


def take_board(link: BoardLink) -> bool:
    """Make a stopped device's own drivers, as `board`, with its storage mounted; False where its firmware cannot.

    The heap is fresh and every driver begins anew: the interruption may have come in the middle of what one did.
    Raises LinkError and BoardError.
    """
    link.stop(fresh=True)
    try:
        state = SlotState(LinkFiles(link))  # type: ignore[arg-type]
        state.load()
        slot = state.trial or state.active
        folders = [slot_folder(slot)] if slot != NO_SLOT else [slot_folder(one) for one in SLOTS]
        make_board(link, folders)
    except BoardError:
        link.stop(fresh=True)
        return False
    return True


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
        link.guards = ran or starts_again
        link.stop(fresh=False)
        try:
            has_board = take_board(link)
            condition = read_condition(link)
            if ran and condition.objections and not even_busy:
                raise SessionError(
                    f"{port.device}: {' and '.join(condition.objections)}: it was started again and is left alone "
                    "without --even-busy"
                )
            yield Stopped(port, link, condition, ran, has_board)
        except BaseException:
            link.reset()
            raise
        if starts_again:
            link.reset()
