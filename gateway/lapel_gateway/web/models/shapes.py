"""What all shapes share."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


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
