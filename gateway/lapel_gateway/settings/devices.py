"""The settings of handing out devices."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from lapel_gateway.settings.section import Section


class DevicesSection(Section):
    """What devices are given, and what they must be like to be handed to somebody."""

    wifi_file: Path | None = Field(
        None, description="Wi-Fi networks for new devices: TOML, mode 0600 (`lapel device provision --help`)."
    )
    return_to: str = Field("", max_length=200, description="Where a finder of a device turns to; printed on its label.")

    issue_battery_percent: int = Field(60, ge=0, le=100, description="The least charge; a shift has to be had of it.")
    self_test_days: int = Field(
        30, ge=0, le=3650, description="How old a self-test that was passed may be; 0 asks for none."
    )


DEFAULT_DEVICE_RULES = DevicesSection()
