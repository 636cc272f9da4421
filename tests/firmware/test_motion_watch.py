"""Man-down in the whole application: the real driver on a simulated bus, the warning, its buttons, and the alarm."""

from __future__ import annotations

import errno
import math
import sys

import pytest

from lapel_device import feedback
from lapel_device.boards.lis3dh import ADDRESS, Lis3dh
from lapel_protocol import alarm, command, event, recording
from lapel_protocol.orders import VISIT_ACTIVE, SettingsChange, VisitState
from lapel_protocol.report_decoders import decode_alarm_raised
from lapel_protocol.reports import ALARM_MAN_DOWN, ALARM_PANIC
from lapel_sim.chips.i2c import I2CBus
from lapel_sim.chips.lis3dh import Lis3dhChip
from lapel_sim.motion import Motion, Reading, still, tilted, walk
from tests.firmware.desk import DeskBoard, journalled
from tests.firmware.pair import ALARM_BUTTON, RECORD_BUTTON, DevicePair

WATCHED = {"man_down": 1, "fall_still_s": 5}


class Worn:
    """A device with an accelerometer on somebody's chest, and its gateway."""

    def __init__(self, settings: dict[str, int] | None = None) -> None:
        self.board = DeskBoard(settings=WATCHED if settings is None else settings)
        self.motion = Motion()
        self.bus = I2CBus()
        self.chip = Lis3dhChip(lambda: self.board.clock.ticks * 1000, self._felt)
        self.bus.attach(ADDRESS, self.chip)
        self.board.sensor = Lis3dh(self.bus)
        self.pair = DevicePair(self.board)
        self.app = self.pair.app
        self.run(6000)

    def _felt(self, at_us: int) -> Reading:
        """The wearer's movement, and the device's own motor while it is on."""
        x, y, z = self.motion.at(at_us)
        shaken = False
        for ticks, _, vibrate, _ in self.board.desk_indicator.changes[-20:]:
            if ticks * 1000 <= at_us:
                shaken = vibrate
        if shaken:
            x += round(450 * math.sin(at_us * 1100e-6))
            z += round(450 * math.cos(at_us * 1100e-6))
        return x, y, z

    def run(self, ms: int) -> Worn:
        self.pair.run(ms)
        return self

    def fall(self) -> Worn:
        self.motion.fall(self.pair.now_ms * 1000)
        return self.run(2000)

    def push(self, button: int, ms: int) -> Worn:
        self.board.buttons.mask = button
        self.run(ms)
        self.board.buttons.mask = 0
        return self.run(600)

    @property
    def asked(self) -> bool:
        return self.app._display.is_on(feedback.MAN_DOWN)

    def kinds(self) -> list[int]:
        """The kinds of the alarms at the gateway."""
        return [decode_alarm_raised(raised.payload).kind for raised in self.pair.gateway.reported(event.ALARM_RAISED)]

    def change(self, version: int, **settings: int) -> None:
        wanted = SettingsChange()
        wanted.version = version
        for name, value in settings.items():
            setattr(wanted, name, value)
        self.pair.gateway.say(command.SETTINGS, wanted)
        self.run(1500)


def test_a_fall_asks_the_wearer_and_raises_an_alarm_of_its_kind_when_nobody_answers() -> None:
    worn = Worn()
    motion = worn.app._parts._motion
    assert motion is not None
    assert not motion.alert
    worn.fall()
    assert not worn.asked
    assert motion.alert
    worn.run(7000)
    assert worn.asked
    assert motion.alert
    assert worn.kinds() == []
    assert worn.app.status().recording == recording.IDLE
    worn.run(31_000)
    assert not worn.asked
    assert worn.kinds() == [ALARM_MAN_DOWN]
    status = worn.app.status()
    assert (status.alarm, status.recording) == (alarm.RECEIVED, recording.RECORDING)
    worn.run(60_000)
    assert worn.kinds() == [ALARM_MAN_DOWN]


@pytest.mark.parametrize("button", [RECORD_BUTTON, ALARM_BUTTON])
def test_a_push_of_either_button_cancels_and_means_nothing_else(button: int) -> None:
    worn = Worn().fall().run(7000)
    assert worn.asked
    worn.push(button, 200)
    assert not worn.asked
    worn.run(60_000)
    assert worn.kinds() == []
    assert worn.app.status().recording == recording.IDLE
    assert not journalled(worn.board)
    worn.push(RECORD_BUTTON, 200)
    assert worn.app.status().recording == recording.NOTICE, "the next push is a push again"


def test_a_record_button_that_is_held_on_after_cancelling_starts_nothing() -> None:
    worn = Worn().fall().run(7000).push(RECORD_BUTTON, 2500)
    assert not worn.asked
    assert worn.app.status().recording == recording.IDLE


@pytest.mark.parametrize("button", [RECORD_BUTTON, ALARM_BUTTON])
def test_a_push_that_cancels_counts_although_the_loop_stood_still_for_all_of_it(button: int) -> None:
    worn = Worn().fall().run(7000)
    assert worn.asked
    worn.pair.stall((0, 400), (button, 150), (0, 900))
    assert not worn.asked
    worn.run(60_000)
    assert worn.kinds() == []
    assert worn.app.status().recording == recording.IDLE


