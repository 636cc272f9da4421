"""Drills, cancels, duress and tampering: the whole application against a gateway in memory."""

import pytest

from lapel_device import feedback
from lapel_device.gestures import CASE_OPEN
from lapel_protocol import alarm, command, event, recording
from lapel_protocol.orders import RESOLVED_FALSE, VISIT_ACTIVE, AlarmAck, AlarmResolved, VisitState
from lapel_protocol.report_decoders import decode_alarm_cancelled, decode_alarm_raised
from lapel_protocol.reports import ALARM_DURESS, ALARM_PANIC, ALARM_TAMPER, ALARM_TEST, AlarmRaised
from tests.firmware.desk import DeskBoard
from tests.firmware.pair import DevicePair

CANCEL = "SLSS"
DURESS = "SLLS"


def raised(pair: DevicePair) -> list[AlarmRaised]:
    """The alarms that arrived, in the order in which they were made."""
    return [decode_alarm_raised(found.payload) for found in pair.gateway.reported(event.ALARM_RAISED)]


def cancelled(pair: DevicePair) -> list[tuple[int, int]]:
    """The alarms that arriving cancels name."""
    found = [decode_alarm_cancelled(one.payload) for one in pair.gateway.reported(event.ALARM_CANCELLED)]
    return [(cancel.boot, cancel.counter) for cancel in found]


def with_pins(connected: bool = True) -> DevicePair:
    return DevicePair(DeskBoard(cancel_pin=CANCEL, duress_pin=DURESS), connected).run(3000)


def test_a_drill_goes_the_whole_way_says_that_it_is_one_and_records_nothing() -> None:
    pair = DevicePair(DeskBoard(drills=True)).run(3000).hold_drill().run(1000)
    [drill] = raised(pair)
    assert (drill.kind, drill.flags, drill.clip) == (ALARM_PANIC, ALARM_TEST, 0)
    assert pair.app.status().alarm == alarm.RECEIVED
    assert pair.shows(feedback.ALARM_RECEIVED)
    assert pair.shows(feedback.ALARM_TEST)
    pair.run(3000)
    assert pair.app.status().recording == recording.IDLE
    assert not pair.captured


def test_both_buttons_squeezed_are_a_real_alarm_on_a_device_that_was_not_provisioned_for_drills() -> None:
    pair = DevicePair().run(3000).hold_drill().run(1000)
    [real] = raised(pair)
    assert (real.kind, real.flags) == (ALARM_PANIC, 0)
    assert pair.app.status().recording == recording.RECORDING
    assert not pair.shows(feedback.ALARM_TEST)


def test_a_real_alarm_is_raised_and_recorded_although_a_drill_is_latched() -> None:
    pair = DevicePair(DeskBoard(drills=True)).run(3000).hold_drill().run(500).hold_alarm().run(1000)
    drill, real = raised(pair)
    assert (drill.flags, real.flags, real.kind) == (ALARM_TEST, 0, ALARM_PANIC)
    assert not pair.shows(feedback.ALARM_TEST)
    assert pair.app.status().recording == recording.RECORDING
    assert real.clip == pair.app.status().clip
    named = pair.gateway.reported(event.ALARM_RAISED)[1]
    assert pair.app.status().alarm_counter == named.counter


def test_a_drill_never_takes_the_place_of_an_alarm_nor_of_another_drill() -> None:
    pair = DevicePair(DeskBoard(drills=True)).run(3000).hold_alarm().run(500)
    before = pair.app.status().alarm_counter
    pair.hold_drill().run(1000)
    assert [found.flags for found in raised(pair)] == [0]
    assert pair.app.status().alarm_counter == before
    assert not pair.shows(feedback.ALARM_TEST)
    pair = DevicePair(DeskBoard(drills=True)).run(3000).hold_drill().hold_drill().run(500)
    assert [found.flags for found in raised(pair)] == [ALARM_TEST]


def test_a_drill_that_a_power_cut_overtook_still_makes_way_for_a_real_alarm() -> None:
    for kept_ms in (0, 3000):
        pair = DevicePair(DeskBoard(drills=True), connected=False).run(3000).hold_drill().run(kept_ms)
        pair.power_cut()
        pair.run(500).hold_alarm().run(500)
        pair.link(True)
        pair.run(3000)
        assert [found.flags for found in raised(pair)] == [ALARM_TEST, 0]


