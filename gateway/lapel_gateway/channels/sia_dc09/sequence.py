"""Sequence numbers of frames: one for each message, the same for every repeat of it, also after a crash.

A receiver tells a repeat by its number and drops it. So the number of a message must not change between attempts, or
the centre sees one alarm twice; and two messages that follow each other must never share one, or the centre drops an
alarm that it has acknowledged. Numbers derived from a message's name or row would collide by chance. They are counted
here, 0001 to 9999 and again, and remembered in a file with the messages that got them.

Rules that hold here
- The file is durable before the number is used.
- A file that cannot be written holds nothing up: the alarm goes out, its number is remembered by this process only.
- A file that cannot be read is started anew at a random number, which the receiver has hardly seen lately.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path

import structlog

from lapel_gateway import durable
from lapel_gateway.channels.sia_dc09.frame import MAX_SEQUENCE

MAX_REMEMBERED = 512
"""Messages whose number is remembered: far more than wait for a receiver that was away for a day, and few enough that
none of their numbers comes round again in the meantime."""

MAX_FILE_BYTES = 1 << 20

_log = structlog.get_logger("lapel.sia")


class SequenceNumbers:
    """Numbers for one receiver. Used by one thread."""

    def __init__(self, path: Path, draw: Callable[[int, int], int] = random.randint) -> None:
        """``path`` is the file, its folder made when needed; ``draw`` gives a random number between two, inclusive."""
        self._path = path
        self._last = 0
        self._given: dict[str, int] = {}
        try:
            self._restore(path.read_bytes())
        except FileNotFoundError:
            pass
        except (OSError, ValueError, RecursionError) as error:
            self._last = draw(1, MAX_SEQUENCE)
            self._given = {}
            reason = error.strerror if isinstance(error, OSError) else "not what was written there"
            _log.warning("sequence numbers are started anew", file=str(path), reason=reason)

    def number(self, message_id: str) -> int:
        """The number of a message, 1 to 9999: a new one, durably, unless it has one."""
        if message_id not in self._given:
            self._last = self._last % MAX_SEQUENCE + 1
            self._given[message_id] = self._last
            while len(self._given) > MAX_REMEMBERED:
                del self._given[next(iter(self._given))]
            self._keep()
        return self._given[message_id]

    def _keep(self) -> None:
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            durable.write_file(self._path, json.dumps({"last": self._last, "given": self._given}).encode())
        except OSError as error:
            _log.warning("a sequence number could not be written down", file=str(self._path), reason=error.strerror)

    def _restore(self, content: bytes) -> None:
        """Raises ValueError."""
        if len(content) > MAX_FILE_BYTES:
            raise ValueError("too long")
        found = json.loads(content)
        if not isinstance(found, dict) or not isinstance(found.get("given"), dict):
            raise ValueError("no table")
        numbers = [found.get("last"), *found["given"].values()]
        if not all(isinstance(number, int) and 1 <= number <= MAX_SEQUENCE for number in numbers):
            raise ValueError("no number")
        self._last, self._given = found["last"], found["given"]
