"""The settings of escalation: ``[[policy]]``, tables in the order in which they are tried."""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from datetime import tzinfo
from typing import Annotated, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from annotated_types import Ge, Le, Len
from pydantic import Field, field_validator, model_validator

from lapel_gateway.alarms.kinds import KIND_NAMES
from lapel_gateway.alarms.policies import DAYS, Hours, Policies, Policy, Step
from lapel_gateway.settings.section import Name, Section, Text

Day = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]

_HOURS = re.compile(r"([01]\d|2[0-3]):([0-5]\d)-([01]\d|2[0-3]|24):([0-5]\d)")


class StepSection(Section):
    """One step: some targets at once."""

    targets: Annotated[list[Text], Len(1, 32)]
    delay_s: Annotated[int, Ge(5), Le(86_400)] = 60


class PolicySection(Section):
    """Who is told of alarms, in which order, until a human answers. The first [[policy]] that fits an alarm is its."""

    name: Name = Field(description="Short name for logs: lower case, digits and dashes.")
    teams: list[Text] = Field([], max_length=100, description="Teams of the persons it is for; [] for any.")
    kinds: list[str] = Field([], description="Kinds of alarm it is for; [] for any.")
    days: list[Day] = Field([], description="Days it is for; [] for any.")
    hours: str = Field(
        "", description='Local time it is for, as "08:00-18:00"; past midnight as "18:00-08:00"; "" for any.'
    )
    steps: Annotated[list[StepSection], Len(1, 20)] = Field(
        description="Each with targets and the seconds in which somebody has to answer. Targets: a channel, as "
        '"webhook:control-room" (`lapel gateway channels` lists them); "person:Ann Archer" for every channel that '
        'reaches her; "everyone".'
    )
    repeat: int = Field(
        0, ge=0, le=20, description="How often the steps are gone through again before everyone is told."
    )

    @field_validator("kinds")
    @classmethod
    def _are_kinds(cls, kinds: list[str]) -> list[str]:
        for kind in kinds:
            if kind not in KIND_NAMES.values():
                closest = difflib.get_close_matches(kind, KIND_NAMES.values(), n=1, cutoff=0.5)
                hint = f"; did you mean {closest[0]}?" if closest else f"; there are {', '.join(KIND_NAMES.values())}"
                raise ValueError(f"{kind} is not a kind of alarm{hint}")
        return kinds

    @field_validator("hours")
    @classmethod
    def _are_hours(cls, hours: str) -> str:
        if hours:
            _minutes(hours)
        return hours

    @model_validator(mode="after")
    def _names_targets_once(self) -> PolicySection:
        for number, step in enumerate(self.steps, 1):
            if len(set(step.targets)) < len(step.targets):
                raise ValueError(f"step {number} names a target more than once")
        return self


def policies_of(sections: Sequence[PolicySection], everyone_s: int, zone: tzinfo | None) -> Policies:
    """The policies as configured."""
    return Policies([_policy(section) for section in sections], everyone_s * 1000, zone)


def find_zone(name: str) -> tzinfo | None:
    """The time zone of a name in the IANA database, None for "" (this machine's). Raises ValueError."""
    if not name:
        return None
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError(f"{name} is not a time zone; Europe/London is one") from None


def _policy(section: PolicySection) -> Policy:
    hours = None
    if section.days or section.hours:
        days = frozenset(DAYS.index(day) for day in section.days or DAYS)
        hours = Hours(days, *_minutes(section.hours)) if section.hours else Hours(days)
    return Policy(
        section.name,
        tuple(Step(tuple(step.targets), step.delay_s * 1000) for step in section.steps),
        section.repeat,
        frozenset(section.teams),
        frozenset(section.kinds),
        hours,
    )


def _minutes(hours: str) -> tuple[int, int]:
    """Minutes of the day at which the hours begin and end. Raises ValueError."""
    form = _HOURS.fullmatch(hours)
    if form is None:
        raise ValueError('must be two times of day, as "08:00-18:00"')
    begin, end = int(form[1]) * 60 + int(form[2]), int(form[3]) * 60 + int(form[4])
    if end > 24 * 60 or begin == end:
        raise ValueError("must be a part of a day that is not empty")
    return begin, end
