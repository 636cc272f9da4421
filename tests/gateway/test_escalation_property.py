"""Whatever happens and in whatever order: an alarm has an owner or a running timer until it is resolved."""

from __future__ import annotations

import contextlib
import tempfile
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from lapel_gateway import steps
from lapel_gateway.alarms import core as alarms
from lapel_gateway.alarms.core import OwnAlarm
from lapel_gateway.channels.contract import DeliveryError
from tests.gateway.test_escalation import Desk
from tests.support.pair import DevicePair, Killed

WEARER = "Zoë Quinn"


class Escalations(RuleBasedStateMachine):
    """One gateway, one device, three channels."""

    @initialize()
    def begin(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="lapel-escalations-")
        self.pair = DevicePair(Path(self._folder.name) / "pair")
        self.pair.one.boot()
        self.desk = Desk(self.pair)
        self.sent: list[Any] = []
        self.answered: dict[str, int] = {}

    def teardown(self) -> None:
        if hasattr(self, "pair"):
            self.pair.stop()
            self._folder.cleanup()

    @rule()
    def press(self) -> None:
        alarm = self.pair.one.alarm()
        self.sent.append(alarm)
        assert self.pair.raise_alarm(alarm)

    @rule(number=st.integers(0, 9))
    def repeat(self, number: int) -> None:
        if self.sent:
            self.pair.raise_alarm(self.sent[number % len(self.sent)])

    @rule(number=st.integers(0, 9))
    def cancel(self, number: int) -> None:
        if self.sent:
            self.pair.raise_alarm(self.pair.one.cancel(self.sent[number % len(self.sent)]))

    @rule(number=st.integers(0, 9), who=st.sampled_from(["Sam", "Ines", WEARER]))
    def acknowledge(self, number: int, who: str) -> None:
        for row in self._some(number):
            try:
                alarms.acknowledge(self.pair.engine, row["id"], who, self.pair.now_ms)
                assert who != row["person"]
            except OwnAlarm:
                assert who == row["person"]

    @rule(number=st.integers(0, 9), who=st.sampled_from(["Sam", WEARER]))
    def resolve(self, number: int, who: str) -> None:
        for row in self._some(number):
            with contextlib.suppress(OwnAlarm):
                alarms.resolve(self.pair.engine, row["id"], who, "true", "", self.pair.now_ms)

    @rule(for_ms=st.sampled_from([0, 100, 30_000, 90_000, 600_000]))
    def wait(self, for_ms: int) -> None:
        self.desk.run(for_ms)

    @rule(by_ms=st.sampled_from([-3_600_000, -2_000, 7_200_000]))
    def step_the_clock(self, by_ms: int) -> None:
        self.pair.now_ms += by_ms

    @rule(name=st.sampled_from(["one", "two", "three"]), fails=st.booleans())
    def channel(self, name: str, fails: bool) -> None:
        self.desk.lines[name].error = DeliveryError("no") if fails else None

    @rule(victim=st.integers(0, 12), for_ms=st.sampled_from([0, 30_000]))
    def die(self, victim: int, for_ms: int) -> None:
        reached = 0

        def hook(_name: str) -> None:
            nonlocal reached
            reached += 1
            if reached > victim:
                raise Killed

        with steps.hooked(hook), contextlib.suppress(Killed):
            self.desk.run(for_ms)
        self.desk.start()

    @invariant()
    def has_an_owner_or_a_timer(self) -> None:
        if not hasattr(self, "pair"):
            return
        escalations = {row["alarm_id"]: row for row in self.pair.rows("escalation")}
        for row in self.pair.rows("alarm"):
            timer = escalations[row["id"]]["next_at_ms"]
            if row["resolved_ms"] is None and row["acknowledged_by"] is None:
                assert timer is not None, row["id"]
                assert timer <= escalations[row["id"]]["taken_ms"] + 300_000
            else:
                assert timer is None, row["id"]
            assert row["acknowledged_by"] is None or row["acknowledged_by"] != row["person"]

    @invariant()
    def nobody_is_called_after_the_answer(self) -> None:
        if not hasattr(self, "pair"):
            return
        answered: set[str] = set()
        for row in self.pair.rows("alarm_log"):
            if row["step"] in ("acknowledged", "resolved"):
                answered.add(row["alarm_id"])
            assert row["step"] != "step" or row["alarm_id"] not in answered

    def _some(self, number: int) -> list[dict[str, Any]]:
        """One of the alarms there are."""
        rows = self.pair.rows("alarm")
        return [rows[number % len(rows)]] if rows else []


TestEscalations = Escalations.TestCase
TestEscalations.settings = settings(
    max_examples=50, stateful_step_count=30, deadline=None, suppress_health_check=list(HealthCheck)
)
