"""Where things stand in the drawings of visits."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from lapel_gateway.reports.period import Period, day_begins_ms
from lapel_gateway.settings.visits import HOUR_MS, MINUTE_MS
from lapel_gateway.web.pages.shown_times import LocalTimes, span_text
from lapel_gateway.web.pages.timelines import Drawing, draw_day, draw_sketch, draw_timer

LONDON = ZoneInfo("Europe/London")


def at(text: str) -> int:
    return round(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() * 1000)


def visit(person: str, begins: str, minutes: int = 60, state: str = "planned") -> dict[str, Any]:
    begin_ms = at(begins)
    runs = state in ("active", "amber", "overdue")
    end = {"ms": begin_ms + minutes * MINUTE_MS}
    return {
        "person": person,
        "place": "x",
        "state": state,
        "late": state == "overdue",
        "planned": {"ms": begin_ms},
        "started": {"ms": begin_ms} if state != "planned" else None,
        "made": {"ms": begin_ms},
        "ended": end if state == "ended" else None,
        "due": end if runs else None,
        "deadline": end if runs else None,
        "amber": {"ms": end["ms"] - 5 * MINUTE_MS} if runs else None,
        "next_check_in": None,
        "expected_min": minutes,
    }


def day_of(day: date, visits: list[dict[str, Any]], now: str) -> Drawing:
    period = Period(day_begins_ms(day, LONDON), day_begins_ms(date.fromordinal(day.toordinal() + 1), LONDON))
    return draw_day(visits, period, LocalTimes(LONDON, at(now)))


def test_a_day_has_a_lane_to_a_person_and_a_row_for_what_overlaps() -> None:
    visits = [
        visit("Ann", "2026-03-02T09:00", state="ended"),
        visit("Ann", "2026-03-02T10:00"),
        visit("Ann", "2026-03-02T10:30"),
        visit("Bo", "2026-03-02T11:00"),
    ]

    drawing = day_of(date(2026, 3, 2), visits, "2026-03-02T09:30")

    assert [(lane.person, len(lane.bars)) for lane in drawing.lanes] == [("Ann", 3), ("Bo", 1)]
    first, second, third = drawing.lanes[0].bars
    assert first.y == second.y < third.y
    assert first.x + first.width == pytest.approx(second.x)
    assert drawing.lanes[0].height == 2 * drawing.lanes[1].height


def test_a_day_of_twenty_five_hours_is_drawn_to_its_end_by_local_hours() -> None:
    visits = [visit("Ann", "2026-10-24T23:00"), visit("Bo", "2026-10-25T23:30", minutes=120)]

    drawing = day_of(date(2026, 10, 25), visits, "2026-10-25T12:00")

    assert len(drawing.hours) == 26
    assert drawing.hours[0].text == "00"
    (bar,) = drawing.lanes[1].bars
    assert bar.x + bar.width == pytest.approx(100)


def test_a_visit_from_the_day_before_begins_at_the_edge_and_an_overdue_one_reaches_to_now() -> None:
    visits = [visit("Ann", "2026-03-01T23:30", state="active"), visit("Bo", "2026-03-02T08:00", 30, "overdue")]

    drawing = day_of(date(2026, 3, 2), visits, "2026-03-02T11:00")

    assert drawing.lanes[0].bars[0].x == 0
    late = drawing.lanes[1].bars[0]
    assert late.x + late.width == pytest.approx(drawing.now_x)


def test_an_empty_day_and_another_day_than_today_have_their_hours_and_no_now() -> None:
    drawing = day_of(date(2026, 3, 2), [], "2026-03-05T11:00")

    assert drawing.lanes == []
    assert drawing.now_x is None
    assert drawing.hours[0].text == "09"


def test_a_timer_goes_from_the_beginning_past_the_deadline_and_has_now_in_its_place() -> None:
    words = visit("Ann", "2026-03-02T09:00", 60, "active")

    early = draw_timer(words, at("2026-03-02T09:15"))
    late = draw_timer({**words, "late": True}, at("2026-03-02T12:00"))

    assert early is not None
    assert late is not None
    assert 0 < early.now_x < early.amber_x < early.deadline_x < 100
    assert late.deadline_x < late.now_x < 100
    assert draw_timer(visit("Ann", "2026-03-02T09:00"), at("2026-03-02T09:15")) is None


def test_a_sketch_keeps_north_above_and_its_scale_true() -> None:
    south = {"latitude": 53.8, "longitude": -1.5, "accuracy_m": 10}
    north = {"latitude": 53.8 + 100 / 111_195, "longitude": -1.5, "accuracy_m": 20}

    sketch = draw_sketch([south, north])

    assert sketch is not None
    (x0, y0), (x1, y1) = sketch.points
    assert (x0, y1 < y0) == (x1, True)
    metre = (y0 - y1) / 100
    assert sketch.scale / sketch.scale_m == pytest.approx(metre, rel=1e-3)
    assert sketch.accuracy == pytest.approx(20 * metre, rel=1e-3)
    assert draw_sketch([]) is None
    alone = draw_sketch([south])
    assert alone is not None
    assert alone.points == [(500.0, 300.0)]


def test_times_are_short_today_and_say_their_day_otherwise() -> None:
    times = LocalTimes(LONDON, at("2026-07-01T12:00"))

    assert times.text(at("2026-07-01T13:05")) == "14:05"
    assert times.text(at("2026-07-02T13:05")) == "Thu 2 Jul, 14:05"
    assert times.text(at("2025-07-02T13:05")) == "Wed 2 Jul 2025, 14:05"
    assert 'datetime="2026-07-01T13:05:00.000Z"' in times.time(at("2026-07-01T13:05"))
    assert times.zone_name == "Europe/London"
    assert [span_text(ms) for ms in (59_000, 3 * MINUTE_MS, HOUR_MS, HOUR_MS + 5 * MINUTE_MS, 49 * HOUR_MS)] == [
        "59 s",
        "3 min",
        "1 h",
        "1 h 5 min",
        "2 d 1 h",
    ]
