"""A simulated device's buttons: levels that a tester plays, in the time of the device that looks at them."""

from typing import Any

from lapel_device.gestures import ALARM_WAS_HELD
from lapel_sim.hosttime import host_ms
from lapel_sim.panel import ALARM, RECORD, ButtonModel

PRESS = [(RECORD, 120), (0, 80)]


class Looking:
    """A device that looks at its buttons every 10 ms of a time of its own."""

    def __init__(self) -> None:
        self.told: list[tuple[str, bool]] = []
        self.buttons = ButtonModel(self._note)
        self.now_ms = host_ms()

    def _note(self, kind: str, **details: Any) -> None:
        assert kind == "button"
        self.told.append((details["button"], details["down"]))

    def look(self, duration_ms: int) -> list[int]:
        """The levels that it sees."""
        seen = []
        for _ in range(duration_ms // 10):
            self.now_ms += 10
            seen.append(self.buttons.read(self.now_ms))
        return seen


def runs(levels: list[int]) -> list[tuple[int, int]]:
    """Each level with how many looks in a row saw it."""
    found: list[tuple[int, int]] = []
    for level in levels:
        if found and found[-1][0] == level:
            found[-1] = (level, found[-1][1] + 1)
        else:
            found.append((level, 1))
    return found


def test_presses_that_are_played_follow_each_other_in_the_devices_time_with_no_tester_between() -> None:
    device = Looking()
    device.buttons.play(PRESS * 3)
    assert runs(device.look(1000)) == [(RECORD, 13), (0, 8), (RECORD, 13), (0, 8), (RECORD, 13), (0, 45)]
    assert device.buttons.mask == 0
    assert device.told == [("RECORD", True), ("RECORD", False)] * 3
    assert device.buttons.wait_played(0.1)


def test_a_device_that_stands_still_in_between_sees_the_next_press_when_it_looks_again() -> None:
    device = Looking()
    device.buttons.play(PRESS * 2)
    device.look(150)
    device.now_ms += 900
    assert device.look(10) == [RECORD]


def test_a_hold_is_seen_at_its_full_length_by_a_device_that_stood_still_within_it() -> None:
    device = Looking()
    device.buttons.play([(RECORD, 1700), (0, 80)])
    device.look(1400)
    device.now_ms += 2000
    assert device.look(20) == [RECORD, 0]


def test_a_device_that_does_not_look_is_said_to_and_is_played_nothing_later() -> None:
    device = Looking()
    device.buttons.play(PRESS * 2)
    assert not device.buttons.wait_played(0.05)
    assert device.look(1000) == [RECORD] * 100


def test_levels_that_are_set_take_the_place_of_what_was_to_be_played() -> None:
    device = Looking()
    device.buttons.play(PRESS * 2)
    device.look(50)
    device.buttons.set(0)
    assert device.buttons.wait_played(0.05)
    assert device.look(1000) == [0] * 100


def test_a_hold_of_alarm_that_is_played_is_told_of_by_the_boards_latch_once() -> None:
    device = Looking()
    device.buttons.power_on()
    device.buttons.play([(ALARM, 2100), (0, 80)])
    levels = device.look(4000)
    assert levels.count(ALARM) == 211
    assert levels.count(ALARM_WAS_HELD) == 1
