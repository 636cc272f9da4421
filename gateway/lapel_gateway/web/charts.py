"""Charts as SVG, drawn here: columns, bars and lines, for a screen of any width, for paper, and for a screen reader.

Rules that hold here
- Every axis of amounts begins at zero. What is not known is left out, and is never drawn as nothing.
- Series differ in colour and in pattern, lines in their marks too (WCAG 2.2, 1.4.1); the colours are the style sheet's.
- A chart has a title and its figures in words (`desc`); the table of the same figures stands beside it on the page.
- A chart is as wide as the smallest telephone, so that its letters are never smaller than those of the page's notes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from markupsafe import Markup, escape

WIDTH = 360
HEIGHT = 220
LEFT, RIGHT, TOP, BOTTOM = 40, 10, 22, 36
BAR_HEIGHT = 30
BAR_NAME_CHARACTERS = 16
LOOKS = 5
"""How many series can be told apart."""

NARROWEST_FOR_LABEL = 22
"""Columns narrower than this have no figure above them: those would run into each other."""

CHARACTER = 6.3
"""About as wide as a character of the labels is."""

Told = Callable[[float], str]


@dataclass(frozen=True)
class Series:
    """Values in the order of the labels; None where there is nothing to tell. ``look``: 1 to `LOOKS`."""

    name: str
    values: Sequence[float | None]
    look: int = 1


@dataclass(frozen=True)
class Level:
    """A line to be held against: all across, or over one column only."""

    value: float
    words: str
    at: int | None = None


@dataclass(frozen=True)
class Chart:
    """A drawn chart, and what stands below it."""

    title: str
    svg: Markup
    legend: tuple[tuple[Markup, str], ...] = ()
    note: str = ""


@dataclass(frozen=True)
class Plan:
    """What all charts are told. ``key`` is the chart's own name within its page."""

    key: str
    title: str
    labels: Sequence[str]
    told: Told = field(default=lambda value: f"{value:,.0f}")
    most: float | None = None
    """The end of the axis; None: whatever the values need."""
    levels: Sequence[Level] = ()
    note: str = ""
    whole: bool = True
    """Whether there are only whole ones of it."""
    lower_labels: Mapping[int, str] = field(default_factory=dict)
    """A second line below some labels."""


def ticks(most: float, *, whole: bool = True) -> list[float]:
    """Round numbers, ``whole`` ones or any, from zero to the first that is not below ``most``: two to seven."""
    if not math.isfinite(most) or most <= 0:
        return [0.0, 1.0]
    step = 10.0 ** math.floor(math.log10(most / 4))
    step = next(step * times for times in (1, 2, 2.5, 5, 10) if most / (step * times) <= 5)
    if whole:
        step = max(1.0, float(math.ceil(step)))
    count = math.ceil(most / step - 1e-9)
    return [step * number for number in range(count + 1)]


def percent(value: float) -> str:
    """A share of 0 to 100, rounded down: what has just missed a target is not shown as having met it."""
    return f"{math.floor(value + 1e-9):d} %"


def columns(plan: Plan, series: Sequence[Series], few: Sequence[bool] = ()) -> Chart:
    """Columns over the labels, series on top of each other; ``few``: those that stand for too little to tell much."""
    sums = [_sum(one.values[index] for one in series) for index in range(len(plan.labels))]
    if all(value is None for value in sums):
        return _nothing(plan)
    scale = Scale(plan, [value for value in sums if value is not None])
    slot = (WIDTH - LEFT - RIGHT) / len(plan.labels)
    wide = min(slot * 0.72, 56.0)
    parts = [_patterns(plan.key, series), scale.grid()]
    for index, total in enumerate(sums):
        middle = LEFT + slot * (index + 0.5)
        at = 0.0
        for one in series:
            value = one.values[index]
            if not value:
                continue
            hollow = bool(few) and few[index]
            parts.append(_column(plan.key, one, scale, (middle, wide), (at, at + value), hollow=hollow))
            at += value
        if total is not None and slot >= NARROWEST_FOR_LABEL:
            parts.append(text(middle, scale.y(total) - 5, plan.told(total), "value", "middle"))
    parts += [_level(plan, scale, one, slot) for one in plan.levels]
    parts.append(_below(plan, slot))
    note = plan.note
    if any(few):
        note = " ".join(filter(None, (note, "Outlined: fewer than ten.")))
    return _chart(plan, parts, series, HEIGHT, note)


