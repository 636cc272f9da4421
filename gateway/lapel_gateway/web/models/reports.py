"""Reports in answers."""

from __future__ import annotations

from pydantic import ConfigDict, Field

from lapel_gateway.web.models.shapes import Moment, Shape


class Span(Shape):
    """How long something took, in milliseconds."""

    count: int
    p50: int | None
    p90: int | None
    p95: int | None
    p99: int | None
    max: int | None
    clock_ahead: int


class TargetShare(Shape):
    """A target, and how far it was met."""

    within_ms: int
    target: float
    within: int
    alarms: int
    share: float | None
    verdict: str


class Endings(Shape):
    """How alarms ended."""

    true: int
    false: int
    test: int
    unresolved: int


class CancelledAlarms(Endings):
    """Those that their wearer cancelled."""

    alarms: int
    acknowledged: int


class Figures(Shape):
    """The figures of some alarms."""

    alarms: int
    acknowledged: int
    unanswered: int
    resolved_only: int
    no_press: int
    no_trusted_press: int
    targets: list[TargetShare]
    press_to_sent: Span
    sent_to_received: Span
    press_to_received: Span
    received_to_notified: Span
    received_to_acknowledged: Span
    press_to_acknowledged: Span
    resolved: Endings
    false_alarm_rate: float | None
    cancelled_by_wearer: CancelledAlarms
    first_notified_by: dict[str, int]
    notified_nobody: int


class ResponseReport(Shape):
    """Whether somebody comes: the figures of one period."""

    model_config = ConfigDict(extra="forbid", populate_by_name=True)

    begin: Moment | None = Field(alias="from")
    to: Moment | None
    team: str | None
    drills: int
    technical: int
    total: Figures
    by_team: dict[str, Figures]
    by_kind: dict[str, Figures]
    by_month: dict[str, Figures]


class Uptake(Shape):
    """Whether cameras are worn; days are person-days."""

    people: int
    people_issued: int
    people_worn: int
    days_issued: int
    days_worn: int
    worn_share: float | None


class TrialNotice(Shape):
    """Whether those who are filmed were told."""

    prompts: int
    prompts_without_recording: int
    confirmed_share: float | None


class TrialAlarms(Shape):
    """How alarms ended, and how soon they were answered."""

    model_config = ConfigDict(extra="forbid", populate_by_name=True)

    count: int
    ended_true: int = Field(alias="true")
    ended_false: int = Field(alias="false")
    test: int
    unresolved: int
    false_alarm_rate: float | None
    unanswered: int
    drills: int
    received_to_acknowledged: Span
    targets: list[TargetShare]


class Trial(Shape):
    """The figures of one group."""

    uptake: Uptake
    visits: dict[str, int]
    notice: TrialNotice
    recordings: dict[str, int]
    alarms: TrialAlarms
    clips_passed_on: dict[str, int]
    faults: dict[str, int]


class Answered(Shape):
    """How many alarms of all were acknowledged within a time."""

    within_ms: int
    alarms: int


class Incident(Shape):
    """An alarm that was in earnest, and its outcome."""

    alarm: str
    team: str
    kind: str
    received: Moment
    acknowledged_after_ms: int | None
    resolved_after_ms: int
    note: str
    clip: str | None


class TrialReport(Shape):
    """Whether the cameras add safety: the figures of one period."""

    model_config = ConfigDict(extra="forbid", populate_by_name=True)

    begin: Moment | None = Field(alias="from")
    to: Moment | None
    team: str | None
    total: Trial
    by_team: dict[str, Trial]
    by_month: dict[str, Trial]
    by_team_and_month: dict[str, dict[str, Trial]]
    answers: list[Answered]
    incidents: list[Incident]
