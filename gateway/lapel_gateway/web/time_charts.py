"""Charts over time as SVG: the range of something in each span of a period, and where nothing is known of it.

The rules of `charts` hold here: an axis begins at zero, what is not known is a gap, and every chart says it in words.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from lapel_gateway.web.charts import (
    BOTTOM,
    CHARACTER,
    HEIGHT,
    LEFT,
    RIGHT,
    TOP,
    WIDTH,
    Chart,
    Plan,
    Scale,
    drawing,
    text,
)

Point = tuple[float, float]


@dataclass(frozen=True)
class Span:
    """The least and the most of something in one of equally long spans; None: nothing is known of it."""

    least: float | None
    most: float | None


@dataclass(frozen=True)
class Course:
    """What happened in a period, span by span. ``ticks``: (how far along, 0 to 1; words) of the axis of time."""

    spans: Sequence[Span]
    ticks: Sequence[tuple[float, str]]
    words: str
    """All of it in a sentence."""


def band(plan: Plan, course: Course) -> Chart:
    """What lay between the least and the most, with a line along the least; gaps where nothing is known."""
    return _draw(plan, course, from_zero=False)


def area(plan: Plan, course: Course) -> Chart:
    """All that lies below the most."""
    return _draw(plan, course, from_zero=True)


def _draw(plan: Plan, course: Course, *, from_zero: bool) -> Chart:
    known = [one.most for one in course.spans if one.most is not None]
    scale = Scale(plan, known or [1.0])
    wide = (WIDTH - LEFT - RIGHT) / max(len(course.spans), 1)
    parts = [_weave(plan.key), *_gaps(plan.key, course.spans, wide), scale.grid()]
    for begin, run in _runs(course.spans):
        top = _steps(begin, [one.most or 0.0 for one in run], wide, scale)
        floor = [0.0] * len(run) if from_zero else [one.least or 0.0 for one in run]
        bottom = _steps(begin, floor, wide, scale)
        parts.append(Markup('<path class="s1 band" d="M{}Z"/>').format(_path([*top, *reversed(bottom)])))
        parts.append(Markup('<path class="line l1 fine" d="M{}"/>').format(_path(top if from_zero else bottom)))
    parts += _time(course.ticks)
    if not known:
        parts.append(text(WIDTH / 2, HEIGHT / 2, "Not heard in this time", "label", "middle"))
    note = "Hatched: not heard." if known and any(one.most is None for one in course.spans) else ""
    return Chart(plan.title, drawing(plan, course.words, parts, HEIGHT), (), plan.note or note)


def _runs(spans: Sequence[Span]) -> Iterable[tuple[int, list[Span]]]:
    """What is known without a gap, with where it begins."""
    run: list[Span] = []
    for index, one in enumerate(spans):
        if one.most is not None:
            run.append(one)
        elif run:
            yield index - len(run), run
            run = []
    if run:
        yield len(spans) - len(run), run


def _steps(begin: int, values: Sequence[float], wide: float, scale: Scale) -> list[Point]:
    found: list[Point] = []
    for index, value in enumerate(values, begin):
        found += [(LEFT + wide * index, scale.y(value)), (LEFT + wide * (index + 1), scale.y(value))]
    return found


def _path(points: Iterable[Point]) -> str:
    return "L".join(f"{x:.1f} {y:.1f}" for x, y in points)


def _weave(key: str) -> Markup:
    return Markup(
        '<defs><pattern id="{}-gap" width="6" height="6" patternUnits="userSpaceOnUse">'
        '<path class="gap-weave" d="M0 6L6 0M-1 1L1 -1M5 7L7 5"/></pattern></defs>'
    ).format(key)


def _gaps(key: str, spans: Sequence[Span], wide: float) -> Iterable[Markup]:
    drawn = Markup('<rect x="{:.1f}" y="{}" width="{:.1f}" height="{}" fill="url(#{}-gap)"/>')
    begin: int | None = None
    for index, one in enumerate([*spans, Span(0, 0)]):
        if one.most is None and begin is None:
            begin = index
        elif one.most is not None and begin is not None:
            yield drawn.format(LEFT + wide * begin, TOP, wide * (index - begin), HEIGHT - TOP - BOTTOM, key)
            begin = None


def _time(ticks: Sequence[tuple[float, str]]) -> Iterable[Markup]:
    free = float(LEFT) - 20
    for along, words in ticks:
        x = LEFT + (WIDTH - LEFT - RIGHT) * along
        half = len(words) * CHARACTER / 2
        yield Markup('<path class="axis" d="M{0:.1f} {1}v4"/>').format(x, HEIGHT - BOTTOM)
        if x - half >= free and x + half <= WIDTH:
            yield text(x, HEIGHT - BOTTOM + 17, words, "label", "middle")
            free = x + half + 12