def groups(plan: Plan, series: Sequence[Series]) -> Chart:
    """Columns over the labels, series beside each other."""
    found = [value for one in series for value in one.values if value is not None]
    if not found:
        return _nothing(plan)
    scale = Scale(plan, found)
    slot = (WIDTH - LEFT - RIGHT) / len(plan.labels)
    wide = min(slot * 0.84 / len(series), 28.0)
    parts = [_patterns(plan.key, series), scale.grid()]
    for index in range(len(plan.labels)):
        begin = LEFT + slot * (index + 0.5) - wide * len(series) / 2
        for number, one in enumerate(series):
            value = one.values[index]
            if value is None:
                continue
            middle = begin + wide * (number + 0.5)
            if value:
                parts.append(_column(plan.key, one, scale, (middle, wide * 0.9), (0, value)))
            if len(plan.told(value)) * CHARACTER <= wide + 6:
                parts.append(text(middle, scale.y(value) - 4, plan.told(value), "value", "middle"))
    parts += [_level(plan, scale, one, slot) for one in plan.levels]
    parts.append(_below(plan, slot))
    return _chart(plan, parts, series, HEIGHT, plan.note)


def lines(plan: Plan, series: Sequence[Series]) -> Chart:
    """A line for each series, broken where nothing is known, with a mark at each value and the last one in figures."""
    found = [value for one in series for value in one.values if value is not None]
    if not found:
        return _nothing(plan)
    scale = Scale(plan, found)
    slot = (WIDTH - LEFT - RIGHT) / len(plan.labels)
    parts = [scale.grid(), *(_level(plan, scale, one, slot) for one in plan.levels)]
    for one in series:
        points = [
            None if value is None else (LEFT + slot * (index + 0.5), scale.y(value))
            for index, value in enumerate(one.values)
        ]
        parts += [_stroke(run, one.look) for run in _runs(points)]
        parts += [_mark(x, y, one.look) for x, y in filter(None, points)]
        last = max((index for index, value in enumerate(one.values) if value is not None), default=None)
        if last is not None:
            x, value = LEFT + slot * (last + 0.5), one.values[last] or 0.0
            parts.append(text(min(x, WIDTH - 26.0), scale.y(value) - 8, plan.told(value), "value", "middle"))
    parts.append(_below(plan, slot))
    return _chart(plan, parts, series, HEIGHT, plan.note, as_lines=True)


def bars(plan: Plan, values: Sequence[float | None], words: Sequence[str]) -> Chart:
    """A bar for each label, lying, with ``words`` at its end."""
    if not plan.labels:
        return _nothing(plan)
    most = plan.most or ticks(max((value for value in values if value is not None), default=0))[-1]
    left, right = 112, max(map(len, words)) * CHARACTER + 10
    room = max(WIDTH - left - right, 40.0)
    parts = []
    for index, (label, value, figure) in enumerate(zip(plan.labels, values, words, strict=True)):
        y = TOP + BAR_HEIGHT * index
        name = label if len(label) <= BAR_NAME_CHARACTERS else f"{label[: BAR_NAME_CHARACTERS - 1]}…"
        parts.append(text(left - 8, y + 15, name, "label", "end"))
        length = room * min((value or 0.0) / most, 1.0)
        parts.append(_rect(left, y + 3, length, 16, "s1"))
        parts.append(text(left + length + 6, y + 15, figure, "value", "start"))
    bottom = TOP + BAR_HEIGHT * len(plan.labels)
    parts.append(Markup('<path class="axis" d="M{0} {1}V{2}"/>').format(left, TOP - 4, bottom - 4))
    said = Plan(plan.key, plan.title, plan.labels, plan.told)
    return _chart(said, parts, [], bottom + 6, plan.note, list(words))


