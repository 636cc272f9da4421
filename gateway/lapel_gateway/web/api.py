"""The gateway's HTTP API: what there is, and what a named human does about it.

Rules that hold here
- Every route says which permission it asks for (`access`), except those of monitoring (`metrics_api`); every change is
  made in its user's name. The links in messages (`ack_pages`) carry a token of their own, for one alarm.
- Whoever may see only what is their own is told of nothing else, not even that it is there.
- The first acknowledgement of an alarm counts. A second one is told who was first, and is noted too.
- Answers are the words of ``describe``; errors are problem details. Neither shows a secret.
- Plain HTTP, for loopback or behind a TLS proxy.
"""

from __future__ import annotations

from collections.abc import Callable
from http import HTTPStatus
from typing import Annotated, Any, Literal

import sqlalchemy as sa
import structlog
from fastapi import Depends, FastAPI, Query
from fastapi.responses import FileResponse
from pydantic import BaseModel, ConfigDict, Field

from lapel_gateway import describe
from lapel_gateway.accounts.permissions import Permission
from lapel_gateway.accounts.principal import Principal
from lapel_gateway.accounts.provider import IdentityProvider
from lapel_gateway.alarms import core as alarms
from lapel_gateway.ledger import reading
from lapel_gateway.ledger.schema import alarm as alarm_table
from lapel_gateway.ledger.schema import alarm_log, delivery, escalation, outbox
from lapel_gateway.ledger.schema import clip as clip_table
from lapel_gateway.ledger.schema import device as device_table
from lapel_gateway.overview.feed import Feed
from lapel_gateway.overview.reader import Reader
from lapel_gateway.viewing.assembly import MATROSKA, MP4, VTT, Views
from lapel_gateway.web import (
    account_pages,
    ack_pages,
    channels_api,
    disclosures_api,
    live_api,
    login_pages,
    metrics_api,
    models,
    problems,
    provider_pages,
    reports_api,
    schema,
    users_api,
    visits_api,
)
from lapel_gateway.web.access import may
from lapel_gateway.web.ack_pages import AckPages
from lapel_gateway.web.guard import Guard
from lapel_gateway.web.headers import SafeHeaders
from lapel_gateway.web.idempotency import Route
from lapel_gateway.web.installed import NOTHING_INSTALLED, Installed
from lapel_gateway.web.pages import Pages
from lapel_gateway.web.problems import BodyLimit, Problem

MAX_PAGE = 500
"""Rows in one answer."""

MAX_BODY_BYTES = 16_384
"""Of a request: a resolution with the longest note. Bodies are read before the token is looked at."""

MEDIA = {"mp4": (MP4, "video/mp4"), "mkv": (MATROSKA, "video/x-matroska"), "vtt": (VTT, "text/vtt; charset=utf-8")}

_log = structlog.get_logger("lapel.web")


class Resolution(BaseModel):
    """How an alarm ended."""

    model_config = ConfigDict(extra="forbid")

    reason: Literal["true", "false", "test"]
    note: Annotated[str, Field(max_length=2000)] = ""


P = Permission
SeesAlarms = Annotated[Principal, Depends(may(P.SEE_ALARMS, P.SEE_OWN))]
AnswersAlarms = Annotated[Principal, Depends(may(P.ANSWER_ALARMS))]
SeesClips = Annotated[Principal, Depends(may(P.SEE_CLIPS, P.SEE_ALARM_CLIPS, P.SEE_OWN))]
PlaysClips = Annotated[Principal, Depends(may(P.PLAY_CLIPS, P.SEE_OWN))]
SeesDevices = Annotated[Principal, Depends(may(P.SEE_DEVICES))]

Limit = Annotated[int, Query(ge=1, le=MAX_PAGE)]
Media = Literal["mp4", "mkv", "vtt"]


