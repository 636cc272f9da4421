"""The wearer's side of an alarm: what is shown for which answer, and what a restart keeps."""

import pytest

from lapel_device import feedback
from lapel_device.alarm_control import LATCH_PATH, AlarmControl
from lapel_device.feedback import Feedback
from lapel_protocol.alarm import ACKNOWLEDGE, ACKNOWLEDGED, QUIET, RAISED, RECEIPT, RECEIVED, RESOLVE, RESOLVED, SENT
from tests.firmware.boardkit import MemoryIndicator, MemoryStorage
from tests.firmware.desk import spoil

ALARM_PATTERNS = (feedback.ALARM_RAISED, feedback.ALARM_SENT, feedback.ALARM_RECEIVED, feedback.ALARM_ACKNOWLEDGED)


class Worn:
    """An alarm control with its display and storage."""

    def __init__(self, storage: MemoryStorage | None = None) -> None:
        self.storage = storage or MemoryStorage()
        self.display = Feedback(MemoryIndicator())
        self.control = AlarmControl(self.display, self.storage)

    @property
    def shown(self) -> list[int]:
        return [pattern for pattern in ALARM_PATTERNS if self.display.is_on(pattern)]


def test_the_wearer_sees_sent_received_and_acknowledged_one_after_the_other() -> None:
    worn = Worn()
    worn.control.raised(4, 7, 0)
    assert worn.shown == [feedback.ALARM_RAISED]
    worn.control.sent(100)
    assert worn.shown == [feedback.ALARM_SENT]
    assert worn.control.answer(RECEIPT, 4, 7, 200)
    assert worn.shown == [feedback.ALARM_RECEIVED]
    assert worn.control.answer(ACKNOWLEDGE, 4, 7, 300)
    assert worn.shown == [feedback.ALARM_ACKNOWLEDGED]
    assert worn.control.latched
    assert worn.control.answer(RESOLVE, 4, 7, 400)
    assert worn.shown == []
    assert worn.display.is_on(feedback.ALARM_RESOLVED)
    assert not worn.control.latched


def test_a_broker_that_has_it_is_not_a_gateway_that_has_it() -> None:
    worn = Worn()
    worn.control.raised(4, 7, 0)
    for now_ms in range(5):
        worn.control.sent(now_ms)
    assert worn.control.state == SENT


def test_answers_about_another_alarm_change_nothing() -> None:
    worn = Worn()
    worn.control.raised(4, 7, 0)
    assert not worn.control.answer(RECEIPT, 4, 6, 1)
    assert not worn.control.answer(ACKNOWLEDGE, 3, 7, 1)
    assert not worn.control.answer(RESOLVE, 7, 4, 1)
    assert worn.control.state == RAISED


def test_repeated_and_late_answers_do_not_move_it_back() -> None:
    worn = Worn()
    worn.control.raised(4, 7, 0)
    worn.control.answer(ACKNOWLEDGE, 4, 7, 1)
    worn.control.answer(RECEIPT, 4, 7, 2)
    worn.control.sent(3)
    assert worn.control.state == ACKNOWLEDGED
    assert worn.shown == [feedback.ALARM_ACKNOWLEDGED]


def test_a_second_alarm_follows_a_resolved_one() -> None:
    worn = Worn()
    worn.control.raised(4, 7, 0)
    worn.control.answer(RESOLVE, 4, 7, 1)
    worn.control.raised(4, 9, 2)
    assert worn.control.state == RAISED
    assert not worn.control.answer(RESOLVE, 4, 7, 3)


@pytest.mark.parametrize(
    ("steps", "state"), [(0, RAISED), (1, RAISED), (2, RECEIVED), (3, ACKNOWLEDGED), (4, RESOLVED)]
)
def test_the_latch_outlives_a_power_cut(steps: int, state: int) -> None:
    worn = Worn()
    worn.control.raised(4, 7, 0)
    worn.control.keep()
    for step in (
        lambda: worn.control.sent(1),
        lambda: worn.control.answer(RECEIPT, 4, 7, 2),
        lambda: worn.control.answer(ACKNOWLEDGE, 4, 7, 3),
        lambda: worn.control.answer(RESOLVE, 4, 7, 4),
    )[:steps]:
        step()
        worn.control.keep()
    worn.storage.power_cut()
    after = Worn(worn.storage)
    found = after.control.load(0)
    if state == RESOLVED:
        assert not found
        assert after.control.state == QUIET
    else:
        assert found
        assert (after.control.boot, after.control.counter, after.control.state) == (4, 7, state)


