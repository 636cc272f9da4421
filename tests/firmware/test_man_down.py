"""Man-down: falls warn, living does not; the table, time that wraps, gaps, and the device's own vibration."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lapel_device import man_down
from lapel_device.man_down import (
    CANCEL,
    DIP,
    EXPIRED,
    FALLING,
    GAP,
    IMPACT,
    KEEP_POSTURE,
    LYING,
    MOVED,
    RAISE,
    RAISED,
    STOP_WARNING,
    STRUCK,
    TRANSITIONS,
    UNMOVED,
    WARN,
    WARNING,
    WARNING_MS,
    WATCHING,
    ManDown,
)
from lapel_protocol.limits import TICKS_PERIOD
from lapel_protocol.orders import SettingsChange
from lapel_sim.motion import Motion, Phase, blow, car, run, stairs, still, tilted, turning, vibration, walk

PERIOD_MS = 20
START_MS = 5000
"""What every trace begins with: somebody who stands."""


def wanted(**values: int) -> SettingsChange:
    """Settings with falls watched."""
    change = SettingsChange()
    change.man_down = 1
    for name, value in values.items():
        assert hasattr(change, name)
        setattr(change, name, value)
    return change


class Wearer:
    """A detector that is fed what a motion lets the device feel; `told` has (milliseconds, what was to be done)."""

    def __init__(self, change: SettingsChange | None = None, seed: int = 1, first_ticks: int = 0) -> None:
        self.detector = ManDown(change or wanted())
        self.motion = Motion(seed)
        self.now_ms = 0
        self.first_ticks = first_ticks
        self.told: list[tuple[int, int]] = []
        self.pass_time(START_MS)

    def ticks(self) -> int:
        return (self.first_ticks + self.now_ms) % TICKS_PERIOD

    def pass_time(self, ms: int, own: bool = False, samples: bool = True) -> Wearer:
        """Let time pass, with a sample every 20 ms unless the sensor is silent."""
        for _ in range(ms // PERIOD_MS):
            self.now_ms += PERIOD_MS
            if samples:
                todo = self.detector.feed(*self.motion.at(self.now_ms * 1000), self.ticks(), own)
            else:
                todo = self.detector.tick(self.ticks())
            if todo:
                self.told.append((self.now_ms, todo))
        return self

    def cancel(self) -> Wearer:
        if todo := self.detector.cancel():
            self.told.append((self.now_ms, todo))
        return self

    def does(self, phase: Phase, ms: int) -> Wearer:
        self.motion.begin(self.now_ms * 1000, phase)
        return self.pass_time(ms)

    def falls(self, **how: float | tuple[float, float, float]) -> Wearer:
        """Fall, and have come to rest."""
        rest_us = self.motion.fall(self.now_ms * 1000, **how)  # type: ignore[arg-type]
        return self.pass_time(rest_us // 1000 - self.now_ms + 1)

    @property
    def warned(self) -> bool:
        return any(todo & WARN for _, todo in self.told)

    @property
    def raised(self) -> bool:
        return any(todo & RAISE for _, todo in self.told)


# -- the table --------------------------------------------------------------------------------------------------------


def test_only_an_unanswered_warning_raises_and_only_a_warning_is_stopped() -> None:
    for (state, event), (after, effects) in TRANSITIONS.items():
        assert (RAISE in effects) == ((state, event) == (WARNING, EXPIRED))
        assert (STOP_WARNING in effects) == (state == WARNING)
        assert (WARN in effects) == (after == WARNING)
    assert TRANSITIONS[WARNING, CANCEL][0] == WATCHING
    assert {event for state, event in TRANSITIONS if state == WARNING} == {CANCEL, EXPIRED}


def test_every_way_to_a_warning_leads_over_an_impact_or_over_no_movement() -> None:
    ways = {(state, event) for (state, event), (after, _) in TRANSITIONS.items() if after == WARNING}
    assert ways == {(STRUCK, LYING), (WATCHING, UNMOVED)}
    assert {key for key, (after, _) in TRANSITIONS.items() if after == STRUCK and key[0] != STRUCK} == {
        (FALLING, IMPACT)
    }


def test_every_state_can_be_reached_and_left_and_every_dip_keeps_the_posture_before_it() -> None:
    states = {WATCHING, FALLING, STRUCK, WARNING, RAISED}
    assert {state for state, _ in TRANSITIONS} == states == {after for after, _ in TRANSITIONS.values()}
    assert all(
        not effects or set(effects) <= {KEEP_POSTURE, WARN, STOP_WARNING, RAISE} for _, effects in TRANSITIONS.values()
    )
    assert all((KEEP_POSTURE in effects) == (event == DIP) for (_, event), (_, effects) in TRANSITIONS.items())
    assert (RAISED, MOVED) in TRANSITIONS
    assert (FALLING, GAP) in TRANSITIONS


# -- falls ------------------------------------------------------------------------------------------------------------

DOWNS = {
    "on the face": tilted(88),
    "on the back": tilted(-88),
    "on the left side": tilted(10, 80),
    "on the right side": tilted(-5, -85),
    "sitting against a wall": tilted(-60),
}


@pytest.mark.parametrize("down", DOWNS.values(), ids=DOWNS)
@pytest.mark.parametrize("before", [still(), walk(), run()], ids=["standing", "walking", "running"])
@pytest.mark.parametrize("peak", [3.0, 6.0])
def test_a_fall_and_stillness_warn_and_then_raise(down: tuple[float, float, float], before: Phase, peak: float) -> None:
    wearer = Wearer().does(before, 6000).falls(down=down, peak=peak)
    assert not wearer.told
    lies_ms = wearer.now_ms
    wearer.pass_time(45_000)
    assert [todo for _, todo in wearer.told] == [WARN, STOP_WARNING | RAISE]
    warned_ms, raised_ms = (at for at, _ in wearer.told)
    assert 9_500 <= warned_ms - lies_ms <= 13_000
    assert raised_ms - warned_ms == WARNING_MS
    assert wearer.detector.state == RAISED


def test_a_fall_from_a_height_is_a_long_dip() -> None:
    wearer = Wearer()
    rest_us = wearer.motion.play(
        wearer.now_ms * 1000, [(1.6, still((0.0, 60.0, 0.0), 0)), (0.1, blow(tilted(80), 9.0))], still(tilted(80))
    )
    wearer.pass_time(rest_us // 1000 - wearer.now_ms + 13_000)
    assert wearer.warned


def test_falling_down_the_stairs_is_compared_with_the_posture_before_the_first_step() -> None:
    wearer = Wearer().does(stairs(), 5000)
    for _ in range(3):
        wearer.falls(peak=3.0)
    assert wearer.pass_time(13_000).warned


def test_who_writhes_first_and_lies_still_later_is_warned_too() -> None:
    wearer = Wearer().falls().does(walk(1.2, 200.0, 85), 12_000)
    assert not wearer.told
    assert wearer.does(still(tilted(85)), 13_000).warned


def test_a_wearer_who_gets_up_is_left_alone() -> None:
    wearer = Wearer().falls().pass_time(4000).does(turning(tilted(85, 10), tilted(5), 2.0), 2000).does(walk(), 60_000)
    assert not wearer.told
    assert wearer.does(still(), 60_000).detector.state == WATCHING
    assert not wearer.told


def test_a_cancelled_warning_raises_nothing_and_a_second_fall_warns_again() -> None:
    wearer = Wearer().falls().pass_time(20_000).cancel()
    assert [todo for _, todo in wearer.told] == [WARN, STOP_WARNING]
    wearer.does(turning(tilted(85, 10), tilted(0), 2.0), 2000)
    wearer.motion.posture = tilted(0)
    wearer.does(walk(), 60_000)
    wearer.told.clear()
    wearer.falls().pass_time(50_000)
    assert [todo for _, todo in wearer.told] == [WARN, STOP_WARNING | RAISE]


def test_cancelling_without_a_warning_is_nothing() -> None:
    assert Wearer().cancel().told == []
    assert Wearer().falls().cancel().pass_time(13_000).warned


def test_after_an_alarm_nothing_more_is_raised_until_somebody_moves() -> None:
    wearer = Wearer(wanted(no_movement_min=1)).falls().pass_time(600_000)
    assert [todo for _, todo in wearer.told] == [WARN, STOP_WARNING | RAISE]
    wearer.does(walk(), 3000)
    assert wearer.detector.state in (WATCHING, FALLING)


# -- living -----------------------------------------------------------------------------------------------------------

LIVES: dict[str, Callable[[Wearer], object]] = {
    "standing": lambda wearer: wearer.pass_time(120_000),
    "walking": lambda wearer: wearer.does(walk(), 60_000).does(still(), 40_000),
    "running and stopping at once": lambda wearer: wearer.does(run(), 60_000).does(still(), 40_000),
    "stairs": lambda wearer: wearer.does(stairs(), 60_000).does(still(), 40_000),
    "driving": lambda wearer: wearer.does(car(), 120_000).does(still(tilted(-15)), 40_000),
    "lying down slowly": lambda wearer: wearer.does(turning(tilted(0), tilted(-85), 3.0), 3000).does(
        still(tilted(-85)), 120_000
    ),
    "a jump": lambda wearer: [
        wearer.motion.play(
            wearer.now_ms * 1000, [(0.35, still((0.0, 30.0, 0.0))), (0.1, blow((0.0, 1000.0, 0.0), 5.0))], still()
        ),
        wearer.pass_time(60_000),
    ],
    "vibrating for long": lambda wearer: wearer.does(vibration(), 60_000),
}


@pytest.mark.parametrize("life", LIVES.values(), ids=LIVES)
@pytest.mark.parametrize("seed", range(3))
def test_ordinary_movements_do_not_warn(life: Callable[[Wearer], object], seed: int) -> None:
    wearer = Wearer(seed=seed)
    life(wearer)
    assert wearer.told == []


@pytest.mark.parametrize("peak", [2.1, 2.7, 4.0])
def test_dropping_into_a_chair_and_sitting_still_does_not_warn(peak: float) -> None:
    wearer = Wearer().does(walk(), 5000)
    wearer.motion.sit_down_hard(wearer.now_ms * 1000, peak)
    assert wearer.pass_time(60_000).told == []


def test_a_dropped_device_that_is_picked_up_does_not_warn_and_one_left_lying_does() -> None:
    for picked_up in (True, False):
        wearer = Wearer()
        wearer.motion.drop(wearer.now_ms * 1000)
        wearer.pass_time(6000)
        wearer.does(walk() if picked_up else still((0.0, 0.0, 1000.0), 0), 40_000)
        assert wearer.warned is not picked_up


def test_a_device_that_is_laid_down_is_no_man_down_however_long_it_lies() -> None:
    wearer = Wearer().does(walk(), 5000).does(turning(tilted(0), (0.0, 0.0, 1000.0), 1.0, 0.9), 1000)
    assert wearer.does(still((0.0, 0.0, 1000.0), 0), 1_200_000).told == []


# -- no movement ------------------------------------------------------------------------------------------------------


def test_no_movement_warns_after_its_minutes_and_not_while_somebody_moves() -> None:
    wearer = Wearer(wanted(man_down=0, no_movement_min=2)).does(walk(), 300_000)
    assert wearer.told == []
    began_ms = wearer.now_ms
    wearer.does(still(tilted(-20)), 160_000)
    assert [todo for _, todo in wearer.told] == [WARN, STOP_WARNING | RAISE]
    assert 119_000 <= wearer.told[0][0] - began_ms <= 122_000


def test_a_cancelled_warning_begins_the_minutes_anew() -> None:
    wearer = Wearer(wanted(no_movement_min=1)).pass_time(50_000).cancel().pass_time(58_000)
    assert wearer.told == []
    assert wearer.pass_time(4000).warned
    wearer.cancel().told.clear()
    assert not wearer.pass_time(58_000).told
    assert wearer.pass_time(4000).warned


def test_falls_are_not_watched_when_only_movement_is() -> None:
    assert not Wearer(wanted(man_down=0, no_movement_min=2)).falls().pass_time(60_000).told


def test_own_vibration_is_neither_movement_nor_stillness() -> None:
    def shaken(own: bool, minutes: int) -> Wearer:
        wearer = Wearer(wanted(no_movement_min=2))
        for _ in range(minutes * 2):
            wearer.motion.begin(wearer.now_ms * 1000, vibration())
            wearer.pass_time(400, own)
            wearer.does(still(), 29_600)
        return wearer

    assert shaken(True, 3).warned
    assert not shaken(False, 5).told


def test_recording_reminders_do_not_hide_who_lies_still() -> None:
    wearer = Wearer().falls()
    for _ in range(3):
        wearer.motion.begin(wearer.now_ms * 1000, vibration(tilted(85, 10)))
        wearer.pass_time(400, own=True)
        wearer.does(still(tilted(85, 10)), 4600)
    assert wearer.warned


# -- thresholds, time, gaps -------------------------------------------------------------------------------------------


def test_thresholds_are_the_settings() -> None:
    def warned(**values: int) -> bool:
        return Wearer(wanted(**values)).falls(peak=3.0).pass_time(14_000).warned

    assert warned()
    assert not warned(fall_impact_mg=5000)
    assert not warned(fall_dip_mg=200)
    assert not warned(fall_still_s=15)
    slumped = {"down": tilted(-50)}
    assert Wearer(wanted(fall_turn_deg=40)).falls(**slumped).pass_time(14_000).warned
    assert not Wearer(wanted(fall_turn_deg=60)).falls(**slumped).pass_time(60_000).told
    assert Wearer(wanted(fall_turn_deg=0)).falls(down=tilted(0)).pass_time(14_000).warned


@pytest.mark.parametrize("before_wrap_ms", [5000, 5300, 5700, 8000, 20_000, 40_000])
def test_the_wrap_of_the_ticks_changes_nothing(before_wrap_ms: int) -> None:
    plain, wrapping = Wearer(), Wearer(first_ticks=TICKS_PERIOD - before_wrap_ms)
    for wearer in (plain, wrapping):
        wearer.falls().pass_time(60_000)
    assert wrapping.told == plain.told != []


def test_a_gap_restarts_the_stillness_and_ends_a_fall_that_has_not_hit() -> None:
    wearer = Wearer().falls().pass_time(8000)
    wearer.now_ms += 1000
    wearer.pass_time(8000)
    assert not wearer.told
    assert wearer.pass_time(4000).warned
    falling = Wearer().does(still((0.0, 100.0, 0.0)), 200)
    assert falling.detector.state == FALLING
    falling.now_ms += 400
    assert falling.does(still(), 40).detector.state == WATCHING


def test_a_sensor_that_dies_in_a_warning_does_not_cancel_it() -> None:
    wearer = Wearer().falls().pass_time(14_000)
    assert wearer.warned
    assert wearer.pass_time(31_000, samples=False).raised


def test_a_sensor_that_dies_after_an_impact_warns_nobody() -> None:
    wearer = Wearer().falls().pass_time(120_000, samples=False)
    assert not wearer.told
    assert wearer.detector.state == WATCHING


def test_a_burst_whose_times_lie_before_the_last_tick_is_in_order_all_the_same() -> None:
    late = Wearer()
    late.motion.fall(late.now_ms * 1000)
    told = []
    for _ in range(400):
        now = late.now_ms + 160
        told.append(late.detector.tick(now))
        for at in range(8):
            at_ms = late.now_ms + 20 * (at + 1)
            told.append(late.detector.feed(*late.motion.at(at_ms * 1000), at_ms, False))
        late.now_ms = now
    assert [todo for todo in told if todo] == [WARN, STOP_WARNING | RAISE]


READINGS = st.one_of(
    st.tuples(st.integers(-200, 200), st.integers(800, 1200), st.integers(-200, 200)),
    st.tuples(*[st.integers(-32768, 32767)] * 3),
    st.just((0, 0, 0)),
)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("feed"), READINGS, st.integers(0, 2000), st.booleans()),
        st.tuples(st.just("hold"), READINGS, st.integers(1, 3000)),
        st.tuples(st.just("tick"), st.integers(0, 40_000)),
        st.tuples(st.just("cancel")),
        st.tuples(st.just("back"), st.integers(1, 1000)),
    ),
    max_size=40,
)


def calls(steps: list[tuple[object, ...]], detector: ManDown) -> Iterator[tuple[int, int]]:
    """(time, what was to be done) of every call that the steps make; times never wrap here."""
    now = 0
    for name, *rest in steps:
        if name == "tick":
            now += rest[0]  # type: ignore[operator]
            yield now, detector.tick(now % TICKS_PERIOD)
        elif name == "cancel":
            yield now, detector.cancel()
        elif name == "back":
            x, y, z = (0, 1000, 0)
            yield now, detector.feed(x, y, z, (now - rest[0]) % TICKS_PERIOD, False)  # type: ignore[operator]
        elif name == "hold":
            x, y, z = rest[0]  # type: ignore[misc]
            for _ in range(rest[1]):  # type: ignore[call-overload]
                now += PERIOD_MS
                yield now, detector.feed(x, y, z, now % TICKS_PERIOD, False)
        else:
            x, y, z = rest[0]  # type: ignore[misc]
            now += rest[1]  # type: ignore[operator]
            yield now, detector.feed(x, y, z, now % TICKS_PERIOD, bool(rest[2]))


@settings(deadline=None, derandomize=True, max_examples=150)
@given(steps=STEPS, no_movement=st.sampled_from([0, 1]))
def test_whatever_the_sensor_says_an_alarm_has_its_warning_of_thirty_seconds(
    steps: list[tuple[object, ...]], no_movement: int
) -> None:
    detector = ManDown(wanted(no_movement_min=no_movement, fall_still_s=5))
    warned_ms = None
    for now, todo in calls(steps, detector):
        assert detector.state in (WATCHING, FALLING, STRUCK, WARNING, RAISED)
        if todo & STOP_WARNING:
            assert warned_ms is not None
            assert not todo & RAISE or now - warned_ms >= WARNING_MS
            warned_ms = None
        if todo & WARN:
            warned_ms = now
        assert (detector.state == WARNING) == (warned_ms is not None)


def test_the_limits_of_a_warning_and_a_fall_are_those_that_the_specification_names() -> None:
    assert man_down.WARNING_MS == 30_000
    assert man_down.FALL_MS == 1000
