"""How fast alarms reached people and were answered, and how they ended: the figures of the response report.

Rules that hold here
- An alarm is of the period in which the gateway received it, and of the team that its person was in then.
- Technical alarms and drills are counted each in a line of their own and are in no other figure.
- A percentile is by nearest rank: of n values in ascending order, p % is the one at rank ⌈p × n ÷ 100⌉, the first
  being rank 1. It is always a value that was measured.
- An alarm that nobody has acknowledged is in the shares all the same: as one that was not acknowledged in time.
- Durations are those of the alarms that have both times; each says how many these are.
- The time of a press is its device's. It counts only where that clock was set by the gateway or NTP, and where the
  device's own record tells it: not what a heartbeat only names, and not what the gateway raised itself.
- When an alarm left its device, that device says by its monotonic clock: how long it took from the press holds whoever
  set its clock, or nobody. Where it did not say, nothing is known, and nothing is counted.
- A clock ahead of another makes a difference below zero. It stays in the percentiles, where clocks that err to either
  side cancel out, and is counted; no share takes it for an answer in time.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import tzinfo

import sqlalchemy as sa

from lapel_gateway.alarms.kinds import TECHNICAL_KINDS, UNKNOWN, kind_name
from lapel_gateway.ledger.schema import alarm, alarm_log
from lapel_gateway.ledger.schema import person as people
from lapel_gateway.reports.period import Period, local_month
from lapel_protocol.names import TRUST_NAMES

MET = "met"
MISSED = "missed"
TOO_FEW = "too few to tell"

_TRUSTED = frozenset({TRUST_NAMES.index("gateway"), TRUST_NAMES.index("ntp")})


@dataclass(frozen=True, slots=True)
class Target:
    """The share of alarms (0 to 1) that is to be acknowledged within so many milliseconds of reception."""

    within_ms: int
    share: float


TARGETS = (Target(10_000, 0.8), Target(40_000, 0.985))
"""What lone-worker services are held against."""


@dataclass(frozen=True, slots=True)
class AlarmTimes:
    """One alarm as the ledger has it. Times are Unix milliseconds, None for what has not happened."""

    kind: int
    test: bool
    team: str
    by_device: bool
    """A device's record or heartbeat raised it, not the gateway."""
    raised_wall_ms: int
    trust: int
    """How far to believe that: the protocol's number."""
    received_ms: int
    notified_ms: int | None = None
    first_channel: str | None = None
    """The channel that first took it."""
    cancelled_ms: int | None = None
    acknowledged_ms: int | None = None
    resolution: str | None = None
    """true, false or test; None = not resolved."""
    sent_after_ms: int | None = None
    """From the press until it had left its device; None = not said."""

    @property
    def technical(self) -> bool:
        """Whether it is about the gateway and what it depends on."""
        return self.kind in TECHNICAL_KINDS

    @property
    def has_press(self) -> bool:
        """Whether its device told when it was raised."""
        return self.by_device and self.kind != UNKNOWN

    @property
    def pressed_ms(self) -> int | None:
        """When it was raised, if that can be believed."""
        return self.raised_wall_ms if self.has_press and self.trust in _TRUSTED else None

    @property
    def sent_ms(self) -> int | None:
        """When it left its device, if that is known and its clock can be believed."""
        if self.pressed_ms is None or self.sent_after_ms is None:
            return None
        return self.pressed_ms + self.sent_after_ms


@dataclass(frozen=True, slots=True)
class Span:
    """How long something took, in milliseconds, over ``count`` alarms; None where there are none."""

    count: int
    p50: int | None
    p90: int | None
    p95: int | None
    p99: int | None
    max: int | None
    clock_ahead: int
    """Of these the differences below zero."""


@dataclass(frozen=True, slots=True)
class Share:
    """A target, and how many alarms were acknowledged within its time of all that there were."""

    target: Target
    within: int
    alarms: int

    @property
    def share(self) -> float | None:
        """0 to 1; None of no alarms."""
        return self.within / self.alarms if self.alarms else None

    @property
    def verdict(self) -> str:
        """`MET`, `MISSED` or, of no alarms, `TOO_FEW`."""
        if self.share is None:
            return TOO_FEW
        return MET if self.share >= self.target.share else MISSED


