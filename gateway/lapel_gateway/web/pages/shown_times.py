"""Times as pages show them: of one place, as short as they can be said today, whole where somebody looks closer.

Pure: the place and the present are given.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta, tzinfo
from pathlib import Path
from zoneinfo import TZPATH, ZoneInfo

from markupsafe import Markup

from lapel_gateway.channels.message import moment_text
from lapel_gateway.describe import utc

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MACHINE_ZONE = Path("/etc/localtime")


@dataclass(frozen=True)
class LocalTimes:
    """Says times in ``zone`` (None = this machine's), seen at ``now_ms``."""

    zone: tzinfo | None
    now_ms: int

    def at(self, time_ms: int) -> datetime:
        """The local time."""
        return (_EPOCH + timedelta(milliseconds=time_ms)).astimezone(self.zone)

    @property
    def today(self) -> date:
        """The local date now."""
        return self.at(self.now_ms).date()

    @property
    def zone_name(self) -> str:
        """The zone's name in the IANA database, "UTC" where it has none there."""
        if isinstance(self.zone, ZoneInfo):
            return self.zone.key
        return _machine_zone() if self.zone is None else "UTC"

    def clock(self, time_ms: int) -> str:
        """As ``14:30``."""
        return f"{self.at(time_ms):%H:%M}"

    def day(self, day: date) -> str:
        """As ``Saturday 24 October``."""
        return f"{day:%A} {day.day} {day:%B}" + ("" if day.year == self.today.year else f" {day.year}")

    def text(self, time_ms: int) -> str:
        """As ``14:30`` today, ``Sat 24 Oct, 14:30`` on another day, with the year where that is another."""
        at = self.at(time_ms)
        if at.date() == self.today:
            return f"{at:%H:%M}"
        year = "" if at.year == self.today.year else f" {at.year}"
        return f"{at:%a} {at.day} {at:%b}{year}, {at:%H:%M}"

    def time(self, time_ms: int | None) -> Markup:
        """The same for a page; a dash for none."""
        if time_ms is None:
            return Markup("–")
        mark = '<time datetime="{}" title="{}">{}</time>'
        return Markup(mark).format(utc(time_ms) or "", moment_text(time_ms, self.zone), self.text(time_ms))

    def date(self, time_ms: int | None) -> Markup:
        """The day alone, as ``24 Oct 2026``; a dash for none."""
        if time_ms is None:
            return Markup("–")
        at = self.at(time_ms)
        return Markup('<time datetime="{}">{}</time>').format(f"{at:%Y-%m-%d}", f"{at.day} {at:%b %Y}")


def span_text(milliseconds: int) -> str:
    """A length of time as people say it: 45 s, 3 min, 1 h, 2 h 5 min, 3 d 4 h."""
    seconds = max(0, milliseconds // 1000)
    for unit, name, smaller, small_name in ((86_400, "d", 3600, "h"), (3600, "h", 60, "min")):
        if seconds >= unit:
            rest = seconds % unit // smaller
            return f"{seconds // unit} {name}" + (f" {rest} {small_name}" if rest else "")
    return f"{seconds // 60} min" if seconds >= 60 else f"{seconds} s"


def _machine_zone() -> str:
    target = os.path.realpath(_MACHINE_ZONE)
    for folder in (*TZPATH, "/usr/share/zoneinfo"):
        name = os.path.relpath(target, os.path.realpath(folder))
        if not name.startswith("..") and name != ".":
            return "UTC" if name in ("UTC", "Etc/UTC") else name
    return "UTC"
