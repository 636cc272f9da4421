"""Gestures read from raw button samples every 10 ms, with bouncing contacts."""

import random

import pytest

from lapel_device import gestures
from lapel_device.gestures import (
    ALARM_BUTTON,
    ALARM_HOLD,
    DRILL_HOLD,
    RECORD_BUTTON,
    RECORD_DOUBLE,
    RECORD_DOUBLE_HOLD,
    RECORD_HOLD,
    RECORD_LONG,
    RECORD_PRESS,
    RECORD_SHORT,
    RECORD_TRIPLE,
)

STEP_MS = 10
BOTH = RECORD_BUTTON | ALARM_BUTTON


class Hands:
    """Plays levels into Gestures and writes down what came out and when."""

    def __init__(self, start_ms: int = 1000) -> None:
        self.gestures = gestures.Gestures()
        self.gestures.drills = True
        self.now_ms = start_ms
        self.seen: list[tuple[int, int]] = []
        self.lengths = ""

    def level(self, mask: int, duration_ms: int, step_ms: int = STEP_MS) -> "Hands":
        end_ms = self.now_ms + duration_ms
        while self.now_ms < end_ms:
            found = self.gestures.sample(mask, self.now_ms)
            length = found & (RECORD_SHORT | RECORD_LONG)
            found &= ~length
            if length:
                self.lengths += "L" if length == RECORD_LONG else "S"
            if found:
                self.seen.append((found, self.now_ms))
            self.now_ms += step_ms
        return self

    @property
    def names(self) -> list[int]:
        return [found for found, _ in self.seen]

    def push(self, duration_ms: int) -> "Hands":
        """Push RECORD and let it go."""
        return self.level(RECORD_BUTTON, duration_ms).level(0, 100)


def test_a_press_is_delivered_when_the_button_is_let_go() -> None:
    hands = Hands(0)
    hands.level(RECORD_BUTTON, 200)
    assert hands.names == []
    hands.level(0, 100)
    assert hands.seen == [(RECORD_PRESS, 230)]


def test_a_hold_is_delivered_once_at_its_time_and_letting_go_adds_nothing() -> None:
    hands = Hands(0)
    hands.level(RECORD_BUTTON, 5000).level(0, 1000)
    assert hands.seen == [(RECORD_HOLD, gestures.RECORD_HOLD_MS)]


def test_alarm_needs_two_seconds() -> None:
    hands = Hands(0)
    hands.level(ALARM_BUTTON, 1990).level(0, 500)
    assert hands.names == []
    start_ms = hands.now_ms
    hands.level(ALARM_BUTTON, 4000).level(0, 500)
    assert hands.seen == [(ALARM_HOLD, start_ms + gestures.ALARM_HOLD_MS)]


def test_both_buttons_held_together_are_a_drill_and_nothing_else() -> None:
    hands = Hands(0)
    hands.level(ALARM_BUTTON, 200).level(BOTH, 5000).level(RECORD_BUTTON, 2000).level(0, 500)
    assert hands.seen == [(DRILL_HOLD, 200 + gestures.DRILL_HOLD_MS)]
    hands = Hands()
    hands.level(BOTH, 3500).level(ALARM_BUTTON, 4000).level(0, 500)
    assert hands.names == [DRILL_HOLD]


@pytest.mark.parametrize("last", [RECORD_BUTTON, ALARM_BUTTON, 0])
def test_a_drill_that_ends_early_after_the_time_of_an_alarm_is_an_alarm(last: int) -> None:
    hands = Hands(0)
    hands.level(BOTH, 2500).level(last, 400).level(0, 500)
    assert hands.names == [ALARM_HOLD]
    assert hands.seen[0][1] <= 2550


def test_a_drill_that_ends_before_the_time_of_an_alarm_is_none() -> None:
    hands = Hands()
    hands.level(BOTH, 1900).level(0, 500)
    assert hands.names == []


def test_alarm_found_while_record_is_held_for_something_else_is_an_alarm_in_its_own_time() -> None:
    for before_ms in (gestures.TOGETHER_MS, 1000, 3000):
        hands = Hands(0)
        hands.level(RECORD_BUTTON, before_ms).level(BOTH, 4000).level(0, 500)
        assert (ALARM_HOLD, before_ms + gestures.ALARM_HOLD_MS) in hands.seen
        assert sorted(hands.names) == [RECORD_HOLD, ALARM_HOLD]


def test_record_touched_while_alarm_is_held_delays_nothing() -> None:
    hands = Hands(0)
    hands.level(ALARM_BUTTON, 600).level(BOTH, 2400).level(0, 500)
    assert (ALARM_HOLD, gestures.ALARM_HOLD_MS) in hands.seen
    assert DRILL_HOLD not in hands.names


