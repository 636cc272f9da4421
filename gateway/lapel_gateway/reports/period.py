"""The period that a report is about, as people write it: days of a place, or exact times.

Pure: the time zone and the present are arguments.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, tzinfo

from lapel_gateway.log import printable

DEFAULT_DAYS = 30
"""The length of a period whose beginning is not said."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class PeriodError(Exception):
    """The period cannot be used; the message says why and what to write."""


@dataclass(frozen=True, slots=True)
class Period:
    """From one Unix time in milliseconds up to, not including, another."""

    from_ms: int
    to_ms: int


def parse_period(begin: str | None, end: str | None, zone: tzinfo | None, now_ms: int) -> Period:
    """The period between two dates or times: by default up to now, and the `DEFAULT_DAYS` before its end.

    A date is a day in ``zone`` (None = this machine's): a period begins with its first moment and ends with its last.
    A time (ISO 8601) names its own zone. Raises PeriodError.
    """
    to_ms = now_ms if end is None else _parsed("to", end, zone, days=1)
    from_ms = to_ms - DEFAULT_DAYS * 86_400_000 if begin is None else _parsed("from", begin, zone)
    if from_ms >= to_ms:
        limit = "now" if end is None else f"to ({printable(end)})"
        raise PeriodError(f"from ({printable(begin or '')}) is not before {limit}")
    return Period(from_ms, to_ms)


def parse_moment(text: str, zone: tzinfo | None) -> int:
    """Unix ms of a time that names its zone (ISO 8601), or of the first moment of a date in ``zone``.

    Raises PeriodError.
    """
    return _parsed("when", text, zone)


def parse_bound(text: str, zone: tzinfo | None, *, last: bool = False) -> int:
    """Unix ms of what bounds a search: a date, whose day belongs to it, or a time, of ``zone`` where it names none.

    Raises PeriodError.
    """
    try:
        if _day(text) is None and (moment := datetime.fromisoformat(text)).tzinfo is None:
            return round(moment.replace(tzinfo=zone).timestamp() * 1000)
    except (ValueError, OverflowError, OSError):
        pass  # said in words by what follows
    return _parsed("to" if last else "from", text, zone, days=int(last))


def local_month(time_ms: int, zone: tzinfo | None) -> str:
    """The month of a Unix time in a zone, as ``2026-05``."""
    return (_EPOCH + timedelta(milliseconds=time_ms)).astimezone(zone).strftime("%Y-%m")


def local_day(time_ms: int, zone: tzinfo | None) -> date:
    """The date of a Unix time in a zone."""
    return (_EPOCH + timedelta(milliseconds=time_ms)).astimezone(zone).date()


def day_begins_ms(day: date, zone: tzinfo | None) -> int:
    """The Unix time of the first moment of a date in a zone; None = this machine's."""
    # A moment without a zone is one of this machine's.
    return round(datetime.combine(day, time.min, zone).timestamp()) * 1000


def _parsed(name: str, text: str, zone: tzinfo | None, days: int = 0) -> int:
    """Unix ms of a time, or of the beginning of the day so many ``days`` after a date."""
    try:
        day = _day(text)
        if day is not None:
            return day_begins_ms(day + timedelta(days=days), zone)
        moment = datetime.fromisoformat(text)
        if moment.tzinfo is not None:
            return (moment - _EPOCH) // timedelta(milliseconds=1)
    except (ValueError, OverflowError, OSError):
        raise PeriodError(
            f"{name}: {printable(text)} is neither a date, as 2026-05-31, nor a time, as 2026-05-31T18:00+01:00"
        ) from None
    raise PeriodError(f"{name}: {printable(text)} has no time zone: end it with Z or as +01:00, or give a date alone")


def _day(text: str) -> date | None:
    try:
        return date.fromisoformat(text)
    except ValueError:
        return None