def test_holding_alarm_in_a_warning_raises_a_panic_at_once() -> None:
    worn = Worn().fall().run(7000).push(ALARM_BUTTON, 2500).run(60_000)
    assert worn.kinds() == [ALARM_PANIC]


def test_lying_on_a_button_does_not_cancel() -> None:
    worn = Worn()
    worn.board.buttons.mask = RECORD_BUTTON
    worn.fall().run(40_000)
    assert worn.kinds() == [ALARM_MAN_DOWN]


def test_a_warning_while_an_alarm_is_latched_raises_no_second_one() -> None:
    worn = Worn().push(ALARM_BUTTON, 2500).fall().run(40_000)
    assert worn.kinds() == [ALARM_PANIC]


def test_recording_and_its_reminders_do_not_keep_a_fall_from_being_noticed() -> None:
    worn = Worn().push(RECORD_BUTTON, 1800)
    assert worn.app.status().recording == recording.RECORDING
    worn.fall().run(40_000)
    assert worn.kinds() == [ALARM_MAN_DOWN]


def test_the_reminders_of_a_recording_are_not_the_wearers_movements() -> None:
    worn = Worn({"no_movement_min": 2}).push(RECORD_BUTTON, 1800)
    reminded = len(worn.board.desk_indicator.changes)
    worn.run(125_000)
    assert sum(vibrate for _, _, vibrate, _ in worn.board.desk_indicator.changes[reminded:]) >= 4
    assert worn.asked


def test_nothing_is_imported_or_powered_while_no_setting_asks_for_it() -> None:
    sys.modules.pop("lapel_device.motion_watch", None)
    sys.modules.pop("lapel_device.man_down", None)
    worn = Worn({}).fall().run(40_000)
    assert worn.kinds() == []
    assert worn.bus.transfers == 0
    assert "lapel_device.motion_watch" not in sys.modules
    assert "lapel_device.man_down" not in sys.modules


def test_the_setting_is_put_in_force_and_out_of_force_from_afar() -> None:
    worn = Worn({})
    assert worn.chip.period_us == 0
    worn.change(1, **WATCHED)
    assert worn.chip.period_us == 20_000
    worn.change(2, **WATCHED, heartbeat_s=20)
    starts = worn.bus.transfers
    worn.change(3)
    assert worn.chip.period_us == 0
    assert worn.bus.transfers > starts
    assert worn.fall().run(40_000).kinds() == []


def test_a_change_of_settings_does_not_end_a_warning() -> None:
    worn = Worn().fall().run(7000)
    worn.change(1)
    assert worn.asked
    worn.run(30_000)
    assert worn.kinds() == [ALARM_MAN_DOWN]
    assert worn.chip.period_us == 0


def test_no_movement_alone_can_be_asked_for() -> None:
    worn = Worn({"no_movement_min": 1})
    worn.motion.begin(0, still(tilted(-20)))
    worn.run(61_000)
    assert worn.asked
    worn.run(31_000)
    assert worn.kinds() == [ALARM_MAN_DOWN]


def test_a_sensor_that_fails_is_reported_once_and_watches_again_when_it_answers() -> None:
    worn = Worn()
    for _ in range(3):
        worn.bus.fail(errno.ETIMEDOUT)
        worn.run(20_000)
        worn.bus.heal()
        worn.run(10_000)
    assert sum("accelerometer does not answer" in line for line in worn.board.lines) == 1
    assert worn.app.status().online
    worn.motion.begin(worn.pair.now_ms * 1000, walk())
    worn.run(5000).fall().run(40_000)
    assert worn.kinds() == [ALARM_MAN_DOWN]


def test_a_sensor_that_dies_in_the_warning_does_not_cancel_it() -> None:
    worn = Worn().fall().run(7000)
    worn.bus.fail()
    assert worn.asked
    assert worn.run(31_000).kinds() == [ALARM_MAN_DOWN]


def test_a_board_without_an_accelerometer_says_so_once_and_works() -> None:
    board = DeskBoard(settings=WATCHED)
    pair = DevicePair(board).run(30_000)
    assert sum("no accelerometer" in line for line in board.lines) == 1
    assert pair.app.status().online


def test_a_heap_that_has_no_room_for_it_costs_the_watch_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    board = DeskBoard(settings=WATCHED)
    full = [True]

    def accelerometer() -> None:
        if full[0]:
            raise MemoryError

    monkeypatch.setattr(board, "accelerometer", accelerometer)
    pair = DevicePair(board).run(5000)
    assert pair.app.status().online
    assert sum("cannot be used" in line for line in board.lines) == 1
    full[0] = False
    pair.run(2000)
    assert any("no accelerometer" in line for line in board.lines)


@pytest.mark.parametrize("presses", [1, 2, 3, 4])
def test_whoever_presses_on_and_on_to_cancel_a_warning_says_nothing_of_the_visit(presses: int) -> None:
    worn = Worn()
    worn.pair.gateway.say(command.VISIT_STATE, VisitState(12, VISIT_ACTIVE, 0, 0, 0))
    worn.run(1500).fall().run(15_000)
    assert worn.asked
    for _ in range(presses):
        worn.board.buttons.mask = RECORD_BUTTON
        worn.run(120)
        worn.board.buttons.mask = 0
        worn.run(200)
    worn.run(3000)
    assert not worn.asked
    assert worn.pair.gateway.reported(event.VISIT) == []
    assert worn.app.status().recording == recording.IDLE
