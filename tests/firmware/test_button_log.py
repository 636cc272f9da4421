"""Pushes told from edges alone: the log, the pins, the gestures that come of both; on MicroPython too."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, cast

import pytest

from lapel_device.boards.buttons import PinButtons
from lapel_device.button_log import CHANGES, NONE, EdgeLog
from lapel_device.gestures import (
    ALARM_BUTTON,
    ALARM_HOLD,
    ALARM_HOLD_MS,
    CASE_OPEN,
    DEBOUNCE_MS,
    DRILL_HOLD,
    RECORD_BUTTON,
    RECORD_DOUBLE,
    RECORD_DOUBLE_HOLD,
    RECORD_HOLD,
    RECORD_LONG,
    RECORD_PRESS,
    RECORD_SHORT,
    RECORD_TRIPLE,
    Gestures,
)
from lapel_protocol.limits import TICKS_PERIOD
from lapel_sim.launcher import start

if TYPE_CHECKING:
    from machine import Pin

START = TICKS_PERIOD - 1500  # every hold here meets the wrap
BOTH = RECORD_BUTTON | ALARM_BUTTON
LENGTHS = RECORD_SHORT | RECORD_LONG


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

    def drive(self, level: int) -> None:
        if level != self.level:
            self.level = level
            assert self.handler is not None
            self.handler(self)


class Hand:
    """Two thumbs on a board's pins. Time passes here; the loop looks only when it is told to."""

    def __init__(self, hard: bool = True, alarm_level: int = 1, tamper: FakePin | None = None) -> None:
        self.ticks = START
        self.record = FakePin(hard)
        self.alarm = FakePin(hard, alarm_level)
        case = cast("Pin", tamper) if tamper else None
        self.buttons = PinButtons(cast("Pin", self.record), cast("Pin", self.alarm), self, case)

    def ticks_ms(self) -> int:
        return self.ticks

    def rtc_ms(self) -> int:
        return 0

    def set_rtc_ms(self, unix_ms: int) -> None:
        """No clock."""

    def level(self, mask: int, duration_ms: int) -> Hand:
        self.record.drive(int(not mask & RECORD_BUTTON))
        self.alarm.drive(int(not mask & ALARM_BUTTON))
        self.ticks = (self.ticks + duration_ms) % TICKS_PERIOD
        return self

    def bounce(self, seed: int, last: int) -> Hand:
        chance = random.Random(seed)
        for _ in range(6):
            self.level(ALARM_BUTTON * chance.getrandbits(1), chance.randrange(4))
        return self.level(last, 0)

    def look(self) -> list[tuple[int, int]]:
        """(levels, age) of each state since the last look, and of now."""
        seen = []
        missed = True
        while missed:
            missed = self.buttons.look()
            seen.append((self.buttons.mask, (self.ticks - self.buttons.ticks) % TICKS_PERIOD))
        assert seen[-1][1] == 0
        return seen

    def missed(self) -> list[tuple[int, int]]:
        """The changes since the last look: levels after it, and age."""
        return self.look()[1:-1:2]


def test_a_look_sees_the_levels_of_the_pins_and_when_they_changed() -> None:
    hand = Hand()
    assert hand.record.hard is hand.alarm.hard is True
    assert hand.look() == [(0, 0)]
    before = 0
    for mask in (RECORD_BUTTON, BOTH, ALARM_BUTTON, 0):
        assert hand.level(mask, 7).look() == [(before, 7), (mask, 7), (mask, 0)]
        for _ in range(20):
            assert hand.level(mask, 10).look() == [(mask, 0)]
        before = mask


def test_an_open_case_is_a_level_beside_the_buttons() -> None:
    tamper = FakePin(level=0)
    hand = Hand(tamper=tamper)
    assert hand.look() == [(0, 0)]
    tamper.level = 1
    assert hand.level(ALARM_BUTTON, 10).look()[-1] == (ALARM_BUTTON | CASE_OPEN, 0)


def test_what_was_missed_is_told_in_its_order_each_change_by_the_levels_before_and_after_it() -> None:
    hand = Hand().level(0, 500)
    assert hand.look() == [(0, 0)]
    hand.level(0, 100).level(RECORD_BUTTON, 120).level(0, 80).level(ALARM_BUTTON, 40).level(BOTH, 60).level(0, 300)
    assert hand.look() == [
        *((0, 600), (RECORD_BUTTON, 600)),
        *((RECORD_BUTTON, 480), (0, 480)),
        *((0, 400), (ALARM_BUTTON, 400)),
        *((ALARM_BUTTON, 360), (BOTH, 360)),
        *((BOTH, 300), (ALARM_BUTTON, 300)),
        *((ALARM_BUTTON, 300), (0, 300)),
        (0, 0),
    ]
    assert hand.level(0, 5000).look() == [(0, 0)], "asking clears it"


