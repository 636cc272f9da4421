"""Times as people say them, local and with their zone, and the one moment that they mean.

Rules that hold here
- A time without a zone or an offset is refused: whose clock would it be?
- An hour that a clock skips (summer time begins) is refused. One that it shows twice (it ends) means the first, so
  that whoever waits for it is never waited for too late.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

MAX_TEXT = 64

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class LocalTimeError(Exception):
    """What was said means no moment; the message says why."""


def parse_moment(text: str, zone: str = "") -> int:
    """Unix milliseconds of an ISO 8601 time, in the IANA ``zone`` where it names no offset. Raises LocalTimeError."""
    text = text.strip()
    try:
        said = datetime.fromisoformat(text) if len(text) <= MAX_TEXT else None
    except ValueError:
        said = None
    if said is None or len(text) < len("2026-03-29"):
        raise LocalTimeError("a time is written as 2026-03-29T14:30, with a time zone, or as 2026-03-29T13:30Z")
    if said.tzinfo is None:
        said = _placed(said.replace(fold=0), zone)
    try:
        return (said - _EPOCH) // timedelta(milliseconds=1)
    except OverflowError:
        raise LocalTimeError("no calendar has that time") from None


def _placed(said: datetime, zone: str) -> datetime:
    if not zone:
        raise LocalTimeError('a time needs its zone, such as "Europe/London"')
    try:
        there = ZoneInfo(zone)
    except (ValueError, OSError, KeyError):
        raise LocalTimeError(f"there is no time zone {zone[:MAX_TEXT]!r}: they are named as Europe/London") from None
    placed = said.replace(tzinfo=there)
    try:
        back = placed.astimezone(UTC).astimezone(there).replace(tzinfo=None)
    except OverflowError:
        raise LocalTimeError("no calendar has that time") from None
    if back != said:
        raise LocalTimeError(f"there is no {said:%H:%M} on that day in {zone}: the clocks skip it")
    return placed