def build_app(
    engine: sa.Engine,
    views: Views,
    now_ms: Callable[[], int],
    installed: Installed = NOTHING_INSTALLED,
) -> FastAPI:
    """The API over a ledger and a view area, and the pages behind acknowledge links where there are any."""
    # No redirect to a path without its last slash: it puts the query, whatever its bytes, into a Location.
    app = FastAPI(
        title="Lapel gateway",
        version="1",
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        redirect_slashes=False,
        responses=schema.REFUSALS,
    )
    app.router.route_class = Route
    app.add_middleware(BodyLimit, max_bytes=MAX_BODY_BYTES)
    app.add_middleware(SafeHeaders, behind_tls=installed.behind_tls)
    guard = Guard(engine, now_ms, installed)
    pages = Pages(guard)
    problems.install(app, pages.fault)
    app.state.guard = guard
    schema.install(app)
    pages.install(app)
    login_pages.install(app, pages)
    account_pages.install(app, pages)
    users_api.install(app, guard)
    if installed.provider is not None:
        back = f"{installed.public_url}{provider_pages.BACK_PATH}"
        provider_pages.install(app, pages, IdentityProvider(installed.provider, installed.seal, back))
    if installed.links is not None:
        ack_pages.install(app, AckPages(engine, installed.links, now_ms))
    reports_api.install(app, engine, now_ms, installed.zone)
    visits_api.install(app, engine, now_ms, installed.rules)
    channels_api.install(app, engine, installed.channels)
    disclosures_api.install(app, engine, now_ms)
    app.state.feed = Feed(Reader(engine, installed.around), now_ms)
    live_api.install(app, app.state.feed)

    metrics_api.install(app, engine, now_ms, installed)

    @app.get("/api/v1/alarms", response_model=models.Alarms)
    def list_alarms(user: SeesAlarms, state: str | None = None, limit: Limit = 100) -> dict[str, Any]:
        query = sa.select(alarm_table).order_by(alarm_table.c.received_ms.desc(), alarm_table.c.id).limit(limit)
        if state is not None:
            query = query.where(alarm_table.c.state == state)
        if (whose := user.only(P.SEE_ALARMS)) is not None:
            query = query.where(alarm_table.c.person == whose)
        return {"alarms": [describe.alarm_words(row) for row in _rows(engine, query)]}

    @app.get("/api/v1/alarms/{alarm_id}", response_model=models.AlarmWhole)
    def show_alarm(user: SeesAlarms, alarm_id: str) -> dict[str, Any]:
        return _alarm(engine, alarm_id, user.only(P.SEE_ALARMS))

    @app.post("/api/v1/alarms/{alarm_id}/acknowledge", response_model=models.AlarmWhole)
    def acknowledge(user: AnswersAlarms, alarm_id: str) -> dict[str, Any]:
        before = _alarm(engine, alarm_id)
        try:
            first = alarms.acknowledge(engine, alarm_id, user.name, now_ms())
        except alarms.OwnAlarm as error:
            raise Problem(HTTPStatus.FORBIDDEN, str(error)) from None
        if not first:
            after = _alarm(engine, alarm_id)
            earlier = after["acknowledged"] or after["resolved"] or before["acknowledged"]
            what = "acknowledged" if after["acknowledged"] else "resolved"
            raise Problem(HTTPStatus.CONFLICT, f"{earlier['by']} {what} this alarm at {earlier['utc']}", alarm=after)
        return _alarm(engine, alarm_id)

    @app.post("/api/v1/alarms/{alarm_id}/resolve", response_model=models.AlarmWhole)
    def resolve(user: AnswersAlarms, alarm_id: str, resolution: Resolution) -> dict[str, Any]:
        _alarm(engine, alarm_id)
        note = describe.one_line(resolution.note)
        try:
            first = alarms.resolve(engine, alarm_id, user.name, resolution.reason, note, now_ms())
        except alarms.OwnAlarm as error:
            raise Problem(HTTPStatus.FORBIDDEN, str(error)) from None
        if not first:
            after = _alarm(engine, alarm_id)
            earlier = after["resolved"]
            words = f"{earlier['by']} resolved this alarm as {after['resolution']} at {earlier['utc']}"
            raise Problem(HTTPStatus.CONFLICT, words, alarm=after)
        return _alarm(engine, alarm_id)

    @app.get("/api/v1/clips", response_model=models.Clips)
    def list_clips(
        user: SeesClips, device: str | None = None, state: str | None = None, limit: Limit = 100
    ) -> dict[str, Any]:
        columns = clip_table.c
        query = (
            sa.select(clip_table)
            .where(_visible(user))
            .order_by(columns.first_ms.desc(), columns.device, columns.clip.desc())
        )
        if device is not None:
            query = query.where(columns.device == device)
        if state is not None:
            query = query.where(columns.state == state)
        return {"clips": [describe.clip_words(row) for row in _rows(engine, query.limit(limit))]}

    @app.get("/api/v1/clips/{clip_id}", response_model=models.Clip)
    def show_clip(user: SeesClips, clip_id: str) -> dict[str, Any]:
        return _clip(engine, clip_id, user)

    @app.get("/api/v1/clips/{clip_id}/media/{kind}", response_class=FileResponse, responses=schema.MEDIA)
    def media(user: PlaysClips, clip_id: str, kind: Media) -> FileResponse:
        clip = _clip(engine, clip_id, user)
        name, media_type = MEDIA[kind]
        assembly = clip["assembly"]
        if assembly is None:
            raise Problem(HTTPStatus.CONFLICT, f"clip {clip_id} is {clip['state']}: it is not assembled yet")
        if name not in assembly["files"]:
            why = assembly.get("reason") or "it has nothing to see or hear"
            raise Problem(HTTPStatus.NOT_FOUND, f"clip {clip_id} has no {kind}: {why}")
        path = views.path(clip["device"], clip["clip"], name)
        if not path.is_file():
            raise Problem(HTTPStatus.NOT_FOUND, f"the {kind} of clip {clip_id} is missing from the view area")
        _log.info("clip fetched", id=clip_id, media=kind, by=user.name)
        return FileResponse(
            path, media_type=media_type, filename=f"{clip_id}.{kind}", content_disposition_type="inline"
        )

    @app.get("/api/v1/devices", response_model=models.Devices)
    def list_devices(user: SeesDevices) -> dict[str, Any]:
        query = sa.select(device_table).order_by(device_table.c.name, device_table.c.provisioned_ms)
        return {"devices": [describe.device_words(row) for row in _rows(engine, query)]}

    return app


