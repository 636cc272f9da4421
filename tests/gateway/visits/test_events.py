"""What devices say of visits: in time, late, twice, forged, about another's, and by clocks that cannot be believed."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from lapel_gateway.visits import plans as visits
from lapel_gateway.visits.events import FUTURE, LATE, LATE_MS, PLACE_NOT_SAID, UNKNOWN, UNTIMED
from lapel_gateway.visits.timers import VisitWatch
from lapel_protocol.clip import TRUST_GATEWAY, TRUST_RTC
from lapel_protocol.command import EVENT_RECEIPT
from lapel_protocol.event import VISIT, Event, seal_event
from lapel_protocol.orders import VISIT_ACTIVE, VISIT_NONE
from lapel_protocol.reports import VISIT_CHECK_IN, VISIT_END, VISIT_EXTEND, VISIT_START, VisitNote
from tests.gateway.visits.day import DAY_MS, MINUTE_MS, SAM, ZOE, Day
from tests.support.device import Message
from tests.support.pair import DevicePair, bodies

REFUSALS = (LATE, UNKNOWN, FUTURE, UNTIMED)


def refusals(day: Day) -> dict[str, int]:
    return {reason: day.pair.tally(reason) for reason in REFUSALS if day.pair.tally(reason)}


def undated(day: Day, what: int, visit: int = 0) -> Message:
    """A word whose time nobody can believe."""
    one = day.pair.one
    one.counter += 1
    note = VisitNote(what, 0, visit).encode()
    event = Event(VISIT, one.device, one.boot_number, one.counter, day.now_ms, 9_000, TRUST_RTC, note)
    return one.on_event_lane(seal_event(one.keys, event))


# -- a visit by the device alone --------------------------------------------------------------------------------------


def test_a_device_begins_checks_in_extends_and_ends_a_visit_of_its_own(day: Day) -> None:
    day.say(VISIT_START, 45)
    row = day.visit()
    assert (row["person"], row["place"], row["device"]) == (ZOE, PLACE_NOT_SAID, day.pair.one.name)
    assert (row["made_by"], row["state"], row["due_ms"]) == ("device", "active", day.now_ms + 45 * MINUTE_MS)
    day.poll()
    assert [(shown.visit, shown.state, shown.due_ms) for shown in day.shown] == [(1, VISIT_ACTIVE, row["due_ms"])]
    day.pass_time(41, beats=True)
    assert day.state() == "amber"
    day.say(VISIT_CHECK_IN)
    assert (day.state(), day.visit()["due_ms"]) == ("active", day.now_ms + 15 * MINUTE_MS)
    due_ms = day.visit()["due_ms"]
    day.say(VISIT_EXTEND, 20)
    assert day.visit()["due_ms"] == due_ms + 20 * MINUTE_MS
    day.say(VISIT_END)
    assert (day.state(), day.visit()["ended_by"]) == ("ended", ZOE)
    day.poll()
    assert day.shown[-1].state == VISIT_NONE
    assert [step for step, who in day.steps() if who == "device"] == ["started", "checked in", "extended", "ended"]
    assert (day.raised(), refusals(day)) == ([], {})


def test_an_early_check_in_changes_no_end(day: Day) -> None:
    day.say(VISIT_START, 45)
    due_ms = day.visit()["due_ms"]
    day.pass_time(10, beats=True)
    day.say(VISIT_CHECK_IN)
    assert (day.visit()["due_ms"], day.visit()["contact_ms"]) == (due_ms, day.now_ms)


def test_what_a_start_or_an_extension_does_not_say_is_as_planned_or_as_the_settings_say(day: Day) -> None:
    day.say(VISIT_START)
    assert day.visit()["expected_ms"] == 60 * MINUTE_MS
    day.say(VISIT_EXTEND)
    assert day.visit()["expected_ms"] == 90 * MINUTE_MS
    day.say(VISIT_END)
    planned = day.start(25, planned_ms=day.now_ms)
    day.say(VISIT_START, visit=planned)
    assert (day.state(planned), day.visit(planned)["expected_ms"]) == ("active", 25 * MINUTE_MS)


def test_a_device_that_nobody_was_given_still_has_a_wearer(day: Day) -> None:
    day.pair.registry.assign(day.pair.one.name, "")
    day.say(VISIT_START, 10)
    assert day.visit()["person"] == f"wearer of {day.pair.one.name}"
    day.pass_time(11)
    assert ("visit_overdue", f"wearer of {day.pair.one.name}") in day.raised()


def test_a_start_that_is_repeated_changes_nothing(day: Day) -> None:
    day.say(VISIT_START, 45)
    due_ms = day.visit()["due_ms"]
    day.pass_time(5, beats=True)
    day.say(VISIT_START, 600)
    assert (day.visit()["due_ms"], len(day.rows()), refusals(day)) == (due_ms, 1, {})


def test_somebody_who_begins_a_cancelled_visit_is_looked_after(day: Day) -> None:
    planned = day.start(30, planned_ms=day.now_ms)
    visits.take_back(day.pair.engine, planned, SAM, "", day.now_ms, day.rules)
    day.say(VISIT_START, visit=planned)
    assert (day.state(planned), day.visit(planned)["ended_by"]) == ("active", None)


def test_somebody_who_begins_what_the_gateway_does_not_know_is_looked_after(day: Day) -> None:
    day.say(VISIT_START, 30, visit=77)
    assert (day.visit()["state"], day.visit()["place"]) == ("active", PLACE_NOT_SAID)


# -- twice, forged, another's -----------------------------------------------------------------------------------------


def test_a_word_is_taken_once_for_ever_and_receipted_each_time(day: Day) -> None:
    start, later = day.note(VISIT_START, 45), day.note(VISIT_EXTEND, 30)
    for _ in range(3):
        for message in (start, later):
            assert len(bodies(day.pair.send(message), EVENT_RECEIPT)) == 1
    day.restart()
    day.pair.send(later, start, later)
    assert (day.visit()["expected_ms"], len(day.rows())) == (75 * MINUTE_MS, 1)
    assert len(day.steps()) == 2
    assert day.pair.count("event", "kind = :kind", kind=VISIT) == 2


@pytest.mark.parametrize("point", ["ingest.verified", "ingest.ledger_written", "ingest.ledger_committed"])
@pytest.mark.parametrize("what", [VISIT_START, VISIT_CHECK_IN, VISIT_EXTEND, VISIT_END])
def test_a_word_that_a_kill_interrupts_is_taken_once_when_it_comes_again(day: Day, point: str, what: int) -> None:
    if what != VISIT_START:
        day.say(VISIT_START, 45)
    steps_before, rows_before = day.pair.count("visit_log"), day.rows()
    message = day.note(what, 20 if what in (VISIT_START, VISIT_EXTEND) else 0)
    day.pair.killed_at(point, message)
    whole = point == "ingest.ledger_committed"
    assert (day.pair.count("visit_log") - steps_before, day.rows() != rows_before) == (int(whole), whole)
    day.watch = VisitWatch(day.pair.engine, day.pair.registry, day.rules)
    day.pair.send(message)
    day.pair.send(message)
    assert day.pair.count("visit_log") == steps_before + 1
    assert len(day.rows()) == 1
    day.poll()
    day.hello()
    assert day.shown[-1].state == (VISIT_NONE if what == VISIT_END else VISIT_ACTIVE)


def test_a_replayed_end_of_an_earlier_visit_does_not_end_this_one(day: Day) -> None:
    day.say(VISIT_START, 45)
    end = day.note(VISIT_END)
    day.pair.send(end)
    day.say(VISIT_START, 45)
    day.pair.send(end)
    assert (day.state(1), day.state(2)) == ("ended", "active")


@pytest.mark.parametrize("what", [VISIT_CHECK_IN, VISIT_END])
def test_a_late_word_about_an_earlier_visit_says_nothing_of_this_one(day: Day, what: int) -> None:
    day.say(VISIT_START, 120)
    held = day.note(what)
    day.pass_time(20, beats=True)
    day.end(1)
    day.start(120)
    before = day.visit(2)
    day.pair.send(held)
    assert refusals(day) == {LATE: 1}
    after = day.visit(2)
    assert (after["state"], after["due_ms"], after["contact_ms"]) == ("active", before["due_ms"], before["contact_ms"])


@pytest.mark.parametrize("what", [VISIT_CHECK_IN, VISIT_EXTEND, VISIT_END])
def test_a_word_about_a_visit_that_is_over_or_is_none_is_refused_counted_receipted_and_kept(
    day: Day, what: int
) -> None:
    first = day.start()
    day.end(first)
    planned = day.start(planned_ms=day.now_ms)
    before = [day.visit(number) for number in (first, planned)]
    day.poll()
    shown = len(day.shown)
    for number in (0, first, planned, 9):
        assert bodies(day.pair.send(day.note(what, visit=number)), EVENT_RECEIPT)
    assert refusals(day) == {UNKNOWN: 3, LATE: 1}
    assert day.pair.count("event", "kind = :kind", kind=VISIT) == 4
    day.poll()
    assert [{**day.visit(number), "untold": 0} for number in (first, planned)] == [
        {**row, "untold": 0} for row in before
    ]
    assert len(day.shown) > shown  # its device is told how it stands


def test_another_devices_word_is_no_word_about_this_visit(make_pair: Callable[..., DevicePair]) -> None:
    day = Day(make_pair(devices=2))
    day.pair.registry.assign(day.pair.devices[1].name, "Bo Chen")
    for device in day.pair.devices:
        day.pair.greet(device)
    day.say(VISIT_START, 45)
    other = day.pair.devices[1]
    other.wall_ms = day.now_ms
    for what in (VISIT_CHECK_IN, VISIT_EXTEND, VISIT_END):
        event = other.event(VISIT, VisitNote(what, 0, 1).encode())
        day.pair.send(other.on_event_lane(event), device=other)
    assert refusals(day) == {UNKNOWN: 3}
    assert day.steps() == [("started", "device")]


def test_a_forged_word_is_refused(day: Day) -> None:
    day.say(VISIT_START, 45)
    name, record = day.note(VISIT_END)
    for at in (2, 8, 16, 40, len(record) - 1):
        day.pair.send((name, record[:at] + bytes([record[at] ^ 1]) + record[at + 1 :]))
    assert day.state() == "active"
    assert day.steps() == [("started", "device")]


# -- late, early, undated ---------------------------------------------------------------------------------------------


def test_a_late_check_in_is_a_sign_of_the_wearer_then_and_does_not_wake_an_overdue_visit(day: Day) -> None:
    day.start(60, check_in_min=20)
    day.pass_time(15)
    said_ms = day.now_ms
    held = day.note(VISIT_CHECK_IN)
    day.pass_time(35)
    assert day.state() == "overdue"
    day.pair.send(held)
    row = day.visit()
    assert (row["state"], row["contact_ms"]) == ("overdue", said_ms)
    assert row["next_check_in_ms"] == said_ms + 20 * MINUTE_MS
    assert "too late to count" in day.pair.rows("visit_log", "step = 'checked in'")[0]["detail"]


def test_a_late_check_in_gives_what_it_would_have_given_then(day: Day) -> None:
    day.start(120, check_in_min=20)
    day.pass_time(15)
    said_ms = day.now_ms
    held = day.note(VISIT_CHECK_IN)
    day.pass_time(7)
    assert day.state() == "amber"
    day.pair.send(held)
    assert (day.state(), day.visit()["next_check_in_ms"]) == ("active", said_ms + 20 * MINUTE_MS)


def test_a_late_extension_gives_what_it_would_have_given_then(day: Day) -> None:
    day.start(60)
    due_ms = day.visit()["due_ms"]
    day.pass_time(50, beats=True)
    held = day.note(VISIT_EXTEND, 10)
    day.pass_time(15, beats=True)
    assert day.state() == "overdue"
    day.pair.send(held)
    assert (day.state(), day.visit()["due_ms"]) == ("active", due_ms + 10 * MINUTE_MS)
    day.pass_time(6, beats=True)
    assert day.state() == "overdue"
    assert day.raised() == [("visit_overdue", ZOE)]


def test_a_word_that_was_a_moment_on_its_way_counts_from_now(day: Day) -> None:
    day.start(60, check_in_min=20)
    day.pass_time(15, beats=True)
    day.say(VISIT_CHECK_IN, said_ms=day.now_ms - LATE_MS + 1000)
    assert day.visit()["next_check_in_ms"] == day.now_ms + 20 * MINUTE_MS


def test_a_start_that_comes_late_began_then_and_may_be_overdue_at_once(day: Day) -> None:
    began_ms = day.now_ms
    held = day.note(VISIT_START, 30)
    day.pair.now_ms += 40 * MINUTE_MS
    day.pair.send(held)
    assert day.visit()["started_ms"] == began_ms
    day.poll()
    assert (day.state(), ("visit_overdue", ZOE) in day.raised()) == ("overdue", True)


def test_a_whole_visit_that_comes_late_raises_nothing(day: Day) -> None:
    held = [day.note(VISIT_START, 30)]
    day.pair.now_ms += 20 * MINUTE_MS
    held.append(day.note(VISIT_END))
    ended_ms = day.now_ms
    day.pair.now_ms += 40 * MINUTE_MS
    day.pair.send(*held)
    day.poll()
    assert (day.state(), day.visit()["ended_ms"], day.raised()) == ("ended", ended_ms, [])


def test_a_start_of_the_day_before_is_refused(day: Day) -> None:
    held = day.note(VISIT_START, 30)
    day.pair.now_ms += DAY_MS + MINUTE_MS
    day.pair.send(held)
    assert (refusals(day), day.rows()) == ({LATE: 1}, [])


@pytest.mark.parametrize("what", [VISIT_START, VISIT_CHECK_IN, VISIT_EXTEND, VISIT_END])
def test_a_word_of_a_clock_that_is_ahead_is_refused_and_counted(day: Day, what: int) -> None:
    if what != VISIT_START:
        day.start(60)
    before = [{**row, "untold": 0} for row in day.rows()]
    day.say(what, said_ms=day.now_ms + LATE_MS + 1000)
    assert refusals(day) == {FUTURE: 1}
    assert [{**row, "untold": 0} for row in day.rows()] == before


@pytest.mark.parametrize("what", [VISIT_CHECK_IN, VISIT_EXTEND, VISIT_END])
def test_a_word_that_nobody_can_date_moves_nothing(day: Day, what: int) -> None:
    day.start(60)
    before = {**day.visit(), "untold": 0}
    day.pair.send(undated(day, what))
    assert (refusals(day), {**day.visit(), "untold": 0}) == ({UNTIMED: 1}, before)


def test_a_start_that_nobody_can_date_is_taken_for_one_of_now(day: Day) -> None:
    day.pair.send(undated(day, VISIT_START))
    assert (day.state(), day.visit()["started_ms"]) == ("active", day.now_ms)


def test_an_end_by_the_device_leaves_the_alarm_of_its_visit_open(day: Day) -> None:
    day.say(VISIT_START, 10)
    day.pass_time(11, beats=True)
    day.say(VISIT_END)
    alarm = day.pair.row("alarm")
    assert (day.state(), alarm["resolved_ms"], alarm["acknowledged_ms"]) == ("ended", None, None)
    assert [row["detail"] for row in day.pair.rows("alarm_log", "step = 'noted'")] == [f"{ZOE}: ended, by the device"]


def test_a_payload_that_cannot_be_read_is_kept_and_receipted(day: Day) -> None:
    one = day.pair.one
    event = Event(VISIT, one.device, one.boot_number, 50, day.now_ms, 1, TRUST_GATEWAY, b"\x09" * 8)
    assert bodies(day.pair.send(one.on_event_lane(seal_event(one.keys, event))), EVENT_RECEIPT)
    assert (day.rows(), day.pair.tally("malformed")) == ([], 1)


def test_a_device_that_speaks_of_a_visit_which_the_gateway_never_knew_is_told_that_there_is_none(day: Day) -> None:
    day.say(VISIT_CHECK_IN, visit=12)
    assert refusals(day) == {UNKNOWN: 1}
    assert [(shown.visit, shown.state) for shown in day.shown] == [(0, VISIT_NONE)]
    assert day.rows() == []
