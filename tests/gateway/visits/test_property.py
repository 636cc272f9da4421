"""Whatever people, devices, clocks and kills do: what runs has a timer, and what began ends or is an alarm."""

from __future__ import annotations

import contextlib
import tempfile
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from lapel_gateway.alarms import core as alarms
from lapel_gateway.alarms.kinds import VISIT_OVERDUE
from lapel_gateway.visits import plans as visits
from lapel_gateway.visits.course import LOOK_MS, RUNNING_NAMES, deadline_ms, from_row
from lapel_gateway.visits.plans import VisitError
from lapel_protocol.reports import VISIT_CHECK_IN, VISIT_END, VISIT_EXTEND, VISIT_START
from tests.gateway.visits.day import DAY_MS, MINUTE_MS, SAM, ZOE, Day
from tests.support.device import Message
from tests.support.pair import DevicePair

BO = "Bo Chen"
OVER = ("ended", "cancelled")


class Visiting(RuleBasedStateMachine):
    """Zoë wears a device, Bo has none; Sam answers alarms."""

    def __init__(self) -> None:
        super().__init__()
        self._folder = tempfile.TemporaryDirectory()
        self.pair = DevicePair(Path(self._folder.name) / "pair")
        self.pair.greet()
        self.day = Day(self.pair)
        self.held: list[Message] = []

    def teardown(self) -> None:
        """Two more days, in which nobody says anything."""
        try:
            for _ in range(8):
                self.pair.now_ms += 6 * 60 * MINUTE_MS
                self.day.poll()
            for row in self.day.rows():
                assert row["state"] in (*OVER, "planned") or (row["state"] == "overdue" and self._alarm(row)), row
        finally:
            self.pair.stop()
            self._folder.cleanup()

    @rule(who=st.sampled_from([ZOE, BO]), expected=st.integers(1, 180), check_in=st.sampled_from([0, 1, 20]))
    def somebody_starts(self, who: str, expected: int, check_in: int) -> None:
        self._try(lambda: self.day.start(expected, check_in, person=who))

    @rule(who=st.sampled_from([ZOE, BO]), ahead_min=st.integers(0, 300))
    def somebody_plans(self, who: str, ahead_min: int) -> None:
        self.day.start(person=who, planned_ms=self.day.now_ms + ahead_min * MINUTE_MS)

    @precondition(lambda self: self.day.rows())
    @rule(data=st.data(), what=st.sampled_from(["start", "check in", "extend", "end", "cancel"]))
    def somebody_acts(self, data: Any, what: str) -> None:
        number = data.draw(st.sampled_from([row["id"] for row in self.day.rows()]))
        engine, now_ms, rules = self.pair.engine, self.day.now_ms, self.day.rules
        acts = {
            "start": lambda: visits.start(engine, number, SAM, now_ms, rules),
            "check in": lambda: visits.check_in_at(engine, number, SAM, now_ms, rules),
            "extend": lambda: visits.extend_by(engine, number, None, SAM, now_ms, rules),
            "end": lambda: visits.end(engine, number, SAM, "", now_ms, rules),
            "cancel": lambda: visits.take_back(engine, number, SAM, "", now_ms, rules),
        }
        self._try(acts[what])

    @rule(
        what=st.sampled_from([VISIT_START, VISIT_CHECK_IN, VISIT_EXTEND, VISIT_END]),
        visit=st.integers(0, 4),
        minutes=st.integers(0, 90),
        ago_min=st.integers(-10, 60),
        hold=st.booleans(),
    )
    def the_device_speaks(self, what: int, visit: int, minutes: int, ago_min: int, hold: bool) -> None:
        minutes = minutes if what in (VISIT_START, VISIT_EXTEND) else 0
        message = self.day.note(what, minutes, visit, self.day.now_ms - ago_min * MINUTE_MS)
        self.held.append(message)
        if not hold:
            self.pair.outcome(message)

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def the_broker_repeats(self, data: Any) -> None:
        self.pair.outcome(data.draw(st.sampled_from(self.held)))

    @rule(battery=st.sampled_from([79, 10]))
    def the_device_beats(self, battery: int) -> None:
        self.day.beat(battery)

    @rule(minutes=st.integers(0, 200))
    def time_passes(self, minutes: int) -> None:
        self.pair.now_ms += minutes * MINUTE_MS + 1

    @rule(minutes=st.integers(-3 * 24 * 60, 24 * 60))
    def the_clock_is_set(self, minutes: int) -> None:
        self.pair.now_ms += minutes * MINUTE_MS

    @rule()
    def the_gateway_is_killed(self) -> None:
        self.day.restart()

    @rule()
    def a_human_resolves(self) -> None:
        self.day.resolve()
        self.pair.now_ms += LOOK_MS

    @rule()
    def a_human_acknowledges(self) -> None:
        for row in self.pair.rows("alarm", "acknowledged_ms IS NULL AND resolved_ms IS NULL"):
            alarms.acknowledge(self.pair.engine, row["id"], SAM, self.day.now_ms)

    @invariant()
    def what_runs_has_a_timer_and_nothing_is_forgotten(self) -> None:
        self.day.poll()
        running = [row for row in self.day.rows() if row["state"] in RUNNING_NAMES]
        assert len({row["person"] for row in running}) == len(running)
        for row in self.day.rows():
            visit = from_row(row)
            if visit.runs:
                assert visit.next_at_ms is not None
                assert self.day.now_ms < visit.next_at_ms <= self.day.now_ms + LOOK_MS + 5_000
                assert visit.due_ms is not None
                assert visit.due_ms <= self.day.now_ms + 3 * DAY_MS
                late = self.day.now_ms >= deadline_ms(visit, self.day.rules)
                assert (row["state"] == "overdue") == late
                assert not late or self._alarm(row)
            else:
                assert (visit.next_at_ms is None) == (row["state"] in OVER)

    def _alarm(self, row: dict[str, Any]) -> bool:
        where = "kind = :kind AND visit = :visit AND resolved_ms IS NULL"
        return self.pair.count("alarm", where, kind=VISIT_OVERDUE, visit=row["id"]) >= 1

    def _try(self, act: Any) -> None:
        with contextlib.suppress(VisitError):
            act()


TestVisiting = Visiting.TestCase
TestVisiting.settings = settings(
    max_examples=20,
    stateful_step_count=25,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
