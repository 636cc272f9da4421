"""Escalation: somebody is called until a human answers; no step is lost, none is taken twice, none after the answer."""

from __future__ import annotations

import json
from collections import Counter

import pytest
import sqlalchemy as sa

from lapel_gateway.alarms import core as alarms
from lapel_gateway.alarms.core import OwnAlarm
from lapel_gateway.alarms.escalator import Escalator
from lapel_gateway.alarms.kinds import CENTRE_SILENT, DELIVERY_FAILED
from lapel_gateway.alarms.own import Concern, raise_own
from lapel_gateway.alarms.policies import EVERYONE, Policies, Policy, Reach, Step
from lapel_gateway.channels.contract import DeliveryError, NothingToSend, Parcel
from lapel_gateway.deliver import make_outbox
from lapel_gateway.ledger import writing
from lapel_gateway.ledger.schema import OUTBOX_ALARM, escalation
from lapel_gateway.outbox import Outbox, RetryPolicy
from tests.support.pair import DevicePair

RETRY = RetryPolicy(first_ms=1_000, max_ms=60_000, jitter=0)
POLICY = Policy("team", (Step(("one",), 30_000), Step(("two", "three"), 60_000)), repeat=1)
EVERYONE_MS = 300_000


class Line:
    """A channel that takes parcels, or does what `does` says with them."""

    kinds = frozenset({OUTBOX_ALARM})

    def __init__(self, name: str) -> None:
        self.name = name
        self.got: list[Parcel] = []
        self.error: Exception | None = None

    def deliver(self, parcel: Parcel, now_ms: int) -> None:
        if self.error is not None:
            raise self.error
        self.got.append(parcel)

    @property
    def said(self) -> list[str]:
        return [str(parcel.payload["what"]) for parcel in self.got]


class Desk:
    """Three channels, a policy, and time that the test lets pass."""

    def __init__(self, pair: DevicePair, policies: Policies | None = None, answering: dict[str, str] | None = None):
        self.pair = pair
        self.lines = {name: Line(name) for name in ("one", "two", "three")}
        self.policies = policies or Policies([POLICY], EVERYONE_MS)
        self.answering = answering
        self.start()

    def start(self) -> None:
        """The deliver role's cores, new, on the ledger as it is."""
        self.escalator = Escalator(
            self.pair.engine, self.policies, Reach(dict.fromkeys(self.lines, "")), self.answering
        )
        self.outbox: Outbox = make_outbox(
            self.pair.engine, list(self.lines.values()), RETRY, self.escalator, lambda: 0.0
        )
        self.outbox.release()

    def run(self, for_ms: int = 0) -> None:
        """Let so much time pass, and take and deliver all that falls due, when it does."""
        end = self.pair.now_ms + for_ms
        while True:
            self.escalator.advance(self.pair.now_ms)
            self.outbox.run_due(self.pair.now_ms)
            due = [at for at in (self.escalator.next_due_ms(), self.outbox.next_due_ms()) if at is not None]
            if not due or min(due) > end:
                self.pair.now_ms = end
                return
            self.pair.now_ms = max(self.pair.now_ms, min(due))

    def calls(self) -> list[tuple[str, str]]:
        """Every parcel delivered: (channel, what)."""
        parcels = [(parcel.id, line.name, parcel) for line in self.lines.values() for parcel in line.got]
        return [(name, str(parcel.payload["what"])) for _, name, parcel in sorted(parcels, key=lambda one: one[0])]

    def log(self, identifier: str) -> list[str]:
        return [row["step"] for row in self.pair.rows("alarm_log", "alarm_id = :id", id=identifier)]


@pytest.fixture
def desk(pair: DevicePair) -> Desk:
    return Desk(pair)


@pytest.fixture
def raised(pair: DevicePair) -> str:
    pair.raise_alarm(pair.one.alarm())
    return str(pair.row("alarm")["id"])


# -- the order of things ----------------------------------------------------------------------------------------------


