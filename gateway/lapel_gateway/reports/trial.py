"""What a trial of the cameras shows, by team and month: whether they are worn, announced, and add safety.

The figures are sums of facts (`facts`), and those of the response report (`response`) on the same alarms. What counts
as what is said there; here:

- People are counted once in each group, however many days they had a device or wore it.
- Notice was given where the wearer confirmed having told whoever was filmed. Its share is of the recordings that a
  wearer began: those that an alarm began are in none of it.
- An incident is an alarm of people that somebody resolved as true.
- Of small groups these figures say something of single people; they are for those who answer for the trial.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import tzinfo
from typing import TypeVar

import sqlalchemy as sa

from lapel_gateway.alarms.kinds import TECHNICAL_KINDS
from lapel_gateway.ledger.schema import alarm
from lapel_gateway.reports import facts, response
from lapel_gateway.reports.facts import Fact, read_facts, read_teams
from lapel_gateway.reports.period import Period, local_month
from lapel_gateway.reports.response import AlarmTimes, Figures, UnknownTeam, read_alarms

TOLD = "confirmed"
BY_WEARER = (TOLD, "prompted", "no_time", "unknown")
"""How the notice may have gone in recordings that a wearer began; ``prompted`` began by itself after the prompt."""

NOTICES = (*BY_WEARER, "alarm")
FAULTS = (
    "self_test",
    "clip_missing",
    "clip_lost",
    "clip_cut_short",
    "clip_unopenable",
    "recording_refused",
    "storage",
    "update",
    "device_lost",
)

ANSWER_STEPS_MS = (5_000, 10_000, 20_000, 40_000, 60_000, 120_000, 300_000, 600_000, 3_600_000)
"""How many alarms were answered within each of these is told, so that the answers' spread can be seen."""

Key = TypeVar("Key", bound=Hashable)


@dataclass(frozen=True, slots=True)
class Trial:
    """The figures of one group; days are person-days, ``counts`` sums of facts by their names."""

    people: int
    """Entered in these teams now."""
    people_issued: int
    people_worn: int
    counts: Mapping[str, int]
    alarms: Figures

    def count(self, what: str) -> int:
        """The sum of one kind of fact."""
        return self.counts.get(what, 0)

    @property
    def worn_share(self) -> float | None:
        """Days worn of days issued, 0 to 1; None of none."""
        return _share(self.count(facts.DAYS_WORN), self.count(facts.DAYS_ISSUED))

    @property
    def recordings(self) -> dict[str, int]:
        """How many there are by how the notice went: every one of `NOTICES`."""
        return {name: self.count(facts.RECORDING + name) for name in NOTICES}

    @property
    def notice_share(self) -> float | None:
        """Notice given and confirmed, of the recordings that a wearer began; None of none."""
        return _share(self.recordings[TOLD], sum(self.recordings[name] for name in BY_WEARER))

    @property
    def faults(self) -> dict[str, int]:
        """How many there are of each of `FAULTS`."""
        return {name: self.count(facts.FAULT + name) for name in FAULTS}


@dataclass(frozen=True, slots=True)
class Incident:
    """An alarm that was in earnest, and its outcome; without its person. Unix milliseconds, None for what was not."""

    alarm: str
    team: str
    kind: int
    received_ms: int
    acknowledged_ms: int | None
    resolved_ms: int
    note: str
    clip: tuple[str, int] | None
    """The (device, clip) that was recorded with it."""


@dataclass(frozen=True, slots=True)
class TrialReport:
    """The figures of one period."""

    period: Period
    team: str | None
    """None = all."""
    total: Trial
    by_team: dict[str, Trial]
    """"" = of no team."""
    by_month: dict[str, Trial]
    by_team_and_month: dict[str, dict[str, Trial]]
    answers: dict[int, int]
    """How many alarms were acknowledged within each of `ANSWER_STEPS_MS` of reception."""
    incidents: list[Incident]


