"""One frame to a receiver and one answer back, over TCP, within a time that nothing can stretch.

Rules that hold here
- Name look-up, connecting, sending and the answer end together at the deadline, whatever the other side does.
- A connection carries one frame. One that is kept open may be dead without anybody knowing, and the alarm that finds
  that out loses a whole time-out; a new one costs two round trips.
- An answer ends with CR, and is never longer than a frame.
"""

from __future__ import annotations

import queue
import socket
import threading
import time
from dataclasses import dataclass
from typing import Any

from lapel_gateway.channels.sia_dc09.frame import MAX_FRAME_BYTES


class LinkError(Exception):
    """No answer came; the message says how far it got."""


@dataclass(frozen=True)
class Address:
    """Where a receiver listens."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


def exchange(address: Address, frame: bytes, deadline: float) -> bytes:
    """Send a frame and return the answer, up to its CR; ``deadline`` is of `time.monotonic`. Raises LinkError."""
    with _connected(address, deadline) as connection:
        try:
            connection.settimeout(_left(deadline))
            connection.sendall(frame)
            answer = b""
            while b"\r" not in answer:
                connection.settimeout(_left(deadline))
                part = connection.recv(MAX_FRAME_BYTES + 1 - len(answer))
                if not part:
                    raise LinkError("the connection was closed before an answer came")
                answer += part
                if len(answer) > MAX_FRAME_BYTES:
                    raise LinkError("an answer without an end")
        except TimeoutError:
            raise LinkError("no answer in time") from None
        except OSError as error:
            raise LinkError(f"the connection broke: {error.strerror}") from None
    return answer[: answer.index(b"\r") + 1]


def _connected(address: Address, deadline: float) -> socket.socket:
    """A connection to the first of the host's addresses that takes one."""
    found = _look_up(address, deadline)
    reason = "no such host"
    for number, (family, kind, protocol, _, place) in enumerate(found):
        # One that swallows packets must leave time for those after it.
        share_s = _left(deadline) / (len(found) - number)
        connection = socket.socket(family, kind, protocol)
        try:
            connection.settimeout(share_s)
            connection.connect(place)
        except TimeoutError:
            reason = "no connection in time"
        except OSError as error:
            reason = f"no connection: {error.strerror}"
        else:
            return connection
        connection.close()
    raise LinkError(reason)


def _look_up(address: Address, deadline: float) -> list[Any]:
    """The host's addresses. The resolver has time-outs of its own: a thread waits for it, and is left behind."""
    try:
        return socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
    except (OSError, UnicodeError):
        pass  # a name
    answers: queue.SimpleQueue[list[Any]] = queue.SimpleQueue()

    def ask() -> None:
        try:
            answers.put(list(socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)))
        except (OSError, UnicodeError):
            answers.put([])

    threading.Thread(target=ask, name=f"look-up of {address.host}", daemon=True).start()
    try:
        return answers.get(timeout=_left(deadline))
    except queue.Empty:
        raise LinkError("its name was not resolved in time") from None


def _left(deadline: float) -> float:
    """Seconds until the deadline; raises LinkError when it has passed."""
    left_s = deadline - time.monotonic()
    if left_s <= 0:
        raise LinkError("no answer in time")
    return left_s
