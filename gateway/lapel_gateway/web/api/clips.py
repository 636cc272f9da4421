"""The API of clips: the list of them, one whole, and its copies to see and hear.

Whoever may see only some clips is told of no other, not even that it is there.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import Annotated, Any, Literal

import sqlalchemy as sa
import structlog
from fastapi import Depends, FastAPI
from fastapi.responses import FileResponse

from lapel_gateway import describe
from lapel_gateway.accounts.permissions import Permission
from lapel_gateway.accounts.principal import Principal
from lapel_gateway.ledger.schema import clip as clip_table
from lapel_gateway.viewing.assembly import MATROSKA, MP4, VTT, Views
from lapel_gateway.web import schema
from lapel_gateway.web.access import may
from lapel_gateway.web.api.asking import Limit, rows
from lapel_gateway.web.models import clips as models
from lapel_gateway.web.problems import Problem

MEDIA = {"mp4": (MP4, "video/mp4"), "mkv": (MATROSKA, "video/x-matroska"), "vtt": (VTT, "text/vtt; charset=utf-8")}

_log = structlog.get_logger("lapel.web")

P = Permission
SeesClips = Annotated[Principal, Depends(may(P.SEE_CLIPS, P.SEE_ALARM_CLIPS, P.SEE_OWN))]
PlaysClips = Annotated[Principal, Depends(may(P.PLAY_CLIPS, P.SEE_OWN))]

Media = Literal["mp4", "mkv", "vtt"]


def install(app: FastAPI, engine: sa.Engine, views: Views) -> None:
    """Add the routes to ``app``."""

    @app.get("/api/v1/clips", response_model=models.Clips)
    def list_clips(
        user: SeesClips, device: str | None = None, state: str | None = None, limit: Limit = 100
    ) -> dict[str, Any]:
        columns = clip_table.c
        query = (
            sa.select(clip_table)
            .where(visible(user))
            .order_by(columns.first_ms.desc(), columns.device, columns.clip.desc())
        )
        if device is not None:
            query = query.where(columns.device == device)
        if state is not None:
            query = query.where(columns.state == state)
        return {"clips": [describe.clip_words(row) for row in rows(engine, query.limit(limit))]}

    @app.get("/api/v1/clips/{clip_id}", response_model=models.Clip)
    def show_clip(user: SeesClips, clip_id: str) -> dict[str, Any]:
        return clip_of(engine, clip_id, user)

    @app.get("/api/v1/clips/{clip_id}/media/{kind}", response_class=FileResponse, responses=schema.MEDIA)
    def media(user: PlaysClips, clip_id: str, kind: Media) -> FileResponse:
        clip = clip_of(engine, clip_id, user)
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


def visible(user: Principal) -> sa.ColumnElement[bool]:
    """The clips that somebody may know of."""
    if user.may(P.SEE_CLIPS):
        return sa.true()
    own = [clip_table.c.person == user.name] if user.may(P.SEE_OWN) else []
    alarms_too = [clip_table.c.alarm.is_(True)] if user.may(P.SEE_ALARM_CLIPS) else []
    return sa.or_(sa.false(), *own, *alarms_too)


def clip_of(engine: sa.Engine, clip_id: str, user: Principal) -> dict[str, Any]:
    named = describe.parse_clip_name(clip_id)
    if named is not None:
        here = sa.and_(clip_table.c.device == named[0], clip_table.c.clip == named[1])
        for row in rows(engine, sa.select(clip_table).where(here, visible(user))):
            return describe.clip_words(row)
    raise Problem(HTTPStatus.NOT_FOUND, "there is no such clip")
