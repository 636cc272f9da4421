"""Visits and location on the device: the whole application against a gateway in memory, with and without a link."""

from typing import Self

import pytest

from lapel_device import feedback
from lapel_device.location_watch import ALARM_MS, VISIT_MS
from lapel_device.pattern_names import PATTERNS
from lapel_device.visit_control import REMIND_MS, VISIT_PATH
from lapel_protocol import alarm, command, event, recording
from lapel_protocol.orders import (
    RESOLVED_FALSE,
    VISIT_ACTIVE,
    VISIT_AMBER,
    VISIT_NONE,
    VISIT_OVERDUE,
    VISIT_PLANNED,
    AlarmResolved,
    VisitState,
)
from lapel_protocol.report_decoders import decode_alarm_raised, decode_location, decode_visit_note
from lapel_protocol.reports import (
    ALARM_LOW_BATTERY,
    VISIT_CHECK_IN,
    VISIT_END,
    VISIT_EXTEND,
    VISIT_START,
    Location,
)
from lapel_sim.gnss import GnssModel
from tests.firmware.desk import DeskBoard, spoil
from tests.firmware.pair import DevicePair

HOUR_MS = 3_600_000
PLACE = (51.4779, -0.0015)
PLACE_E7 = (514_779_000, -15_000)


class Receiver:
    """The simulator's receiver on the application's clock."""

    def __init__(self, board: DeskBoard) -> None:
        self._clock = board.clock
        self.model = GnssModel()
        self.model.position = PLACE
        self.fault = False

    def start(self) -> None:
        if self.fault:
            raise OSError(5)
        self.model.power(True, self._clock.ticks)

    def stop(self) -> None:
        self.model.power(False, self._clock.ticks)

    def readinto(self, buffer: bytearray | memoryview) -> int:
        given = self.model.read(len(buffer), self._clock.ticks)
        buffer[: len(given)] = given
        return len(given)


class Visiting(DevicePair):
    """A device whose gateway tells it of visits."""

    def __init__(self) -> None:
        board = DeskBoard()
        self.receiver = Receiver(board)
        board.receiver = self.receiver
        super().__init__(board)
        self.run(3000)

    def tell(self, state: int, visit: int = 12, check_in_s: int = 0, due_ms: int = 0, next_ms: int = 0) -> Self:
        """What the gateway says after every hello and at every change; times from now on, 0 = none."""
        now_ms = self.gateway.now_ms
        body = VisitState(
            visit if state else 0, state, check_in_s, due_ms and now_ms + due_ms, next_ms and now_ms + next_ms
        )
        self.gateway.say(command.VISIT_STATE, body)
        return self.run(1500)

    def double(self) -> Self:
        return self._push(1, 120).run(150)._push(1, 120).run(1500)

    def presses(self, count: int) -> Self:
        for _ in range(count):
            self._push(1, 120).run(150)
        return self.run(1500)

    def double_hold(self) -> Self:
        return self._push(1, 120).run(150)._push(1, 1700).run(1500)

    @property
    def said(self) -> list[tuple[int, int]]:
        """(what, visit) of the wearer's words that arrived."""
        notes = [decode_visit_note(found.payload) for found in self.gateway.reported(event.VISIT)]
        assert not any(note.minutes for note in notes)
        return [(note.what, note.visit) for note in notes]

    @property
    def places(self) -> list[Location]:
        return [decode_location(found.payload) for found in self.gateway.reported(event.LOCATION)]

    @property
    def on(self) -> set[int]:
        """The patterns of visits that are on."""
        patterns = (feedback.VISIT_ON, feedback.VISIT_AMBER, feedback.VISIT_OVERDUE, feedback.CHECK_IN_DUE)
        return {pattern for pattern in patterns if self.shows(pattern)}


def test_a_double_press_starts_the_planned_visit_checks_in_and_held_on_ends_it() -> None:
    pair = Visiting().tell(VISIT_PLANNED)
    assert pair.on == set()
    pair.double()
    assert pair.said == [(VISIT_START, 12)]
    assert pair.on == {feedback.VISIT_ON}
    pair.tell(VISIT_ACTIVE).double()
    assert pair.said[1:] == [(VISIT_CHECK_IN, 12)]
    pair.double_hold()
    assert pair.said[2:] == [(VISIT_END, 12)]
    assert pair.on == set()
    assert pair.app.status().recording == recording.IDLE
    assert pair.notes() == [], "no notice was begun"


def test_without_a_plan_a_double_press_starts_a_visit_by_the_policy() -> None:
    pair = Visiting().tell(VISIT_NONE).double()
    assert pair.said == [(VISIT_START, 0)]
    assert pair.on == {feedback.VISIT_ON}
    pair.tell(VISIT_ACTIVE, 31).double()
    assert pair.said[1:] == [(VISIT_CHECK_IN, 31)]


