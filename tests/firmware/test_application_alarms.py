"""Alarms from the button to their resolution: the whole application against a gateway in memory."""

from typing import Any

import pytest

from lapel_device import feedback
from lapel_device.clip_writer import ClipWriter
from lapel_device.epochs import EpochLedger
from lapel_device.keystore import KeyStore
from lapel_device.matroska import MatroskaWriter
from lapel_device.seeds import Seeds
from lapel_device.spool import Spool
from lapel_device.uplink import OFFLINE, ONLINE
from lapel_protocol import alarm, command, event, recording
from lapel_protocol.clip import (
    NOTICE_ALARM,
)
from lapel_protocol.orders import (
    RESOLVED_TRUE,
    AlarmAck,
    AlarmResolved,
)
from lapel_protocol.report_decoders import (
    decode_alarm_raised,
    decode_heartbeat,
    decode_hello,
)
from lapel_protocol.reports import (
    HEART_RECORDING,
    NOTE_REFUSED,
)
from lapel_protocol.stream import SegmentSealer
from tests.firmware.desk import DeskBoard, OpenedClip, clip_files, spoil
from tests.firmware.pair import DevicePair


def test_an_alarm_goes_out_before_anything_is_stepped_or_written() -> None:
    pair = DevicePair().run(3000)
    epoch = pair.app._keystore.epoch
    operations = pair.board.storage.operations
    pair.board.buttons.mask = 2
    while not pair.app.status().alarm:
        at_ms = pair.now_ms
        pair.now_ms += 20
        pair.board.clock.ticks = pair.now_ms
        pair.app.sample_buttons(2, pair.now_ms, pair.now_ms)
        pair.gateway.network.move(1 << 20, 1 << 20)
    assert at_ms >= 4900
    assert len(pair.gateway.alarms) == 1
    assert pair.app._keystore.epoch == epoch
    assert pair.board.storage.operations == operations
    raised = decode_alarm_raised(pair.gateway.reported(event.ALARM_RAISED)[0].payload)
    pair.run(500)
    assert pair.app.status().recording == recording.RECORDING
    assert raised.clip == pair.app.status().clip == epoch


def test_the_wearer_sees_an_alarm_sent_received_acknowledged_and_resolved() -> None:
    pair = DevicePair().run(3000)
    pair.gateway.receipts_alarms = False
    pair.hold_alarm().run(1000)
    assert pair.app.status().alarm == alarm.SENT
    assert pair.shows(feedback.ALARM_SENT)
    pair.gateway.receipts_alarms = True
    pair.run(4000)
    assert pair.app.status().alarm == alarm.RECEIVED
    assert pair.shows(feedback.ALARM_RECEIVED)
    assert pair.shows(feedback.RECORDING)
    assert len(set(pair.gateway.alarms)) == 1
    assert len(pair.gateway.alarms) > 1
    raised = pair.gateway.reported(event.ALARM_RAISED)[0]
    pair.gateway.say(command.ALARM_ACK, AlarmAck(raised.boot, raised.counter, 0, "Ada"))
    pair.run(200)
    assert pair.app.status().alarm == alarm.ACKNOWLEDGED
    assert pair.shows(feedback.ALARM_ACKNOWLEDGED)
    pair.hold().run(500)
    assert pair.app.status().recording == recording.IDLE
    assert pair.shows(feedback.ALARM_ACKNOWLEDGED)
    pair.gateway.say(command.ALARM_RESOLVED, AlarmResolved(raised.boot, raised.counter, RESOLVED_TRUE))
    pair.run(200)
    assert pair.app.status().alarm == alarm.RESOLVED
    assert not pair.shows(feedback.ALARM_ACKNOWLEDGED)
    (clip,) = pair.gateway.clips.values()
    opened = clip.opened()
    assert (opened.header.notice, opened.header.alarm_counter) == (NOTICE_ALARM, raised.counter)
    assert "alarm: acknowledged by Ada" in opened.texts


def test_a_sent_alarm_repeats_byte_for_byte_until_its_receipt() -> None:
    pair = DevicePair().run(3000)
    pair.gateway.receipts_alarms = False
    pair.hold_alarm().run(30_000)
    repeats = len(pair.gateway.alarms)
    assert repeats >= 4
    assert len(set(pair.gateway.alarms)) == 1
    pair.gateway.receipts_alarms = True
    pair.run(15_000)
    after = len(pair.gateway.alarms)
    pair.run(30_000)
    assert len(pair.gateway.alarms) == after == repeats + 1


def test_an_alarm_without_a_link_is_latched_recorded_and_sent_when_the_link_is_back() -> None:
    pair = DevicePair(connected=False).run(3000)
    pair.hold_alarm().run(3000)
    assert pair.app.status().alarm == alarm.RAISED
    assert pair.app.status().recording == recording.RECORDING
    pair.link(True)
    pair.run(5000)
    assert pair.app.status().alarm == alarm.RECEIVED
    assert len(pair.gateway.clips) == 1


