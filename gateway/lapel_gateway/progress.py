"""Whether each role is alive and comes round: one row a role in the ledger, where every process finds it.

Rules that hold here
- A role's own thread only notes when it came round. One more thread in each process writes that down, so that no alarm
  and no batch waits for it, and no disk is waited for: after a loss of power no role is alive anyway.
- What is written is the truth about the ledger too: a row stays fresh only as long as the ledger can be written.
- A role that ends in order takes its row with it; one that is killed leaves it to grow old.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import sqlalchemy as sa
import structlog
from sqlalchemy.dialects.sqlite import insert

from lapel_gateway.ledger import tidy, writing
from lapel_gateway.ledger.direct import Direct
from lapel_gateway.ledger.schema import role_progress
from lapel_gateway.transport import BrokerLink

BEAT_S = 1.0
"""Between two looks at the roles of this process."""

FRESH_MS = 3_500
"""A row older than this is of a role that died or hangs. With a beat, below the five seconds in which that is to be
known."""

TIDY_BEATS = 10
"""Beats between two checkpoints of the write-ahead log by this thread, so that an alarm's never has to."""

STOP_S = 5.0

_COLUMNS = ("role", "started_ms", "turned_ms", "connected", "waiting_ms", "backlog_bytes")
_INSERT = insert(role_progress)
_PUT = Direct(
    _INSERT.on_conflict_do_update(
        index_elements=["role"], set_={name: _INSERT.excluded[name] for name in _COLUMNS if name != "role"}
    ),
    _COLUMNS,
)
_ALL = Direct(sa.select(*(role_progress.c[name] for name in _COLUMNS)))
_REMOVE = Direct(sa.delete(role_progress).where(role_progress.c.role == sa.bindparam("of_role")))

_log = structlog.get_logger("lapel.gateway")


@dataclass(frozen=True)
class Pulse:
    """What a role says of itself. Times are Unix milliseconds."""

    turned_ms: int
    """When its own thread last came round."""
    waiting_ms: int | None = None
    """Since when the oldest message that it has in hand waits to be taken; None = it has none."""


@dataclass(frozen=True)
class Progress:
    """What the ledger says of a role. Times are Unix milliseconds."""

    role: str
    started_ms: int
    turned_ms: int
    connected: bool | None
    """Whether the broker has all its subscriptions; None = it needs none."""
    waiting_ms: int | None
    backlog_bytes: int

    def fresh(self, now_ms: int) -> bool:
        """Whether it is alive and comes round."""
        # A clock that was set back must not keep a dead role alive; one that lives writes a new time within a beat.
        return abs(now_ms - self.turned_ms) <= FRESH_MS


class Beating(Protocol):
    """A role that can be asked."""

    def pulse(self) -> Pulse:
        """What it says of itself now; returns at once."""


class ProgressBook:
    """Writes the progress of the roles of one process until it is stopped."""

    def __init__(self, engine: sa.Engine, now_ms: Callable[[], int]) -> None:
        self._engine = engine
        self._now_ms = now_ms
        self._roles: dict[str, tuple[Beating, Sequence[BrokerLink], int]] = {}
        self._ended = threading.Event()
        self._trouble = False
        self._thread = threading.Thread(target=self._run, name="progress", daemon=True)

    def add(self, role: str, beating: Beating, links: Sequence[BrokerLink]) -> None:
        """A role of this process that was started, with its connections; before `start`."""
        self._roles[role] = (beating, links, self._now_ms())

    def start(self) -> None:
        """Begin to write."""
        self._thread.start()

    def stop(self) -> None:
        """End, and take the rows along as far as the ledger lets that happen now."""
        self._ended.set()
        if self._thread.is_alive():
            self._thread.join(STOP_S)

    def write(self) -> None:
        """Write what the roles say now. Raises what the ledger raises."""
        rows = []
        for role, (beating, links, started_ms) in self._roles.items():
            pulse = beating.pulse()
            values = {"role": role, "started_ms": started_ms, "turned_ms": pulse.turned_ms}
            connected = all(link.ready.is_set() for link in links) if links else None
            backlog = sum(link.backlog_bytes for link in links)
            rows.append({**values, "connected": connected, "waiting_ms": pulse.waiting_ms, "backlog_bytes": backlog})
        with writing(self._engine, durable=False) as connection:
            _PUT.run_each(connection, rows)

    def _run(self) -> None:
        beats = 0
        while not self._ended.is_set():
            beats += 1
            try:
                self.write()
                if beats % TIDY_BEATS == 0:
                    tidy(self._engine)
                if self._trouble:
                    self._trouble = False
                    _log.info("the roles' progress is written again")
            except (sa.exc.SQLAlchemyError, OSError) as error:
                if not self._trouble:
                    self._trouble = True
                    reason = str(error).partition("\n")[0]
                    _log.error("the roles' progress cannot be written: they count as dead", reason=reason)
            self._ended.wait(BEAT_S)
        try:
            with writing(self._engine, durable=False) as connection:
                _REMOVE.run_each(connection, [{"of_role": role} for role in self._roles])
        except (sa.exc.SQLAlchemyError, OSError) as error:
            _log.warning("the roles' progress is left to grow old", reason=str(error).partition("\n")[0])


def read_progress(connection: sa.Connection) -> dict[str, Progress]:
    """What the ledger says of every role that runs or died, by its name."""
    found = {}
    for role, started_ms, turned_ms, connected, waiting_ms, backlog in _ALL.all(connection, {}):
        up = None if connected is None else bool(connected)
        found[role] = Progress(role, started_ms, turned_ms, up, waiting_ms, backlog)
    return found
