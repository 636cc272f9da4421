"""Logs: one line for each clip and each alarm, one id from press to delivery, repeats collapsed.

Rules that hold here
- What a device or a broker sent is made printable and capped before it is logged: `printable`.
- A thing that keeps happening is logged when it begins and then counted: `Repeats`.
- Whatever a line says of an alarm, in whichever role, it names the alarm in the key ``alarm``: by the id that it has
  in the ledger, from its arrival to the last try of a channel and the receipts.
- No secret is ever passed to a logger.
"""

from __future__ import annotations

import logging
import sys
from collections import OrderedDict
from typing import Any, TextIO

import structlog

MAX_TEXT = 120
"""Characters of foreign text in a log line."""

REPEAT_MS = 60_000
"""A repeated line is written once in this time, with how often it happened since."""

MAX_KEYS = 4096
"""Different lines whose repeats are counted; far above devices times reasons in practice, and a bound all the same."""


def configure(*, json_lines: bool = False, stream: TextIO | None = None) -> None:
    """Send log lines to ``stream`` (standard error by default): readable ones, or one JSON object a line."""
    target = stream or sys.stderr
    renderer: Any = structlog.processors.JSONRenderer()
    if not json_lines:
        renderer = structlog.dev.ConsoleRenderer(colors=target.isatty(), pad_event_to=0)
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.WriteLoggerFactory(file=target),
        cache_logger_on_first_use=False,
    )


def printable(text: str | bytes, limit: int = MAX_TEXT) -> str:
    """Foreign text for one log line: control and other unprintable characters escaped, at most ``limit`` characters."""
    if isinstance(text, bytes):
        text = text[: limit + 1].decode("utf-8", "backslashreplace")
    cut = text[: limit + 1]
    safe = "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in cut)
    return safe if len(safe) <= limit else safe[: limit - 1] + "…"


class Repeats:
    """Decides which of many equal lines are written. Times are Unix milliseconds."""

    def __init__(self, window_ms: int = REPEAT_MS) -> None:
        self._window_ms = window_ms
        self._seen: OrderedDict[tuple[str, ...], tuple[int, int]] = OrderedDict()

    def tell(self, now_ms: int, *key: str) -> int:
        """How many occurrences to write a line for now, this one included; 0 = it was told of lately, stay silent."""
        told_ms, silent = self._seen.pop(key, (None, 0))
        if told_ms is not None and 0 <= now_ms - told_ms < self._window_ms:
            self._seen[key] = (told_ms, silent + 1)
            return 0
        self._seen[key] = (now_ms, 0)
        if len(self._seen) > MAX_KEYS:
            self._seen.popitem(last=False)
        return silent + 1

    def over(self, *key: str) -> bool:
        """The thing has stopped; returns whether it had been told of, so that its end is worth a line."""
        return self._seen.pop(key, None) is not None
