"""Holds of ALARM told from edges alone: the latch, the pins, the gestures that meet samples; on MicroPython too."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, cast

import pytest

from lapel_device.boards.buttons import PinButtons
from lapel_device.gestures import (
    ALARM_BUTTON,
    ALARM_HOLD,
    ALARM_HOLD_MS,
    ALARM_WAS_HELD,
    DEBOUNCE_MS,
    RECORD_BUTTON,
    Gestures,
)
from lapel_device.hold_latch import HoldLatch
from lapel_protocol.limits import TICKS_PERIOD
from lapel_sim.launcher import start

if TYPE_CHECKING:
    from machine import Pin

START = TICKS_PERIOD - 1500  # every hold here meets the wrap


class FakePin:
    """A pin with a pull-up, and its interrupt."""

    IRQ_FALLING = 4
    IRQ_RISING = 8

    def __init__(self, hard: bool = True, level: int = 1) -> None:
        self.level = level
        self._takes_hard = hard
        self.handler: Callable[[FakePin], None] | None = None
        self.hard: bool | None = None

    def value(self) -> int:
        return self.level

    def irq(self, handler: Callable[[FakePin], None], trigger: int, **more: bool) -> None:
        if more and not self._takes_hard:
            raise TypeError("extra keyword arguments given")
        assert trigger == 12
        self.handler = handler
        self.hard = more.get("hard", False)


class Hand:
    """A thumb on ALARM's pin. Time passes here; the loop looks only when it is told to."""

    def __init__(self, pin: FakePin | None = None) -> None:
        self.ticks = START
        self.record = FakePin()
        self.alarm = pin or FakePin()
        self.buttons = PinButtons(cast("Pin", self.record), cast("Pin", self.alarm), self)

    def ticks_ms(self) -> int:
        return self.ticks

    def rtc_ms(self) -> int:
        return 0

    def set_rtc_ms(self, unix_ms: int) -> None:
        """No clock."""

    def level(self, down: bool, duration_ms: int) -> Hand:
        if self.alarm.level == down:
            self.alarm.level = int(not down)
            assert self.alarm.handler is not None
            self.alarm.handler(self.alarm)
        self.ticks = (self.ticks + duration_ms) % TICKS_PERIOD
        return self

    def bounce(self, seed: int, last: bool) -> Hand:
        chance = random.Random(seed)
        for _ in range(6):
            self.level(bool(chance.getrandbits(1)), chance.randrange(4))
        return self.level(last, 0)


def test_the_pins_of_a_board_are_levels_and_a_hold_that_nobody_saw() -> None:
    hand = Hand()
    assert hand.alarm.hard is True
    assert hand.buttons.read() == 0
    hand.record.level = 0
    hand.level(True, 10)
    assert hand.buttons.read() == RECORD_BUTTON | ALARM_BUTTON
    hand.record.level = 1
    hand.level(True, 2200).level(False, DEBOUNCE_MS)
    assert hand.buttons.read() == ALARM_WAS_HELD
    assert hand.buttons.read() == 0, "asking clears it"


def test_a_port_without_hard_interrupts_is_served_by_soft_ones() -> None:
    hand = Hand(FakePin(hard=False))
    assert hand.alarm.hard is False
    assert hand.level(True, 2000).level(False, 50).buttons.read() == ALARM_WAS_HELD


def test_a_button_that_is_down_when_the_board_starts_is_held_from_then_on() -> None:
    hand = Hand(FakePin(level=0))
    hand.ticks += 1000
    assert hand.level(False, 50).buttons.read() == 0
    hand = Hand(FakePin(level=0))
    hand.ticks = (hand.ticks + 2000) % TICKS_PERIOD
    assert hand.level(False, 50).buttons.read() == ALARM_WAS_HELD


@pytest.mark.parametrize(("held_ms", "told"), [(ALARM_HOLD_MS - 1, 0), (ALARM_HOLD_MS, ALARM_WAS_HELD), (60_000, 4)])
def test_a_hold_takes_its_time_to_the_millisecond(held_ms: int, told: int) -> None:
    assert Hand().level(True, held_ms).level(False, DEBOUNCE_MS).buttons.read() == told