def test_an_alarm_during_a_clip_marks_it_and_goes_on_in_it() -> None:
    pair = DevicePair().run(3000)
    pair.hold().run(2000)
    clip = pair.app.status().clip
    pair.hold_alarm().run(1000)
    assert (pair.app.status().recording, pair.app.status().clip) == (recording.RECORDING, clip)
    assert pair.app._spool.clips()[0].alarm
    raised = pair.gateway.reported(event.ALARM_RAISED)[0]
    assert decode_alarm_raised(raised.payload).clip == clip
    pair.hold().run(1000)
    opened = pair.gateway.clips[clip].opened()
    assert f"alarm: {raised.boot}/{raised.counter}" in opened.texts


def test_an_alarm_outlives_a_power_cut_and_is_resolved_after_it() -> None:
    pair = DevicePair(connected=False).run(3000)
    pair.hold_alarm().run(2000)
    pair.power_cut()
    assert pair.app.status().alarm == alarm.RAISED
    assert pair.app.status().boot == 2
    pair.link(True)
    pair.run(8000)
    assert pair.app.status().alarm == alarm.RECEIVED
    raised = pair.gateway.reported(event.ALARM_RAISED)[0]
    assert raised.boot == 0
    pair.gateway.say(command.ALARM_RESOLVED, AlarmResolved(raised.boot, raised.counter, RESOLVED_TRUE))
    pair.run(1500)
    assert not pair.app._alarm.latched
    pair.power_cut()
    assert pair.app.status().alarm == alarm.QUIET


def test_a_latch_that_was_lost_is_found_again_in_the_journal() -> None:
    pair = DevicePair(connected=False).run(3000)
    pair.hold_alarm().run(2000)
    spoil(pair.board.storage, "/alarm.0", 3)
    spoil(pair.board.storage, "/alarm.1", 3)
    pair.power_cut()
    assert pair.app.status().alarm == alarm.RAISED


def test_holding_alarm_again_raises_no_second_alarm_but_records_again() -> None:
    pair = DevicePair().run(3000)
    pair.hold_alarm().run(1000).hold().run(1000)
    assert pair.app.status().recording == recording.IDLE
    pair.hold_alarm().run(1000)
    assert len(pair.gateway.reported(event.ALARM_RAISED)) == 1
    assert pair.app.status().recording == recording.RECORDING


def test_an_alarm_goes_out_while_storage_fails() -> None:
    pair = DevicePair().run(3000)
    pair.board.storage.fail_after = 0
    pair.hold_alarm().run(2000)
    assert pair.app.status().alarm == alarm.RECEIVED
    assert pair.app.status().recording == recording.IDLE
    assert pair.shows(feedback.ALARM_RECEIVED)


def test_heartbeats_tell_of_recording_and_of_the_latched_alarm() -> None:
    pair = DevicePair(DeskBoard(settings={"heartbeat_s": 5})).run(3000)
    pair.hold_alarm().run(12_000)
    beat = decode_heartbeat(pair.gateway.reported(event.HEARTBEAT)[-1].payload)
    raised = pair.gateway.reported(event.ALARM_RAISED)[0]
    assert beat.flags & HEART_RECORDING
    assert (beat.alarm_boot, beat.alarm_counter, beat.alarm_state) == (raised.boot, raised.counter, alarm.RECEIVED)
    assert beat.challenge == b"challeng"


def test_a_silent_device_shows_nothing_while_its_alarm_is_latched() -> None:
    pair = DevicePair(DeskBoard(settings={"silent": 1})).run(3000)
    pair.hold_alarm()
    since = len(pair.board.desk_indicator.changes)
    pair.run(5000)
    assert pair.app.status().recording == recording.RECORDING
    assert all(rgb == 0 and hz == 0 for _, rgb, _, hz in pair.board.desk_indicator.changes[since:])
    raised = pair.gateway.reported(event.ALARM_RAISED)[0]
    pair.gateway.say(command.ALARM_RESOLVED, AlarmResolved(raised.boot, raised.counter, RESOLVED_TRUE))
    pair.run(2000)
    assert any(rgb for _, rgb, _, _ in pair.board.desk_indicator.changes[-20:])


SHORT_OF_MEMORY: list[tuple[type, str]] = [
    (Seeds, "take"),
    (KeyStore, "step"),
    (SegmentSealer, "begin"),
    (Spool, "create"),
    (ClipWriter, "_write"),
    (KeyStore, "started"),
    (EpochLedger, "add"),
    (MatroskaWriter, "begin"),
]