def _rows(engine: sa.Engine, query: sa.Select[Any]) -> list[sa.RowMapping]:
    with reading(engine) as connection:
        return list(connection.execute(query).mappings())


def _visible(user: Principal) -> sa.ColumnElement[bool]:
    """The clips that somebody may know of."""
    if user.may(P.SEE_CLIPS):
        return sa.true()
    own = [clip_table.c.person == user.name] if user.may(P.SEE_OWN) else []
    alarms_too = [clip_table.c.alarm.is_(True)] if user.may(P.SEE_ALARM_CLIPS) else []
    return sa.or_(sa.false(), *own, *alarms_too)


def _alarm(engine: sa.Engine, alarm_id: str, whose: str | None = None) -> dict[str, Any]:
    """One alarm, of ``whose`` where that is said, with its log and what was sent. Raises Problem when there is none."""
    found = _rows(engine, sa.select(alarm_table).where(alarm_table.c.id == alarm_id))
    if not found or (whose is not None and found[0]["person"] != whose):
        raise Problem(HTTPStatus.NOT_FOUND, "there is no such alarm")
    newest = sa.select(alarm_log).where(alarm_log.c.alarm_id == alarm_id).order_by(alarm_log.c.id.desc())
    log = _rows(engine, newest.limit(MAX_PAGE))
    sent = _rows(
        engine,
        sa.select(outbox.c.channel, delivery.c.at_ms, delivery.c.outcome, delivery.c.detail)
        .join(delivery, delivery.c.outbox_id == outbox.c.id)
        .where(outbox.c.subject == alarm_id)
        .order_by(delivery.c.id.desc())
        .limit(MAX_PAGE),
    )
    called = _rows(engine, sa.select(escalation).where(escalation.c.alarm_id == alarm_id))
    return {
        **describe.alarm_words(found[0]),
        "escalation": describe.escalation_words(called[0]) if called else None,
        "log": [describe.log_words(row) for row in reversed(log)],
        "deliveries": [describe.delivery_words(row) for row in reversed(sent)],
    }


def _clip(engine: sa.Engine, clip_id: str, user: Principal) -> dict[str, Any]:
    named = describe.parse_clip_name(clip_id)
    if named is not None:
        here = sa.and_(clip_table.c.device == named[0], clip_table.c.clip == named[1])
        for row in _rows(engine, sa.select(clip_table).where(here, _visible(user))):
            return describe.clip_words(row)
    raise Problem(HTTPStatus.NOT_FOUND, "there is no such clip")