def test_each_step_is_taken_when_nobody_answers_the_one_before(desk: Desk, raised: str) -> None:
    desk.run()
    assert desk.calls() == [("one", "raised")]
    desk.run(29_999)
    assert len(desk.calls()) == 1
    desk.run(1)
    assert desk.calls()[1:] == [("two", "raised"), ("three", "raised")]
    desk.run(60_000)
    assert desk.calls()[3:] == [("one", "unanswered")]


def test_after_the_last_step_everyone_is_called_again_and_again(desk: Desk, raised: str) -> None:
    desk.run(30_000 + 60_000 + 30_000 + 59_999)
    assert Counter(name for name, _ in desk.calls()) == {"one": 2, "two": 2, "three": 2}
    desk.run(1 + 24 * 3600_000)
    rounds = 1 + 24 * 3600_000 // EVERYONE_MS
    assert Counter(name for name, _ in desk.calls()) == dict.fromkeys(desk.lines, 2 + rounds)


def test_every_step_is_in_the_log_with_its_policy_and_whom_it_called(desk: Desk, raised: str) -> None:
    desk.run(30_000)
    rows = desk.pair.rows("alarm_log", "step = 'step'")
    assert [row["detail"] for row in rows] == [
        "team, step 1 of 2, round 1 of 2: one",
        "team, step 2 of 2, round 1 of 2: two, three",
    ]
    assert desk.lines["two"].got[0].payload["stage"] == "step 2 of 2, round 1 of 2"


def test_the_first_acknowledgement_ends_it_and_those_who_were_called_are_told(desk: Desk, raised: str) -> None:
    desk.run(10_000)
    assert alarms.acknowledge(desk.pair.engine, raised, "Sam", desk.pair.now_ms)
    desk.run(24 * 3600_000)
    assert desk.calls() == [("one", "raised"), ("one", "acknowledged")]
    assert desk.escalator.next_due_ms() is None


def test_only_a_human_ends_it_however_often_it_is_delivered_and_even_after_a_cancel(desk: Desk) -> None:
    alarm = desk.pair.one.alarm()
    desk.pair.raise_alarm(alarm)
    desk.run(1_000)
    desk.pair.raise_alarm(desk.pair.one.cancel(alarm))
    desk.run(29_000)
    assert desk.calls() == [("one", "raised"), ("one", "cancelled"), ("two", "raised"), ("three", "raised")]
    assert desk.lines["two"].got[0].payload["cancelled_ms"] is not None


def test_what_waits_when_a_human_answers_leaves_no_more(desk: Desk, raised: str) -> None:
    desk.lines["one"].error = DeliveryError("no route")
    desk.run(500)
    waiting = desk.pair.count("outbox", "state = 'waiting'")
    assert waiting
    alarms.acknowledge(desk.pair.engine, raised, "Sam", desk.pair.now_ms)
    desk.lines["one"].error = None
    desk.run(3600_000)
    of_this = [parcel.payload["what"] for parcel in desk.lines["one"].got if parcel.subject == raised]
    assert of_this == ["acknowledged"]


def test_nobody_answers_an_alarm_of_their_own(desk: Desk, raised: str) -> None:
    desk.run()
    for name in ("Zoë Quinn", "zoë  quinn "):
        with pytest.raises(OwnAlarm, match="somebody else has to"):
            alarms.acknowledge(desk.pair.engine, raised, name, desk.pair.now_ms)
        with pytest.raises(OwnAlarm):
            alarms.resolve(desk.pair.engine, raised, name, "false", "", desk.pair.now_ms)
    assert desk.escalator.next_due_ms() is not None
    alarms.acknowledge(desk.pair.engine, raised, "Sam", desk.pair.now_ms)
    assert alarms.resolve(desk.pair.engine, raised, "Zoë Quinn", "false", "", desk.pair.now_ms)


def test_a_resolution_ends_it_too(desk: Desk, raised: str) -> None:
    desk.run()
    alarms.resolve(desk.pair.engine, raised, "Sam", "true", "", desk.pair.now_ms)
    desk.run(3600_000)
    assert desk.calls() == [("one", "raised"), ("one", "resolved")]