@dataclass(frozen=True, slots=True)
class Endings:
    """How some alarms ended."""

    true: int
    false: int
    test: int
    unresolved: int

    @property
    def false_rate(self) -> float | None:
        """The share of false ones in those that were true or false; None where none was either."""
        judged = self.true + self.false
        return self.false / judged if judged else None


@dataclass(frozen=True, slots=True)
class Cancelled:
    """Alarms that their wearer cancelled, and what became of them."""

    alarms: int
    acknowledged: int
    endings: Endings


@dataclass(frozen=True, slots=True)
class Figures:
    """The figures of some alarms of people."""

    alarms: int
    acknowledged: int
    unanswered: int
    """Never acknowledged and still open."""
    resolved_only: int
    """Resolved by somebody who had not acknowledged them."""
    no_press: int
    """Raised by the gateway, or known from a heartbeat only: there is no time of a press."""
    no_trusted_press: int
    """Pressed on a device whose clock nobody had set."""
    press_to_sent: Span
    sent_to_received: Span
    press_to_received: Span
    received_to_notified: Span
    received_to_acknowledged: Span
    press_to_acknowledged: Span
    shares: tuple[Share, ...]
    endings: Endings
    cancelled: Cancelled
    first_notified_by: dict[str, int]
    """By channel, how many it was the first to take."""
    notified_nobody: int


@dataclass(frozen=True, slots=True)
class ResponseReport:
    """The figures of one period, and apart from them how many drills and technical alarms there were."""

    period: Period
    team: str | None
    """None = all."""
    drills: int
    technical: int
    total: Figures
    by_team: dict[str, Figures]
    """"" = of no team."""
    by_kind: dict[str, Figures]
    by_month: dict[str, Figures]


class UnknownTeam(Exception):
    """There is no such team; ``known`` are those that there are."""

    def __init__(self, team: str, known: Iterable[str]) -> None:
        super().__init__(team)
        self.team = team
        self.known = sorted(known)


