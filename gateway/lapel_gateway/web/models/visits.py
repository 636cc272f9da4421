"""Visits, positions and the risk register in answers."""

from __future__ import annotations

from lapel_gateway.web.models.alarms import LogLine
from lapel_gateway.web.models.shapes import Act, Moment, Shape


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
    amber: Moment | None
    """When a check-in is wanted; of a visit that runs."""
    deadline: Moment | None
    """When it is overdue."""
    late: bool


class Position(Shape):
    """Where a device was: degrees, WGS 84."""

    measured: Moment
    received: Moment
    latitude: float
    longitude: float
    accuracy_m: int | None


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


class VisitWhole(VisitShape):
    """A visit with its log.

    Positions are there for those who may see them, where one visit is asked for; what the risk register says of its
    place and people as of now, for those who may read that.
    """

    log: list[LogLine]
    alarms: list[str]
    positions: list[Position]
    risks: list[Risk]


class Visits(Shape):
    """The newest first; those of a period by person."""

    visits: list[VisitShape]


class Risks(Shape):
    """Of the register."""

    risks: list[Risk]
