"""What the page of a device shows of how it fared: charts over some days, and a table of the days.

Nothing is known of an hour in which the device was not heard: it is a gap, never a zero.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Any

from lapel_gateway.devices.health import HOUR_MS
from lapel_gateway.reports.period import day_begins_ms, local_day
from lapel_gateway.web import charts, time_charts
from lapel_gateway.web.charts import Chart, Plan
from lapel_gateway.web.time_charts import Course, Span

Words = dict[str, Any]

DAY_MS = 24 * HOUR_MS
PERIODS = (1, 7, 30, 90, 365)
"""In days; the page offers these."""

HOURS_IN_SPAN = {1: 1, 7: 1, 30: 4, 90: 12, 365: 48}
MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


@dataclass(frozen=True)
class Day:
    """What a device said on one day; None: it did not say."""

    name: str
    battery: tuple[int, int] | None
    free_kib: int | None
    held: int | None
    hours: int
    """In which it was heard."""
    boots: int
    words: str
    """What else there was to say."""


def health_charts(hours: Sequence[Words], from_ms: int, days: int, zone: tzinfo | None) -> list[Chart]:
    """Battery, unsent clips, free storage and how often it was heard, from a time on for so many days."""
    wide_ms = HOURS_IN_SPAN[days] * HOUR_MS
    groups: list[list[Words]] = [[] for _ in range(days * DAY_MS // wide_ms)]
    for one in hours:
        index = (one["hour"]["ms"] - from_ms) // wide_ms
        if 0 <= index < len(groups):
            groups[index].append(one)
    ticks = list(_ticks(from_ms, days, zone))

    def drawn(
        key: str, title: str, spans: list[Span], draw: Callable[[Plan, Course], Chart], told: charts.Told, **more: Any
    ) -> Chart:
        known = [one for one in spans if one.most is not None]
        said = "Not heard in this time."
        if known:
            least = min(one.least for one in known if one.least is not None)
            most = max(one.most for one in known if one.most is not None)
            said = f"Between {told(least)} and {told(most)}; heard in {len(known)} of {len(spans)} spans of time."
        return draw(Plan(f"chart-{key}", title, [], told, **more), Course(spans, ticks, said))

    free = [one["storage_free_kib_min"] for one in hours if one["storage_free_kib_min"] is not None]
    kib, unit = (1 << 20, "GiB") if max(free, default=0) > 2 << 20 else (1 << 10, "MiB")
    return [
        drawn(
            "battery",
            "Battery",
            [_span(group, "battery_percent_min", "battery_percent_max") for group in groups],
            time_charts.band,
            charts.percent,
            most=100,
        ),
        drawn(
            "held",
            "Clips still on it",
            [_span(group, "unsent_clips_max", "unsent_clips_max") for group in groups],
            time_charts.area,
            lambda value: f"{value:,.0f}",
        ),
        drawn(
            "storage",
            f"Free storage, {unit}",
            [_span(group, "storage_free_kib_min", "storage_free_kib_min", 1 / kib) for group in groups],
            time_charts.area,
            lambda value: f"{value:,.1f}",
            whole=False,
        ),
        drawn(
            "heard",
            "Heartbeats in an hour",
            [_span(group, "heartbeats", "heartbeats") for group in groups],
            time_charts.area,
            lambda value: f"{value:,.0f}",
        ),
    ]


def health_days(hours: Sequence[Words], zone: tzinfo | None) -> list[Day]:
    """The days on which it was heard, newest first."""
    by_day: dict[Any, list[Words]] = {}
    for one in hours:
        by_day.setdefault(local_day(one["hour"]["ms"], zone), []).append(one)
    return [_day(f"{day:%a} {day.day} {MONTHS[day.month - 1]}", by_day[day]) for day in sorted(by_day, reverse=True)]


def begins_ms(now_ms: int, days: int, zone: tzinfo | None) -> int:
    """When a period of so many days up to now begins: with a day, so that its spans are whole hours."""
    if days == 1:
        return now_ms - now_ms % HOUR_MS + HOUR_MS - DAY_MS
    first = local_day(now_ms, zone) - timedelta(days=days - 1)
    begin_ms = day_begins_ms(first, zone)
    return begin_ms - begin_ms % HOUR_MS


def _day(name: str, hours: Sequence[Words]) -> Day:
    low = [one["battery_percent_min"] for one in hours if one["battery_percent_min"] is not None]
    high = [one["battery_percent_max"] for one in hours if one["battery_percent_max"] is not None]
    free = [one["storage_free_kib_min"] for one in hours if one["storage_free_kib_min"] is not None]
    held = [one["unsent_clips_max"] for one in hours if one["unsent_clips_max"] is not None]
    full = "storage full" if any(one["storage_full"] for one in hours) else ""
    blocked = "waited for leave to send" if any(one["blocked"] for one in hours) else ""
    return Day(
        name,
        (min(low), max(high)) if low and high else None,
        min(free, default=None),
        max(held, default=None),
        len(hours),
        sum(one["boots"] for one in hours),
        ", ".join(filter(None, (full, blocked))),
    )


def _span(group: Sequence[Words], least: str, most: str, times: float = 1) -> Span:
    low = [one[least] * times for one in group if one[least] is not None]
    high = [one[most] * times for one in group if one[most] is not None]
    return Span(min(low, default=None), max(high, default=None))


def _ticks(from_ms: int, days: int, zone: tzinfo | None) -> Iterator[tuple[float, str]]:
    """Every sixth hour of a day, else the days."""
    if days == 1:
        for hour in range(24):
            local = datetime.fromtimestamp((from_ms + hour * HOUR_MS) / 1000, UTC).astimezone(zone)
            if local.hour % 6 == 0:
                yield hour / 24, f"{local:%H:%M}"
        return
    first = local_day(from_ms + HOUR_MS, zone)
    for number in range(days):
        day = first + timedelta(days=number)
        if days <= 90 or day.day == 1:
            yield number / days, f"{day.day} {MONTHS[day.month - 1]}"
