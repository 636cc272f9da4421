"""The settings of handing out devices."""

from __future__ import annotations

from pydantic import Field

from lapel_gateway.settings.section import Section


class DevicesSection(Section):
    """What a device must be like to be handed to somebody."""

    issue_battery_percent: int = Field(60, ge=0, le=100, description="The least charge; a shift has to be had of it.")
    self_test_days: int = Field(
        30, ge=0, le=3650, description="How old a self-test that was passed may be; 0 asks for none."
    )


DEFAULT_DEVICE_RULES = DevicesSection()