def test_a_drill_that_a_stall_hides_is_no_alarm_that_nobody_held() -> None:
    hands = Hands(0)
    hands.level(BOTH, 300)
    hands.now_ms = 4000
    hands.level(0, 500)
    assert not {ALARM_HOLD, DRILL_HOLD} & set(hands.names)


def test_every_push_that_is_let_go_before_its_hold_is_short_or_long() -> None:
    hands = Hands().push(80).push(700).push(490).push(510).push(1600).push(1400)
    assert hands.lengths == "SLSLL"
    hands = Hands()
    hands.gestures.defer_single = True
    hands.push(80).push(80).push(700).level(0, 1000)
    assert hands.lengths == "SSL"


def test_gestures_completed_in_one_sample_are_both_delivered() -> None:
    hands = Hands(0)
    hands.level(RECORD_BUTTON, 500).level(RECORD_BUTTON | ALARM_BUTTON, 500)
    late = hands.gestures.sample(RECORD_BUTTON | ALARM_BUTTON, 2500)
    assert late == RECORD_HOLD | ALARM_HOLD


@pytest.mark.parametrize("seed", range(20))
def test_bouncing_contacts_give_one_press(seed: int) -> None:
    chance = random.Random(seed)
    hands = Hands()
    for _ in range(6):
        hands.level(chance.getrandbits(1), 2, step_ms=2)
    hands.level(RECORD_BUTTON, 200, step_ms=5)
    for _ in range(6):
        hands.level(chance.getrandbits(1), 2, step_ms=2)
    hands.level(0, 1000, step_ms=5)
    assert hands.names == [RECORD_PRESS]


def test_a_glitch_shorter_than_the_debounce_time_is_nothing() -> None:
    hands = Hands()
    hands.level(RECORD_BUTTON | ALARM_BUTTON, 20).level(0, 3000)
    assert hands.names == []


def test_a_glitch_during_a_hold_does_not_break_it() -> None:
    hands = Hands(0)
    hands.level(ALARM_BUTTON, 1000).level(0, 20).level(ALARM_BUTTON, 1500).level(0, 100)
    assert hands.names == [ALARM_HOLD]


def test_double_press_without_a_visit_delivers_the_first_press_at_once() -> None:
    hands = Hands(0)
    hands.level(RECORD_BUTTON, 100).level(0, 200).level(RECORD_BUTTON, 100).level(0, 1000)
    assert hands.names == [RECORD_PRESS, RECORD_DOUBLE]
    assert hands.seen[0][1] == 130


def test_double_press_in_a_visit_is_one_gesture() -> None:
    hands = Hands()
    hands.gestures.defer_single = True
    hands.level(RECORD_BUTTON, 100).level(0, 200).level(RECORD_BUTTON, 100).level(0, 1000)
    assert hands.names == [RECORD_DOUBLE]


def test_single_press_in_a_visit_comes_after_the_double_press_time() -> None:
    hands = Hands(0)
    hands.gestures.defer_single = True
    hands.level(RECORD_BUTTON, 100).level(0, 1000)
    assert hands.names == [RECORD_PRESS]
    assert hands.seen[0][1] - 100 > gestures.DOUBLE_PRESS_MS


def test_two_slow_presses_are_two_presses() -> None:
    hands = Hands()
    for _ in range(2):
        hands.level(RECORD_BUTTON, 100).level(0, gestures.DOUBLE_PRESS_MS + 50)
    assert hands.names == [RECORD_PRESS, RECORD_PRESS]


def test_press_then_hold_in_a_visit_is_a_gesture_of_its_own_if_it_is_quick() -> None:
    hands = Hands()
    hands.gestures.defer_single = True
    hands.level(RECORD_BUTTON, 100).level(0, 200).level(RECORD_BUTTON, 2000).level(0, 1000)
    assert hands.names == [RECORD_DOUBLE_HOLD]
    hands.level(RECORD_BUTTON, 2000).level(0, 1000)
    assert hands.names == [RECORD_DOUBLE_HOLD, RECORD_HOLD]
    hands = Hands()
    hands.gestures.defer_single = True
    hands.level(RECORD_BUTTON, 100).level(0, gestures.DOUBLE_PRESS_MS + 20).level(RECORD_BUTTON, 2000).level(0, 1000)
    assert RECORD_HOLD in hands.names


def test_press_then_hold_without_visits_is_a_press_and_a_hold() -> None:
    hands = Hands()
    hands.level(RECORD_BUTTON, 100).level(0, 200).level(RECORD_BUTTON, 2000).level(0, 1000)
    assert hands.names == [RECORD_PRESS, RECORD_HOLD]


def test_a_third_press_starts_anew_after_a_double_press() -> None:
    hands = Hands()
    for _ in range(3):
        hands.level(RECORD_BUTTON, 100).level(0, 150)
    hands.level(0, 1000)
    assert hands.names == [RECORD_PRESS, RECORD_DOUBLE, RECORD_PRESS]


