"""Visits while clocks step, the gateway is killed and restarted, and a visit cannot be looked at."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
import sqlalchemy as sa
from structlog.testing import capture_logs

from lapel_gateway import steps
from lapel_gateway.visits.alarms import raise_of_visit
from lapel_gateway.visits.course import Visit
from lapel_protocol.orders import VISIT_OVERDUE as SHOWN_OVERDUE
from tests.gateway.visits.day import MINUTE_MS, ZOE, Day
from tests.support.pair import Killed

# -- clocks -----------------------------------------------------------------------------------------------------------


def test_a_clock_set_forward_makes_a_visit_due_early(day: Day) -> None:
    day.start(120)
    day.pair.now_ms += 119 * MINUTE_MS
    day.poll()
    assert day.state() == "amber"


@pytest.mark.parametrize("back_min", [2, 60, 24 * 60])
@pytest.mark.parametrize("restart", [False, True])
def test_a_clock_set_back_makes_nothing_late(day: Day, back_min: int, restart: bool) -> None:
    day.start(120)
    day.pass_time(100.5, beats=True)
    day.pair.now_ms -= back_min * MINUTE_MS
    if restart:
        day.restart()
    stepped_ms = day.now_ms
    day.poll()
    assert ("clock set back", "gateway") in day.steps()
    assert day.raised() == []
    day.pass_time(20, beats=True)
    overdue = day.pair.row("alarm")
    assert 18 * MINUTE_MS <= overdue["received_ms"] - stepped_ms <= 19.6 * MINUTE_MS


def test_a_clock_that_is_corrected_a_little_moves_nothing(day: Day) -> None:
    day.start(120)
    due_ms = day.visit()["due_ms"]
    day.pass_time(10, beats=True)
    day.pair.now_ms -= 4_000
    day.pass_time(1, beats=True)
    assert day.visit()["due_ms"] == due_ms


def test_the_end_of_summer_time_makes_no_visit_longer(nobody: Day) -> None:
    # Zones are of people's words only: the ledger's times are UTC. London's clocks go back at 01:00 UTC.
    nobody.pair.now_ms = round(datetime(2026, 10, 25, 0, 30, tzinfo=UTC).timestamp() * 1000)
    nobody.start(60)
    nobody.pass_time(61)
    assert nobody.raised() == [("visit_overdue", ZOE)]


# -- kills ------------------------------------------------------------------------------------------------------------


def test_a_gateway_that_is_restarted_all_the_time_forgets_nothing(day: Day) -> None:
    day.start(20, check_in_min=8)
    day.pass_time(7, beats=True, restarts=True)
    day.check_in()
    day.pass_time(8.2, beats=True, restarts=True)
    assert (day.state(), day.amber()) == ("amber", 1)
    day.pass_time(6, beats=True, restarts=True)
    assert (day.state(), day.raised(), day.amber()) == ("overdue", [("visit_overdue", ZOE)], 1)


@pytest.mark.parametrize("point", ["visits.due_written", "visits.due_committed"])
def test_a_kill_while_something_is_due_leaves_all_of_it_or_none_and_it_happens_once(day: Day, point: str) -> None:
    day.start(10)
    due = [day.visit()["amber_ms"], day.visit()["due_ms"]]
    for due_ms, state in zip(due, ("amber", "overdue"), strict=True):
        day.pair.now_ms = due_ms

        def hook(reached: str) -> None:
            if reached == point:
                raise Killed

        with steps.hooked(hook), pytest.raises(Killed):
            day.watch.turn(day.now_ms)
        whole = point.endswith("committed")
        assert (day.state() == state) is whole
        assert (("check-in wanted" if state == "amber" else "overdue", "gateway") in day.steps()) is whole
        day.restart()
        day.poll()
        assert day.state() == state
    assert [kind for kind, _ in day.raised()].count("visit_overdue") == 1
    assert day.amber() == 1
    day.hello()
    assert day.shown[-1].state == SHOWN_OVERDUE


@pytest.mark.parametrize("point", ["visits.written", "visits.committed"])
@pytest.mark.parametrize("act", ["start", "check_in", "extend", "end"])
def test_a_kill_while_somebody_acts_leaves_all_of_it_or_none(day: Day, point: str, act: str) -> None:
    if act != "start":
        day.start(30)
        day.pass_time(26, beats=True)
    before = day.rows(), day.pair.count("visit_log")
    acts: dict[str, Callable[[], object]] = {
        "start": day.start,
        "check_in": day.check_in,
        "extend": lambda: day.extend(20),
        "end": day.end,
    }

    def hook(reached: str) -> None:
        if reached == point:
            raise Killed

    with steps.hooked(hook), pytest.raises(Killed):
        acts[act]()
    day.restart()
    after = day.rows(), day.pair.count("visit_log")
    if point == "visits.written":
        assert after == before
    else:
        assert after[1] == before[1] + 1
        assert after[0] != before[0]
    day.poll()
    assert all(row["next_at_ms"] is not None for row in day.rows() if row["state"] in ("active", "amber", "overdue"))


def test_a_visit_that_cannot_be_looked_at_keeps_no_other_from_being_overdue(
    nobody: Day, monkeypatch: pytest.MonkeyPatch
) -> None:
    nobody.start(10)
    nobody.start(10, person="Bo Chen")

    def fail(connection: sa.Connection, visit: Visit, *rest: Any) -> None:
        raise_of_visit(connection, visit, *rest)
        if visit.person == ZOE:
            raise KeyError("broken")

    monkeypatch.setattr("lapel_gateway.visits.timers.raise_of_visit", fail)
    with capture_logs() as logged:
        nobody.pass_time(11)
    assert nobody.raised() == [("visit_overdue", "Bo Chen")]
    assert (nobody.state(1), nobody.state(2)) == ("amber", "overdue")
    assert [line["id"] for line in logged if line["event"] == "visit set aside"] != []
    monkeypatch.undo()
    nobody.pass_time(2)
    assert ("visit_overdue", ZOE) in nobody.raised()