def test_where_nobody_speaks_of_visits_a_double_press_is_two_presses() -> None:
    pair = DevicePair().run(3000)
    pair._push(1, 120).run(150)
    pair._push(1, 120).run(500)
    assert pair.app.status().recording == recording.RECORDING
    assert pair.gateway.reported(event.VISIT) == []


def test_in_a_visit_a_press_and_a_hold_of_record_are_what_they_were() -> None:
    pair = Visiting().tell(VISIT_ACTIVE)
    pair.press()
    assert pair.app.status().recording == recording.NOTICE
    pair.press()
    assert pair.app.status().recording == recording.RECORDING
    pair.run(500).hold()
    assert pair.app.status().recording == recording.IDLE
    assert pair.said == []


def test_every_step_is_answered_to_the_wearer_at_once() -> None:
    pair = Visiting().tell(VISIT_PLANNED)
    pair.link(False)
    pair.run(500)._push(1, 120).run(150)._push(1, 120).run(100)
    assert pair.shows(feedback.VISIT_NOTED)


def test_amber_and_overdue_stay_until_the_gateway_takes_them_back() -> None:
    pair = Visiting().tell(VISIT_AMBER)
    assert pair.on == {feedback.VISIT_ON, feedback.VISIT_AMBER}
    pair.double()
    assert pair.said == [(VISIT_CHECK_IN, 12)]
    assert feedback.VISIT_AMBER in pair.on
    pair.tell(VISIT_OVERDUE)
    assert pair.on == {feedback.VISIT_ON, feedback.VISIT_OVERDUE}
    pair.tell(VISIT_ACTIVE)
    assert pair.on == {feedback.VISIT_ON}
    pair.tell(VISIT_NONE)
    assert pair.on == set()


def test_three_presses_check_in_and_ask_for_more_time_which_is_answered_in_another_rhythm() -> None:
    pair = Visiting().tell(VISIT_AMBER)
    pair._push(1, 120).run(150)._push(1, 120).run(100)
    assert pair.shows(feedback.VISIT_NOTED)
    pair._push(1, 120).run(300)
    assert not pair.shows(feedback.VISIT_LONGER), "a fourth press may follow"
    pair.run(200)
    assert pair.shows(feedback.VISIT_LONGER)
    pair.run(1500)
    assert pair.said == [(VISIT_CHECK_IN, 12), (VISIT_EXTEND, 12)]
    assert feedback.VISIT_AMBER in pair.on, "until the gateway takes it back"
    assert pair.app.status().recording == recording.IDLE
    felt = [len(PATTERNS[which].pulses) for which in (feedback.VISIT_NOTED, feedback.VISIT_LONGER)]
    assert felt == [2 * 3, 2 * 5], "two against three, with pauses between them"


@pytest.mark.parametrize("count", [2, 4, 5, 6])
def test_whoever_presses_on_and_on_checks_in_and_gets_no_more_time(count: int) -> None:
    pair = Visiting().tell(VISIT_ACTIVE).presses(count)
    assert pair.said == [(VISIT_CHECK_IN, 12)]
    assert pair.app.status().recording == recording.IDLE


PUSH = (1, 120)
PAUSE = (0, 80)


@pytest.mark.parametrize(
    ("levels", "said"),
    [
        ([PUSH, PAUSE, PUSH], [VISIT_CHECK_IN]),
        ([PUSH, PAUSE, PUSH, PAUSE, PUSH], [VISIT_CHECK_IN, VISIT_EXTEND]),
        ([PUSH, PAUSE, (1, 1700)], [VISIT_END]),
        ([PUSH, (0, 700), PUSH], []),
    ],
)
def test_what_a_wearer_presses_while_the_loop_stands_still_is_what_was_meant(
    levels: list[tuple[int, int]], said: list[int]
) -> None:
    visiting = Visiting().tell(VISIT_ACTIVE, check_in_s=600, due_ms=HOUR_MS)
    visiting.stall((0, 100), *levels, (0, 200)).run(1500)
    assert [what for what, _ in visiting.said] == said
    assert visiting.app.status().recording == (recording.IDLE if said else recording.RECORDING)


def test_three_presses_without_a_visit_begin_one_and_extend_nothing() -> None:
    pair = Visiting().tell(VISIT_PLANNED).presses(3)
    assert pair.said == [(VISIT_START, 12)]
    pair.tell(VISIT_ACTIVE).presses(3)
    assert [what for what, _ in pair.said[1:]] == [VISIT_CHECK_IN, VISIT_EXTEND]


