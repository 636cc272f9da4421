"""The pages of devices: those that want a look first, and one with all that is known, handed out and taken back.

Rules that hold here
- What speaks against handing a device out is shown before, and keeps it from being handed out without a reason.
- What only the gateway's own machine may do (lost, found, retired) is told as the command that does it.
"""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Annotated, Any, Literal

import sqlalchemy as sa
from fastapi import Depends, FastAPI, Form, Query, Request, Response

from lapel_gateway.accounts.permissions import Permission
from lapel_gateway.accounts.principal import Principal
from lapel_gateway.devices import handover
from lapel_gateway.devices.attention import BAD, IN_CONTACT, WARN
from lapel_gateway.devices.handover import HandoverError
from lapel_gateway.devices.health import list_health
from lapel_gateway.devices.states import list_states, worst_first
from lapel_gateway.devices.wanted import WantedError
from lapel_gateway.ledger import reading
from lapel_gateway.ledger.schema import DEVICE_ACTIVE
from lapel_gateway.ledger.schema import person as people
from lapel_gateway.web.access import may, said_in_form
from lapel_gateway.web.api.devices import device_of, enter_settings, judging
from lapel_gateway.web.pages import device_settings, device_view
from lapel_gateway.web.pages.frame import Pages

PATH = "/devices"
CLIPS_PATH = "/clips"

Show = Literal["", "attention", "out", "free", "over"]
Seer = Annotated[Principal, Depends(may(Permission.SEE_DEVICES))]
Setter = Annotated[Principal, Depends(may(Permission.SET_DEVICES))]
Keeper = Annotated[Principal, Depends(may(Permission.HAND_OUT_DEVICES))]
Field = Annotated[str, Form(max_length=1000)]

SHOWN: dict[str, str] = {
    "": "In service",
    "attention": "Want a look",
    "out": "Handed out",
    "free": "With nobody",
    "over": "Out of service",
}
UNSAID: dict[str, Any] = dict.fromkeys(
    (
        *("battery_percent", "battery_minutes", "clips_held", "blocked", "storage_full"),
        *("storage_free_kib", "storage_total_kib", "firmware"),
    )
)
"""What a device that was never heard says."""

STATES = {BAD: "is-bad", WARN: "is-warn"}


def install(app: FastAPI, pages: Pages) -> None:
    """Add the pages to ``app``."""
    guard = pages.guard
    engine, zone = guard.engine, guard.installed.zone
    pages.add_section("Devices", PATH, Permission.SEE_DEVICES)

    @app.get(PATH, include_in_schema=False)
    def see_devices(
        request: Request, user: Seer, show: Show = "", find: Annotated[str, Query(max_length=200)] = ""
    ) -> Response:
        every = worst_first(list_states(engine, judging(guard)))
        counts = {name: sum(_is(one, name) for one in every) for name in SHOWN}
        wanted = find.strip().casefold()
        found = [
            one
            for one in every
            if _is(one, show) and wanted in f"{one['name']} {one['person']} {one['team']} {one['device']}".casefold()
        ]
        return pages.show(
            request,
            "devices.html",
            devices=[one | {"says": UNSAID | (one["status"] or {})} for one in found],
            shown=SHOWN,
            show=show,
            find=find,
            counts=counts,
            states=STATES,
            in_contact=IN_CONTACT,
        )

    @app.get(PATH + "/{device}", include_in_schema=False)
    def see_device(
        request: Request, user: Seer, device: str, days: Annotated[int, Query(ge=1, le=365)] = 7
    ) -> Response:
        return _device(request, user, device, days=days if days in device_view.PERIODS else 7)

    @app.post(PATH + "/{device}/issue", include_in_schema=False)
    def hand_out(request: Request, user: Keeper, device: str, person: Field = "", in_spite: Field = "") -> Response:
        device_of(guard, device)
        by = judging(guard)
        try:
            handover.issue(engine, device, person, user.name, by.now_ms, by.rules, in_spite=in_spite)
        except HandoverError as error:
            return _device(request, user, device, said=_said(error), person=person, in_spite=in_spite)
        return pages.go(f"{PATH}/{device}")

    @app.post(PATH + "/{device}/return", include_in_schema=False)
    def take_back(request: Request, user: Keeper, device: str, note: Field = "") -> Response:
        device_of(guard, device)
        try:
            handover.take_back(engine, device, user.name, guard.now_ms(), note)
        except HandoverError as error:
            return _device(request, user, device, said=_said(error))
        return pages.go(f"{PATH}/{device}")

    @app.post(PATH + "/{device}/settings", include_in_schema=False)
    def set_device(
        request: Request,
        user: Setter,
        device: str,
        said: Annotated[dict[str, str], Depends(said_in_form)],
    ) -> Response:
        words = device_of(guard, device)
        try:
            changes = device_settings.parse_form(said, words["settings"])
            if changes:
                enter_settings(guard, user, device, changes)
        except WantedError as error:
            return _device(request, user, device, about_settings=_said(error), wanted=said)
        return pages.go(f"{PATH}/{device}#settings-title")

    def _device(
        request: Request,
        user: Principal,
        device: str,
        days: int = 7,
        said: str = "",
        person: str = "",
        in_spite: str = "",
        about_settings: str = "",
        wanted: Mapping[str, str] | None = None,
    ) -> Response:
        words = device_of(guard, device)
        now_ms = guard.now_ms()
        from_ms = device_view.begins_ms(now_ms, days, zone)
        hours = list_health(engine, device, from_ms, now_ms + 1)
        with reading(engine) as connection:
            names = list(connection.execute(sa.select(people.c.name).order_by(people.c.name)).scalars())
        return pages.show(
            request,
            "device.html",
            HTTPStatus.CONFLICT if said else HTTPStatus.UNPROCESSABLE_ENTITY if about_settings else HTTPStatus.OK,
            device=words | {"says": (says := UNSAID | (words["status"] or {}))},
            says=says,
            said=said,
            person=person,
            in_spite=in_spite,
            against=[one for one in words["checks"] if not one["good"]],
            people=names,
            hands_out=user.may(Permission.HAND_OUT_DEVICES) and words["state"] == DEVICE_ACTIVE,
            settings=device_settings.rows_of(words["settings"]),
            every_setting=device_settings.CHANGED_HERE,
            sets=user.may(Permission.SET_DEVICES) and words["state"] == DEVICE_ACTIVE,
            about_settings=about_settings,
            wanted=wanted or {},
            days=days,
            periods=device_view.PERIODS,
            charts=device_view.health_charts(hours, from_ms, days, zone),
            health=device_view.health_days(hours, zone),
            states=STATES,
            in_contact=IN_CONTACT,
            clips_path=CLIPS_PATH if any(one.path == CLIPS_PATH for one in pages.sections_of(user)) else "",
        )


def _is(device: dict[str, Any], show: str) -> bool:
    """Whether a device is one of those that are shown."""
    over = device["state"] == "retired"
    if show == "over" or over:
        return over and show == "over"
    if show == "attention":
        return bool(device["attention"])
    if show == "out":
        return bool(device["person"])
    return show != "free" or (not device["person"] and device["state"] == DEVICE_ACTIVE)


def _said(error: Exception) -> str:
    text = str(error).replace(" (--anyway)", "")
    return f"{text[:1].upper()}{text[1:]}."