def percentile(values: Sequence[int], percent: int) -> int | None:
    """The percentile (1 to 100) of ascending values by nearest rank; None of none."""
    return values[-(-percent * len(values) // 100) - 1] if values else None


def span(differences: Iterable[int]) -> Span:
    """The figures of some durations in milliseconds, in any order."""
    found = sorted(differences)
    return Span(
        count=len(found),
        p50=percentile(found, 50),
        p90=percentile(found, 90),
        p95=percentile(found, 95),
        p99=percentile(found, 99),
        max=percentile(found, 100),
        clock_ahead=sum(difference < 0 for difference in found),
    )


def figures(alarms: Sequence[AlarmTimes], targets: Sequence[Target] = TARGETS) -> Figures:
    """The figures of these alarms, whatever they are."""
    answers = [one.acknowledged_ms - one.received_ms for one in alarms if one.acknowledged_ms is not None]
    cancelled = [one for one in alarms if one.cancelled_ms is not None]
    channels = Counter(one.first_channel or "" for one in alarms if one.notified_ms is not None)
    return Figures(
        alarms=len(alarms),
        acknowledged=len(answers),
        unanswered=sum(one.acknowledged_ms is None and one.resolution is None for one in alarms),
        resolved_only=sum(one.acknowledged_ms is None and one.resolution is not None for one in alarms),
        no_press=sum(not one.has_press for one in alarms),
        no_trusted_press=sum(one.has_press and one.pressed_ms is None for one in alarms),
        press_to_sent=span(one.sent_after_ms for one in alarms if one.sent_after_ms is not None),
        sent_to_received=_between(alarms, lambda one: one.sent_ms, lambda one: one.received_ms),
        press_to_received=_between(alarms, lambda one: one.pressed_ms, lambda one: one.received_ms),
        received_to_notified=_between(alarms, lambda one: one.received_ms, lambda one: one.notified_ms),
        received_to_acknowledged=span(answers),
        press_to_acknowledged=_between(alarms, lambda one: one.pressed_ms, lambda one: one.acknowledged_ms),
        shares=tuple(
            Share(target, sum(0 <= answer <= target.within_ms for answer in answers), len(alarms)) for target in targets
        ),
        endings=_endings(alarms),
        cancelled=Cancelled(
            len(cancelled), sum(one.acknowledged_ms is not None for one in cancelled), _endings(cancelled)
        ),
        first_notified_by=dict(sorted(channels.items())),
        notified_nobody=sum(one.notified_ms is None for one in alarms),
    )


def make_report(
    alarms: Iterable[AlarmTimes],
    period: Period,
    team: str | None = None,
    zone: tzinfo | None = None,
    targets: Sequence[Target] = TARGETS,
) -> ResponseReport:
    """The report on those of some alarms that are of the period and, unless it is None, of the team.

    Months are those of ``zone``, None = this machine's.
    """
    found = [one for one in alarms if period.from_ms <= one.received_ms < period.to_ms and team in (None, one.team)]
    in_earnest = [one for one in found if not one.technical and not one.test]

    def by(key: Callable[[AlarmTimes], str]) -> dict[str, Figures]:
        groups: dict[str, list[AlarmTimes]] = {}
        for one in in_earnest:
            groups.setdefault(key(one), []).append(one)
        return {name: figures(group, targets) for name, group in sorted(groups.items())}

    return ResponseReport(
        period=period,
        team=team,
        drills=sum(one.test and not one.technical for one in found),
        technical=sum(one.technical for one in found),
        total=figures(in_earnest, targets),
        by_team=by(lambda one: one.team),
        by_kind=by(lambda one: kind_name(one.kind)),
        by_month=by(lambda one: local_month(one.received_ms, zone)),
    )


def read_report(
    connection: sa.Connection,
    period: Period,
    team: str | None = None,
    zone: tzinfo | None = None,
    targets: Sequence[Target] = TARGETS,
) -> ResponseReport:
    """`make_report` on what the ledger has. Raises UnknownTeam."""
    alarms = read_alarms(connection, period)
    if team:
        known = {name for (name,) in connection.execute(sa.select(people.c.team).distinct())}
        known |= {one.team for one in alarms}
        if team not in known:
            raise UnknownTeam(team, known - {""})
    return make_report(alarms, period, team, zone, targets)


def read_alarms(connection: sa.Connection, period: Period) -> list[AlarmTimes]:
    """Every alarm that the ledger received in the period, in that order."""
    first = (
        sa.select(alarm_log.c.who)
        .where(alarm_log.c.alarm_id == alarm.c.id, alarm_log.c.step == "notifying")
        .order_by(alarm_log.c.id)
        .limit(1)
        .scalar_subquery()
    )
    query = (
        sa.select(
            alarm.c.kind,
            alarm.c.test,
            alarm.c.team,
            alarm.c.boot.is_not(None),
            alarm.c.raised_wall_ms,
            alarm.c.trust,
            alarm.c.received_ms,
            alarm.c.notified_ms,
            first,
            alarm.c.cancelled_ms,
            alarm.c.acknowledged_ms,
            alarm.c.resolution,
            alarm.c.sent_after_ms,
        )
        .where(alarm.c.received_ms >= period.from_ms, alarm.c.received_ms < period.to_ms)
        .order_by(alarm.c.received_ms, alarm.c.id)
    )
    return [AlarmTimes(*row) for row in connection.execute(query)]


def _between(
    alarms: Iterable[AlarmTimes],
    begin: Callable[[AlarmTimes], int | None],
    end: Callable[[AlarmTimes], int | None],
) -> Span:
    """How long it took from one time to another, of the alarms that have both."""
    pairs = [(begin(one), end(one)) for one in alarms]
    return span(after - before for before, after in pairs if before is not None and after is not None)


def _endings(alarms: Iterable[AlarmTimes]) -> Endings:
    found = Counter(one.resolution for one in alarms)
    return Endings(found["true"], found["false"], found["test"], found[None])
