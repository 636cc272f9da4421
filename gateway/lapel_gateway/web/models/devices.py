"""Devices in answers."""

from __future__ import annotations

from typing import Any

from lapel_gateway.web.models.shapes import Moment, Shape


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
