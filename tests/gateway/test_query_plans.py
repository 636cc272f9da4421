"""No statement that a batch, an alarm or a heartbeat leads to reads a whole table: costs must not grow with it."""

from __future__ import annotations

import re
import sqlite3
from typing import Any

import sqlalchemy as sa

from lapel_protocol.reports import HEART_BLOCKED, VISIT_CHECK_IN, VISIT_END, VISIT_START
from lapel_protocol.updating import CAUSE_NONE, UPDATE_GOOD
from tests.firmware.releases import release
from tests.gateway.test_updates import Fleet
from tests.gateway.visits.day import MINUTE_MS, Day
from tests.support.pair import DevicePair

GROWING = (
    *("clip", "event", "epoch", "alarm", "alarm_log", "outbox", "delivery", "notice", "device"),
    *("visit", "visit_log", "position", "device_firmware", "device_health"),
)
_SCAN = re.compile(rf"SCAN (?:{'|'.join(GROWING)})(?: |$)")
_STATEMENT = re.compile(r"\s*(?:WITH|SELECT|INSERT|UPDATE|DELETE)\b", re.IGNORECASE)


def watch(engine: sa.Engine) -> set[str]:
    """The statements that are run from now on, their values filled in."""
    seen: set[str] = set()

    @sa.event.listens_for(engine, "checkout")
    def trace(connection: sqlite3.Connection, _record: Any, _proxy: Any) -> None:
        connection.set_trace_callback(seen.add)

    return seen


def scans(pair: DevicePair, statements: set[str]) -> list[str]:
    """Statements that read a whole table, each with its plan."""
    found = []
    connection = sqlite3.connect(pair.folder / "ledger.sqlite")
    for statement in sorted(statements):
        if _STATEMENT.match(statement):
            plan = [row[3] for row in connection.execute("EXPLAIN QUERY PLAN " + statement)]
            found += [f"{step}: {statement}" for step in plan if _SCAN.match(step)]
    connection.close()
    return found


def everything_once(pair: DevicePair) -> None:
    """Hello, heartbeats, an alarm with its clip, clips in order, late, twice and cut, and what no device would send."""
    one = pair.one
    pair.send(one.hello())
    alarm = one.alarm()
    pair.raise_alarm(alarm)
    first = one.record(9, alarm=alarm)
    pair.send(*first.messages(2)[:2])
    pair.send(one.heartbeat(HEART_BLOCKED, clips_held=1))
    pair.send(*first.messages(2)[3:], ("nonsense", b""), one.on_event_lane(b"noise"))
    pair.send(*first.messages(2))
    pair.send(*first.messages(2))
    second, third = one.record(3), one.record(3)
    pair.send(*third.messages())
    pair.send(*second.messages(end=False), one.cut(second, 2))
    pair.now_ms += 30_000
    pair.send(one.heartbeat(clips_held=1))
    pair.raise_alarm(one.cancel(alarm))
    one.boot()
    pair.send(one.hello())
    pair.alarms.untold(pair.now_ms)
    a_visit_once(pair)
    an_update_once(pair)


def a_visit_once(pair: DevicePair) -> None:
    """A visit of the device: begun, located, watched over until it is overdue, told again after a hello, ended."""
    day = Day(pair)
    day.say(VISIT_START, 30)
    day.hello()
    pair.send(day.location(1, 2, visit=1), day.location(1, 2, visit=2))
    day.pass_time(31, beats=True)
    pair.now_ms -= 10 * MINUTE_MS
    day.poll()
    day.say(VISIT_CHECK_IN)
    day.say(VISIT_END)
    day.say(VISIT_END)
    day.poll()


def an_update_once(pair: DevicePair) -> None:
    """A device that runs from a slot is offered a release, asks for a piece of it, and says what became of it."""
    fleet = Fleet(pair)
    made = release(8)
    fleet.begin(made)
    fleet.hello()
    fleet.beat()
    fleet.ask(made, 0, 1000)
    fleet.say(UPDATE_GOOD, CAUSE_NONE, made)
    fleet.hello(made=made)


def test_nothing_in_the_hot_path_reads_a_whole_table(pair: DevicePair) -> None:
    seen = watch(pair.engine)
    everything_once(pair)
    assert len(seen) > 50
    assert scans(pair, seen) == []


def test_a_statement_that_does_would_be_found(pair: DevicePair) -> None:
    seen = watch(pair.engine)
    with pair.engine.connect() as connection:
        connection.exec_driver_sql("SELECT clip FROM clip WHERE suite = 9")
    assert len(scans(pair, seen)) == 1