def test_an_extension_without_a_link_outlives_a_restart_and_takes_no_reminder_back_before_it_is_answered() -> None:
    pair = Visiting().tell(VISIT_ACTIVE, due_ms=REMIND_MS)
    assert feedback.CHECK_IN_DUE in pair.on
    pair.link(False)
    pair.presses(3).run(2000)
    assert pair.on == {feedback.VISIT_ON, feedback.CHECK_IN_DUE}
    pair.power_cut()
    pair.run(2000)
    assert pair.on == {feedback.VISIT_ON}, "nobody has set the clock"
    pair.link(True)
    pair.run(5000)
    assert pair.said == [(VISIT_CHECK_IN, 12), (VISIT_EXTEND, 12)]
    pair.tell(VISIT_ACTIVE, due_ms=HOUR_MS)
    assert pair.on == {feedback.VISIT_ON}


def test_a_start_that_is_not_receipted_stays_listened_for_after_an_extension() -> None:
    pair = Visiting().tell(VISIT_NONE)
    pair.gateway.answers = False
    pair.double().presses(3).tell(VISIT_NONE)
    assert pair.on == {feedback.VISIT_ON}, "what the gateway says of the time before the start is not listened to"
    pair.gateway.answers = True
    pair.run(10_000)
    assert [what for what, _ in pair.said] == [VISIT_START, VISIT_CHECK_IN, VISIT_EXTEND]


@pytest.mark.parametrize("which", ["due_ms", "next_ms"])
def test_the_wearer_is_reminded_two_minutes_before_a_check_in_or_the_end(which: str) -> None:
    pair = Visiting().tell(VISIT_ACTIVE, check_in_s=900, **{which: REMIND_MS + 10_000})
    assert pair.on == {feedback.VISIT_ON}
    pair.run(11_000)
    assert pair.on == {feedback.VISIT_ON, feedback.CHECK_IN_DUE}


