"""Feedback: what an observer of the indicator alone can tell."""

import itertools

from lapel_device import feedback
from lapel_device.feedback import Feedback
from lapel_device.pattern_names import PATTERN_NAMES, PATTERN_OF_COLOUR, PATTERNS

STEP_MS = 10


class Observer:
    """Sees the indicator only: each change with its time."""

    def __init__(self) -> None:
        self.now_ms = 0
        self.changes: list[tuple[int, int, bool, int]] = []
        self.feedback = Feedback(self)

    def set(self, rgb: int, vibrate: bool, buzzer_hz: int) -> None:
        self.changes.append((self.now_ms, rgb, vibrate, buzzer_hz))

    def watch(self, duration_ms: int) -> "Observer":
        end_ms = self.now_ms + duration_ms
        while self.now_ms < end_ms:
            self.feedback.poll(self.now_ms)
            self.now_ms += STEP_MS
        return self

    def on(self, *patterns: int) -> "Observer":
        for pattern in patterns:
            self.feedback.switch(pattern, True, self.now_ms)
        return self

    def off(self, *patterns: int) -> "Observer":
        for pattern in patterns:
            self.feedback.switch(pattern, False, self.now_ms)
        return self

    def colours(self, since_ms: int = 0) -> list[int]:
        """Colours lit, in order, dark and repetitions left out."""
        lit: list[int] = []
        for at_ms, rgb, _, _ in self.changes:
            if at_ms >= since_ms and rgb and (not lit or lit[-1] != rgb):
                lit.append(rgb)
        return lit

    def vibrations_ms(self, since_ms: int = 0) -> list[int]:
        """Lengths of the vibrations that began since then."""
        lengths, began_ms = [], -1
        for at_ms, _, vibrate, _ in [*self.changes, (self.now_ms, 0, False, 0)]:
            if vibrate and began_ms < 0:
                began_ms = at_ms
            elif not vibrate and began_ms >= 0:
                if began_ms >= since_ms:
                    lengths.append(at_ms - began_ms)
                began_ms = -1
        return lengths


def colour(pattern: int) -> int:
    return PATTERNS[pattern].colour


def test_every_pattern_has_one_colour_that_no_other_has() -> None:
    assert all(row.colour for row in PATTERNS)
    assert len(PATTERN_OF_COLOUR) == len(PATTERNS) == len(set(PATTERN_NAMES))


def test_every_pattern_is_told_apart_without_colours() -> None:
    rhythms = {(row.light, row.pulses) for row in PATTERNS}
    assert len(rhythms) == len(PATTERNS)


def test_the_three_states_of_an_alarm_vibrate_differently() -> None:
    felt = set()
    for state in (feedback.ALARM_SENT, feedback.ALARM_RECEIVED, feedback.ALARM_ACKNOWLEDGED):
        observer = Observer().on(state).watch(5000)
        felt.add(tuple(observer.vibrations_ms()))
    assert felt == {(150,), (150, 150), (400, 400, 400)}


def test_recording_is_a_steady_red_with_a_periodic_buzz() -> None:
    observer = Observer().on(feedback.RECORDING).watch(70_000)
    assert observer.colours() == [0xFF0000]
    assert all(rgb == 0xFF0000 for _, rgb, _, _ in observer.changes)
    buzzes = [at_ms for at_ms, _, vibrate, hz in observer.changes if vibrate and hz]
    assert buzzes == [0, 30_000, 60_000]


def test_alarm_state_and_recording_are_both_seen_within_four_seconds_whatever_else_is_on() -> None:
    observer = Observer().on(
        feedback.RECORDING,
        feedback.ALARM_SENT,
        feedback.LOW_BATTERY,
        feedback.STORAGE_NEARLY_FULL,
        feedback.NO_LINK,
    )
    observer.watch(30_000)
    for wanted in (colour(feedback.RECORDING), colour(feedback.ALARM_SENT)):
        times = [at_ms for at_ms, rgb, _, _ in observer.changes if rgb == wanted]
        gaps = [later - earlier for earlier, later in itertools.pairwise(times)]
        assert times[0] < 3500
        assert max(gaps) <= 3500
    assert colour(feedback.IDLE) not in observer.colours()


def test_a_more_urgent_pattern_interrupts_and_a_less_urgent_one_waits_its_turn() -> None:
    observer = Observer().on(feedback.RECORDING).watch(500)
    observer.on(feedback.ALARM_SENT).watch(STEP_MS)
    assert observer.changes[-1][1] == colour(feedback.ALARM_SENT)
    observer.on(feedback.NO_LINK).watch(STEP_MS)
    assert observer.changes[-1][1] == colour(feedback.ALARM_SENT)


def test_a_one_shot_pattern_goes_off_by_itself_and_starts_again_when_shown_again() -> None:
    observer = Observer()
    observer.feedback.show(feedback.REFUSED, 0)
    observer.watch(2000)
    observer.feedback.show(feedback.REFUSED, observer.now_ms)
    observer.watch(2000)
    assert observer.feedback.is_on(feedback.REFUSED)
    assert len(observer.vibrations_ms()) == 6
    observer.watch(1000)
    assert not observer.feedback.is_on(feedback.REFUSED)


def test_switching_on_what_is_on_does_not_play_it_again() -> None:
    observer = Observer().on(feedback.ALARM_SENT).watch(2000)
    observer.on(feedback.ALARM_SENT).watch(2000)
    assert observer.vibrations_ms() == [150]


def test_nothing_of_a_pattern_is_left_when_it_is_switched_off() -> None:
    observer = Observer().on(feedback.NOTICE).watch(100)
    assert observer.changes[-1][3]
    observer.off(feedback.NOTICE).watch(10_000)
    after = [change for change in observer.changes if change[0] >= 100]
    assert all(rgb in (0, colour(feedback.IDLE)) and not vibrate and not hz for _, rgb, vibrate, hz in after)


def test_silent_profile_shows_no_light_makes_no_sound_and_vibrates_for_the_alarm_only() -> None:
    observer = Observer()
    observer.feedback.silent = True
    observer.on(feedback.RECORDING, feedback.LOW_BATTERY).watch(2000)
    assert observer.changes == []
    observer.on(feedback.ALARM_RECEIVED).watch(5000)
    assert observer.vibrations_ms() == [150, 150]
    assert all(rgb == 0 and hz == 0 for _, rgb, _, hz in observer.changes)
    observer.feedback.silent = False
    observer.watch(2000)
    assert colour(feedback.RECORDING) in observer.colours()


def test_the_indicator_is_called_on_changes_only() -> None:
    observer = Observer().on(feedback.RECORDING).watch(20_000)
    shown = [change[1:] for change in observer.changes]
    assert all(a != b for a, b in itertools.pairwise(shown))
    assert len(shown) == 2


def test_the_answer_to_a_press_is_seen_at_once_also_while_an_alarm_is_shown() -> None:
    observer = Observer().on(feedback.ALARM_ACKNOWLEDGED).watch(1000)
    pressed_ms = observer.now_ms
    observer.feedback.show(feedback.STOPPED, pressed_ms)
    observer.watch(1500)
    lit = observer.colours(pressed_ms)
    assert lit[0] == PATTERNS[feedback.STOPPED].colour
    assert PATTERNS[feedback.ALARM_ACKNOWLEDGED].colour in lit, "and the alarm is shown again after it"
