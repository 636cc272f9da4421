"""A simulated device's buttons: levels that a tester plays, and what the device sees of them whenever it looks."""

from typing import Any

from lapel_sim.hosttime import DeviceTicks
from lapel_sim.panel import ALARM, RECORD, ButtonModel

PRESS = [(RECORD, 120), (0, 80)]


class Looking:
    """A device that looks at its buttons every 10 ms of a time of its own."""

    def __init__(self) -> None:
        self.told: list[tuple[str, bool]] = []
        self.buttons = ButtonModel(self._note)
        self.switch_on()
        self.changes: list[tuple[int, int]] = []

    def switch_on(self) -> None:
        """Its ticks begin at 0."""
        ticks = DeviceTicks(0)
        self.now_ms = ticks.base_ms
        self.buttons.power_on(ticks)

    def _note(self, kind: str, **details: Any) -> None:
        assert kind == "button"
        self.told.append((details["button"], details["down"]))

    def look(self, duration_ms: int) -> list[int]:
        """The levels that it sees, at the time of each look. What has changed, and when, is added to `changes`."""
        seen = []
        for _ in range(duration_ms // 10):
            self.now_ms += 10
            states = []
            missed = True
            while missed:
                missed, mask, ticks = self.buttons.look(self.now_ms)
                states.append((ticks, mask))
            self.changes += states[1:-1:2]
            seen.append(mask)
        return seen


def test_presses_that_are_played_follow_each_other_to_the_millisecond_with_no_tester_between() -> None:
    device = Looking()
    device.buttons.play(PRESS * 3)
    device.look(1000)
    assert device.changes == [(10, 1), (130, 0), (210, 1), (330, 0), (410, 1), (530, 0)]
    assert device.buttons.mask == 0
    assert device.told == [("RECORD", True), ("RECORD", False)] * 3
    assert device.buttons.wait_played(0.1)


def test_a_device_that_stands_still_is_told_of_the_same_presses_when_it_looks_again() -> None:
    for stands_still_at_ms in range(10, 400, 10):
        device = Looking()
        device.buttons.play(PRESS * 2)
        device.look(stands_still_at_ms)
        device.now_ms += 900
        device.look(100)
        assert device.changes == [(10, 1), (130, 0), (210, 1), (330, 0)]


def test_presses_begin_when_the_device_looks() -> None:
    device = Looking()
    device.buttons.play(PRESS)
    device.now_ms += 5000
    assert device.look(10) == [RECORD]
    device.look(500)
    assert device.changes == [(5010, 1), (5130, 0)]


def test_they_are_over_when_the_device_has_looked_after_the_last_of_them() -> None:
    device = Looking()
    device.buttons.play(PRESS)
    device.look(200)
    assert not device.buttons.wait_played(0.05)
    device.buttons.play(PRESS)
    device.look(210)
    assert device.buttons.wait_played(0.05)


def test_a_device_that_does_not_look_is_said_to_and_is_played_nothing_later() -> None:
    device = Looking()
    device.buttons.play(PRESS * 2)
    device.look(10)
    assert not device.buttons.wait_played(0.05)
    assert device.look(1000) == [RECORD] * 100


def test_levels_that_are_set_take_the_place_of_what_was_to_be_played() -> None:
    device = Looking()
    device.buttons.play(PRESS * 2)
    device.look(50)
    device.buttons.set(0)
    assert device.buttons.wait_played(0.05)
    assert device.look(1000) == [0] * 100


def test_what_the_device_has_seen_for_so_long_can_be_waited_for() -> None:
    device = Looking()
    device.buttons.set(ALARM)
    assert not device.buttons.wait_seen(100, 0.05)
    device.look(100)
    assert not device.buttons.wait_seen(100, 0.05)
    device.look(10)
    assert device.buttons.wait_seen(100, 0.05)


def test_a_button_that_is_down_when_the_power_comes_is_held_from_then_on() -> None:
    device = Looking()
    device.buttons.set(ALARM)
    device.switch_on()
    device.look(50)
    [(at_ms, mask)] = device.changes
    assert mask == ALARM
    assert at_ms < 10
