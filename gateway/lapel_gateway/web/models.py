"""The shapes of the API's answers, for its description (OpenAPI) and held to it: see `describe` for their meaning.

What an answer leaves out is left out; nothing is added. A member that is there and may be empty is null.
"""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from lapel_gateway.accounts.permissions import Permission, RoleName


class Shape(BaseModel):
    """Nothing that is not described leaves the gateway unnoticed."""

    model_config = ConfigDict(extra="forbid")


class Moment(Shape):
    """A time: Unix milliseconds and RFC 3339; of a device, with how far its clock can be believed."""

    ms: int
    utc: str | None
    trust: str | None = None


class Act(Moment):
    """When something was done, and by whom."""

    by: str | None = None


class AlarmShape(Shape):
    """An alarm."""

    id: str
    device: str | None
    person: str
    device_state: str
    team: str
    kind: str
    test: bool
    about: str
    detail: str
    visit: int | None
    state: str
    clip_id: str | None
    raised: Moment
    raised_mono_ms: int
    sent_after_ms: int | None
    sent_tries: int | None
    received: Moment
    notified: Moment | None
    cancelled_by_wearer: Moment | None
    acknowledged: Act | None
    resolved: Act | None
    resolution: str | None
    note: str | None
    device_shows: str | None


class LogLine(Shape):
    """One step of an alarm or a visit."""

    at: Moment
    step: str
    who: str
    detail: str


class Escalation(Shape):
    """How far the people of the policy were called."""

    policy: str | None
    steps_taken: int
    next_step: Moment | None


class Delivery(Shape):
    """One attempt to tell somebody."""

    at: Moment
    channel: str
    outcome: str
    detail: str


class AlarmWhole(AlarmShape):
    """An alarm with all that became of it."""

    escalation: Escalation | None
    log: list[LogLine]
    deliveries: list[Delivery]


class Alarms(Shape):
    """The newest first."""

    alarms: list[AlarmShape]


class Notice(Shape):
    """What those who are filmed were told."""

    outcome: str | None
    prompted_ms_before_start: int | None
    confirmed_ms_before_start: int | None


class Segments(Shape):
    """How many segments there are, and were receipted."""

    authentic: int
    settled: int | None
    settled_by: str | None
    receipted: int | None


class Chain(Shape):
    """How a clip follows the one before."""

    position: str
    head: str | None
    previous_clip: int | None
    previous_head: str | None


class Frames(Shape):
    """Pictures, as the device counted them."""

    captured: int | None
    dropped: int | None


class Clip(Shape):
    """A clip."""

    id: str
    device: str
    clip: int
    boot: int | None
    person: str
    device_state: str
    state: str
    alarm: bool
    alarm_id: str | None
    started: Moment | None
    started_mono_ms: int | None
    ended: Moment | None
    end_reason: str | None
    cut: bool
    cut_reason: str | None
    notice: Notice
    segments: Segments
    chain: Chain
    frames: Frames
    duration_ms: int | None
    organisation_key: str | None
    opening: str
    first_received: Moment | None
    verified: Moment | None
    receipted: Moment | None
    missing_since: Moment | None
    assembled: Moment | None
    assembly: dict[str, Any] | None


class Clips(Shape):
    """The newest first."""

    clips: list[Clip]


class DeviceShape(Shape):
    """A device."""

    device: str
    name: str
    person: str
    state: str
    provisioned: Moment
    ended: Moment | None
    cut_off: str | None
    found: Moment | None
    follows: str | None
    contact: Moment | None
    boot: int | None
    epoch: int
    status: dict[str, Any] | None
    settings: dict[str, Any] | None


class Devices(Shape):
    """By name."""

    devices: list[DeviceShape]


class VisitShape(Shape):
    """A visit."""

    id: int
    person: str
    team: str
    device: str | None
    place: str
    purpose: str
    present: str
    risk: str
    buddy: str
    state: str
    planned: Moment | None
    expected_min: int
    check_in_min: int
    made: Act
    started: Moment | None
    due: Moment | None
    next_check_in: Moment | None
    contact: Moment | None
    contact_lost: Moment | None
    ended: Act | None


class Position(Shape):
    """Where a device was: degrees, WGS 84."""

    measured: Moment
    received: Moment
    latitude: float
    longitude: float
    accuracy_m: int | None


class VisitWhole(VisitShape):
    """A visit with its log; positions are there for those who may see them."""

    log: list[LogLine]
    alarms: list[str]
    positions: list[Position]


class Risk(Shape):
    """An entry of the risk register."""

    id: int
    place: str
    about: str
    note: str
    owner: str
    review: Moment
    review_overdue: bool
    made: Moment
    ended: Act | None


class VisitPlanned(VisitWhole):
    """A new visit, with what the register says of where it goes."""

    risks: list[Risk]


class Visits(Shape):
    """The newest first."""

    visits: list[VisitShape]


class Risks(Shape):
    """Of the register."""

    risks: list[Risk]


class Person(Shape):
    """A person."""

    name: str
    team: str
    phone: str


class People(Shape):
    """By name."""

    people: list[Person]


class ChannelPart(Shape):
    """Whether one part of a channel works."""

    good: Moment | None
    tried: Moment | None
    failing: Moment | None
    error: str | None


class Channel(Shape):
    """A channel that takes alarms."""

    channel: str
    person: str | None
    state: str
    waiting: int
    delivery: ChannelPart | None
    link: ChannelPart | None


class Channels(Shape):
    """As they are configured."""

    channels: list[Channel]


class Health(Shape):
    """That the gateway answers."""

    status: str


class Me(Shape):
    """Whoever asks."""

    name: str
    roles: list[str]
    permissions: list[Permission]
    how: str


class UserShape(Shape):
    """A user."""

    name: str
    roles: list[str]
    created: Moment
    disabled: Moment | None
    has_password: bool
    has_authenticator: bool


class Users(Shape):
    """By name."""

    users: list[UserShape]


class UserWithLink(UserShape):
    """A user, with the link to give to them; it is shown this once."""

    setup_link: str


class SessionShape(Shape):
    """Somebody who is logged in."""

    id: int
    user: str
    how: str
    begun: Moment
    seen: Moment
    address: str
    agent: str
    this: bool


class Sessions(Shape):
    """The newest first."""

    sessions: list[SessionShape]


class AuditLine(Shape):
    """One line of the audit log."""

    id: int
    at: Moment
    who: str
    how: str
    what: str
    about: str
    outcome: str
    detail: str
    address: str


class Audit(Shape):
    """The newest first."""

    lines: list[AuditLine]


class NewUser(Shape):
    """A user to add."""

    name: str
    roles: list[RoleName]


class NewRoles(Shape):
    """The roles that a user is to have, and no others."""

    roles: list[RoleName]


class NewLink(Shape):
    """A set-up link to make."""

    new_authenticator: bool = False


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
    incidents: list[Incident]


class DisclosureShape(Shape):
    """That a clip was passed on."""

    clip: str
    kind: str
    recipient: str
    reference: str | None
    passed: Moment
    entered: Act


class Disclosures(Shape):
    """The newest first."""

    disclosures: list[DisclosureShape]