def test_three_presses_in_a_visit_are_a_double_at_once_and_a_triple_when_no_fourth_follows() -> None:
    hands = Hands(0)
    hands.gestures.defer_single = True
    hands.level(RECORD_BUTTON, 100).level(0, 150).level(RECORD_BUTTON, 100)
    let_go_ms = hands.now_ms
    hands.level(0, 150)
    assert hands.seen == [(RECORD_DOUBLE, let_go_ms + gestures.DEBOUNCE_MS)], "a check-in waits for nothing"
    hands.level(RECORD_BUTTON, 100)
    let_go_ms = hands.now_ms
    hands.level(0, 1000)
    assert hands.names == [RECORD_DOUBLE, RECORD_TRIPLE]
    assert 0 < hands.seen[1][1] - let_go_ms - gestures.DOUBLE_PRESS_MS <= gestures.DEBOUNCE_MS + STEP_MS


@pytest.mark.parametrize("before", [1, 2])
@pytest.mark.parametrize("stall_ms", [20, 350, 600, 1200])
def test_a_loop_that_stood_still_makes_no_single_press_of_a_quick_one(stall_ms: int, before: int) -> None:
    """It stands still as soon as a press was let go, while what that means is written down."""
    hands = Hands()
    hands.gestures.defer_single = True
    for _ in range(before):
        hands.level(RECORD_BUTTON, 100).level(0, 50)
    hands.now_ms += stall_ms
    hands.level(RECORD_BUTTON, 100).level(0, 1000)
    assert hands.names == [[RECORD_DOUBLE], [RECORD_DOUBLE, RECORD_TRIPLE]][before - 1]


def test_a_press_that_was_not_there_when_the_loop_looked_in_time_follows_none() -> None:
    hands = Hands()
    hands.gestures.defer_single = True
    hands.level(RECORD_BUTTON, 100).level(0, gestures.DOUBLE_PRESS_MS + 20)
    hands.now_ms += 300
    hands.level(RECORD_BUTTON, 100).level(0, 1000)
    assert hands.names == [RECORD_PRESS, RECORD_PRESS]


@pytest.mark.parametrize("seed", range(200))
def test_in_a_visit_a_burst_is_read_by_its_number_of_presses_alone(seed: int) -> None:
    """However quick or slow within its limits, with contacts that bounce and a loop that comes round when it can."""
    chance = random.Random(seed)
    hands = Hands()
    hands.gestures.defer_single = True
    expected: list[int] = []
    for _ in range(4):
        presses = chance.randint(1, 7)
        for _ in range(presses):
            for level, longest_ms in ((RECORD_BUTTON, gestures.RECORD_HOLD_MS - 60), (0, 330)):
                for _ in range(chance.randint(0, 3)):
                    hands.level(chance.choice((0, RECORD_BUTTON)), 2, step_ms=2)
                hands.level(level, chance.randint(50, longest_ms), step_ms=chance.randint(5, 15))
        hands.level(0, 600)
        expected += [RECORD_PRESS] if presses == 1 else [RECORD_DOUBLE]
        expected += [RECORD_TRIPLE] if presses == 3 else []
    assert hands.names == expected


@pytest.mark.parametrize("presses", [2, 3, 4])
def test_a_hold_that_ends_a_burst_is_the_gesture_and_no_triple(presses: int) -> None:
    hands = Hands()
    hands.gestures.defer_single = True
    for _ in range(presses):
        hands.level(RECORD_BUTTON, 100).level(0, 150)
    hands.level(RECORD_BUTTON, 2000).level(0, 1000)
    assert hands.names == [RECORD_DOUBLE, RECORD_HOLD]


def test_a_third_press_that_comes_late_is_a_single_one() -> None:
    hands = Hands()
    hands.gestures.defer_single = True
    hands.level(RECORD_BUTTON, 100).level(0, 150).level(RECORD_BUTTON, 100).level(0, gestures.DOUBLE_PRESS_MS + 50)
    hands.level(RECORD_BUTTON, 100).level(0, 1000)
    assert hands.names == [RECORD_DOUBLE, RECORD_PRESS]


def test_a_stalled_loop_does_not_turn_a_press_into_a_hold() -> None:
    hands = Hands(0)
    hands.level(RECORD_BUTTON | ALARM_BUTTON, 100)
    hands.now_ms = 4000
    hands.level(0, 1000)
    assert RECORD_HOLD not in hands.names
    assert ALARM_HOLD not in hands.names


def test_a_stalled_loop_loses_no_hold_that_is_still_held() -> None:
    hands = Hands(0)
    hands.level(ALARM_BUTTON, 100)
    hands.now_ms = 4000
    hands.level(ALARM_BUTTON, 50)
    assert hands.seen == [(ALARM_HOLD, 4000)]
