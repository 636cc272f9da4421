"""Devices in answers."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from lapel_gateway.web.models.shapes import Act, Moment, Shape


class ConcernShape(Shape):
    """Something about a device that wants a look; ``level``: bad or warn."""

    level: str
    words: str


class UpdateState(Shape):
    """What it runs, and what its last update came to."""

    number: int
    trial: bool
    fixed: bool
    wanted: str | None
    step: str | None
    why: str | None


class LastTest(Shape):
    """Its newest self-test."""

    at: Moment
    passed: bool


class DeviceShape(Shape):
    """A device."""

    device: str
    name: str
    person: str
    team: str
    state: str
    provisioned: Moment
    ended: Moment | None
    cut_off: str | None
    found: Moment | None
    follows: str | None
    contact: Moment | None
    link: str
    boot: int | None
    epoch: int
    status: dict[str, Any] | None
    settings: dict[str, int]
    settings_told: bool
    update: UpdateState | None
    self_test: LastTest | None
    attention: list[ConcernShape]


class Devices(Shape):
    """By name."""

    devices: list[DeviceShape]


class CheckShape(Shape):
    """What is looked at before a device is handed out."""

    name: str
    good: bool
    words: str


class HandoverShape(Shape):
    """Who had it from when to when; batteries in percent."""

    device: str
    name: str
    person: str
    issued: Act
    issued_battery: int | None
    in_spite: str | None
    returned: Act | None
    returned_battery: int | None
    note: str | None


class TestShape(Shape):
    """One test of a self-test."""

    name: str
    outcome: str
    found: str
    remedy: str


class SelfTestShape(Shape):
    """A self-test."""

    device: str | None
    hardware: str
    at: Moment
    by: str
    passed: bool
    tests: list[TestShape]


class FaultShape(Shape):
    """Something that a device sent and that was not taken, and how often."""

    reason: str
    count: int
    first: Moment
    last: Moment


class DeviceDetail(DeviceShape):
    """A device with all that is known of it."""

    out: bool
    checks: list[CheckShape]
    handovers: list[HandoverShape]
    self_tests: list[SelfTestShape]
    clips: dict[str, int]
    faults: list[FaultShape]


class HealthHour(Shape):
    """What a device said within an hour."""

    hour: Moment
    battery_percent_min: int | None
    battery_percent_max: int | None
    storage_free_kib_min: int | None
    unsent_clips_max: int | None
    heartbeats: int
    boots: int
    blocked: bool
    storage_full: bool


class DeviceHealth(Shape):
    """The hours in which it was heard, oldest first."""

    hours: list[HealthHour]


def _number(least: int, most: int) -> Any:
    return Field(None, ge=least, le=most)


class WantedSettings(Shape):
    """Settings to be changed (SPEC 8.7); those that are not named stay as they are."""

    notice_policy: int | None = _number(0, 1)
    delete_level: int | None = _number(1, 2)
    notice_timeout_ms: int | None = _number(3_000, 60_000)
    frame_interval_ms: int | None = _number(0, 10_000)
    heartbeat_s: int | None = _number(5, 3_600)
    silent: int | None = _number(0, 1)
    audio: int | None = _number(0, 1)
    clip_limit_s: int | None = _number(10, 14_400)
    man_down: int | None = _number(0, 1)
    no_movement_min: int | None = _number(0, 240)
    fall_dip_mg: int | None = _number(200, 900)
    fall_impact_mg: int | None = _number(1_500, 6_000)
    fall_turn_deg: int | None = _number(0, 90)
    fall_still_s: int | None = _number(5, 120)

    def changes(self) -> dict[str, int]:
        """Those that are named."""
        return self.model_dump(exclude_none=True)


class TeamSettings(Shape):
    """Settings for the devices that a team's people have now."""

    team: str = Field(min_length=1, max_length=200)
    settings: WantedSettings


class SettingsShape(Shape):
    """All settings that are wanted on a device; ``told``: they were sent to it."""

    settings: dict[str, int]
    told: bool


class TeamDevices(Shape):
    """The devices of a team on which the settings are wanted now."""

    devices: list[str]


class IssueTo(Shape):
    """To whom a device is handed; ``in_spite``: why, whatever speaks against it."""

    person: str = Field(max_length=200)
    in_spite: str = Field("", max_length=500)


class TakenBack(Shape):
    """What was said or seen when it came back."""

    note: str = Field("", max_length=500)


class ToDo(Shape):
    """What has to be done with a device that came back, before the next has it."""

    left: list[str]


class Issued(Shape):
    """What was looked at."""

    checks: list[CheckShape]
