"""What somebody does with a device on one day, as the budget counts it."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from lapel_tools.console import CommandError


@dataclass(frozen=True)
class Shift:
    """One day. Defaults: an early shift of eight hours that meets something."""

    hours: int = 8
    visits: int = 4
    visit_minutes: int = 30
    recording_minutes: int = 20
    clips: int = 6
    alarm_tests: int = 1
    alarm_minutes: int = 2
    reconnections: int = 12
    heartbeat_s: int = 30

    def __str__(self) -> str:
        return (
            f"{self.hours} h, {self.visits} visits of {self.visit_minutes} min, {self.recording_minutes} min of "
            f"recording in {self.clips} clips, tests of the alarm: {self.alarm_tests} of {self.alarm_minutes} min, "
            f"{self.reconnections} reconnections, a heartbeat every {self.heartbeat_s} s"
        )


_LIMITS = {
    "hours": (1, 48),
    "visits": (0, 100),
    "visit_minutes": (0, 1440),
    "recording_minutes": (0, 2880),
    "clips": (0, 1000),
    "alarm_tests": (0, 100),
    "alarm_minutes": (1, 600),
    "reconnections": (0, 10_000),
    "heartbeat_s": (5, 3600),
}


MAX_DIGITS = 9
"""Of a number on the command line: above every bound below which it must lie."""


def read_shift(path: Path | None, changes: Iterable[str] = ()) -> Shift:
    """A shift from a TOML file of the fields above, or the usual one, with ``NAME=VALUE`` changed. Raises
    CommandError.
    """
    wanted: dict[str, Any] = {}
    if path is not None:
        try:
            wanted = tomllib.loads(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise CommandError(f"{path}: {error.strerror}") from None
        except (ValueError, RecursionError) as error:  # not UTF-8, not TOML, a number of thousands of digits
            raise CommandError(f"{path} is not TOML: {error}") from None
    for change in changes:
        name, equals, value = change.partition("=")
        if not equals:
            raise CommandError(f"--set {change}: write NAME=VALUE, like recording_minutes=40")
        wanted[name.strip()] = int(value) if value.strip().isdecimal() and len(value) <= MAX_DIGITS else value
    for name, value in wanted.items():
        _check(name, value)
    shift = replace(Shift(), **wanted)
    if shift.visits * shift.visit_minutes > 60 * shift.hours or shift.recording_minutes > 60 * shift.hours:
        raise CommandError(f"visits or recordings last longer than the shift of {shift.hours} h")
    if shift.recording_minutes and not shift.clips:
        raise CommandError("recording_minutes needs at least one of clips")
    return shift


def _check(name: str, value: object) -> None:
    if name not in _LIMITS:
        raise CommandError(f"a shift has no {name!r}; it has: {', '.join(field.name for field in fields(Shift))}")
    least, most = _LIMITS[name]
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        raise CommandError(f"{name} is a whole number from {least} to {most}, not {str(value)[:40]!r}")