def test_it_is_told_of_when_the_release_is_sure() -> None:
    hand = Hand().level(True, 2500).level(False, DEBOUNCE_MS - 1)
    assert hand.buttons.read() == 0
    assert hand.level(False, 1).buttons.read() == ALARM_WAS_HELD


@pytest.mark.parametrize("seed", range(20))
def test_bounce_neither_breaks_a_hold_nor_makes_one(seed: int) -> None:
    hand = Hand().bounce(seed, True).level(True, 1200).bounce(seed + 50, True).level(True, 1200)
    assert hand.bounce(seed + 100, False).level(False, 500).buttons.read() == ALARM_WAS_HELD
    assert hand.level(False, 500).buttons.read() == 0
    hand = Hand()
    for push in range(4):
        hand.bounce(seed + push, True).level(True, 1000).bounce(seed - push, False).level(False, 100)
    assert hand.level(False, 3000).buttons.read() == 0


def test_contacts_that_chatter_for_seconds_are_no_hold() -> None:
    hand = Hand()
    for _ in range(300):
        hand.level(True, 2).level(False, 8)
    assert hand.level(False, 100).buttons.read() == 0


def test_two_short_pushes_are_no_hold_although_they_take_two_seconds_together() -> None:
    hand = Hand().level(True, 1500).level(False, DEBOUNCE_MS + 1).level(True, 1500).level(False, 3000)
    assert hand.buttons.read() == 0


def test_a_hold_is_kept_however_late_it_is_asked_for_and_through_later_pushes() -> None:
    hand = Hand().level(True, 2100).level(False, 200).level(True, 100).level(False, 200).level(True, 500)
    assert hand.buttons.read() == ALARM_BUTTON | ALARM_WAS_HELD
    assert hand.level(False, 5000).buttons.read() == 0