# -- parts of charts --------------------------------------------------------------------------------------------------


class Scale:
    """From values to heights."""

    def __init__(self, plan: Plan, values: Sequence[float]) -> None:
        most = max([*values, *(one.value for one in plan.levels)]) if plan.most is None else plan.most
        self._ticks = ticks(most, whole=plan.whole)
        self._told = plan.told
        self._most = self._ticks[-1]

    def y(self, value: float) -> float:
        """Where a value is."""
        return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * min(value / self._most, 1.0)

    def grid(self) -> Markup:
        """The lines of the axis, with their figures."""
        parts = []
        for value in self._ticks:
            y = self.y(value)
            kind = "grid" if value else "axis"
            parts.append(Markup('<path class="{}" d="M{} {:.1f}H{}"/>').format(kind, LEFT, y, WIDTH - RIGHT))
            parts.append(text(LEFT - 6, y + 4, _short(self._told, value, self._most), "label", "end"))
        return Markup("").join(parts)


def _short(told: Told, value: float, most: float) -> str:
    """A figure of the axis, all of which are in the same unit, in so few characters that it fits beside it."""
    for size, name in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if most >= 10 * size or (most >= size and name != "k"):
            return f"{value / size:,.4g} {name}" if value else "0"
    return told(value) if value == int(value) else f"{value:g}"


def _column(
    key: str,
    one: Series,
    scale: Scale,
    across: tuple[float, float],
    between: tuple[float, float],
    *,
    hollow: bool = False,
) -> Markup:
    middle, wide = across
    top, bottom = scale.y(between[1]), scale.y(between[0])
    return _rect(
        middle - wide / 2, top, wide, bottom - top, f"s{one.look} hollow" if hollow else f"s{one.look}", _fill(key, one)
    )


def _rect(x: float, y: float, wide: float, high: float, kind: str, fill: str = "") -> Markup:
    drawn = Markup('<rect class="{}" x="{:.1f}" y="{:.1f}" width="{:.1f}" height="{:.1f}"/>')
    solid = drawn.format(kind, x, y, wide, high)
    if not fill or "hollow" in kind:
        return solid
    over = Markup('<rect x="{:.1f}" y="{:.1f}" width="{:.1f}" height="{:.1f}" fill="{}"/>')
    return solid + over.format(x, y, wide, high, fill)


def _fill(key: str, one: Series) -> str:
    return "" if one.look == 1 else f"url(#{key}-p{one.look})"


_WEAVES = {
    2: "M0 6L6 0M-1 1L1 -1M5 7L7 5",
    3: "M0 3H6",
    4: "M3 0V6M0 3H6",
    5: "M0 0L6 6M-1 5L1 7M5 -1L7 1",
}


def _patterns(key: str, series: Sequence[Series]) -> Markup:
    drawn = Markup(
        '<pattern id="{}-p{}" width="6" height="6" patternUnits="userSpaceOnUse"><path class="weave" d="{}"/></pattern>'
    )
    made = [drawn.format(key, one.look, _WEAVES[one.look]) for one in series if one.look in _WEAVES]
    return Markup("<defs>{}</defs>").format(Markup("").join(made)) if made else Markup("")


def text(x: float, y: float, words: str, kind: str, anchor: str) -> Markup:
    """Words at a point; ``anchor``: start, middle or end."""
    return Markup('<text class="{}" x="{:.1f}" y="{:.1f}" text-anchor="{}">{}</text>').format(kind, x, y, anchor, words)