def read_trial(
    connection: sa.Connection, period: Period, team: str | None = None, zone: tzinfo | None = None
) -> TrialReport:
    """The report on what the ledger has. Months are those of ``zone``, None = this machine's. Raises UnknownTeam."""
    teams = Counter(read_teams(connection).values())
    found = [one for one in read_facts(connection, period, zone) if team in (None, one.team)]
    alarms = [one for one in read_alarms(connection, period) if not one.technical and not one.test]
    known = {*teams, *(one.team for one in alarms)}
    if team and team not in known:
        raise UnknownTeam(team, known - {""})
    alarms = [one for one in alarms if team in (None, one.team)]
    members = {name: count for name, count in teams.items() if team in (None, name)}

    def months(
        some_facts: Iterable[Fact], some_alarms: Iterable[AlarmTimes], some_members: Mapping[str, int]
    ) -> dict[str, Trial]:
        # Who was in a team in a month that is over is not known: people are those of now, as everywhere.
        return _by(
            lambda one: local_month(one.at_ms, zone),
            lambda one: local_month(one.received_ms, zone),
            some_facts,
            some_alarms,
            lambda month: sum(some_members.values()),
        )

    by_team = _by(lambda one: one.team, lambda one: one.team, found, alarms, lambda name: members.get(name, 0), members)
    return TrialReport(
        period=period,
        team=team,
        total=_trial(found, alarms, sum(members.values())),
        by_team=by_team,
        by_month=months(found, alarms, members),
        by_team_and_month={
            name: months(
                [one for one in found if one.team == name],
                [one for one in alarms if one.team == name],
                {name: members.get(name, 0)},
            )
            for name in by_team
        },
        answers=_answers(alarms),
        incidents=_incidents(connection, period, team),
    )


def _by(
    of_fact: Callable[[Fact], Key],
    of_alarm: Callable[[AlarmTimes], Key],
    some_facts: Iterable[Fact],
    some_alarms: Iterable[AlarmTimes],
    people_in: Callable[[Key], int],
    also: Iterable[Key] = (),
) -> dict[Key, Trial]:
    """A group's figures by its key, in the order of the keys; ``also`` are groups that are told of though empty."""
    grouped_facts: dict[Key, list[Fact]] = defaultdict(list)
    grouped_alarms: dict[Key, list[AlarmTimes]] = defaultdict(list)
    for fact in some_facts:
        grouped_facts[of_fact(fact)].append(fact)
    for one in some_alarms:
        grouped_alarms[of_alarm(one)].append(one)
    keys = sorted({*grouped_facts, *grouped_alarms, *also}, key=str)
    return {key: _trial(grouped_facts[key], grouped_alarms[key], people_in(key)) for key in keys}


def _trial(some_facts: Iterable[Fact], alarms: Sequence[AlarmTimes], people: int) -> Trial:
    counts: Counter[str] = Counter()
    who: dict[str, set[str]] = {facts.DAYS_ISSUED: set(), facts.DAYS_WORN: set()}
    for one in some_facts:
        counts[one.what] += one.amount
        if one.person:
            who[one.what].add(one.person)
    return Trial(
        people=people,
        people_issued=len(who[facts.DAYS_ISSUED]),
        people_worn=len(who[facts.DAYS_WORN]),
        counts=dict(counts),
        alarms=response.figures(alarms),
    )


def _answers(alarms: Iterable[AlarmTimes]) -> dict[int, int]:
    took = [one.acknowledged_ms - one.received_ms for one in alarms if one.acknowledged_ms is not None]
    return {step: sum(0 <= each <= step for each in took) for step in ANSWER_STEPS_MS}


def _incidents(connection: sa.Connection, period: Period, team: str | None) -> list[Incident]:
    query = (
        sa.select(alarm)
        .where(
            alarm.c.received_ms >= period.from_ms,
            alarm.c.received_ms < period.to_ms,
            alarm.c.resolution == "true",
            alarm.c.test.is_(False),
            alarm.c.kind.not_in(sorted(TECHNICAL_KINDS)),
        )
        .order_by(alarm.c.received_ms, alarm.c.id)
    )
    if team is not None:
        query = query.where(alarm.c.team == team)
    return [
        Incident(
            row.id,
            row.team,
            row.kind,
            row.received_ms,
            row.acknowledged_ms,
            row.resolved_ms,
            row.note or "",
            (row.device, row.clip) if row.clip else None,
        )
        for row in connection.execute(query)
    ]


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None