def test_a_change_that_a_look_saw_is_not_told_again() -> None:
    hand = Hand().level(RECORD_BUTTON, 5)
    assert hand.look()[-1] == (RECORD_BUTTON, 0)
    hand.level(RECORD_BUTTON, 100).level(0, 500)
    assert hand.missed() == [(0, 500)]


def test_a_state_keeps_its_time_however_long_those_before_it_took() -> None:
    hand = Hand()
    hand.look()
    hand.level(RECORD_BUTTON, 120).level(0, 200)
    times = []
    while hand.buttons.look():
        times.append((hand.buttons.ticks - START) % TICKS_PERIOD)
        hand.level(0, 50)  # an alarm is written down meanwhile
    assert times == [0, 0, 120, 120]


def test_what_comes_while_the_missed_is_taken_is_told_too() -> None:
    hand = Hand()
    hand.look()
    hand.level(RECORD_BUTTON, 120).level(0, 100)
    assert hand.buttons.look()
    hand.level(ALARM_BUTTON, 2200).level(0, 100)
    told = []
    while hand.buttons.look():
        told.append(hand.buttons.mask)
    assert told == [RECORD_BUTTON, RECORD_BUTTON, 0, 0, ALARM_BUTTON, ALARM_BUTTON, 0]


def test_a_port_without_hard_interrupts_is_served_by_soft_ones() -> None:
    hand = Hand(hard=False)
    assert hand.record.hard is hand.alarm.hard is False
    hand.look()
    assert hand.level(ALARM_BUTTON, 2000).level(0, 50).missed() == [(ALARM_BUTTON, 2050), (0, 50)]


def test_a_button_that_is_down_when_the_board_starts_is_held_from_then_on() -> None:
    hand = Hand(alarm_level=0)
    hand.ticks = (hand.ticks + 2000) % TICKS_PERIOD
    assert hand.level(0, 50).missed() == [(ALARM_BUTTON, 2050), (0, 50)]


@pytest.mark.parametrize(("held_ms", "changes"), [(DEBOUNCE_MS - 1, 0), (DEBOUNCE_MS, 2)])
def test_a_push_that_is_over_counts_if_it_held(held_ms: int, changes: int) -> None:
    hand = Hand()
    hand.look()
    assert len(hand.level(ALARM_BUTTON, held_ms).level(0, 5).missed()) == changes


def test_a_glitch_that_a_look_saw_lengthens_no_push_that_comes_after_it() -> None:
    for glitch_ms in (3, DEBOUNCE_MS - 1):
        loop = Loop().stall(ALARM_BUTTON, 2).look().stall(ALARM_BUTTON, glitch_ms - 2)
        loop.stall(0, 1000).stall(ALARM_BUTTON, 1900).stall(0, 500)
        assert loop.turns(0, 500).found == []


@pytest.mark.parametrize("seed", range(20))
def test_bounce_neither_breaks_a_hold_nor_makes_one(seed: int) -> None:
    hand = Hand()
    hand.look()
    hand.bounce(seed, ALARM_BUTTON).level(ALARM_BUTTON, 1200).bounce(seed + 50, ALARM_BUTTON).level(ALARM_BUTTON, 1200)
    (pushed, held_ms), (let_go, free_ms) = hand.bounce(seed + 100, 0).level(0, 500).missed()
    assert (pushed, let_go) == (ALARM_BUTTON, 0)
    assert 2400 <= held_ms - free_ms < 2500
    for push in range(4):
        hand.bounce(seed + push, ALARM_BUTTON).level(ALARM_BUTTON, 1000).bounce(seed - push, 0).level(0, 100)
    assert len(hand.missed()) == 8


def test_contacts_that_chatter_for_seconds_are_nothing() -> None:
    hand = Hand()
    hand.look()
    for _ in range(300):
        hand.level(ALARM_BUTTON, 2).level(0, 8)
    assert hand.level(0, 100).look() == [(0, 0)]


