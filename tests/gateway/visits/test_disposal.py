"""History of visits is kept as long as the settings say; what an open alarm is about stays, the rest is really gone."""

from __future__ import annotations

import json
import sqlite3

import pytest

from lapel_gateway.alarms.kinds import VISIT_OVERDUE
from lapel_gateway.settings.visits import VisitsSection
from lapel_gateway.visits.disposal import dispose
from tests.gateway.visits.day import DAY_MS, MINUTE_MS, Day
from tests.gateway.visits.test_positions import HERE, traces
from tests.support.pair import DevicePair

RULES = VisitsSection(keep_days=90, position_keep_days=30)
SECRET_PLACE = "Farthing Wood 17"


@pytest.fixture
def day(pair: DevicePair) -> Day:
    return Day(pair, RULES)


def counts(day: Day) -> tuple[int, int, bool]:
    return day.pair.count("visit"), day.pair.count("position"), day.pair.count("visit_log") > 0


def visit_with_position(day: Day, minutes: int = 60) -> int:
    number = day.start(minutes, place=SECRET_PLACE)
    day.pair.send(day.location(*HERE, visit=number))
    return number


def test_a_visit_and_its_positions_go_when_their_time_is_over(day: Day) -> None:
    day.end(visit_with_position(day))
    day.pair.now_ms += 30 * DAY_MS - MINUTE_MS
    assert dispose(day.pair.engine, RULES, day.now_ms).positions == 0
    day.pair.now_ms += 2 * MINUTE_MS
    gone = dispose(day.pair.engine, RULES, day.now_ms)
    assert ((gone.visits, gone.positions), counts(day)) == ((0, 1), (1, 0, True))
    day.pair.now_ms += 60 * DAY_MS
    gone = dispose(day.pair.engine, RULES, day.now_ms)
    assert ((gone.visits, gone.positions), counts(day)) == ((1, 0), (0, 0, False))
    assert (day.pair.tally("visits_disposed"), day.pair.tally("positions_disposed")) == (1, 1)
    assert dispose(day.pair.engine, RULES, day.now_ms).visits == 0


def test_what_runs_or_is_planned_stays(day: Day) -> None:
    day.start(60)
    day.start(60, person="Bo", planned_ms=day.now_ms)
    assert dispose(day.pair.engine, RULES, day.now_ms + 400 * DAY_MS).visits == 0
    assert day.pair.count("visit") == 2


def test_what_an_open_alarm_is_about_stays_until_long_after_it_was_resolved(day: Day) -> None:
    number = visit_with_position(day, 10)
    day.pass_time(11, beats=True)
    day.end(number)
    day.pair.now_ms += 200 * DAY_MS
    dispose(day.pair.engine, RULES, day.now_ms)
    assert counts(day) == (1, 1, True)
    assert "last position" in day.pair.row("alarm")["detail"]
    day.resolve()
    dispose(day.pair.engine, RULES, day.now_ms + 29 * DAY_MS)
    assert counts(day) == (1, 1, True)
    dispose(day.pair.engine, RULES, day.now_ms + 31 * DAY_MS)
    assert counts(day) == (1, 0, True)
    dispose(day.pair.engine, RULES, day.now_ms + 91 * DAY_MS)
    assert counts(day) == (0, 0, False)
    alarm = day.pair.row("alarm", "kind = :kind", kind=VISIT_OVERDUE)
    assert (alarm["visit"], alarm["person"]) == (None, "Zoë Quinn")


def test_a_position_goes_from_the_alarms_words_and_from_what_was_sent_and_from_the_file(day: Day) -> None:
    number = visit_with_position(day, 10)
    day.pass_time(11, beats=True)
    day.pair.escalate()
    assert "last position" in json.loads(day.pair.row("outbox", "kind = 'alarm'")["payload"])["detail"]
    day.end(number)
    day.resolve()
    with sqlite3.connect(day.pair.folder / "ledger.sqlite") as connection:
        connection.execute("UPDATE outbox SET state = 'done'")
    connection.close()
    assert traces(day.pair.folder, HERE)
    dispose(day.pair.engine, RULES, day.now_ms + 31 * DAY_MS)
    assert "last position" not in day.pair.row("alarm")["detail"]
    assert SECRET_PLACE in day.pair.row("alarm")["detail"]
    day.pair.stop()
    checkpoint = sqlite3.connect(day.pair.folder / "ledger.sqlite")
    checkpoint.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    checkpoint.close()
    assert traces(day.pair.folder, HERE) == []


def test_nothing_of_an_old_visit_is_left_but_that_there_was_an_alarm(day: Day) -> None:
    number = day.start(10, place=SECRET_PLACE, purpose="Swordfish", risk="Swordfish", present="Swordfish")
    day.pair.send(day.location(*HERE, visit=number))
    day.pass_time(11, beats=True)
    day.pair.escalate()
    day.extend(10)
    day.pass_time(11, beats=True)
    day.end(number)
    day.resolve()
    with sqlite3.connect(day.pair.folder / "ledger.sqlite") as connection:
        connection.execute("UPDATE outbox SET state = 'done'")
    connection.close()
    dispose(day.pair.engine, RULES, day.now_ms + 91 * DAY_MS)
    alarm = day.pair.row("alarm", "kind = :kind", kind=VISIT_OVERDUE)
    assert (alarm["detail"], alarm["person"], alarm["visit"]) == ("a visit is overdue", "Zoë Quinn", None)
    assert day.pair.count("notice", "kind = 'visit_amber'") == 0
    day.pair.stop()
    checkpoint = sqlite3.connect(day.pair.folder / "ledger.sqlite")
    checkpoint.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    checkpoint.close()
    kept = b"".join(path.read_bytes() for path in day.pair.folder.rglob("*") if path.is_file())
    assert SECRET_PLACE.encode() not in kept
    assert b"Swordfish" not in kept