def test_a_power_cut_before_the_latch_leaves_a_drill_a_drill_and_a_real_alarm_real() -> None:
    pair = DevicePair(DeskBoard(drills=True), connected=False).run(3000).hold_drill().run(3000)
    pair.board.storage.remove("/alarm.0")
    pair.power_cut()
    pair.run(500)
    assert pair.shows(feedback.ALARM_TEST)
    pair = DevicePair(connected=False).run(3000).hold_alarm().run(3000)
    before = pair.app.status()
    pair.board.storage.remove("/alarm.0")
    pair.power_cut()
    pair.run(500)
    assert not pair.shows(feedback.ALARM_TEST)
    pair.hold_alarm().run(500)
    status = pair.app.status()
    named = (status.alarm_boot, status.alarm_counter)
    assert named == (before.alarm_boot, before.alarm_counter), "a second one would take the place of the first"


def test_a_cancel_names_the_alarm_and_leaves_it_latched_and_shown() -> None:
    pair = with_pins().hold_alarm().run(500).type_pin(CANCEL)
    status = pair.app.status()
    assert cancelled(pair) == [(status.alarm_boot, status.alarm_counter)]
    assert status.alarm == alarm.RECEIVED
    assert pair.shows(feedback.ALARM_RECEIVED)
    assert pair.shows(feedback.CANCEL_SENT)
    pair.type_pin(CANCEL)
    assert len(cancelled(pair)) == 1
    pair.gateway.say(command.ALARM_ACK, AlarmAck(status.alarm_boot, status.alarm_counter, 0, "Ada"))
    pair.run(200)
    assert not pair.shows(feedback.CANCEL_SENT)
    resolved = AlarmResolved(status.alarm_boot, status.alarm_counter, RESOLVED_FALSE)
    pair.gateway.say(command.ALARM_RESOLVED, resolved)
    pair.run(200)
    assert pair.app.status().alarm == alarm.RESOLVED


def test_a_cancel_that_is_typed_while_the_loop_stands_still_is_one() -> None:
    pair = with_pins().hold_alarm().run(2000)
    typed = [level for symbol in CANCEL for level in ((1, 800 if symbol == "L" else 160), (0, 300))]
    pair.stall((0, 300), *typed, (0, 1000)).run(2000)
    assert len(cancelled(pair)) == 1


def test_a_drill_that_is_held_while_the_loop_stands_still_is_one() -> None:
    pair = DevicePair(DeskBoard(drills=True)).run(3000)
    pair.stall((0, 300), (3, 3300), (0, 300)).run(1000)
    [drill] = raised(pair)
    assert (drill.kind, drill.flags) == (ALARM_PANIC, ALARM_TEST)
    assert pair.app.status().recording == recording.IDLE


def test_a_cancel_without_a_link_outlives_a_restart_and_arrives_later() -> None:
    pair = with_pins(connected=False).hold_alarm().run(500).type_pin(CANCEL).run(1500)
    assert pair.shows(feedback.CANCEL_SENT)
    pair.power_cut()
    pair.run(500)
    assert pair.shows(feedback.CANCEL_SENT)
    pair.link(True)
    pair.run(3000)
    [found] = pair.gateway.reported(event.ALARM_RAISED)
    assert cancelled(pair) == [(found.boot, found.counter)]


def test_duress_looks_like_a_cancel_in_every_step_and_is_an_alarm_of_its_own() -> None:
    seen = []
    for symbols in (CANCEL, DURESS):
        pair = with_pins().hold_alarm().run(500)
        began_ms = pair.now_ms
        pair.type_pin(symbols).run(5000)
        changes = [change[1:] for change in pair.board.desk_indicator.changes if change[0] >= began_ms]
        seen.append((changes, pair.shows(feedback.CANCEL_SENT), sorted(pair.board.storage.files), pair.board.lines))
        if symbols == DURESS:
            first, second = raised(pair)
            assert (first.kind, second.kind, second.flags) == (ALARM_PANIC, ALARM_DURESS, 0)
            assert cancelled(pair) == []
            named = pair.gateway.reported(event.ALARM_RAISED)[0]
            assert pair.app.status().alarm_counter == named.counter
            counter = pair.gateway.reported(event.ALARM_RAISED)[1].counter
            pair.gateway.say(command.ALARM_ACK, AlarmAck(named.boot, counter, 0, "Ada"))
            pair.run(200)
            assert pair.app.status().alarm == alarm.RECEIVED, "an answer about the hidden alarm shows nothing"
    assert seen[0] == seen[1]