def test_a_contact_that_changes_faster_than_it_can_be_told_of_does_not_keep_the_loop() -> None:
    hand = Hand()
    hand.look()
    told = 1
    while hand.level(ALARM_BUTTON, 1).level(0, 1).level(ALARM_BUTTON, 1).buttons.look():
        told += 1
        assert told < 1000
    assert told > 4 * CHANGES, "more than can be kept of both buttons"
    assert hand.buttons.mask == ALARM_BUTTON
    assert hand.level(ALARM_BUTTON, 2000).level(0, 100).missed()[-1] == (0, 100)


def test_of_more_than_can_be_kept_the_latest_is_kept() -> None:
    hand = Hand()
    hand.look()
    for _ in range(CHANGES):
        hand.level(RECORD_BUTTON, 40).level(0, 40)
    hand.level(ALARM_BUTTON, 2100).level(RECORD_BUTTON, 100).level(0, 100)
    told = hand.missed()
    assert told[-4:] == [(ALARM_BUTTON, 2300), (BOTH, 200), (RECORD_BUTTON, 200), (0, 100)]
    assert len(told) == CHANGES + 1 + 2, "the log of RECORD, its last release, and ALARM's two"


def test_an_interrupt_between_any_two_steps_of_asking_loses_nothing_and_makes_nothing_up() -> None:
    wanted = [(True, 0), (False, 100), (True, 200), (False, 300)]
    for when in range(60):
        log = Interrupted()
        log.edge(True, START)
        log.edge(False, (START + 100) % TICKS_PERIOD)

        def push_again(log: Interrupted = log) -> None:
            log.edge(True, (START + 200) % TICKS_PERIOD)
            log.edge(False, (START + 300) % TICKS_PERIOD)

        log.arm(when, push_again)
        told = drained(log, START + 301)
        log.fire()
        assert told + drained(log, START + 400) == wanted, when


def test_changes_that_come_after_the_time_of_the_look_are_left_for_the_next() -> None:
    log = EdgeLog()
    for at_ms in range(0, 500, 100):
        log.edge(at_ms % 200 == 0, (START + at_ms) % TICKS_PERIOD)
    assert drained(log, START + 150) == [(True, 0), (False, 100)]
    assert drained(log, START + 500) == [(True, 200), (False, 300), (True, 400)]


def test_an_interrupt_that_overwrites_what_is_being_read_leaves_the_rest_in_order() -> None:
    for when in range(60):
        log = Interrupted()
        for index in range(CHANGES + 1):
            log.edge(index % 2 == 0, (START + 50 * index) % TICKS_PERIOD)

        def push_on(log: Interrupted = log) -> None:
            for index in range(CHANGES + 1, CHANGES + 31):
                log.edge(index % 2 == 0, (START + 50 * index) % TICKS_PERIOD)

        log.arm(when, push_on)
        told = drained(log, START + 50 * (CHANGES + 31))
        assert [at_ms for _, at_ms in told] == sorted({at_ms for _, at_ms in told}), when
        assert told[-CHANGES:] == [(index % 2 == 0, 50 * index) for index in range(31, CHANGES + 31)], when


def drained(log: EdgeLog, now: int) -> list[tuple[bool, int]]:
    """What is found to have changed, with its time since START."""
    told: list[tuple[bool, int]] = []
    while True:
        ticks = now % TICKS_PERIOD
        age_ms = log.next_age(ticks, (ticks - START) % TICKS_PERIOD)
        if age_ms == NONE:
            return told
        told.append((log.down, (ticks - age_ms - START) % TICKS_PERIOD))
        log.take()


class Interrupted(EdgeLog):
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
        if name in ("_log", "_logged", "_taken", "_edges", "_told_edges", "_level", "_since", "_settled"):
            reads = object.__getattribute__(self, "_reads")
            object.__setattr__(self, "_reads", reads - 1)
            if reads == 0:
                object.__getattribute__(self, "fire")()
        return object.__getattribute__(self, name)