def test_an_alarm_answered_before_anybody_was_called_calls_nobody(desk: Desk, raised: str) -> None:
    alarms.acknowledge(desk.pair.engine, raised, "Sam", desk.pair.now_ms)
    desk.run(3600_000)
    assert desk.calls() == []


def test_an_agreed_receiving_centres_taking_it_is_an_answer(pair: DevicePair, raised: str) -> None:
    desk = Desk(pair, answering={"two": "receiving centre two"})
    desk.run(3600_000)
    assert desk.pair.row("alarm")["acknowledged_by"] == "receiving centre two"
    assert Counter(desk.calls())["one", "unanswered"] == 0


# -- channels that fail ------------------------------------------------------------------------------------------------


def test_a_step_whose_channel_fails_is_over_at_once_and_the_failure_is_an_alarm(desk: Desk, raised: str) -> None:
    desk.lines["one"].error = DeliveryError("connection refused")
    desk.run()
    mine = [
        (line.name, parcel.payload["what"])
        for line in desk.lines.values()
        for parcel in line.got
        if parcel.subject == raised
    ]
    assert mine == [("two", "raised"), ("three", "raised")]
    own = desk.pair.row("alarm", "kind = :kind", kind=DELIVERY_FAILED)
    assert (own["about"], own["device"], own["state"]) == ("one", None, "notifying")
    assert "connection refused" in own["detail"]


def test_a_step_with_one_channel_left_waits_for_its_time(desk: Desk, raised: str) -> None:
    desk.run(30_000 - 1)
    desk.lines["two"].error = DeliveryError("no")
    desk.run(1)
    due = desk.pair.row("escalation", "alarm_id = :id", id=raised)["next_at_ms"]
    assert due == desk.pair.now_ms + 60_000


def test_a_channel_with_nothing_to_send_reaches_nobody(desk: Desk, raised: str) -> None:
    desk.lines["one"].error = NothingToSend("no code")
    desk.run()
    assert desk.calls() == [("two", "raised"), ("three", "raised")]
    assert desk.pair.count("alarm", "kind = :kind", kind=DELIVERY_FAILED) == 0


def test_where_every_channel_fails_calls_go_on_at_the_catch_alls_pace(desk: Desk, raised: str) -> None:
    for line in desk.lines.values():
        line.error = DeliveryError("no network")
    desk.run(24 * 3600_000)
    own = desk.pair.rows("alarm", "kind = :kind", kind=DELIVERY_FAILED)
    assert sorted(row["about"] for row in own) == ["one", "three", "two"]
    assert desk.pair.count("outbox", "subject = :id AND state = 'waiting'", id=raised) == 3
    for line in desk.lines.values():
        line.error = None
    desk.run(EVERYONE_MS)
    assert {line.name for line in desk.lines.values() if raised in {parcel.subject for parcel in line.got}} == set(
        desk.lines
    )


def test_a_failing_channel_is_one_alarm_until_it_is_resolved_and_its_end_is_noted(desk: Desk, raised: str) -> None:
    desk.lines["one"].error = DeliveryError("no")
    desk.run(120_000)
    desk.lines["one"].error = None
    desk.run(120_000)
    (own,) = desk.pair.rows("alarm", "kind = :kind", kind=DELIVERY_FAILED)
    assert "noted" in desk.log(own["id"])


def test_a_link_that_is_silent_is_an_alarm_and_speaks_again(desk: Desk) -> None:
    desk.escalator.link("three", "timed out", desk.pair.now_ms)
    desk.escalator.link("three", "timed out", desk.pair.now_ms + 1)
    desk.run()
    own = desk.pair.row("alarm", "kind = :kind", kind=CENTRE_SILENT)
    assert desk.calls() == [("one", "raised")]
    desk.escalator.link("three", "", desk.pair.now_ms)
    assert desk.log(own["id"])[-1] == "noted"


# -- settings, drills, the gateway's own -------------------------------------------------------------------------------


