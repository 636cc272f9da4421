"""Alarms in answers."""

from __future__ import annotations

from lapel_gateway.web.models.shapes import Act, Moment, Shape


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
