"""The API of devices: the list, one with all that is known of it, how it fared; handing it out and taking it back; the
settings that are wanted on one, or on those of a team.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from http import HTTPStatus
from typing import Annotated, Any

import sqlalchemy as sa
from fastapi import Depends, FastAPI, Query

from lapel_gateway.accounts.audit import note
from lapel_gateway.accounts.permissions import Permission
from lapel_gateway.accounts.principal import Principal
from lapel_gateway.devices import handover, wanted
from lapel_gateway.devices.handover import HandoverError
from lapel_gateway.devices.health import list_health
from lapel_gateway.devices.states import Judging, list_states, read_device
from lapel_gateway.devices.wanted import WantedError
from lapel_gateway.ledger import writing
from lapel_gateway.reports.period import Period, PeriodError, parse_period
from lapel_gateway.web.access import may
from lapel_gateway.web.guard import Guard
from lapel_gateway.web.models import devices as models
from lapel_gateway.web.problems import Problem

Seer = Annotated[Principal, Depends(may(Permission.SEE_DEVICES))]
Keeper = Annotated[Principal, Depends(may(Permission.HAND_OUT_DEVICES))]
Setter = Annotated[Principal, Depends(may(Permission.SET_DEVICES))]
When = Annotated[str | None, Query(max_length=64)]
From = Annotated[str | None, Query(alias="from", max_length=64)]


def install(app: FastAPI, guard: Guard) -> None:
    """Add the routes to ``app``."""
    engine = guard.engine

    @app.get("/api/v1/devices", response_model=models.Devices)
    def list_devices(user: Seer) -> dict[str, Any]:
        return {"devices": list_states(engine, judging(guard))}

    @app.get("/api/v1/devices/{device}", response_model=models.DeviceDetail)
    def show_device(user: Seer, device: str) -> dict[str, Any]:
        return device_of(guard, device)

    @app.get("/api/v1/devices/{device}/health", response_model=models.DeviceHealth)
    def health(user: Seer, device: str, begin: From = None, to: When = None) -> dict[str, Any]:
        device_of(guard, device)
        try:
            period: Period = parse_period(begin, to, guard.installed.zone, guard.now_ms())
        except PeriodError as error:
            raise Problem(HTTPStatus.UNPROCESSABLE_ENTITY, str(error)) from None
        return {"hours": list_health(engine, device, period.from_ms, period.to_ms)}

    @app.post("/api/v1/devices/{device}/issue", response_model=models.Issued)
    def issue_device(user: Keeper, device: str, asked: models.IssueTo) -> dict[str, Any]:
        device_of(guard, device)
        by = judging(guard)
        try:
            found = handover.issue(
                engine, device, asked.person, user.name, by.now_ms, by.rules, in_spite=asked.in_spite
            )
        except HandoverError as error:
            raise Problem(HTTPStatus.CONFLICT, str(error)) from None
        return {"checks": [asdict(one) for one in found]}

    @app.post("/api/v1/devices/{device}/return", response_model=models.ToDo)
    def take_back_device(user: Keeper, device: str, asked: models.TakenBack) -> dict[str, Any]:
        device_of(guard, device)
        try:
            return {"left": handover.take_back(engine, device, user.name, guard.now_ms(), asked.note)}
        except HandoverError as error:
            raise Problem(HTTPStatus.CONFLICT, str(error)) from None

    @app.patch("/api/v1/devices/{device}/settings", response_model=models.SettingsShape)
    def set_device(user: Setter, device: str, asked: models.WantedSettings) -> dict[str, Any]:
        device_of(guard, device)
        try:
            enter_settings(guard, user, device, asked.changes())
        except WantedError as error:
            raise Problem(HTTPStatus.UNPROCESSABLE_ENTITY, str(error)) from None
        found = device_of(guard, device)
        return {"settings": found["settings"], "told": found["settings_told"]}

    @app.patch("/api/v1/team-settings", response_model=models.TeamDevices)
    def set_devices_of_team(user: Setter, asked: models.TeamSettings) -> dict[str, Any]:
        try:
            return {"devices": enter_team_settings(guard, user, asked.team, asked.settings.changes())}
        except WantedError as error:
            raise Problem(HTTPStatus.CONFLICT, str(error)) from None


def enter_settings(guard: Guard, user: Principal, device: str, changes: Mapping[str, int]) -> None:
    """Want other settings on a device, and say so in the audit log. Raises WantedError."""
    with writing(guard.engine) as connection:
        wanted.want(connection, device, changes)
        _note(connection, guard, user, device, changes)


def enter_team_settings(guard: Guard, user: Principal, team: str, changes: Mapping[str, int]) -> list[str]:
    """The same on the devices that a team's people have now; returns them. Raises WantedError."""
    with writing(guard.engine) as connection:
        found = wanted.want_of_team(connection, team, changes)
        _note(connection, guard, user, f"{team}: {len(found)} devices", changes)
    return found


def _note(connection: sa.Connection, guard: Guard, user: Principal, about: str, changes: Mapping[str, int]) -> None:
    detail = ", ".join(f"{name} = {value}" for name, value in changes.items())
    note(connection, user.actor, guard.now_ms(), "set devices", about, detail=detail)


def judging(guard: Guard) -> Judging:
    """What devices are judged by now."""
    installed = guard.installed
    return Judging(guard.now_ms(), installed.around.heartbeat_late_ms, installed.device_rules)


def device_of(guard: Guard, device: str) -> dict[str, Any]:
    """All that is known of a device. Raises Problem."""
    found = read_device(guard.engine, device, judging(guard))
    if found is None:
        raise Problem(HTTPStatus.NOT_FOUND, "there is no such device")
    return found