def no_memory_for(monkeypatch: pytest.MonkeyPatch, owner: type, name: str, times: int) -> None:
    """The next so many calls of a function find no memory, as on a heap that is cut up."""
    whole, left = getattr(owner, name), [times]

    def starved(*arguments: Any) -> Any:
        if left[0]:
            left[0] -= 1
            raise MemoryError
        return whole(*arguments)

    monkeypatch.setattr(owner, name, starved)


def check_epochs_and_seeds(pair: DevicePair) -> None:
    """Every epoch is told to the gateway, and no two clips have one seed."""
    pair.power_cut()
    pair.run(3000)
    told = [epoch for hello in pair.gateway.reported(event.HELLO) for epoch, _ in decode_hello(hello.payload).epochs]
    assert set(told) == set(range(pair.app._keystore.epoch))
    wrapped = [OpenedClip(content).header.wrapped_seed for content in clip_files(pair.board).values()]
    assert len(set(wrapped)) == len(wrapped)


@pytest.mark.parametrize(("owner", "name"), SHORT_OF_MEMORY)
def test_an_alarms_clip_begins_at_the_second_try_where_memory_is_short_for_a_moment(
    monkeypatch: pytest.MonkeyPatch, owner: type, name: str
) -> None:
    pair = DevicePair().run(3000)
    no_memory_for(monkeypatch, owner, name, 1)
    pair.hold_alarm().run(200)
    assert pair.app.status().recording == recording.RECORDING
    assert pair.app.status().alarm == alarm.RECEIVED
    pair.run(2000).hold().run(2000)
    clip = pair.gateway.clips[pair.app.status().clip].opened()
    assert clip.end is not None
    assert clip.header.alarm_counter == pair.gateway.reported(event.ALARM_RAISED)[0].counter
    check_epochs_and_seeds(pair)


@pytest.mark.parametrize(("owner", "name"), [spot for spot in SHORT_OF_MEMORY if spot[0] is not EpochLedger])
def test_an_alarm_goes_on_without_its_clip_where_memory_is_short_and_the_clip_is_tried_again(
    monkeypatch: pytest.MonkeyPatch, owner: type, name: str
) -> None:
    pair = DevicePair().run(3000)
    no_memory_for(monkeypatch, owner, name, 2)
    pair.hold_alarm()
    assert pair.app.status().recording == recording.IDLE
    assert pair.app.status().alarm == alarm.RECEIVED
    assert pair.notes()[-1:] == [NOTE_REFUSED]
    pair.run(4000)
    assert pair.app.status().recording == recording.IDLE
    pair.run(2000)
    assert pair.app.status().recording == recording.RECORDING
    pair.run(2000).hold().run(2000)
    clip = pair.gateway.clips[pair.app.status().clip].opened()
    assert clip.end is not None
    assert clip.header.alarm_counter == pair.gateway.reported(event.ALARM_RAISED)[0].counter
    check_epochs_and_seeds(pair)


def test_a_clip_for_which_there_was_no_memory_is_not_tried_again_once_its_alarm_is_over(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pair = DevicePair().run(3000)
    no_memory_for(monkeypatch, Seeds, "take", 2)
    pair.hold_alarm()
    raised = pair.gateway.reported(event.ALARM_RAISED)[0]
    pair.gateway.say(command.ALARM_ACK, AlarmAck(raised.boot, raised.counter, 0, "Ada"))
    pair.gateway.say(command.ALARM_RESOLVED, AlarmResolved(raised.boot, raised.counter, RESOLVED_TRUE))
    pair.run(12_000)
    assert pair.app.status().alarm == alarm.RESOLVED
    assert pair.app.status().recording == recording.IDLE
    assert not pair.gateway.clips


def test_a_wearers_clip_for_which_there_is_no_memory_is_refused_and_begins_when_asked_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pair = DevicePair().run(3000)
    no_memory_for(monkeypatch, Seeds, "take", 2)
    pair.hold().run(12_000)
    assert pair.app.status().recording == recording.IDLE
    assert pair.notes() == [NOTE_REFUSED]
    pair.hold()
    assert pair.app.status().recording == recording.RECORDING


def test_alarm_is_pushed_and_the_link_that_was_lost_is_connected_before_the_hold_is_over() -> None:
    pair = DevicePair().run(3000)
    link = pair.gateway.network.link
    assert link is not None
    link.drop(pair.random)
    pair.run(200)
    assert pair.app._uplink.state == OFFLINE
    pair.board.buttons.mask = 2
    pair.run(1000)
    assert pair.app.status().alarm == alarm.QUIET
    assert pair.app._uplink.state == ONLINE


def test_a_hold_that_only_the_board_saw_raises_one_alarm() -> None:
    pair = DevicePair().run(3000)
    pair.stall((0, 200), (2, 2200), (0, 300)).run(500)
    assert pair.app.status().alarm == alarm.RECEIVED
    assert len(pair.gateway.reported(event.ALARM_RAISED)) == 1
