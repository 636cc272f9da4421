"""Reads everything into one picture, again and again, and only what can have changed since the last time.

Rules that hold here
- One connection, which only reads. SQLite itself says whether another has written (`PRAGMA data_version`): a look at a
  ledger in which nothing happened costs some microseconds.
- Whoever waits for help comes first: alarms and visits are read as soon as a step of one is in its log; steps that
  follow at once are told together.
- All else, clips, devices, channels, rates, the machine, is read together and as seldom as a second allows, however
  busy ingest is: each change of it goes to everybody who looks on.
- What depends on the time alone (a device falls silent, a plan comes into view) is judged then as well.
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
from lapel_gateway.ledger.schema import alarm_log
from lapel_gateway.ledger.visit_tables import visit_log
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

QUIET_S = 1.0
"""How often everything is read while the ledger does not change."""

BUSY_S = 0.75
"""How often while it changes: with the time it takes to tell, nobody is more than a second behind."""

STEPS_S = 0.25
"""How long after a step the next is told, where one follows another."""

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
        if self._wholly(self._whole_version, now_s):
            return True
        version = self._guarded(self._version)
        return self._wholly(version, now_s) or (version != self._steps_version and now_s >= self._steps_at)

    def look(self, now_ms: int, at_once: bool = False) -> Picture:
        """The picture as of now (Unix ms); ``at_once`` for somebody who asks for it, and waits for no step to follow.

        Raises what the ledger raises.
        """
        return self._guarded(lambda connection: self._look(connection, now_ms, at_once))

    def close(self) -> None:
        """Let go of the ledger; the next look opens it again."""
        connection, self._connection = self._connection, None
        self._start_anew()
        if connection is not None:
            connection.close()

    def _start_anew(self) -> None:
        self._whole_version: int | None = None  # of the ledger when everything was last read
        self._whole_s: float | None = None
        self._steps_version: int | None = None  # when steps were last looked for
        self._steps_at = 0.0
        self._steps: list[tuple[Any, ...]] = []
        self._growth_at = 0.0
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

    def _wholly(self, version: int | None, now_s: float) -> bool:
        """Whether it is time to read everything."""
        if self._whole_s is None:
            return True
        return now_s >= self._whole_s + (QUIET_S if version == self._whole_version else BUSY_S)

    def _look(self, connection: sa.Connection, now_ms: int, at_once: bool) -> Picture:
        now_s = self._monotonic_s()
        # Asked before the transaction: what is written in between is at worst read twice.
        version = self._version(connection)
        wholly = self._wholly(version, now_s)
        with connection.begin():
            if wholly or at_once or now_s >= self._steps_at:
                self._read_steps(connection, version, now_ms, now_s)
            if wholly:
                self._read_all(connection, version, now_ms, now_s)
        mark_late(self._sections["visits"], now_ms)
        # A copy: what was handed out before does not change any more.
        return Picture(now_ms, {**self._sections, "visits": dict(self._sections["visits"])})

    def _version(self, connection: sa.Connection) -> int:
        driver = connection.connection.driver_connection
        if not isinstance(driver, sqlite3.Connection):
            raise TypeError("the ledger is not an SQLite database")
        ((version,),) = driver.execute("PRAGMA data_version").fetchall()
        return int(version)

    def _read_steps(self, connection: sa.Connection, version: int, now_ms: int, now_s: float) -> None:
        """Alarms and visits, where a step of one is in its log."""
        if version == self._steps_version:
            return
        self._steps_version = version
        steps = _STEPS.all(connection, {})
        if steps != self._steps:
            if self._steps:
                self._steps_at = now_s + STEPS_S
            self._steps = steps
            self._read_alarms(connection)
            self._sections["visits"] = read_visits(connection, self._around.rules, now_ms)

    def _read_alarms(self, connection: sa.Connection) -> None:
        alarms, more = read_alarms(connection, self._around.channels)
        self._sections |= {"alarms": alarms, "more": {**self._sections["more"], "alarms": more}}

    def _read_all(self, connection: sa.Connection, version: int, now_ms: int, now_s: float) -> None:
        around, sections = self._around, self._sections
        # Also where nothing was written: a plan comes into view by the time alone.
        sections["visits"] = read_visits(connection, around.rules, now_ms)
        if version != self._whole_version:
            self._read_alarms(connection)
            clips, more = read_clips(connection)
            sections |= {"clips": clips, "more": {**sections["more"], "clips": more}}
            self._devices.read(connection)
            sections["channels"] = read_channels(connection, around.channels)
            sections["deliveries"] = read_waiting(connection)
        sections["devices"] = self._devices.judge(now_ms)
        contact_ms = self._devices.newest_contact_ms
        sections["lanes"] = self._lanes.read(connection, sections["clips"].values(), contact_ms, now_ms)
        if now_s >= self._growth_at:
            self._growth_at = now_s + GROWTH_S
            self._daily = daily_bytes(connection, now_ms)
        sections["storage"] = read_storage(around.folders, around.low_bytes, self._daily)
        sections["roles"] = read_roles(connection, around.roles, now_ms)
        sections["broker"] = {"broker": around.broker()}
        self._whole_s, self._whole_version = now_s, version
