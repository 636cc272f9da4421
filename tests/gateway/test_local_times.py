"""Local times mean one moment, through both changes of the clocks, or are refused."""

from __future__ import annotations

import contextlib
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lapel_gateway.local_times import LocalTimeError, parse_moment


def utc(*moment: int) -> int:
    year, month, day, hour, minute = moment
    return round(datetime(year, month, day, hour, minute, tzinfo=UTC).timestamp() * 1000)


@pytest.mark.parametrize(
    ("text", "zone", "moment"),
    [
        ("2026-03-28T14:30", "Europe/London", (2026, 3, 28, 14, 30)),
        ("2026-03-29T14:30", "Europe/London", (2026, 3, 29, 13, 30)),
        ("2026-03-29T14:30+02:00", "Europe/London", (2026, 3, 29, 12, 30)),
        ("2026-03-29T14:30Z", "", (2026, 3, 29, 14, 30)),
        ("2026-07-01 09:00", "America/New_York", (2026, 7, 1, 13, 0)),
        ("2026-09-30", "Europe/London", (2026, 9, 29, 23, 0)),
        ("2026-10-25T00:59", "Europe/London", (2026, 10, 24, 23, 59)),
        ("2026-10-25T02:00", "Europe/London", (2026, 10, 25, 2, 0)),
    ],
)
def test_a_local_time_is_the_moment_that_people_there_mean(text: str, zone: str, moment: tuple[int, ...]) -> None:
    assert parse_moment(text, zone) == utc(*moment)


def test_an_hour_that_comes_twice_means_the_first() -> None:
    assert parse_moment("2026-10-25T01:30", "Europe/London") == utc(2026, 10, 25, 0, 30)


def test_an_hour_that_the_clocks_skip_is_refused() -> None:
    with pytest.raises(LocalTimeError, match="the clocks skip it"):
        parse_moment("2026-03-29T01:30", "Europe/London")


@pytest.mark.parametrize(
    ("text", "zone"),
    [
        ("", "UTC"),
        ("14:30", "UTC"),
        ("tomorrow", "UTC"),
        ("2026-02-30T10:00", "UTC"),
        ("2026-03-28T14:30", ""),
        ("2026-03-28T14:30", "Mars/Olympus"),
        ("2026-03-28T14:30", "../../etc/passwd"),
        ("2026-03-28T14:30", "/etc/localtime"),
        ("2026-03-28T14:30", "\x00"),
        ("2026-03-28T14:30" + " " * 100 + "x", "UTC"),
    ],
)
def test_what_means_no_moment_is_refused(text: str, zone: str) -> None:
    with pytest.raises(LocalTimeError):
        parse_moment(text, zone)


@given(st.text(max_size=80), st.text(max_size=40))
def test_any_text_is_a_moment_or_refused(text: str, zone: str) -> None:
    with contextlib.suppress(LocalTimeError):
        assert isinstance(parse_moment(text, zone), int)


@given(st.datetimes(), st.sampled_from(["Europe/London", "America/St_Johns", "Australia/Lord_Howe", "Pacific/Apia"]))
def test_any_time_of_the_calendar_is_a_moment_or_refused(moment: datetime, zone: str) -> None:
    with contextlib.suppress(LocalTimeError):
        assert isinstance(parse_moment(moment.isoformat(), zone), int)
