"""The state machines: their tables are whole, and say what SPEC section 10 promises."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from lapel_protocol import alarm, custody, names, recording, visit
from lapel_protocol.errors import BadTransition
from lapel_protocol.machine import Machine

Table = Mapping[tuple[int, int], tuple[int, tuple[int, ...]]]
TABLES: dict[str, tuple[Table, int, tuple[str, ...], tuple[str, ...]]] = {
    "recording": (
        recording.TRANSITIONS,
        recording.IDLE,
        names.RECORDING_STATE_NAMES,
        names.RECORDING_EVENT_NAMES,
    ),
    "alarm": (alarm.TRANSITIONS, alarm.QUIET, names.ALARM_STATE_NAMES, names.ALARM_EVENT_NAMES),
    "custody": (custody.TRANSITIONS, custody.OPEN, names.CUSTODY_STATE_NAMES, names.CUSTODY_EVENT_NAMES),
    "visit": (visit.TRANSITIONS, visit.PLANNED, names.VISIT_STATE_NAMES, names.VISIT_EVENT_NAMES),
}
EACH_TABLE = pytest.mark.parametrize("name", TABLES)
BEGINS = {
    recording.BEGIN_CONFIRMED,
    recording.BEGIN_NO_TIME,
    recording.BEGIN_TIMED_OUT,
    recording.BEGIN_ALARM,
    recording.BEGIN_CONTINUED,
}
ENDS = {
    recording.END_WEARER,
    recording.END_REMOTE,
    recording.END_STORAGE,
    recording.END_BATTERY,
    recording.END_LIMIT,
    recording.END_UNOPENABLE,
}


def reachable(table: Table, start: int, without: frozenset[int] = frozenset()) -> set[int]:
    """States that can be reached by events other than `without`."""
    found, waiting = {start}, [start]
    while waiting:
        state = waiting.pop()
        for (before, event), (after, _) in table.items():
            if before == state and event not in without and after not in found:
                found.add(after)
                waiting.append(after)
    return found


@EACH_TABLE
def test_every_state_is_reachable(name: str) -> None:
    table, start, states, _ = TABLES[name]
    assert reachable(table, start) == set(range(start, len(states)))


@EACH_TABLE
def test_every_event_is_used(name: str) -> None:
    table, _, _, events = TABLES[name]
    assert {event for _, event in table} == set(range(len(events)))


@EACH_TABLE
def test_a_row_is_followed_and_its_effects_are_returned(name: str) -> None:
    table, *_ = TABLES[name]
    for (state, event), (after, effects) in table.items():
        machine = Machine(table, state)
        assert machine.allows(event)
        assert machine.handle(event) == effects
        assert machine.state == after


@EACH_TABLE
def test_an_event_that_is_not_allowed_is_refused_and_leaves_the_state(name: str) -> None:
    table, _, states, events = TABLES[name]
    refused = 0
    for state in range(len(states)):
        for event in range(len(events) + 1):
            if (state, event) in table:
                continue
            machine = Machine(table, state)
            assert not machine.allows(event)
            with pytest.raises(BadTransition):
                machine.handle(event)
            assert machine.state == state
            refused += 1
    assert refused


@pytest.mark.parametrize("name", ["alarm", "custody", "visit"])
def test_an_event_heard_twice_changes_nothing_the_second_time(name: str) -> None:
    table, *_ = TABLES[name]
    for (_, event), (after, _) in table.items():
        if after in (custody.DELETED, custody.RECEIPTED) and name == "custody" and event == custody.DELETE:
            continue  # a clip that was let go is forgotten, machine and all
        if name == "custody" and event in (custody.ASSEMBLE, custody.DELIVER):
            continue  # the gateway's own steps, each reached through its ledger once
        if name == "visit" and event == visit.CONTACT_LOST:
            continue  # one alarm for each loss, named by the last contact: raising it again raises nothing
        assert table[after, event] == (after, ()), (after, event)


# -- recording --------------------------------------------------------------------------------------------------------


def test_recording_starts_only_by_a_named_beginning_and_stops_only_by_a_named_end() -> None:
    for (state, event), (after, effects) in recording.TRANSITIONS.items():
        begun, ended = BEGINS & set(effects), ENDS & set(effects)
        entering = state != recording.RECORDING and after == recording.RECORDING
        leaving = state == recording.RECORDING and after != recording.RECORDING
        continuing = state == after == recording.RECORDING and bool(begun)
        assert len(begun) == (1 if entering or continuing else 0), (state, event)
        assert len(ended) == (1 if leaving or continuing else 0), (state, event)


def test_a_clip_that_is_continued_ends_before_the_next_begins() -> None:
    for event in (recording.LIMIT, recording.REPLACE):
        _, effects = recording.TRANSITIONS[recording.RECORDING, event]
        assert effects[0] in ENDS
        assert effects[1:] == (recording.BEGIN_CONTINUED,)


def test_a_press_alone_never_starts_the_camera_without_notice_and_never_stops_it() -> None:
    assert recording.TRANSITIONS[recording.IDLE, recording.PRESS] == (recording.NOTICE, (recording.PROMPT,))
    assert recording.TRANSITIONS[recording.RECORDING, recording.PRESS] == (recording.RECORDING, ())


def test_a_hold_always_stops_a_recording_also_one_that_an_alarm_started() -> None:
    machine = Machine(recording.TRANSITIONS, recording.IDLE)
    assert machine.handle(recording.ALARM) == (recording.BEGIN_ALARM,)
    assert machine.handle(recording.ALARM) == (recording.MARK_ALARM,)
    assert machine.handle(recording.HOLD) == (recording.END_WEARER,)
    assert machine.state == recording.IDLE


def test_an_alarm_records_from_every_state() -> None:
    for state in (recording.IDLE, recording.NOTICE, recording.RECORDING):
        assert recording.TRANSITIONS[state, recording.ALARM][0] == recording.RECORDING


def test_the_gateway_can_stop_a_recording_but_never_start_one() -> None:
    """STOP and REPLACE are the only events that a command causes."""
    for (state, event), (after, _) in recording.TRANSITIONS.items():
        if event in (recording.STOP, recording.REPLACE) and state != recording.RECORDING:
            assert after == recording.IDLE
    without_wearer = frozenset({recording.PRESS, recording.HOLD, recording.ALARM})
    assert reachable(recording.TRANSITIONS, recording.IDLE, without_wearer) == {recording.IDLE}


# -- alarm ------------------------------------------------------------------------------------------------------------


def test_an_alarm_is_acknowledged_by_a_human_alone() -> None:
    without = frozenset({alarm.ACKNOWLEDGE})
    assert alarm.ACKNOWLEDGED not in reachable(alarm.TRANSITIONS, alarm.QUIET, without)
    for (state, event), (after, effects) in alarm.TRANSITIONS.items():
        if after == alarm.ACKNOWLEDGED and state != alarm.ACKNOWLEDGED:
            assert event == alarm.ACKNOWLEDGE
        assert (alarm.SHOW_ACKNOWLEDGED in effects) == (event == alarm.ACKNOWLEDGE and after != state)


def test_an_alarm_ends_only_when_it_is_resolved() -> None:
    without = frozenset({alarm.RESOLVE})
    assert alarm.RESOLVED not in reachable(alarm.TRANSITIONS, alarm.QUIET, without)
    assert all(after != alarm.QUIET for after, _ in alarm.TRANSITIONS.values())
    assert all(
        after == alarm.RESOLVED for (state, _), (after, _) in alarm.TRANSITIONS.items() if state == alarm.RESOLVED
    )


def test_a_broker_that_took_the_alarm_never_stops_its_repeats() -> None:
    for (_, event), (_, effects) in alarm.TRANSITIONS.items():
        if alarm.STOP_REPEATING in effects:
            assert event in (alarm.RECEIPT, alarm.ACKNOWLEDGE, alarm.RESOLVE)
    assert reachable(alarm.TRANSITIONS, alarm.RAISED, frozenset({alarm.RECEIPT, alarm.ACKNOWLEDGE, alarm.RESOLVE})) == {
        alarm.RAISED,
        alarm.SENT,
    }


def test_an_alarm_never_goes_back() -> None:
    for (state, event), (after, _) in alarm.TRANSITIONS.items():
        assert after >= state, (state, event)


def test_a_repeated_alarm_disturbs_no_state_of_the_gateway() -> None:
    for state in range(alarm.RAISED, alarm.RESOLVED + 1):
        assert alarm.TRANSITIONS[state, alarm.RAISE] == (state, ())


def test_a_wearer_sees_sent_received_and_acknowledged_one_after_the_other() -> None:
    machine = Machine(alarm.TRANSITIONS, alarm.QUIET)
    events = (alarm.RAISE, alarm.BROKER_HAS_IT, alarm.RECEIPT, alarm.ACKNOWLEDGE, alarm.RESOLVE)
    assert [machine.handle(event)[-1] for event in events] == [
        alarm.SHOW_RAISED,
        alarm.SHOW_SENT,
        alarm.SHOW_RECEIVED,
        alarm.SHOW_ACKNOWLEDGED,
        alarm.SHOW_RESOLVED,
    ]


# -- custody ----------------------------------------------------------------------------------------------------------


def test_a_clip_is_deleted_only_after_a_receipt() -> None:
    without = frozenset({custody.RECEIPT})
    assert custody.DELETED not in reachable(custody.TRANSITIONS, custody.OPEN, without)
    assert {state for (state, event) in custody.TRANSITIONS if event == custody.DELETE} == {custody.RECEIPTED}


def test_a_clip_that_is_not_settled_is_never_held_nor_receipted() -> None:
    assert {event for state, event in custody.TRANSITIONS if state == custody.OPEN} == {custody.END, custody.SETTLE}


def test_a_cut_clip_stays_cut_whatever_comes_late() -> None:
    """An end that the broker still had must not demand segments that the device has lost."""
    assert custody.TRANSITIONS[custody.ENDED, custody.SETTLE] == (custody.CUT, ())
    assert custody.TRANSITIONS[custody.CUT, custody.END] == (custody.CUT, ())


def test_a_clip_is_delivered_only_after_all_of_it_is_held() -> None:
    without = frozenset({custody.COMPLETE})
    assert not reachable(custody.TRANSITIONS, custody.OPEN, without) & {
        custody.HELD,
        custody.ASSEMBLED,
        custody.DELIVERED,
    }


# -- visit ------------------------------------------------------------------------------------------------------------

VISIT_STATES = range(visit.PLANNED, visit.CANCELLED + 1)
RUNNING = (visit.ACTIVE, visit.AMBER, visit.OVERDUE)


def test_every_event_of_a_visit_is_taken_in_every_state() -> None:
    events = range(len(names.VISIT_EVENT_NAMES))
    assert set(visit.TRANSITIONS) == {(state, event) for state in VISIT_STATES for event in events}


def test_a_visit_begins_by_a_start_alone() -> None:
    without = frozenset({visit.START})
    assert reachable(visit.TRANSITIONS, visit.PLANNED, without) == {visit.PLANNED, visit.CANCELLED}


def test_time_alone_leads_through_amber_to_red_and_never_back() -> None:
    machine = Machine(visit.TRANSITIONS, visit.ACTIVE)
    assert machine.handle(visit.WARN) == (visit.ASK_CHECK_IN,)
    assert machine.state == visit.AMBER
    assert machine.handle(visit.EXPIRE) == (visit.RAISE_OVERDUE,)
    assert machine.state == visit.OVERDUE
    for event in (visit.WARN, visit.EXPIRE, visit.CONTACT_LOST, visit.START):
        machine.handle(event)
        assert machine.state == visit.OVERDUE


def test_a_gateway_that_missed_the_warning_raises_the_overdue_alarm_all_the_same() -> None:
    assert visit.TRANSITIONS[visit.ACTIVE, visit.EXPIRE] == (visit.OVERDUE, (visit.RAISE_OVERDUE,))


def test_only_a_check_in_or_an_extension_leads_back_to_green() -> None:
    for (state, event), (after, effects) in visit.TRANSITIONS.items():
        if state in (visit.AMBER, visit.OVERDUE) and after == visit.ACTIVE:
            assert event in (visit.CHECK_IN, visit.EXTEND)
            assert effects == (visit.CLEAR_AMBER,)
    for state in RUNNING:
        for event in (visit.CHECK_IN, visit.EXTEND):
            assert visit.TRANSITIONS[state, event][0] == visit.ACTIVE


def test_every_overdue_visit_raises_its_alarm_once_and_a_later_one_again() -> None:
    for (state, event), (after, effects) in visit.TRANSITIONS.items():
        entering = state != visit.OVERDUE and after == visit.OVERDUE
        assert (visit.RAISE_OVERDUE in effects) == entering, (state, event)
    machine = Machine(visit.TRANSITIONS, visit.OVERDUE)
    machine.handle(visit.CHECK_IN)
    machine.handle(visit.WARN)
    assert machine.handle(visit.EXPIRE) == (visit.RAISE_OVERDUE,)


def test_lost_contact_is_told_in_every_visit_that_runs_and_hides_no_deadline() -> None:
    for state in VISIT_STATES:
        told = (visit.RAISE_CONTACT_LOST,) if state in RUNNING else ()
        assert visit.TRANSITIONS[state, visit.CONTACT_LOST] == (state, told)


def test_a_visit_that_is_over_has_stopped_and_stays_over() -> None:
    for (state, event), (after, effects) in visit.TRANSITIONS.items():
        entering = state != after and after in (visit.ENDED, visit.CANCELLED)
        assert (visit.STOP in effects) == entering, (state, event)
        if state == visit.ENDED:
            assert (after, effects) == (visit.ENDED, ())


def test_a_cancel_takes_back_what_has_not_begun_and_leaves_nobody_alone_who_has() -> None:
    for (state, event), (after, _) in visit.TRANSITIONS.items():
        if after == visit.CANCELLED:
            assert (state == visit.PLANNED and event == visit.CANCEL) or state == visit.CANCELLED
    for state in RUNNING:
        assert visit.TRANSITIONS[state, visit.CANCEL] == (state, ())
    assert visit.TRANSITIONS[visit.CANCELLED, visit.START] == (visit.ACTIVE, ())
