"""Who is told of an alarm, in which order, and how often: policy, steps, targets, delay, repeat, catch-all.

Rules that hold here
- An alarm's plan is chosen once, when its first step is taken, and kept with it: a change of settings skips no step.
- A plan never ends. After its steps and their repeats comes the catch-all: everyone, again and again.
- Pure: settings and times are arguments. Times of day are those of a place, daylight saving included.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo

EVERYONE = "everyone"
"""A target: every channel that takes alarms."""

PERSON_PREFIX = "person:"
"""A target: every channel that reaches this person."""

BUILT_IN = "everyone"
"""The policy of alarms that no configured one is for: the catch-all from the beginning."""

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MINUTES_A_DAY = 1440


@dataclass(frozen=True)
class Step:
    """Some targets at once, and how long an answer may take before the next step, in milliseconds."""

    targets: tuple[str, ...]
    delay_ms: int


@dataclass(frozen=True)
class Stage:
    """What the n-th step taken is."""

    targets: tuple[str, ...]
    delay_ms: int
    catch_all: bool
    words: str


@dataclass(frozen=True)
class Plan:
    """A policy as it was when an alarm came."""

    policy: str
    steps: tuple[Step, ...]
    repeat: int
    """How often the steps are gone through again before the catch-all."""
    everyone_ms: int
    """Between two rounds of the catch-all."""

    def stage(self, taken: int) -> Stage:
        """The step that follows when so many were taken; there always is one."""
        rounds = self.repeat + 1
        if taken < len(self.steps) * rounds:
            index = taken % len(self.steps)
            step = self.steps[index]
            words = f"step {index + 1} of {len(self.steps)}"
            if rounds > 1:
                words += f", round {taken // len(self.steps) + 1} of {rounds}"
            return Stage(step.targets, step.delay_ms, False, words)
        number = taken - len(self.steps) * rounds + 1
        return Stage((EVERYONE,), self.everyone_ms, True, f"everyone, time {number}")

    def to_json(self) -> str:
        """As the ledger keeps it."""
        steps = [[list(step.targets), step.delay_ms] for step in self.steps]
        plan = {"policy": self.policy, "steps": steps, "repeat": self.repeat, "everyone_ms": self.everyone_ms}
        return json.dumps(plan, sort_keys=True)

    @staticmethod
    def from_json(text: str) -> Plan:
        """The plan that `to_json` wrote. Raises ValueError for anything else."""
        try:
            found = json.loads(text)
            steps = tuple(Step(tuple(map(str, targets)), int(delay_ms)) for targets, delay_ms in found["steps"])
            plan = Plan(str(found["policy"]), steps, int(found["repeat"]), int(found["everyone_ms"]))
            if plan.everyone_ms <= 0 or plan.repeat < 0 or any(step.delay_ms < 0 for step in steps):
                raise ValueError("not a plan that lets time pass")
            return plan
        except (KeyError, TypeError) as error:
            raise ValueError("not a plan") from error


@dataclass(frozen=True)
class Hours:
    """A part of some days: from one minute of the day up to another, past midnight where the second is smaller.

    What begins on one of ``days`` belongs to it, also after midnight.
    """

    days: frozenset[int]
    """0 = Monday."""
    from_minute: int = 0
    to_minute: int = _MINUTES_A_DAY

    def has(self, local: datetime) -> bool:
        """Whether the time is in it."""
        minute = local.hour * 60 + local.minute
        if self.from_minute < self.to_minute:
            return local.weekday() in self.days and self.from_minute <= minute < self.to_minute
        if minute >= self.from_minute:
            return local.weekday() in self.days
        return minute < self.to_minute and (local.weekday() - 1) % 7 in self.days


@dataclass(frozen=True)
class Policy:
    """For whom and when a plan is; empty and None say "any"."""

    name: str
    steps: tuple[Step, ...]
    repeat: int = 0
    teams: frozenset[str] = frozenset()
    kinds: frozenset[str] = frozenset()
    hours: Hours | None = None

    def takes(self, team: str, kind: str, local: datetime) -> bool:
        """Whether it is for an alarm of this team and kind at this local time."""
        return (
            (not self.teams or team in self.teams)
            and (not self.kinds or kind in self.kinds)
            and (self.hours is None or self.hours.has(local))
        )


@dataclass(frozen=True)
class Policies:
    """All of them, in order: the first that takes an alarm is its policy."""

    policies: Sequence[Policy] = ()
    everyone_ms: int = 300_000
    zone: tzinfo | None = None
    """None = this machine's."""

    def plan_for(self, team: str, kind: str, at_ms: int) -> Plan:
        """The plan of an alarm that came at this time (Unix ms)."""
        local = (_EPOCH + timedelta(milliseconds=at_ms)).astimezone(self.zone)
        for policy in self.policies:
            if policy.takes(team, kind, local):
                return Plan(policy.name, policy.steps, policy.repeat, self.everyone_ms)
        return Plan(BUILT_IN, (), 0, self.everyone_ms)


@dataclass(frozen=True)
class Reach:
    """The channels that take alarms, in order, with whom each reaches ("" = nobody by name)."""

    people: dict[str, str]

    def channels(self, targets: Collection[str], without: str = "") -> list[str]:
        """The channels of some targets, each once; those that are not configured are left out.

        ``without`` is a channel that the alarm is about: it is asked only where there is no other.
        """
        found = [
            name
            for name, person in self.people.items()
            if EVERYONE in targets or name in targets or (person and PERSON_PREFIX + person in targets)
        ]
        others = [name for name in found if name != without]
        return others or found
