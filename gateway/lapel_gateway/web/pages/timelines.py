"""Where things stand in the drawings of visits: a day's bars, one visit's time, a sketch of where it was.

Pure. Places along a line are percent of its length, so that a drawing is as wide as there is room, with text of one
size; a sketch has a unit for each of its 1000 by 600.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from lapel_gateway.reports.period import Period
from lapel_gateway.settings.visits import HOUR_MS, MINUTE_MS
from lapel_gateway.web.pages.shown_times import LocalTimes

MARKS: dict[str, tuple[str, str]] = {
    "planned": ("is-over", "Planned"),
    "active": ("is-good", "Running"),
    "amber": ("is-warn", "Check-in wanted"),
    "overdue": ("is-bad", "Overdue"),
    "ended": ("is-over", "Ended"),
    "cancelled": ("is-over", "Cancelled"),
}
"""Of each state: its mark and its words."""

LEAST_HOURS = 8
ROW_PX, BAR_PX = 34, 26
LEAST_BAR = 0.6
"""Percent: what is shorter is still seen."""

SKETCH_WIDTH, SKETCH_HEIGHT, SKETCH_MARGIN = 1000.0, 600.0, 90.0
EARTH_M = 6_371_008.8
LEAST_SKETCH_M = 20.0


@dataclass(frozen=True)
class Bar:
    """One visit in a day."""

    words: dict[str, Any]
    kind: str
    """Its state; late for one that is past its deadline."""
    x: float
    width: float
    y: int
    label: str
    """For whoever points at it."""


@dataclass(frozen=True)
class Lane:
    """One person's day."""

    person: str
    bars: list[Bar]
    height: int


@dataclass(frozen=True)
class Hour:
    """A line across the day, with its hour where there is room."""

    x: float
    text: str


@dataclass(frozen=True)
class Drawing:
    """A day."""

    lanes: list[Lane]
    hours: list[Hour]
    now_x: float | None


@dataclass(frozen=True)
class Timer:
    """How far a visit that runs has come: percent of the bar."""

    amber_x: float
    deadline_x: float
    now_x: float
    check_in_x: float | None
    begins_ms: int
    ends_ms: int


@dataclass(frozen=True)
class Sketch:
    """Positions on a plane, north above; ``scale_m`` metres are ``scale`` units long."""

    points: list[tuple[float, float]]
    accuracy: float
    """Of the last, in units."""
    scale_m: int
    scale: float

    @property
    def line(self) -> str:
        """For a polyline."""
        return " ".join(f"{x:.1f},{y:.1f}" for x, y in self.points)


def kind_of(words: dict[str, Any]) -> str:
    """A visit's state, late already from its deadline on."""
    return "overdue" if words["late"] else str(words["state"])


def begins_ms(words: dict[str, Any]) -> int:
    """When it began or is to begin."""
    return int((words["started"] or words["planned"] or words["made"])["ms"])


def ends_ms(words: dict[str, Any], now_ms: int) -> int:
    """When it ended or is to end; what is overdue has not ended yet."""
    if words["ended"] is not None:
        return max(begins_ms(words), int(words["ended"]["ms"])) if words["started"] else _planned_end(words)
    if words["deadline"] is not None:
        return max(now_ms, int(words["deadline"]["ms"]), int(words["due"]["ms"]))
    return _planned_end(words)


