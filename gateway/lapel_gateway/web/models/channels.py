"""Channels in answers."""

from __future__ import annotations

from lapel_gateway.web.models.shapes import Moment, Shape


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