@pytest.mark.parametrize("which", "01")
def test_the_latch_outlives_one_spoilt_copy_and_does_not_come_back_once_it_is_resolved(which: str) -> None:
    worn = Worn()
    worn.control.raised(4, 7, 0)
    worn.control.keep()
    spoil(worn.storage, LATCH_PATH + which, 3)
    after = Worn(worn.storage)
    assert after.control.load(0)
    assert (after.control.boot, after.control.counter) == (4, 7)
    after.control.answer(RESOLVE, 4, 7, 1)
    after.control.keep()
    assert not Worn(worn.storage).control.load(0)


def test_keeping_an_unchanged_latch_writes_nothing() -> None:
    worn = Worn()
    worn.control.raised(4, 7, 0)
    worn.control.keep()
    written = len(worn.storage.trace)
    worn.control.keep()
    worn.control.answer(RECEIPT, 4, 6, 1)
    worn.control.keep()
    assert len(worn.storage.trace) == written


@pytest.mark.parametrize("at", range(0, 13, 4))
def test_a_spoilt_latch_is_not_believed(at: int) -> None:
    worn = Worn()
    worn.control.raised(4, 7, 0)
    worn.control.keep()
    for which in "01":
        spoil(worn.storage, LATCH_PATH + which, at)
    after = Worn(worn.storage)
    assert not after.control.load(0)
    assert after.control.state == QUIET


def test_holding_alarm_again_plays_its_state_from_the_beginning() -> None:
    worn = Worn()
    worn.control.raised(4, 7, 0)
    worn.control.answer(RECEIPT, 4, 7, 0)
    for now_ms in range(0, 3000, 10):
        worn.display.poll(now_ms)
    worn.control.show_again(3000)
    worn.display.poll(3000)
    assert worn.display._vibrate


def test_a_real_alarm_takes_the_place_of_a_drill_and_nothing_takes_the_place_of_a_real_one() -> None:
    worn = Worn()
    worn.control.raised(4, 7, 0, True)
    assert worn.control.test
    assert worn.display.is_on(feedback.ALARM_TEST)
    assert worn.shown == [feedback.ALARM_RAISED]
    worn.control.raised(4, 9, 100)
    assert not worn.control.test
    assert not worn.display.is_on(feedback.ALARM_TEST)
    assert not worn.control.answer(RESOLVE, 4, 7, 200), "the drill's answers are nobody's any more"


def test_the_test_look_goes_with_the_drills_end() -> None:
    worn = Worn()
    worn.control.raised(4, 7, 0, True)
    worn.control.answer(ACKNOWLEDGE, 4, 7, 1)
    assert worn.display.is_on(feedback.ALARM_TEST)
    worn.control.answer(RESOLVE, 4, 7, 2)
    assert not worn.display.is_on(feedback.ALARM_TEST)


@pytest.mark.parametrize("test", [False, True])
@pytest.mark.parametrize("cancelled", [False, True])
def test_a_restart_keeps_whether_it_was_a_drill_and_whether_it_was_cancelled(test: bool, cancelled: bool) -> None:
    worn = Worn()
    worn.control.raised(4, 7, 0, test)
    worn.control.answer(RECEIPT, 4, 7, 1)
    worn.control.keep()
    if cancelled:
        worn.control.cancel(2)
        worn.control.keep()
    again = Worn(worn.storage)
    assert again.control.load(0)
    assert (again.control.state, again.control.test) == (RECEIVED, test)
    assert again.control.cancelled == cancelled
    assert again.display.is_on(feedback.ALARM_TEST) == test
    assert again.display.is_on(feedback.CANCEL_SENT) == cancelled
    assert again.shown == [feedback.ALARM_RECEIVED]


def test_a_cancel_is_shown_beside_the_alarm_until_somebody_answers() -> None:
    worn = Worn()
    worn.control.raised(4, 7, 0)
    worn.control.cancel(1)
    worn.control.answer(RECEIPT, 4, 7, 2)
    assert worn.display.is_on(feedback.CANCEL_SENT)
    assert worn.shown == [feedback.ALARM_RECEIVED]
    worn.control.answer(ACKNOWLEDGE, 4, 7, 3)
    assert not worn.display.is_on(feedback.CANCEL_SENT)
    worn.control.cancel(4)
    assert not worn.display.is_on(feedback.CANCEL_SENT)
    assert worn.shown == [feedback.ALARM_ACKNOWLEDGED]