def draw_day(visits: Sequence[dict[str, Any]], period: Period, times: LocalTimes) -> Drawing:
    """The visits of a day, a lane to each person, as much of the day as they need and working hours at least."""
    now_ms = times.now_ms
    spans = [
        (max(period.from_ms, begins_ms(one)), max(period.from_ms, min(period.to_ms, ends_ms(one, now_ms))), one)
        for one in visits
        if begins_ms(one) < period.to_ms
    ]
    begin_ms, end_ms = _window([(begin, end) for begin, end, _ in spans], period, now_ms)
    whole = end_ms - begin_ms

    def x_of(time_ms: int) -> float:
        return round(100 * (time_ms - begin_ms) / whole, 3)

    lanes: dict[str, list[tuple[int, int, dict[str, Any]]]] = {}
    for begin, end, one in spans:
        lanes.setdefault(one["person"], []).append((begin, end, one))
    drawn = []
    for person, theirs in lanes.items():
        rows: list[int] = []
        bars = []
        for begin, end, one in sorted(theirs, key=lambda span: span[:2]):
            row = next((number for number, free_ms in enumerate(rows) if free_ms <= begin), len(rows))
            rows[row : row + 1] = [end]
            kind = kind_of(one)
            label = f"{times.clock(begin)}–{times.clock(end)} {one['place']}: {MARKS[kind][1]}"
            width = max(LEAST_BAR, x_of(end) - x_of(begin))
            bars.append(Bar(one, kind, x_of(begin), width, row * ROW_PX + (ROW_PX - BAR_PX) // 2, label))
        drawn.append(Lane(person, bars, len(rows) * ROW_PX))
    count = whole // HOUR_MS
    every = 1 if count <= 9 else 2 if count <= 14 else 3 if count <= 18 else 4
    hours = [
        Hour(x_of(at), f"{times.at(at):%H}" if number % every == 0 and number < count else "")
        for number, at in enumerate(range(begin_ms, end_ms + 1, HOUR_MS))
    ]
    return Drawing(drawn, hours, x_of(now_ms) if begin_ms <= now_ms <= end_ms else None)


def draw_timer(words: dict[str, Any], now_ms: int) -> Timer | None:
    """The time of a visit that runs; None for another."""
    if words["deadline"] is None:
        return None
    begin_ms = begins_ms(words)
    deadline_ms = int(words["deadline"]["ms"])
    last_ms = max(deadline_ms, now_ms, begin_ms + MINUTE_MS)
    end_ms = last_ms + (last_ms - begin_ms) // 12

    def x_of(time_ms: int) -> float:
        return round(min(100.0, max(0.0, 100 * (time_ms - begin_ms) / (end_ms - begin_ms))), 2)

    check_in = words["next_check_in"]
    return Timer(
        x_of(int(words["amber"]["ms"])),
        x_of(deadline_ms),
        x_of(now_ms),
        None if check_in is None else x_of(int(check_in["ms"])),
        begin_ms,
        end_ms,
    )


def draw_sketch(positions: Sequence[dict[str, Any]]) -> Sketch | None:
    """Positions, the oldest first, in a plane that is true enough for some kilometres; None for none."""
    if not positions:
        return None
    middle = math.radians(sum(one["latitude"] for one in positions) / len(positions))
    metre = math.radians(1) * EARTH_M
    metres = [(one["longitude"] * metre * math.cos(middle), one["latitude"] * metre) for one in positions]
    west, east = min(x for x, _ in metres), max(x for x, _ in metres)
    south, north = min(y for _, y in metres), max(y for _, y in metres)
    room_x, room_y = SKETCH_WIDTH - 2 * SKETCH_MARGIN, SKETCH_HEIGHT - 2 * SKETCH_MARGIN
    unit = min(room_x / max(LEAST_SKETCH_M, east - west), room_y / max(LEAST_SKETCH_M, north - south))
    points = [
        (
            SKETCH_WIDTH / 2 + (x - (west + east) / 2) * unit,
            SKETCH_HEIGHT / 2 - (y - (south + north) / 2) * unit,
        )
        for x, y in metres
    ]
    scale_m = _round_number(250 / unit)
    return Sketch(points, (positions[-1]["accuracy_m"] or 0) * unit, scale_m, scale_m * unit)


def _planned_end(words: dict[str, Any]) -> int:
    return begins_ms(words) + int(words["expected_min"]) * MINUTE_MS


def _window(spans: list[tuple[int, int]], period: Period, now_ms: int) -> tuple[int, int]:
    """Whole hours that hold the spans, and at least `LEAST_HOURS`, those of a working day where there is a choice."""
    middle_ms = [period.from_ms + 9 * HOUR_MS, period.from_ms + 17 * HOUR_MS] if not spans else []
    times = [time for span in spans for time in span] + middle_ms
    if period.from_ms <= now_ms < period.to_ms:
        times.append(now_ms)
    first = (min(times) - period.from_ms) // HOUR_MS
    last = -((period.from_ms - max(times)) // HOUR_MS)
    whole = -((period.from_ms - period.to_ms) // HOUR_MS)
    if last - first < LEAST_HOURS:
        first = max(0, min(first, whole - LEAST_HOURS))
        last = min(whole, first + LEAST_HOURS)
    return period.from_ms + first * HOUR_MS, period.from_ms + last * HOUR_MS


def _round_number(at_most: float) -> int:
    """The largest of 1, 2, 5, 10, 20, … that is no larger; 1 at least."""
    best = step = 1
    while step <= at_most:
        for factor in (1, 2, 5):
            if step * factor <= at_most:
                best = step * factor
        step *= 10
    return best
