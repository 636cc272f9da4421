"""Holding a board: interrupted, also where it keeps starting itself again and has another port each time."""

from __future__ import annotations

from .link import BoardLink, LinkError
from .ports import SerialPort, wait_for_port

_ATTEMPTS = 5
RETURN_TIMEOUT_S = 5.0


def moved(port: SerialPort, timeout_s: float = RETURN_TIMEOUT_S) -> SerialPort | None:
    """The port that a board has now which went away from this one; None where it stays away, or never went."""
    now = wait_for_port(port.serial_number, timeout_s)
    return None if now == port else now


def hold(port: SerialPort, fresh: bool, remedy: str) -> tuple[SerialPort, BoardLink]:
    """The board, interrupted, and the port that it has now. `fresh`: with an empty heap, at once, since what the
    interruption cut short may still want to say something. `remedy`: what to do about one that never stays.

    Raises LinkError.
    """
    for _ in range(_ATTEMPTS):
        link: BoardLink | None = None
        try:
            link = BoardLink(port.device)
            link.stop(fresh=fresh)
            return port, link
        except LinkError:
            if link is not None:
                link.close()
            now = moved(port)
            if now is None:
                raise
            port = now
    raise LinkError(f"{port.device}: the device keeps starting itself again: {remedy}")
