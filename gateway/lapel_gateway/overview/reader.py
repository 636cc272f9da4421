"""Reads everything into one picture, again and again, and only what can have changed since the last time.

Rules that hold here
- One connection, which only reads. SQLite itself says whether another has written (`PRAGMA data_version`): a look at a
  ledger in which nothing happened costs some microseconds.
- Whoever waits for help comes first: alarms and visits are read as soon as a step of one is in its log; what else there
  is to tell of them, clips, devices, channels and rates twice a second at most, however busy ingest is; the machine
  every second.
- What depends on the time alone (a device falls silent, a deadline passes) is judged every second.
- What was read of the ledger is of one moment, or there is no picture: an error is raised, never an old one returned.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import sqlalchemy as sa

from lapel_gateway.describe import moment
from lapel_gateway.ledger.direct import Direct
from lapel_gateway.ledger.schema import alarm_log, visit_log
from lapel_gateway.overview.alarms import read_alarms
from lapel_gateway.overview.clips import read_clips
from lapel_gateway.overview.deliveries import read_channels, read_waiting
from lapel_gateway.overview.devices import DeviceReader
from lapel_gateway.overview.lanes import LaneMeter
from lapel_gateway.overview.machine import daily_bytes, read_roles, read_storage
from lapel_gateway.overview.surroundings import Surroundings
from lapel_gateway.overview.visits import mark_late, read_visits

SECTIONS = (
    *("alarms", "visits", "clips", "devices", "channels", "deliveries", "lanes", "storage", "roles", "broker"),
    "more",
)
"""In the order in which people need them. Each is {key: words}."""

JUDGE_S = 1.0
"""How often what depends on the time alone is judged where nothing else happens."""

SLOW_S = 0.5
"""How often everything is read while the ledger changes."""

MACHINE_S = 1.0
GROWTH_S = 600.0
"""How often the growth of clips is counted, which reads a week of them."""


_STEPS = Direct(
    sa.select(
        sa.select(sa.func.max(alarm_log.c.id)).scalar_subquery(),
        sa.select(sa.func.max(visit_log.c.id)).scalar_subquery(),
    )
)
"""The newest steps: of any alarm, of any visit."""

T = TypeVar("T")


@dataclass(frozen=True)
class Picture:
    """What is going on, as of ``at_ms``; plain data that JSON takes."""

    at_ms: int
    sections: dict[str, dict[str, Any]]

    def words(self) -> dict[str, Any]:
        """For pages and commands: the sections, and when they were read."""
        return {"time": moment(self.at_ms), **self.sections}

    def changes_since(self, before: Picture) -> dict[str, dict[str, Any]]:
        """{section: {key: words, None for what is gone}} that lead from ``before`` to this."""
        found = {}
        for name, new in self.sections.items():
            old = before.sections.get(name, {})
            if new is old:
                continue
            # A key whose words are the same object was not read again.
            changed = {key: words for key, words in new.items() if (was := old.get(key)) is not words and was != words}
            changed |= dict.fromkeys(old.keys() - new.keys())
            if changed:
                found[name] = changed
        return found


class Reader:
    """One reader of a ledger and what stands around it; for one thread at a time."""

    def __init__(
        self, engine: sa.Engine, around: Surroundings, monotonic_s: Callable[[], float] = time.monotonic
    ) -> None:
        self._engine = engine
        self._around = around
        self._monotonic_s = monotonic_s
        self._connection: sa.Connection | None = None
        self._start_anew()

    def is_due(self) -> bool:
        """Whether a look would find something new, or it is time for one. Raises what the ledger raises."""
        now_s = self._monotonic_s()
        if now_s >= self._judge_at or (self._stale and now_s >= self._slow_at):
            return True
        return self._guarded(lambda connection: self._version(connection) != self._seen)

    def look(self, now_ms: int) -> Picture:
        """The picture as of now (Unix ms). Raises what the ledger raises."""
        return self._guarded(lambda connection: self._look(connection, now_ms))

    def close(self) -> None:
        """Let go of the ledger; the next look opens it again."""
        connection, self._connection = self._connection, None
        self._start_anew()
        if connection is not None:
            connection.close()

    def _start_anew(self) -> None:
        self._seen: int | None = None
        self._steps: list[tuple[Any, ...]] = []
        self._stale = False
        self._judge_at = self._slow_at = self._machine_at = self._growth_at = 0.0
        self._daily = 0
        self._sections: dict[str, dict[str, Any]] = {name: {} for name in SECTIONS}
        self._devices = DeviceReader(self._around.heartbeat_late_ms)
        self._lanes = LaneMeter()

    def _guarded(self, do: Callable[[sa.Connection], T]) -> T:
        try:
            self._connection = self._connection or self._engine.connect()
            return do(self._connection)
        except BaseException:
            self.close()
            raise

    def _look(self, connection: sa.Connection, now_ms: int) -> Picture:
        now_s = self._monotonic_s()
        # Asked before the transaction: what is written in between is at worst read twice.
        version = self._version(connection)
        with connection.begin():
            self._read(connection, version != self._seen, now_ms, now_s)
        self._seen = version
        if now_s >= self._judge_at:
            self._judge_at = now_s + JUDGE_S
            self._sections["devices"] = self._devices.judge(now_ms)
        mark_late(self._sections["visits"], now_ms)
        # A copy: what was handed out before does not change any more.
        return Picture(now_ms, {**self._sections, "visits": dict(self._sections["visits"])})

    def _version(self, connection: sa.Connection) -> int:
        driver = connection.connection.driver_connection
        if not isinstance(driver, sqlite3.Connection):
            raise TypeError("the ledger is not an SQLite database")
        ((version,),) = driver.execute("PRAGMA data_version").fetchall()
        return int(version)

    def _read(self, connection: sa.Connection, changed: bool, now_ms: int, now_s: float) -> None:
        around, sections = self._around, self._sections
        self._stale = self._stale or changed
        machine = now_s >= self._machine_at
        all_of_it = self._stale and now_s >= self._slow_at
        steps = _STEPS.all(connection, {}) if changed else self._steps
        if all_of_it or steps != self._steps:
            self._steps = steps
            alarms, more = read_alarms(connection, around.channels)
            sections |= {"alarms": alarms, "more": {**sections["more"], "alarms": more}}
            sections["visits"] = read_visits(connection, around.rules, now_ms)
        elif machine:
            # A plan comes into view by the time alone.
            sections["visits"] = read_visits(connection, around.rules, now_ms)
        if all_of_it:
            clips, more = read_clips(connection)
            sections |= {"clips": clips, "more": {**sections["more"], "clips": more}}
            self._devices.read(connection)
            self._judge_at = now_s
            sections["channels"] = read_channels(connection, around.channels)
            sections["deliveries"] = read_waiting(connection)
        if all_of_it or (machine and now_s >= self._slow_at):
            self._stale = False
            self._slow_at = now_s + SLOW_S
            contact_ms = self._devices.newest_contact_ms
            sections["lanes"] = self._lanes.read(connection, sections["clips"].values(), contact_ms, now_ms)
        if machine:
            self._machine_at = now_s + MACHINE_S
            if now_s >= self._growth_at:
                self._growth_at = now_s + GROWTH_S
                self._daily = daily_bytes(connection, now_ms)
            sections["storage"] = read_storage(around.folders, around.low_bytes, self._daily)
            sections["roles"] = read_roles(connection, around.roles, now_ms)
        sections["broker"] = {"broker": around.broker()}
