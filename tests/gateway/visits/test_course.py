"""Visits from plan to end, in simulated time: amber, overdue, silence, batteries, clocks, kills."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from structlog.testing import capture_logs

from lapel_gateway import people, steps
from lapel_gateway.alarms import core as alarms
from lapel_gateway.alarms.core import OwnAlarm
from lapel_gateway.alarms.kinds import VISIT_OVERDUE
from lapel_gateway.alarms.policies import Reach
from lapel_gateway.channels.message import MAX_DETAIL
from lapel_gateway.devices.wanted import change_settings
from lapel_gateway.settings.visits import VisitsSection
from lapel_gateway.visits import plans as visits
from lapel_gateway.visits import risk_register
from lapel_gateway.visits.plans import VisitError, Wanted
from lapel_gateway.visits.timers import PORTION, VisitWatch
from lapel_protocol.orders import VISIT_ACTIVE, VISIT_AMBER, VISIT_NONE, VISIT_PLANNED
from lapel_protocol.orders import VISIT_OVERDUE as SHOWN_OVERDUE
from lapel_protocol.reports import VISIT_CHECK_IN, VISIT_START
from tests.gateway.visits.day import DAY_MS, MINUTE_MS, SAM, ZOE, Day
from tests.support.pair import DevicePair

# -- two hours --------------------------------------------------------------------------------------------------------


def test_a_visit_that_ends_in_time_raises_nothing(day: Day) -> None:
    day.start(120)
    day.pass_time(110, beats=True)
    day.end()
    day.pass_time(30, beats=True)
    assert (day.state(), day.raised(), day.amber()) == ("ended", [], 0)
    assert day.steps() == [("started", SAM), ("ended", SAM)]
    assert day.visit()["next_at_ms"] is None
    assert [shown.state for shown in day.shown] == [VISIT_ACTIVE, VISIT_NONE]


def test_wearer_and_buddy_are_told_before_a_visit_is_overdue_and_an_alarm_comes_when_it_is(day: Day) -> None:
    day.start(120)
    began_ms = day.now_ms
    day.pass_time(114.9, beats=True)
    assert (day.state(), day.amber()) == ("active", 0)
    day.pass_time(0.2, beats=True)
    assert (day.state(), day.amber(), day.raised()) == ("amber", 1, [])
    payload = json.loads(day.pair.row("outbox", "kind = 'notice'")["payload"])
    assert payload["people"] == [ZOE, SAM]
    day.pass_time(4.8, beats=True)
    assert day.state() == "amber"
    day.pass_time(0.2, beats=True)
    assert (day.state(), day.amber()) == ("overdue", 1)
    alarm = day.pair.row("alarm")
    assert (alarm["kind"], alarm["person"], alarm["visit"], alarm["about"]) == (VISIT_OVERDUE, ZOE, 1, "visit 1")
    assert 0 <= alarm["received_ms"] - began_ms - 120 * MINUTE_MS < 1000
    assert [shown.state for shown in day.shown] == [VISIT_ACTIVE, VISIT_AMBER, SHOWN_OVERDUE]
    day.pass_time(120, beats=True)
    assert len(day.raised()) == 1
    assert day.pair.count("escalation") == 1


def test_the_alarm_says_everything_that_a_responder_needs(day: Day) -> None:
    engine, now_ms = day.pair.engine, day.now_ms
    people.set_person(engine, ZOE, "North", "+44 20 7946 0018", now_ms)
    people.set_person(engine, SAM, "North", "+44 20 7946 0019", now_ms)
    risk_register.add_risk(engine, "4 High St.", "", "a dog that bites", "Ann", now_ms + DAY_MS, now_ms)
    day.beat(battery=41)
    day.start(30, purpose="boiler", present="Mr Brown", risk="shouted last time")
    day.beat(battery=41)
    day.pair.send(day.location(515_007_000, -1_246_000, visit=1))
    day.pass_time(31, beats=False)
    overdue = day.pair.row("alarm", "kind = :kind", kind=VISIT_OVERDUE)
    for words in (
        "Zoë Quinn (phone +44 20 7946 0018) of team North",
        "at 4 High Street",
        "purpose: boiler",
        "present: Mr Brown",
        "risk: shouted last time",
        "risk register: 4 High St.: a dog that bites",
        "for 30 min, due 2023-11-14 22:43 UTC",
        "buddy Sam Ortega (phone +44 20 7946 0019)",
        "last sign of life 2023-11-14 22:13 UTC",
        f"device {day.pair.one.name}",
        "battery 41 %",
        "last position 51.500700, -0.124600 within 8 m at 2023-11-14 22:13 UTC",
    ):
        assert words in overdue["detail"]
    assert (overdue["team"], overdue["battery_percent"]) == ("North", 41)
    assert overdue["detail"].isprintable()


def test_an_extended_visit_is_due_later(day: Day) -> None:
    day.start(60)
    day.pass_time(56, beats=True)
    assert day.state() == "amber"
    day.extend(60)
    assert day.state() == "active"
    day.pass_time(58, beats=True)
    assert (day.state(), day.raised()) == ("active", [])
    day.pass_time(2, beats=True)
    assert day.state() == "amber"
    day.pass_time(5, beats=True)
    assert day.state() == "overdue"


@pytest.mark.parametrize("way", ["check in", "extend"])
def test_a_word_of_the_wearer_makes_an_overdue_visit_active_and_its_alarm_stays(day: Day, way: str) -> None:
    day.start(30)
    day.pass_time(31, beats=True)
    if way == "extend":
        day.extend(30, who=ZOE)
    else:
        day.check_in(who=ZOE)
    assert day.state() == "active"
    day.pass_time(5, beats=True)
    alarm = day.pair.row("alarm")
    assert (alarm["acknowledged_ms"], alarm["resolved_ms"], alarm["state"]) == (None, None, "received")
    noted = [row["detail"] for row in day.pair.rows("alarm_log", "step = 'noted'")]
    assert len(noted) == 1
    assert noted[0].startswith(ZOE)
    day.pass_time(60, beats=True)
    assert (day.state(), len(day.raised())) == ("overdue", 1)


def test_an_overdue_visit_ends_with_the_alarm_that_a_human_resolved(day: Day) -> None:
    day.start(30)
    day.pass_time(31, beats=True)
    day.resolve()
    day.pass_time(2, beats=True)
    assert (day.state(), day.visit()["ended_by"]) == ("ended", SAM)


def test_a_visit_that_went_on_after_its_alarm_was_resolved_can_be_overdue_again(day: Day) -> None:
    day.start(30)
    day.pass_time(31, beats=True)
    day.extend(30)
    day.resolve()
    day.pass_time(32, beats=True)
    assert (day.state(), len(day.raised())) == ("overdue", 2)


def test_a_missed_check_in_is_asked_for_and_then_overdue(day: Day) -> None:
    day.start(120, check_in_min=20)
    day.pass_time(19, beats=True)
    day.check_in(who=ZOE)
    day.pass_time(19.9, beats=True)
    assert day.state() == "active"
    day.pass_time(0.2, beats=True)
    assert (day.state(), day.amber()) == ("amber", 1)
    day.check_in(who=ZOE)
    assert day.state() == "active"
    day.pass_time(20.1, beats=True)
    assert (day.state(), day.amber()) == ("amber", 2)
    day.pass_time(5, beats=True)
    assert (day.state(), day.raised()) == ("overdue", [("visit_overdue", ZOE)])


def test_a_device_that_falls_silent_in_a_visit_is_an_alarm_before_the_visit_is_overdue(day: Day) -> None:
    day.start(120)
    day.pass_time(40, beats=True)
    silent_since_ms = day.visit()["beat_ms"]
    day.pass_time(10, beats=False)
    (alarm,) = day.pair.rows("alarm")
    assert day.raised() == [("contact_lost", ZOE)]
    assert alarm["received_ms"] - silent_since_ms == 120_000
    day.pass_time(1, beats=True)
    assert ("contact again", "gateway") in day.steps()
    day.pass_time(10, beats=False)
    assert len(day.raised()) == 1
    day.pass_time(60, beats=False)
    assert day.raised() == [("contact_lost", ZOE), ("visit_overdue", ZOE)]


def test_a_device_that_was_never_heard_of_in_a_visit_is_an_alarm_too(day: Day) -> None:
    day.start(120)
    day.pass_time(2.1, beats=False)
    assert day.raised() == [("contact_lost", ZOE)]


def test_a_device_with_long_heartbeats_is_given_three_of_them(day: Day) -> None:
    change_settings(day.pair.engine, day.pair.one.name, {"heartbeat_s": 300})
    day.start(120)
    day.pass_time(15.4, beats=False)
    assert day.raised() == []
    day.pass_time(0.2, beats=False)
    assert day.raised() == [("contact_lost", ZOE)]


def test_a_replayed_heartbeat_is_no_sign_of_the_wearer(day: Day) -> None:
    day.start(120)
    day.pass_time(1, beats=True)
    day.tick()
    beat = day.pair.one.heartbeat()
    day.pair.send(beat)
    seen = day.visit()["beat_ms"]
    day.pair.now_ms += MINUTE_MS
    day.pair.send(beat)
    assert day.visit()["beat_ms"] == seen


def test_a_visit_without_a_device_is_watched_by_its_time_alone(nobody: Day) -> None:
    nobody.start(120, check_in_min=30)
    nobody.pass_time(29)
    nobody.check_in()
    assert (nobody.raised(), nobody.visit()["device"]) == ([], None)
    nobody.pass_time(36)
    assert nobody.raised() == [("visit_overdue", ZOE)]


@pytest.mark.parametrize(
    ("battery", "minutes", "told"), [(14, 0, True), (50, 30, True), (50, 100, False), (15, 0, False)]
)
def test_a_battery_that_will_not_last_the_visit_is_told_once(day: Day, battery: int, minutes: int, told: bool) -> None:
    day.start(90)
    for _ in range(3):
        day.pair.now_ms += 20_000
        day.beat(battery, minutes)
        day.poll()
    assert day.raised() == [("visit_low_battery", ZOE)] * told


def test_what_a_battery_was_before_the_visit_is_not_told(day: Day) -> None:
    day.beat(3, 0)
    day.start(90)
    day.poll()
    assert day.raised() == []


# -- plans ------------------------------------------------------------------------------------------------------------


def test_a_plan_is_begun_by_a_person_and_shown_on_the_device_before(day: Day) -> None:
    number = day.start(45, planned_ms=day.now_ms + 60 * MINUTE_MS)
    day.poll()
    assert [(shown.state, shown.visit) for shown in day.shown] == [(VISIT_PLANNED, number)]
    day.pass_time(60)
    visits.start(day.pair.engine, number, ZOE, day.now_ms, day.rules)
    day.poll()
    assert (day.state(), day.shown[-1].state) == ("active", VISIT_ACTIVE)
    assert day.visit()["due_ms"] == day.now_ms + 45 * MINUTE_MS
    with pytest.raises(VisitError, match="has begun already"):
        visits.start(day.pair.engine, number, ZOE, day.now_ms, day.rules)


def test_a_plan_for_later_is_shown_on_the_device_a_day_before_whoever_wears_it_then(day: Day) -> None:
    number = day.start(45, person="Bo Chen", planned_ms=day.now_ms + 3 * DAY_MS)
    day.poll()
    assert (day.shown, day.visit()["device"]) == ([], None)
    day.pair.registry.assign(day.pair.one.name, "Bo Chen")
    day.pass_time(2 * 24 * 60 - 1)
    assert day.shown == []
    day.pass_time(2)
    assert [(shown.visit, shown.state) for shown in day.shown] == [(number, VISIT_PLANNED)]


def test_a_plan_that_nobody_began_is_cancelled_after_a_day(day: Day) -> None:
    day.start(planned_ms=day.now_ms + 60 * MINUTE_MS)
    day.pass_time(60 + 24 * 60 - 1)
    assert day.state() == "planned"
    day.pass_time(1)
    assert (day.state(), day.visit()["ended_by"], day.raised()) == ("cancelled", "gateway", [])


def test_a_plan_is_taken_back_and_a_running_visit_is_not(day: Day) -> None:
    planned = day.start(planned_ms=day.now_ms + 60 * MINUTE_MS)
    visits.take_back(day.pair.engine, planned, ZOE, "moved", day.now_ms, day.rules)
    assert (day.state(planned), day.steps(planned)[-1]) == ("cancelled", ("cancelled", ZOE))
    running = day.start()
    with pytest.raises(VisitError, match="has begun: end it"):
        visits.take_back(day.pair.engine, running, ZOE, "", day.now_ms, day.rules)
    with pytest.raises(VisitError, match="take it back"):
        day.end(day.start(person="Bo", planned_ms=day.now_ms))


def test_a_person_is_on_one_visit_at_a_time(day: Day) -> None:
    first = day.start()
    with pytest.raises(VisitError, match="is on visit 1: end that one first"):
        day.start()
    planned = day.start(planned_ms=day.now_ms)
    with pytest.raises(VisitError, match="is on visit 1"):
        visits.start(day.pair.engine, planned, SAM, day.now_ms, day.rules)
    assert day.start(person="Bo Chen") == 3
    day.end(first)
    visits.start(day.pair.engine, planned, SAM, day.now_ms, day.rules)
    assert day.state(planned) == "active"


@pytest.mark.parametrize(
    "wrong",
    [
        {"place": ""},
        {"place": " \n "},
        {"place": "x" * 201},
        {"place": "a\u202eb"},
        {"person": ""},
        {"person": "x" * 81},
        {"purpose": "x" * 201},
        {"present": "x" * 201},
        {"risk": "x" * 501},
        {"buddy": "a\x07"},
        {"expected_min": 0},
        {"expected_min": 1441},
        {"check_in_min": -1},
        {"check_in_min": 721},
        {"planned_ms": 0},
        {"planned_ms": 1 << 62},
    ],
)
def test_what_is_out_of_bounds_is_refused_and_nothing_is_entered(day: Day, wrong: dict[str, object]) -> None:
    with pytest.raises(VisitError):
        day.start(**wrong)  # type: ignore[arg-type]
    assert day.pair.count("visit") == day.pair.count("visit_log") == 0


def test_nobody_can_do_anything_with_a_visit_that_is_over_or_is_none(day: Day) -> None:
    day.start()
    day.end()
    acts: list[Callable[[], None]] = [day.check_in, lambda: day.extend(5), day.end]
    for act in acts:
        with pytest.raises(VisitError, match="ended"):
            act()
    with pytest.raises(VisitError, match="no visit 9"):
        day.check_in(9)
    with pytest.raises(VisitError, match="1 to 1440"):
        day.extend(0)


def test_what_the_register_knows_is_returned_when_a_visit_is_planned(day: Day) -> None:
    engine = day.pair.engine
    risk_register.add_risk(engine, "4 high st", "", "a dog", "Ann", day.now_ms + DAY_MS, day.now_ms)
    wanted = Wanted(ZOE, "4 High Street")
    (risk,) = visits.plan(engine, wanted, SAM, day.now_ms, day.rules).risks
    assert (risk.note, risk.overdue) == ("a dog", False)
    assert ("risks known", SAM) in day.steps()


# -- beside -----------------------------------------------------------------------------------------------------------


def test_an_alarm_of_somebody_on_a_visit_names_the_visit(day: Day) -> None:
    day.pair.raise_alarm(day.pair.one.alarm())
    day.start()
    day.pair.raise_alarm(day.pair.one.alarm())
    day.end()
    day.pair.raise_alarm(day.pair.one.alarm())
    assert [row["visit"] for row in day.pair.rows("alarm")] == [None, 1, None]


def test_a_hello_is_answered_with_the_visit_after_the_settings(day: Day) -> None:
    day.hello()
    assert day.shown == []
    day.start(30)
    change_settings(day.pair.engine, day.pair.one.name, {"heartbeat_s": 60})
    day.hello()
    assert (day.shown[-1].state, day.shown[-1].due_ms) == (VISIT_ACTIVE, day.visit()["due_ms"])
    day.end()
    day.hello()
    assert day.shown[-1].state == VISIT_NONE
    day.pair.now_ms += 80 * DAY_MS
    told = len(day.shown)
    day.hello()
    assert [shown.state for shown in day.shown[told:]] == [VISIT_NONE]


def test_a_device_that_has_not_said_hello_is_told_after_it_does(make_pair: Callable[..., DevicePair]) -> None:
    day = Day(make_pair())
    day.start(30)
    day.poll()
    assert day.shown == []
    day.pair.one.boot()
    day.hello()
    assert [shown.state for shown in day.shown] == [VISIT_ACTIVE]


def test_polling_writes_nothing_while_nothing_is_due(day: Day) -> None:
    day.start(120)
    day.poll()
    before = day.rows()
    reached: list[str] = []
    with steps.hooked(reached.append):
        for _ in range(20):
            day.pair.now_ms += 1
            day.poll()
    assert (day.rows(), reached) == (before, [])


def test_the_rules_are_settings(pair: DevicePair) -> None:
    rules = VisitsSection(amber_before_s=600, check_in_grace_s=60, contact_lost_s=300, default_expected_min=40)
    day = Day(pair, rules)
    number = visits.plan(pair.engine, Wanted(ZOE, "x"), SAM, day.now_ms, rules).visit
    assert day.visit(number)["due_ms"] - day.visit(number)["amber_ms"] == 600_000
    assert day.visit(number)["expected_ms"] == 40 * MINUTE_MS
    assert day.visit(number)["contact_wait_ms"] == 300_000


def test_wearer_and_buddy_are_told_through_their_own_channels_which_take_no_other_notices(pair: DevicePair) -> None:
    day = Day(pair)
    reach = Reach({"apprise:zoe": ZOE, "apprise:bo": "Bo Chen", "smtp:duty:sam@example.org": SAM})
    day.watch = VisitWatch(pair.engine, pair.registry, day.rules, reach)
    day.start(10)
    day.pass_time(6, beats=True)
    told = {row["channel"]: json.loads(row["payload"]) for row in pair.rows("outbox", "kind = 'notice'")}
    assert set(told) == {"", "apprise:zoe", "smtp:duty:sam@example.org"}
    assert all(payload["notice"] == "visit_amber" for payload in told.values())


def test_many_visits_are_looked_at_in_portions_the_most_urgent_first(nobody: Day) -> None:
    for number in range(PORTION * 2 + 3):
        nobody.start(10, person=f"Worker {number}")
    nobody.pair.now_ms += 11 * MINUTE_MS
    found = []
    for _ in range(3):
        nobody.poll()
        found.append(len(nobody.raised()))
    assert found == [PORTION, 2 * PORTION, 2 * PORTION + 3]


def test_the_buddy_acknowledges_and_the_wearer_cannot_answer_for_themselves(day: Day) -> None:
    day.start(10)
    day.pass_time(11, beats=True)
    identifier = day.pair.row("alarm")["id"]
    with pytest.raises(OwnAlarm):
        alarms.acknowledge(day.pair.engine, identifier, ZOE, day.now_ms)
    with pytest.raises(OwnAlarm):
        alarms.resolve(day.pair.engine, identifier, ZOE, "false", "", day.now_ms)
    day.end(who=ZOE)
    assert day.pair.row("escalation")["next_at_ms"] is not None
    assert alarms.acknowledge(day.pair.engine, identifier, SAM, day.now_ms)
    assert (day.pair.row("escalation")["next_at_ms"], day.pair.row("alarm")["acknowledged_by"]) == (None, SAM)


@pytest.mark.parametrize("answered", [False, True])
def test_a_visit_that_is_overdue_again_after_somebody_answered_is_another_alarm(day: Day, answered: bool) -> None:
    day.start(10)
    day.pass_time(11, beats=True)
    if answered:
        alarms.acknowledge(day.pair.engine, day.pair.row("alarm")["id"], SAM, day.now_ms)
    day.extend(10, who=ZOE)
    day.pass_time(12, beats=True)
    assert len(day.raised()) == (2 if answered else 1)
    assert day.pair.count("escalation", "next_at_ms IS NOT NULL") == 1
    day.end(who=ZOE)
    assert {row["detail"] for row in day.pair.rows("alarm_log", "step = 'noted'")} >= {f"{ZOE} ended the visit"}


def test_what_is_said_in_a_visits_alarm_is_in_no_log_line(day: Day) -> None:
    day.start(10, place="Farthing Wood 17", purpose="a secret")
    with capture_logs() as logged:
        day.pass_time(11, beats=True)
    assert any(line["event"] == "alarm" for line in logged)
    assert "Farthing" not in repr(logged)
    assert "secret" not in repr(logged)


def test_a_device_that_changed_hands_is_a_sign_of_its_new_wearer_only(day: Day) -> None:
    day.start(60)
    day.pass_time(1, beats=True)
    day.pair.registry.assign(day.pair.one.name, "Bo Chen")
    day.say(VISIT_START, 60)
    day.pass_time(4, beats=True)
    assert day.raised() == [("contact_lost", ZOE)]
    assert day.visit(2)["person"] == "Bo Chen"


def test_a_visit_entered_without_a_device_is_watched_by_the_one_its_person_speaks_by(day: Day) -> None:
    day.pair.registry.assign(day.pair.one.name, "")
    day.start(60)
    assert (day.visit()["device"], day.visit()["contact_wait_ms"]) == (None, 0)
    day.pair.registry.assign(day.pair.one.name, ZOE)
    day.say(VISIT_CHECK_IN)
    assert day.visit()["device"] == day.pair.one.name
    day.pass_time(3)
    assert day.raised() == [("contact_lost", ZOE)]


def test_the_longest_visit_is_told_with_what_is_needed_first_and_no_longer_than_a_message_can_be(day: Day) -> None:
    engine, now_ms = day.pair.engine, day.now_ms
    place = "p" * 195 + " 17"
    for number in range(6):
        risk_register.add_risk(engine, place, "", f"{number}" * 400, "Ann", now_ms + DAY_MS, now_ms)
    people.set_person(engine, SAM, "North", "+44 20 7946 0019", now_ms)
    day.start(10, place=place, purpose="u" * 200, present="v" * 200, risk="r" * 500)
    day.pair.send(day.location(515_007_000, -1_246_000, visit=1))
    day.pass_time(11, beats=True)
    detail = day.pair.row("alarm")["detail"]
    assert len(detail) <= MAX_DETAIL
    order = ["a visit is overdue", ZOE, place, "last position 51.5", "last sign of life", "battery", "+44 20 7946 0019"]
    places = [detail.index(words) for words in order]
    assert places == sorted(places)
    assert "3 more in the risk register" in detail