@pytest.mark.parametrize("symbols", ["SLS", "SLSSS", "LSLL", "S", "SLSSSLSSSLSS"])
def test_a_wrong_sequence_only_shows_the_alarm_again(symbols: str) -> None:
    pair = with_pins().hold_alarm().run(500)
    began_ms = pair.now_ms
    pair.type_pin(symbols)
    assert cancelled(pair) == []
    assert len(raised(pair)) == 1
    assert not pair.shows(feedback.CANCEL_SENT)
    assert any(vibrate for at_ms, _, vibrate, _ in pair.board.desk_indicator.changes if at_ms > began_ms)
    pair.type_pin(CANCEL)
    assert len(cancelled(pair)) == 1, "and the right one still counts afterwards"


def test_a_sequence_is_nothing_while_no_alarm_is_latched_and_never_begins_a_notice_while_one_is() -> None:
    pair = with_pins().type_pin(CANCEL)
    assert cancelled(pair) == []
    pair = with_pins().hold_alarm().run(500)
    pair.hold().run(500)
    assert pair.app.status().recording == recording.IDLE, "holding RECORD still stops"
    pair.type_pin(CANCEL)
    assert pair.app.status().recording == recording.IDLE
    assert len(cancelled(pair)) == 1


def test_without_pins_a_press_while_an_alarm_is_latched_is_a_press() -> None:
    pair = DevicePair().run(3000).hold_alarm().run(500).hold().run(500)
    assert pair.app.status().recording == recording.IDLE
    pair.press()
    assert pair.app.status().recording == recording.NOTICE


def test_an_opened_case_is_one_alarm_for_each_opening_where_it_is_wanted() -> None:
    pair = DevicePair().run(3000)
    pair.board.buttons.mask = CASE_OPEN
    pair.run(3000)
    assert raised(pair) == [], "off by default"
    pair = DevicePair(DeskBoard(tamper=True)).run(3000)
    assert raised(pair) == []
    pair.board.buttons.mask = CASE_OPEN
    pair.run(5000)
    assert [found.kind for found in raised(pair)] == [ALARM_TAMPER]
    pair.board.buttons.mask = 0
    pair.run(2000)
    pair.board.buttons.mask = CASE_OPEN
    pair.run(3000)
    assert [found.kind for found in raised(pair)] == [ALARM_TAMPER] * 2, "also while the first is latched"
    assert pair.app.status().alarm_counter == pair.gateway.reported(event.ALARM_RAISED)[0].counter


@pytest.mark.parametrize("symbols", [CANCEL, DURESS])
def test_after_a_restart_without_a_link_duress_is_as_hidden_as_before(symbols: str) -> None:
    pair = with_pins(connected=False).hold_alarm().run(500).type_pin(symbols).run(1500)
    before = pair.app.status()
    sizes = {name: len(content) for name, content in pair.board.storage.files.items() if name.startswith("/alarm")}
    pair.power_cut()
    pair.run(2000)
    after = pair.app.status()
    assert (after.alarm, after.alarm_boot, after.alarm_counter) == (
        alarm.RAISED,
        before.alarm_boot,
        before.alarm_counter,
    )
    assert set(sizes.values()) == {21}, "and the card does not tell them apart"


def test_a_word_beside_an_alarm_that_is_over_is_not_latched_by_a_restart() -> None:
    pair = with_pins().hold_alarm().run(500)
    status = pair.app.status()
    pair.link(False)
    pair.type_pin(DURESS)
    pair.app.on_command(
        command.ALARM_RESOLVED,
        AlarmResolved(status.alarm_boot, status.alarm_counter, RESOLVED_FALSE),
        pair.now_ms,
    )
    pair.run(2500)
    pair.power_cut()
    pair.run(2000)
    assert pair.app.status().alarm == alarm.QUIET
    assert not pair.shows(feedback.ALARM_RAISED)
    pair.link(True)
    pair.run(4000)
    assert [found.kind for found in raised(pair)] == [ALARM_PANIC, ALARM_DURESS]
    assert not [name for name in pair.board.storage.files if name.startswith("/alarm")], "and then it is forgotten"


def test_presses_while_an_alarm_is_latched_are_symbols_and_say_nothing_of_a_visit() -> None:
    pair = with_pins().hold_alarm()
    pair.gateway.say(command.VISIT_STATE, VisitState(12, VISIT_ACTIVE, 0, 0, 0))
    pair.run(1500)
    for _ in range(3):
        pair._push(1, 120).run(150)
    pair.run(3000)
    assert pair.gateway.reported(event.VISIT) == []