class Loop:
    """Gestures fed from a board's pins by a loop that may stall."""

    def __init__(self, visits: bool = False, drills: bool = False) -> None:
        self.hand = Hand()
        self.gestures = Gestures()
        self.gestures.defer_single = visits
        self.gestures.drills = drills
        self.now_ms = 0
        self.found: list[int] = []
        self.lengths = ""
        self.turns(0, 100)

    def look(self) -> Loop:
        for mask, age_ms in self.hand.look():
            found = self.gestures.sample(mask, self.now_ms - age_ms)
            self.lengths += "S" if found & RECORD_SHORT else "L" if found & RECORD_LONG else ""
            if found & ~LENGTHS:
                self.found.append(found & ~LENGTHS)
        return self

    def turns(self, mask: int, duration_ms: int) -> Loop:
        for _ in range(duration_ms // 10):
            self.stall(mask, 10).look()
        return self

    def stall(self, mask: int, duration_ms: int) -> Loop:
        self.hand.level(mask, duration_ms)
        self.now_ms += duration_ms
        return self


def test_a_hold_inside_one_stall_is_one_gesture() -> None:
    loop = Loop().stall(0, 200).stall(ALARM_BUTTON, 2100).stall(0, 400).turns(0, 500)
    assert loop.found == [ALARM_HOLD]


@pytest.mark.parametrize("held_ms", [ALARM_HOLD_MS - 1, ALARM_HOLD_MS, 60_000])
def test_a_hold_takes_its_time_to_the_millisecond(held_ms: int) -> None:
    loop = Loop().stall(ALARM_BUTTON, held_ms).stall(0, 300).turns(0, 500)
    assert loop.found == [ALARM_HOLD] * (held_ms >= ALARM_HOLD_MS)


def test_a_hold_that_begins_before_a_stall_and_ends_in_it_is_one_gesture() -> None:
    loop = Loop().turns(ALARM_BUTTON, 60).stall(ALARM_BUTTON, 2100).stall(0, 300).turns(0, 500)
    assert loop.found == [ALARM_HOLD]


@pytest.mark.parametrize("free_ms", [1, 5, DEBOUNCE_MS - 1, DEBOUNCE_MS])
def test_a_hold_is_one_gesture_however_soon_after_its_end_the_loop_looks_again(free_ms: int) -> None:
    for began_ms in (0, 20, 60):
        loop = Loop().turns(ALARM_BUTTON, began_ms).stall(ALARM_BUTTON, 2100).stall(0, free_ms).turns(0, 500)
        assert loop.found == [ALARM_HOLD]


def test_a_hold_that_the_samples_saw_is_not_told_of_again_at_its_end() -> None:
    assert Loop().turns(ALARM_BUTTON, 2600).turns(0, 500).found == [ALARM_HOLD]
    loop = Loop().turns(ALARM_BUTTON, 2600).stall(ALARM_BUTTON, 3000).stall(0, 500).turns(0, 500)
    assert loop.found == [ALARM_HOLD]


def test_a_push_that_began_in_the_stall_in_which_another_ended_counts_for_itself() -> None:
    loop = Loop().turns(ALARM_BUTTON, 60).stall(ALARM_BUTTON, 2100).stall(0, 100).stall(ALARM_BUTTON, 100)
    assert loop.turns(ALARM_BUTTON, 500).turns(0, 300).found == [ALARM_HOLD], "the second was short"
    loop = Loop().turns(ALARM_BUTTON, 2100).stall(ALARM_BUTTON, 100).stall(0, 100).stall(ALARM_BUTTON, 100)
    assert loop.turns(ALARM_BUTTON, 2300).found == [ALARM_HOLD, ALARM_HOLD], "the second was held as well"


def test_a_short_push_of_alarm_inside_a_stall_is_nothing() -> None:
    assert Loop().stall(ALARM_BUTTON, 1900).stall(0, 2000).turns(0, 500).found == []


def test_two_short_pushes_are_no_hold_although_they_take_two_seconds_together() -> None:
    loop = Loop().stall(ALARM_BUTTON, 1500).stall(0, DEBOUNCE_MS + 1).stall(ALARM_BUTTON, 1500).stall(0, 3000)
    assert loop.turns(0, 500).found == []


PLAYED: list[tuple[str, bool, bool, list[tuple[int, int]], list[int], str]] = [
    ("a press", False, False, [(RECORD_BUTTON, 120)], [RECORD_PRESS], "S"),
    ("a hold", False, False, [(RECORD_BUTTON, 1600)], [RECORD_HOLD], ""),
    ("a press that is no hold", False, False, [(RECORD_BUTTON, 1450)], [RECORD_PRESS], "L"),
    ("a single press in a visit", True, False, [(RECORD_BUTTON, 120)], [RECORD_PRESS], "S"),
    ("a check-in", True, False, [(RECORD_BUTTON, 120), (0, 80)] * 2, [RECORD_DOUBLE], "SS"),
    ("slow presses", True, False, [(RECORD_BUTTON, 120), (0, 600)] * 2, [RECORD_PRESS] * 2, "SS"),
    ("more time", True, False, [(RECORD_BUTTON, 120), (0, 80)] * 3, [RECORD_DOUBLE, RECORD_TRIPLE], "SSS"),
    ("pressed on and on", True, False, [(RECORD_BUTTON, 120), (0, 80)] * 5, [RECORD_DOUBLE], "SSSSS"),
    ("an end", True, False, [(RECORD_BUTTON, 120), (0, 80), (RECORD_BUTTON, 1700)], [RECORD_DOUBLE_HOLD], "S"),
    ("a sequence", False, False, [(RECORD_BUTTON, 120), (0, 600), (RECORD_BUTTON, 700)], [RECORD_PRESS] * 2, "SL"),
    ("an alarm", False, False, [(ALARM_BUTTON, 2300)], [ALARM_HOLD], ""),
    ("both, in fright", False, False, [(BOTH, 2300)], [RECORD_HOLD | ALARM_HOLD], ""),
    ("a drill", False, True, [(BOTH, 3300)], [DRILL_HOLD], ""),
    ("a drill that ends early", False, True, [(BOTH, 2500)], [ALARM_HOLD], ""),
    ("a hold beside a press", False, False, [(RECORD_BUTTON, 100), (BOTH, 50), (ALARM_BUTTON, 2100)], [1, 8], "S"),
]


@pytest.mark.parametrize(("visits", "drills", "levels", "gestures", "lengths"), [c[1:] for c in PLAYED])
def test_what_happens_inside_one_stall_is_what_it_would_be_without(
    visits: bool, drills: bool, levels: list[tuple[int, int]], gestures: list[int], lengths: str
) -> None:
    loop = Loop(visits, drills)
    for mask, duration_ms in levels:
        loop.stall(mask, duration_ms)
    loop.stall(0, 700).turns(0, 700)
    assert by_button(loop.found) == by_button(gestures)
    assert loop.lengths == lengths


@pytest.mark.parametrize("seed", range(150))
def test_whenever_the_loop_stands_still_the_gestures_are_those_of_a_loop_that_does_not(seed: int) -> None:
    chance = random.Random(seed)
    visits, drills = chance.random() < 0.5, chance.random() < 0.5
    played = []
    for _ in range(12):
        button = chance.choice((RECORD_BUTTON, RECORD_BUTTON, ALARM_BUTTON, BOTH))
        played += [(button, chance.choice((70, 130, 700, 1700, 2300, 3400))), (0, chance.choice((70, 150, 650, 1400)))]
    steady, stalling = Loop(visits, drills), Loop(visits, drills)
    for mask, duration_ms in played:
        steady.turns(mask, duration_ms)
        for _ in range(duration_ms // 10):
            stalling.stall(mask, 10)
            if chance.random() < 0.02:
                stalling.look()
    steady.turns(0, 1000)
    stalling.turns(0, 1000)
    assert by_button(stalling.found) == by_button(steady.found)
    assert stalling.lengths == steady.lengths


def by_button(found: list[int]) -> tuple[list[int], list[int]]:
    """ALARM's gestures and RECORD's, each in their order: which of both comes first is the look's doing."""
    alarms = [gesture & (ALARM_HOLD | DRILL_HOLD) for gesture in found]
    others = [gesture & ~(ALARM_HOLD | DRILL_HOLD) for gesture in found]
    return [gesture for gesture in alarms if gesture], [gesture for gesture in others if gesture]


IN_AN_INTERRUPT = """
import micropython

from lapel_device.boards.buttons import PinButtons


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
    pins = (Pin(), Pin())
    buttons = PinButtons(pins[0], pins[1], pins[0])
    seen = 0
    states = 0
    micropython.heap_lock()
    for _ in range(40):
        for pin in pins:
            for level, ms in ((0, 2), (1, 3), (0, 2100), (1, 100)):
                pin.level = level
                pin.handler(pin)
                pins[0].ticks = (pins[0].ticks + ms) & 0x3FFFFFFF
    while buttons.look():
        seen |= buttons.mask
        states += 1
    micropython.heap_unlock()
    print(seen, states, buttons.ticks == pins[0].ticks)
"""


@pytest.mark.needs("micropython")
def test_neither_the_interrupt_nor_the_asking_allocates_on_the_real_micropython(tmp_path: Path) -> None:
    (tmp_path / "presser.py").write_text(IN_AN_INTERRUPT)
    device = start("presser", [], (), extra_path=tmp_path)
    output, _ = device.communicate(timeout=30)
    assert output.decode().split() == ["3", str(2 * 2 * (CHANGES + 1)), "True"]
