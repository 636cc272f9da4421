"""Policies as people read them: who is told, after how long, through which channels, and who after that.

Pure: policies and channels are given.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from lapel_gateway.alarms.policies import DAYS, EVERYONE, PERSON_PREFIX, Hours, Policies, Policy, Reach

ALL_DAYS = frozenset(range(len(DAYS)))
WEEKDAYS = frozenset(range(5))


@dataclass(frozen=True)
class Rung:
    """A step of a ladder, taken ``after_ms`` when nobody has answered until then."""

    after_ms: int
    targets: tuple[str, ...]
    channels: tuple[str, ...]
    """That it comes to, as they are configured; none = it tells nobody."""

    @property
    def names(self) -> list[str]:
        """The targets as people call them."""
        return [target_words(target) for target in self.targets]


@dataclass(frozen=True)
class Ladder:
    """A policy's rungs in its first round; then the catch-all."""

    policy: Policy
    rungs: tuple[Rung, ...]
    everyone: Rung
    """Told when the rungs were gone through so often, and again each `everyone_ms`."""
    everyone_ms: int

    def concerns(self, team: str) -> bool:
        """Whether alarms of a team may come to it."""
        return not self.policy.teams or team in self.policy.teams


def ladders_of(policies: Policies, reach: Reach) -> list[Ladder]:
    """All policies, in the order in which they are tried; the catch-all of alarms that none is for comes last."""
    catch_all = Policy(EVERYONE, ())
    return [_ladder(one, policies.everyone_ms, reach) for one in (*policies.policies, catch_all)]


def ladder_words(ladder: Ladder) -> dict[str, Any]:
    """A ladder for the API."""
    policy = ladder.policy
    return {
        "name": policy.name,
        "teams": sorted(policy.teams),
        "kinds": sorted(policy.kinds),
        "hours": hours_words(policy.hours) or None,
        "repeat": policy.repeat,
        "steps": [_rung_words(rung) for rung in ladder.rungs],
        "everyone": _rung_words(ladder.everyone),
        "everyone_every_s": ladder.everyone_ms // 1000,
    }


def target_words(target: str) -> str:
    """A target as people call it."""
    return "everyone" if target == EVERYONE else target.removeprefix(PERSON_PREFIX)


def hours_words(hours: Hours | None) -> str:
    """As ``Monday to Friday, 08:00 to 18:00``; "" for always."""
    if hours is None:
        return ""
    days = "" if hours.days == ALL_DAYS else _days(hours.days)
    whole = hours.from_minute == 0 and hours.to_minute == 1440
    times = "" if whole else f"{_clock(hours.from_minute)} to {_clock(hours.to_minute)}"
    return ", ".join(part for part in (days, times) if part)


def _ladder(policy: Policy, everyone_ms: int, reach: Reach) -> Ladder:
    after_ms, rungs = 0, []
    for step in policy.steps:
        rungs.append(Rung(after_ms, step.targets, tuple(reach.channels(step.targets))))
        after_ms += step.delay_ms
    everyone = Rung(after_ms * (policy.repeat + 1), (EVERYONE,), tuple(reach.channels((EVERYONE,))))
    return Ladder(policy, tuple(rungs), everyone, everyone_ms)


def _rung_words(rung: Rung) -> dict[str, Any]:
    return {"after_s": rung.after_ms // 1000, "targets": list(rung.targets), "channels": list(rung.channels)}


def _days(days: frozenset[int]) -> str:
    if days == WEEKDAYS:
        return "Monday to Friday"
    names = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
    return ", ".join(names[day] for day in sorted(days))


def _clock(minute: int) -> str:
    return f"{minute // 60:02}:{minute % 60:02}"
