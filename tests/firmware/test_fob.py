"""A board with neither camera nor microphone: it raises alarms and checks in, and records nothing."""

from lapel_device import feedback
from lapel_protocol import alarm, command, event, recording
from lapel_protocol.orders import VISIT_ACTIVE, VisitState
from lapel_protocol.report_decoders import decode_alarm_raised, decode_visit_note
from lapel_protocol.reports import VISIT_CHECK_IN
from tests.firmware.desk import DeskBoard, clip_files
from tests.firmware.pair import DevicePair


def fob() -> DevicePair:
    board = DeskBoard(tamper=True)
    board.profile.frame_width = board.profile.frame_height = 0
    board.profile.audio_rate_hz = 0
    return DevicePair(board).run(3000)


def test_a_fobs_alarm_promises_no_clip_and_begins_none() -> None:
    pair = fob()
    pair.hold_alarm().run(15_000)
    [raised] = pair.gateway.reported(event.ALARM_RAISED)
    assert decode_alarm_raised(raised.payload).clip == 0
    assert pair.app.status().alarm == alarm.RECEIVED
    assert pair.app.status().recording == recording.IDLE
    assert not pair.shows(feedback.RECORDING)
    assert not clip_files(pair.board)
    assert not pair.gateway.clips
    assert not pair.notes(), "nothing is said of a recording that was never wanted"


def test_a_fob_whose_alarm_outlives_a_power_cut_still_begins_no_clip() -> None:
    pair = fob()
    pair.hold_alarm().run(2000)
    pair.power_cut()
    pair.run(15_000)
    assert pair.app.status().alarm == alarm.RECEIVED
    assert not clip_files(pair.board)


def test_a_press_or_hold_of_record_is_refused() -> None:
    for push in (DevicePair.press, DevicePair.hold):
        pair = push(fob())
        assert pair.shows(feedback.REFUSED)
        assert pair.app.status().recording == recording.IDLE
        assert not pair.shows(feedback.NOTICE)
        pair.run(3000)
        assert not pair.shows(feedback.REFUSED)


def test_a_fob_checks_in() -> None:
    pair = fob()
    pair.gateway.say(command.VISIT_STATE, VisitState(12, VISIT_ACTIVE, 0, 0, 0))
    pair.run(1500)
    pair._push(1, 120).run(150)._push(1, 120).run(1500)
    [note] = [decode_visit_note(found.payload) for found in pair.gateway.reported(event.VISIT)]
    assert (note.what, note.visit) == (VISIT_CHECK_IN, 12)
    assert not pair.shows(feedback.REFUSED)


def test_an_opened_case_of_a_fob_is_an_alarm_without_a_clip() -> None:
    pair = fob()
    pair.board.buttons.mask = 8
    pair.run(3000)
    [raised] = pair.gateway.reported(event.ALARM_RAISED)
    assert decode_alarm_raised(raised.payload).clip == 0