def test_settings_that_change_skip_no_step_of_an_alarm_under_way(desk: Desk, raised: str) -> None:
    desk.run()
    desk.policies = Policies([Policy("other", (Step(("three",), 5_000),))], EVERYONE_MS)
    desk.start()
    desk.run(30_000)
    assert desk.calls()[1:] == [("two", "raised"), ("three", "raised")]


def test_a_target_that_is_gone_is_passed_over_at_once(pair: DevicePair, raised: str) -> None:
    desk = Desk(pair, Policies([Policy("p", (Step(("gone",), 60_000), Step(("two",), 60_000)))], EVERYONE_MS))
    desk.run()
    assert desk.calls() == [("two", "raised")]


def test_an_own_alarm_about_a_person_on_a_visit_is_that_persons(pair: DevicePair) -> None:
    with writing(pair.engine) as connection:
        identifier = raise_own(
            connection, DELIVERY_FAILED, "x", "it fails", pair.now_ms, Concern("Ann", "housing", test=True)
        )
        assert raise_own(connection, DELIVERY_FAILED, "x", "it fails", pair.now_ms) is None
        assert raise_own(connection, DELIVERY_FAILED, "y", "it fails", pair.now_ms) is not None
    row = pair.row("alarm", "about = 'x'")
    assert (row["id"], row["person"], row["team"], row["test"]) == (identifier, "Ann", "housing", 1)


@pytest.mark.parametrize("step_ms", [-3_600_000, -5_000, 3_600_000])
def test_a_clock_that_was_stepped_makes_steps_early_never_late(desk: Desk, raised: str, step_ms: int) -> None:
    desk.run()
    desk.pair.now_ms += step_ms
    desk.run(30_000)
    assert ("two", "raised") in desk.calls()


def test_an_upgrade_goes_on_calling_for_alarms_that_nobody_had_answered(pair: DevicePair, raised: str) -> None:
    with writing(pair.engine) as connection:
        connection.execute(sa.delete(escalation))
        connection.exec_driver_sql("INSERT INTO escalation SELECT id, '', '', 0, received_ms, received_ms FROM alarm")
    desk = Desk(pair)
    desk.run()
    assert desk.calls() == [("one", "raised")]
    assert json.loads(pair.row("escalation")["plan"])["policy"] == "team"


def test_everyone_is_the_policy_where_none_is_configured(pair: DevicePair, raised: str) -> None:
    desk = Desk(pair, Policies([], EVERYONE_MS))
    desk.run()
    assert sorted(desk.calls()) == [("one", "raised"), ("three", "raised"), ("two", "raised")]
    assert EVERYONE in Policies([], 1).plan_for("", "panic", 0).stage(0).targets


@pytest.mark.parametrize("plan", ["nonsense", '{"policy": "p", "steps": [], "repeat": 0, "everyone_ms": 0}'])
def test_a_plan_that_cannot_be_read_is_chosen_anew_and_keeps_no_other_alarm_waiting(
    desk: Desk, raised: str, plan: str
) -> None:
    desk.run()
    with writing(desk.pair.engine) as connection:
        connection.execute(sa.update(escalation).values(plan=plan))
    desk.pair.raise_alarm(desk.pair.one.alarm())
    desk.run(30_000)
    assert desk.calls()[1:] == [
        ("one", "raised"),
        ("two", "raised"),
        ("three", "raised"),
        ("two", "raised"),
        ("three", "raised"),
    ]


def test_an_alarm_whose_step_meets_an_error_keeps_no_other_waiting_and_is_tried_again(
    desk: Desk, raised: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk.pair.raise_alarm(desk.pair.one.alarm())
    other = str(desk.pair.rows("alarm")[-1]["id"])
    take = Escalator._take

    def faulty(escalator: Escalator, connection: sa.Connection, identifier: str, now_ms: int) -> None:
        if identifier == raised:
            raise RuntimeError("a bug")
        take(escalator, connection, identifier, now_ms)

    monkeypatch.setattr(Escalator, "_take", faulty)
    desk.run()
    assert [parcel.subject for parcel in desk.lines["one"].got] == [other]
    monkeypatch.undo()
    desk.run(10_000)
    assert [parcel.subject for parcel in desk.lines["one"].got] == [other, raised]