@pytest.mark.parametrize("seed", range(10))
def test_whenever_it_is_asked_the_holds_are_told_of_once_each(seed: int) -> None:
    chance = random.Random(seed)
    hand, told, held = Hand(), 0, 0
    for _ in range(200):
        down_ms, up_ms = chance.choice((200, 1900, 2100, 4000)), chance.choice((60, 500, 3000))
        held += down_ms >= ALARM_HOLD_MS
        asked = 0
        for level, duration_ms in ((True, down_ms), (False, up_ms)):
            for _ in range(4):
                hand.level(level, duration_ms // 4)
                asked += chance.random() < 0.5 and bool(hand.buttons.read() & ALARM_WAS_HELD)
        told += asked + bool(hand.buttons.read() & ALARM_WAS_HELD)
    assert told == held


def test_an_interrupt_between_any_two_steps_of_asking_makes_no_hold_and_loses_none() -> None:
    for down_ms, expected in ((1500, 0), (2500, 1)):
        for when in range(12):
            latch, told = Interrupted(), 0
            latch.edge(True, START)
            latch.edge(False, START + down_ms)
            latch.arm(when, lambda latch=latch, at=START + down_ms + 1600: latch.edge(True, at))  # type: ignore[misc]
            told += latch.completed(START + down_ms + 1599)
            latch.fire()
            told += latch.completed(START + down_ms + 1700)
            latch.edge(False, START + down_ms + 1900)
            told += latch.completed(START + down_ms + 2500)
            assert told == expected, when


class Interrupted(HoldLatch):
    """Has an interrupt at the n-th read of what it knows."""

    def __init__(self) -> None:
        self._reads = -1
        self._act: Callable[[], None] | None = None
        super().__init__()

    def arm(self, when: int, act: Callable[[], None]) -> None:
        self._reads = when
        self._act = act

    def fire(self) -> None:
        act, self._act = self._act, None
        if act is not None:
            act()

    def __getattribute__(self, name: str) -> object:
        if name in ("_holds", "_down", "_since", "_settled", "_pushed", "_told"):
            reads = object.__getattribute__(self, "_reads")
            object.__setattr__(self, "_reads", reads - 1)
            if reads == 0:
                object.__getattribute__(self, "fire")()
        return object.__getattribute__(self, name)


class Loop:
    """Gestures fed from a board's pins by a loop that may stall."""

    def __init__(self) -> None:
        self.hand = Hand()
        self.gestures = Gestures()
        self.now_ms = 0
        self.holds: list[int] = []

    def look(self) -> Loop:
        if self.gestures.sample(self.hand.buttons.read(), self.now_ms) & ALARM_HOLD:
            self.holds.append(self.now_ms)
        return self

    def turns(self, down: bool, duration_ms: int) -> Loop:
        for _ in range(duration_ms // 10):
            self.stall(down, 10).look()
        return self

    def stall(self, down: bool, duration_ms: int) -> Loop:
        self.hand.level(down, duration_ms)
        self.now_ms += duration_ms
        return self


def test_a_hold_inside_one_stall_is_one_gesture() -> None:
    loop = Loop().turns(False, 100).stall(False, 200).stall(True, 2100).stall(False, 400).turns(False, 500)
    assert len(loop.holds) == 1


def test_a_hold_that_begins_before_a_stall_and_ends_in_it_is_one_gesture() -> None:
    loop = Loop().turns(True, 60).stall(True, 2100).stall(False, 300).turns(False, 500)
    assert len(loop.holds) == 1
    loop = Loop().turns(True, 60).stall(True, 2100).stall(False, 5).turns(False, 500)
    assert len(loop.holds) == 1, "also while its release is not settled yet"


def test_a_hold_that_the_samples_saw_is_not_told_of_again_at_its_end() -> None:
    loop = Loop().turns(True, 2600).turns(False, 500)
    assert loop.holds == [2010]
    loop = Loop().turns(True, 2600).stall(True, 3000).stall(False, 500).turns(False, 500)
    assert loop.holds == [2010]


def test_a_push_that_began_in_the_stall_in_which_another_ended_counts_for_itself() -> None:
    loop = (
        Loop().turns(True, 60).stall(True, 2100).stall(False, 100).stall(True, 100).turns(True, 500).turns(False, 300)
    )
    assert len(loop.holds) == 1, "the second was short"
    loop = Loop().turns(True, 2100).stall(True, 100).stall(False, 100).stall(True, 100).turns(True, 2300)
    assert len(loop.holds) == 2, "the second was held as well"


def test_a_short_push_inside_a_stall_is_nothing() -> None:
    loop = Loop().turns(False, 100).stall(True, 1900).stall(False, 2000).turns(False, 500)
    assert loop.holds == []


IN_AN_INTERRUPT = """
import micropython

from lapel_device.boards.buttons import PinButtons
from lapel_device.gestures import Gestures


class Pin:
    IRQ_FALLING = 4
    IRQ_RISING = 8

    def __init__(self):
        self.level = 1
        self.ticks = 0x3FFFFF00
        self.handler = None

    def value(self):
        return self.level

    def irq(self, handler, trigger, hard):
        self.handler = handler

    def ticks_ms(self):
        return self.ticks


def main():
    pin = Pin()
    buttons = PinButtons(Pin(), pin, pin)
    seen = 0
    micropython.heap_lock()
    for level, ms in ((0, 2), (1, 3), (0, 2100), (1, 100), (0, 500), (1, 100)):
        pin.level = level
        pin.handler(pin)
        pin.ticks = (pin.ticks + ms) & 0x3FFFFFFF
        seen = seen << 3 | buttons.read()
    micropython.heap_unlock()
    print("%o" % seen)
"""


@pytest.mark.needs("micropython")
def test_neither_the_interrupt_nor_the_asking_allocates_on_the_real_micropython(tmp_path: Path) -> None:
    (tmp_path / "presser.py").write_text(IN_AN_INTERRUPT)
    device = start("presser", [], (), extra_path=tmp_path)
    output, _ = device.communicate(timeout=30)
    assert output.decode().split() == ["202420"]