def test_a_check_in_without_a_link_puts_the_next_reminder_off() -> None:
    pair = Visiting().tell(VISIT_ACTIVE, check_in_s=900, next_ms=REMIND_MS // 2)
    assert feedback.CHECK_IN_DUE in pair.on
    pair.link(False)
    pair.double().run(3000)
    assert feedback.CHECK_IN_DUE not in pair.on
    pair.run(900_000 - REMIND_MS)
    assert feedback.CHECK_IN_DUE in pair.on


def test_a_check_in_by_a_clock_that_nobody_set_reminds_of_nothing_when_it_is_set() -> None:
    pair = Visiting().tell(VISIT_ACTIVE, check_in_s=900, next_ms=HOUR_MS)
    pair.link(False)
    pair.power_cut()
    pair.run(2000).double()
    pair.link(True)
    pair.run(5000)
    assert pair.said == [(VISIT_CHECK_IN, 12)]
    assert pair.on == {feedback.VISIT_ON}


def test_a_whole_visit_without_a_link_arrives_in_order_and_outlives_restarts() -> None:
    pair = Visiting().tell(VISIT_PLANNED)
    pair.link(False)
    pair.double().run(2000)
    pair.power_cut()
    pair.run(3000)
    assert pair.on == {feedback.VISIT_ON}
    pair.double().double_hold()
    assert pair.on == set()
    pair.power_cut()
    pair.run(2000)
    assert pair.on == set()
    pair.link(True)
    pair.run(5000)
    assert pair.said == [(VISIT_START, 12), (VISIT_CHECK_IN, 12), (VISIT_END, 12)]


def test_what_the_gateway_says_of_the_time_before_a_start_or_an_end_is_not_listened_to() -> None:
    pair = Visiting().tell(VISIT_NONE)
    pair.gateway.answers = False
    pair.double().tell(VISIT_NONE)
    assert pair.on == {feedback.VISIT_ON}
    pair.tell(VISIT_ACTIVE, 31)
    pair.double_hold().tell(VISIT_ACTIVE, 31).run(3000)
    assert pair.on == set()
    assert pair.app._parts.visits is not None
    assert pair.app._parts.visits.number == 0
    pair.gateway.answers = True
    pair.run(10_000)
    assert [what for what, _ in pair.said] == [VISIT_START, VISIT_END]
    pair.tell(VISIT_ACTIVE, 32)
    assert pair.on == {feedback.VISIT_ON}, "and once it knows, it is listened to again"


def test_spoilt_notes_of_a_visit_are_no_visit() -> None:
    pair = Visiting().tell(VISIT_ACTIVE).run(1500)
    for which in "01":
        spoil(pair.board.storage, VISIT_PATH + which, 5)
    pair.link(False)
    pair.power_cut()
    pair.run(1000)
    assert pair.on == set()
    assert pair.app.status().fault == ""


def test_a_low_battery_in_a_visit_is_told_once_and_begins_no_clip() -> None:
    pair = Visiting()
    pair.board.desk_battery.percent = 15
    pair.run(12_000)
    assert pair.gateway.reported(event.ALARM_RAISED) == []
    pair.tell(VISIT_ACTIVE).run(5000)
    pair.power_cut()
    pair.run(15_000).tell(VISIT_ACTIVE)
    [found] = pair.gateway.reported(event.ALARM_RAISED)
    raised = decode_alarm_raised(found.payload)
    assert (raised.kind, raised.clip, raised.flags) == (ALARM_LOW_BATTERY, 0, 0)
    assert pair.app.status().recording == recording.IDLE
    assert pair.app.status().alarm == alarm.QUIET
    pair.tell(VISIT_NONE).tell(VISIT_ACTIVE, 13).run(2000)
    assert len(pair.gateway.reported(event.ALARM_RAISED)) == 2, "another visit, another word"


def test_outside_a_visit_and_an_alarm_the_receiver_is_off_and_never_read() -> None:
    pair = Visiting().tell(VISIT_PLANNED).run(60_000)
    assert (pair.receiver.model.starts, pair.receiver.model.reads) == (0, 0)
    pair.double().run(20_000)
    assert pair.receiver.model.on
    pair.double_hold().run(2000)
    assert not pair.receiver.model.on
    reads = pair.receiver.model.reads
    told = len(pair.places)
    pair.tell(VISIT_NONE).run(HOUR_MS // 4)
    assert (pair.receiver.model.reads, len(pair.places)) == (reads, told)


def test_in_a_visit_the_place_is_told_every_two_minutes_and_in_an_alarm_every_thirty_seconds() -> None:
    pair = Visiting().tell(VISIT_ACTIVE).run(2 * VISIT_MS + 5000)
    assert [(place.visit, place.alarm_counter) for place in pair.places] == [(12, 0)] * 3
    place = pair.places[0]
    assert (abs(place.latitude - PLACE_E7[0]) < 3, abs(place.longitude - PLACE_E7[1]) < 3) == (True, True)
    assert (place.accuracy_m, place.age_s) == (6, 0)
    pair.hold_alarm().run(2 * ALARM_MS + 2000)
    status = pair.app.status()
    named = [(place.visit, place.alarm_boot, place.alarm_counter) for place in pair.places[3:]]
    assert named == [(12, status.alarm_boot, status.alarm_counter)] * 3


def test_an_alarm_outside_a_visit_tells_the_place_until_it_is_resolved() -> None:
    pair = Visiting().hold_alarm().run(ALARM_MS + 3000)
    status = pair.app.status()
    assert [(place.visit, place.alarm_counter) for place in pair.places] == [(0, status.alarm_counter)] * 2
    resolved = AlarmResolved(status.alarm_boot, status.alarm_counter, RESOLVED_FALSE)
    pair.gateway.say(command.ALARM_RESOLVED, resolved)
    pair.run(2 * ALARM_MS)
    assert len(pair.places) == 2
    assert not pair.receiver.model.on


def test_a_place_is_never_journalled_and_never_told_late() -> None:
    pair = Visiting().tell(VISIT_ACTIVE).run(5000)
    told = len(pair.places)
    pair.link(False)
    pair.run(3 * VISIT_MS)
    held = pair.app.status().events_held
    pair.receiver.model.position = None
    pair.run(20_000)
    pair.link(True)
    pair.run(20_000).tell(VISIT_ACTIVE)
    assert held == 0
    assert len(pair.places) == told, "a fix of before is not told"
    pair.receiver.model.position = PLACE
    pair.run(5000)
    assert len(pair.places) == told + 1


def test_a_visit_of_an_earlier_boot_has_no_place_before_the_gateway_speaks_of_it() -> None:
    pair = Visiting().tell(VISIT_ACTIVE).run(3000)
    told = len(pair.places)
    pair.power_cut()
    pair.run(VISIT_MS)
    assert pair.on == {feedback.VISIT_ON}
    assert (len(pair.places), pair.receiver.model.on) == (told, True), "on at the cut, and nobody has started it since"
    starts = pair.receiver.model.starts
    pair.tell(VISIT_ACTIVE).run(3000)
    assert len(pair.places) == told + 1
    assert pair.receiver.model.starts >= starts


def test_a_receiver_that_does_not_answer_is_reported_once_and_costs_nothing_else() -> None:
    pair = Visiting()
    pair.receiver.fault = True
    pair.tell(VISIT_ACTIVE).run(30_000)
    assert sum("GNSS" in line for line in pair.board.lines) == 1
    assert pair.places == []
    pair.receiver.fault = False
    pair.run(10_000)
    assert len(pair.places) == 1
    pair.hold_alarm().run(500)
    assert pair.app.status().alarm == alarm.RECEIVED


def test_a_board_without_a_receiver_has_visits_and_alarms_without_a_place() -> None:
    pair = Visiting()
    pair.board.receiver = None
    pair.tell(VISIT_ACTIVE).run(5000)
    assert pair.on == {feedback.VISIT_ON}
    assert pair.places == []
