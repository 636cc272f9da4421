"""The report of a trial as lines for a spreadsheet: one for each team or month, and one for all of them.

Durations are in milliseconds, shares from 0 to 1. The command line and the page write the same lines.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum
from typing import Any

Group = tuple[str, str, dict[str, Any]]
"""Its team and month, "" for all of them, and its figures."""

Words = dict[str, Any]

PARTS = ("uptake", "visits", "notice", "recordings", "alarms", "clips_passed_on", "faults")
"""Of a group's figures."""

INCIDENT_COLUMNS = (
    "alarm",
    "team",
    "kind",
    "received",
    "acknowledged_after_ms",
    "resolved_after_ms",
    "note",
    "clip",
)


class By(StrEnum):
    """What figures are put together by."""

    TEAM = "team"
    MONTH = "month"
    BOTH = "both"


def groups(words: Words, by: By) -> Iterator[Group]:
    """Each line's figures, those of all at the end."""
    if by == By.TEAM:
        yield from ((team, "", found) for team, found in words["by_team"].items())
    elif by == By.MONTH:
        yield from (("", month, found) for month, found in words["by_month"].items())
    else:
        for team, months in words["by_team_and_month"].items():
            yield from ((team, month, found) for month, found in months.items())
    yield "total", "", words["total"]


def trial_lines(words: Words, by: By, part: str | None = None) -> list[Words]:
    """The lines of all figures, or of one of `PARTS`."""
    return [_line(words, group, PARTS if part is None else (part,)) for group in groups(words, by)]


def incident_lines(words: Words) -> list[Words]:
    """A line for each incident, with `INCIDENT_COLUMNS`."""
    return [{**one, "received": one["received"]["utc"]} for one in words["incidents"]]


def _line(words: Words, group: Group, parts: tuple[str, ...]) -> Words:
    team, month, found = group
    line = {"team": team, "month": month, "from": words["from"]["utc"], "to": words["to"]["utc"]}
    for part in parts:
        line |= _columns(part, found[part])
    return line


def _columns(name: str, value: Any) -> Words:
    if isinstance(value, dict):
        return {column: cell for key, each in value.items() for column, cell in _columns(f"{name}_{key}", each).items()}
    if isinstance(value, list):  # of targets
        return {
            f"{name}_within_{each['within_ms']}_ms{suffix}": each[key]
            for each in value
            for key, suffix in (("within", ""), ("share", "_share"), ("verdict", "_verdict"))
        }
    return {name: value}