def _level(plan: Plan, scale: Scale, one: Level, slot: float) -> Markup:
    y = scale.y(one.value)
    if one.at is None:
        line = Markup('<path class="level" d="M{} {:.1f}H{}"/>').format(LEFT, y, WIDTH - RIGHT)
        return line + text(LEFT + 4, y - 4, one.words, "level-words", "start")
    begin = LEFT + slot * one.at
    line = Markup('<path class="level strong" d="M{:.1f} {:.1f}H{:.1f}"/>').format(begin, y, begin + slot)
    return line + text(begin + slot / 2, y - 5, one.words, "level-words", "middle")


def _below(plan: Plan, slot: float) -> Markup:
    """The labels, every so many of them that they do not run into each other."""
    longest = max(len(label) for label in plan.labels) * CHARACTER + 4
    every = max(1, math.ceil(longest / slot))
    parts = []
    for index, label in enumerate(plan.labels):
        x = LEFT + slot * (index + 0.5)
        if index % every == 0:
            parts.append(text(x, HEIGHT - BOTTOM + 15, label, "label", "middle"))
        if index in plan.lower_labels:
            parts.append(text(x, HEIGHT - BOTTOM + 30, plan.lower_labels[index], "label", "middle"))
    return Markup("").join(parts)


def _runs(points: Sequence[tuple[float, float] | None]) -> list[list[tuple[float, float]]]:
    runs: list[list[tuple[float, float]]] = [[]]
    for point in points:
        if point is not None:
            runs[-1].append(point)
        elif runs[-1]:
            runs.append([])
    return [run for run in runs if run]


def _stroke(run: Sequence[tuple[float, float]], look: int) -> Markup:
    return Markup('<path class="line l{}" d="M{}"/>').format(look, "L".join(f"{x:.1f} {y:.1f}" for x, y in run))


def _mark(x: float, y: float, look: int) -> Markup:
    if look % 2:
        return Markup('<circle class="s{}" cx="{:.1f}" cy="{:.1f}" r="4"/>').format(look, x, y)
    return Markup('<path class="s{}" d="M{:.1f} {:.1f}l5 5l-5 5l-5 -5z"/>').format(look, x, y - 5)


def _sum(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) if known else None


def _chart(
    plan: Plan,
    parts: Sequence[Markup],
    series: Sequence[Series],
    height: float,
    note: str,
    words: Sequence[str] = (),
    *,
    as_lines: bool = False,
) -> Chart:
    if words:
        said = "; ".join(f"{label}: {figure}" for label, figure in zip(plan.labels, words, strict=True))
    else:
        said = ". ".join(
            f"{one.name}: "
            + "; ".join(
                f"{label}: {'not known' if value is None else plan.told(value)}"
                for label, value in zip(plan.labels, one.values, strict=True)
            )
            for one in series
        )
    swatches = tuple((_swatch(plan.key, one, as_lines=as_lines), one.name) for one in series)
    return Chart(plan.title, drawing(plan, said, parts, height), swatches if len(series) > 1 else (), note)


def _swatch(key: str, one: Series, *, as_lines: bool) -> Markup:
    inside = _rect(1, 1, 14, 14, f"s{one.look}", _fill(key, one))
    if as_lines:
        inside = _stroke([(0, 8), (16, 8)], one.look) + _mark(8, 8, one.look)
    return Markup('<svg class="swatch" viewBox="0 0 16 16" aria-hidden="true">{}</svg>').format(inside)


def drawing(plan: Plan, said: str, parts: Sequence[Markup], height: float) -> Markup:
    """The whole of a chart, with ``said`` for those who do not see it."""
    return Markup(
        '<svg class="drawn" viewBox="0 0 {0} {1:.0f}" role="img" aria-labelledby="{2}-t {2}-d">'
        '<title id="{2}-t">{3}</title><desc id="{2}-d">{4}</desc>{5}</svg>'
    ).format(WIDTH, height, plan.key, plan.title, said, Markup("").join(parts))


def _nothing(plan: Plan) -> Chart:
    words = escape("Nothing to tell of this period.")
    return Chart(plan.title, drawing(plan, words, [text(WIDTH / 2, 44, words, "label", "middle")], 80), (), plan.note)
