"""Whether the channels work: what each last delivered, since when one fails, and why; in the log and in the ledger.

Rules that hold here
- An error is logged when it appears or changes, and its end when it goes; not at every attempt in between.
- What is known is written by whoever writes for the channels anyway: at once when a channel begins or ceases to fail,
  else every `WRITE_MS`. So a page or command sees it in whatever process the channels are.
- It is an account of what happened, no test: a channel that had nothing to deliver is not known to work.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
import structlog

from lapel_gateway.describe import moment
from lapel_gateway.ledger import writing
from lapel_gateway.ledger.schema import OUTBOX_WAITING, channel_health, outbox

DELIVERY = "delivery"
LINK = "link"
"""The two parts of a channel that can fail: what it delivers, and the link that is tested while it has nothing to."""

WRITE_MS = 15_000
"""How old the ledger's word on a channel that goes on as before may be."""

_log = structlog.get_logger("lapel.deliver")


@dataclass
class _State:
    good_ms: int | None = None
    tried_ms: int | None = None
    failing_ms: int | None = None
    error: str = ""
    written_ms: int | None = None
    changed: bool = False
    fresh: bool = False


class HealthBook:
    """What is wrong now. Threads may report side by side; one writes."""

    def __init__(self, engine: sa.Engine, channels: Iterable[str], now_ms: Callable[[], int]) -> None:
        """``channels``: the configured ones, by name."""
        self._engine = engine
        self._channels = tuple(channels)
        self._now_ms = now_ms
        self._lock = threading.Lock()
        self._states: dict[tuple[str, str], _State] = {}
        self._begun = False

    def errors(self) -> dict[str, str]:
        """What is wrong, "" for nothing: by channel, ``<channel> link`` where a link is tested, and by what else was
        reported on."""
        with self._lock:
            return {
                f"{name} {LINK}" if part == LINK else name: state.error for (name, part), state in self._states.items()
            }

    def report(self, what: str, error: str, part: str = DELIVERY, trouble: str = "delivery", **context: str) -> None:
        """Take note of one attempt at ``what``, and of its error, "" for none."""
        now_ms = self._now_ms()
        with self._lock:
            state = self._states.setdefault((what, part), _State())
            before, state.error, state.fresh = state.error, error, True
            state.tried_ms = now_ms
            if not error:
                state.good_ms, state.failing_ms = now_ms, None
            elif state.failing_ms is None:
                state.failing_ms = now_ms
            # The first word on a channel is news as well: it was not known whether it works.
            state.changed = state.changed or error != before or state.written_ms is None
        told = f"{what} {LINK}" if part == LINK else what
        if error and error != before:
            _log.warning(f"{trouble} is failing and is tried again", channel=told, error=error, **context)
        elif before and not error:
            _log.info(f"{trouble} works again", channel=told)

    def write(self) -> None:
        """Put what is news into the ledger. Raises what the ledger raises; nothing is lost then."""
        now_ms = self._now_ms()
        with self._lock:
            due = {
                key: (state.good_ms, state.tried_ms, state.failing_ms, state.error)
                for key, state in self._states.items()
                if key[0] in self._channels and state.fresh and (state.changed or _old(state.written_ms, now_ms))
            }
        if self._begun and not due:
            return
        with writing(self._engine) as connection:
            if not self._begun:
                connection.execute(sa.delete(channel_health).where(channel_health.c.channel.not_in(self._channels)))
            for (channel, part), values in due.items():
                _put(connection, channel, part, values)
        self._begun = True
        with self._lock:
            for key, values in due.items():
                state = self._states[key]
                state.written_ms = now_ms
                if (state.good_ms, state.tried_ms, state.failing_ms, state.error) == values:
                    state.changed = state.fresh = False


def read_health(connection: sa.Connection, people: Mapping[str, str]) -> list[dict[str, Any]]:
    """The channels of ``people`` (name to whom it reaches, "" for nobody by name) in words, for pages and commands.

    ``state`` is ``works``, ``failing`` or ``unused`` (nothing was delivered yet); ``waiting`` how many parcels it has
    still to take.
    """
    rows = {(row["channel"], row["part"]): row for row in connection.execute(sa.select(channel_health)).mappings()}
    of_channel = sa.select(outbox.c.channel, sa.func.count()).where(outbox.c.state == OUTBOX_WAITING)
    counted = connection.execute(of_channel.group_by(outbox.c.channel)).all()
    waiting = {row[0]: row[1] for row in counted}
    return [
        {
            "channel": name,
            "person": person or None,
            "state": _word([row for part in (DELIVERY, LINK) if (row := rows.get((name, part)))]),
            "waiting": waiting.get(name, 0),
            DELIVERY: _words(rows.get((name, DELIVERY))),
            LINK: _words(rows.get((name, LINK))),
        }
        for name, person in people.items()
    ]


def _old(written_ms: int | None, now_ms: int) -> bool:
    # A clock that was set back makes nothing wait.
    return written_ms is None or not 0 <= now_ms - written_ms < WRITE_MS


def _put(
    connection: sa.Connection, channel: str, part: str, values: tuple[int | None, int | None, int | None, str]
) -> None:
    names = ("good_ms", "tried_ms", "failing_ms", "error")
    new = dict(zip(names, values, strict=True))
    if new["good_ms"] is None:
        del new["good_ms"]  # what an earlier start of the gateway knew still holds
    mine = (channel_health.c.channel == channel, channel_health.c.part == part)
    if not connection.execute(sa.update(channel_health).where(*mine).values(new)).rowcount:
        connection.execute(sa.insert(channel_health).values(channel=channel, part=part, **new))


def _word(rows: list[sa.RowMapping]) -> str:
    if any(row["failing_ms"] is not None for row in rows):
        return "failing"
    return "works" if rows else "unused"


def _words(row: sa.RowMapping | None) -> dict[str, Any] | None:
    if row is None:
        return None
    return {
        "good": moment(row["good_ms"]),
        "tried": moment(row["tried_ms"]),
        "failing": moment(row["failing_ms"]),
        "error": row["error"] or None,
    }
