"""Escalation policies in answers."""

from __future__ import annotations

from lapel_gateway.web.models.shapes import Shape


class PolicyStep(Shape):
    """Who is told at once, so many seconds after the alarm came, if nobody has answered until then."""

    after_s: int
    targets: list[str]
    channels: list[str]
    """Of the targets, as they are configured."""


class PolicyShape(Shape):
    """A policy; no team or kind = any, no hours = always."""

    name: str
    teams: list[str]
    kinds: list[str]
    hours: str | None
    repeat: int
    """How often its steps are gone through again before everyone is told."""
    steps: list[PolicyStep]
    everyone: PolicyStep
    everyone_every_s: int


class Policies(Shape):
    """In the order in which they are tried."""

    policies: list[PolicyShape]
