"""The API of clips: the list of them, one whole, its copies to see and hear, and who saw it.

Rules that hold here
- Whoever may see only some clips is told of no other, not even that it is there.
- Nobody sees or hears anything of somebody else's clip before they said why (`viewing.looks`). The small picture that
  tells clips apart is blurred until then, and there is none for those who may not play the clip at all: a picture of
  somebody in their home is a look at them, whatever its size.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import tzinfo
from http import HTTPStatus
from pathlib import Path
from typing import Annotated, Any, Literal

import sqlalchemy as sa
import structlog
from fastapi import Depends, FastAPI, Header, Query
from fastapi.responses import FileResponse
from pydantic import BaseModel, ConfigDict, Field

from lapel_gateway import describe
from lapel_gateway.accounts.permissions import Permission
from lapel_gateway.accounts.principal import Principal
from lapel_gateway.ledger import reading
from lapel_gateway.viewing import catalogue, looks
from lapel_gateway.viewing.assembly import MATROSKA, MP4, VTT, Views
from lapel_gateway.viewing.looks import LookError, Reason
from lapel_gateway.viewing.thumbnail import BLURRED, THUMBNAIL
from lapel_gateway.viewing.viewcopy import frame_times
from lapel_gateway.web import schema
from lapel_gateway.web.access import may
from lapel_gateway.web.api.asking import Limit
from lapel_gateway.web.clip_search import ClipSearch, Word
from lapel_gateway.web.models import clips as models
from lapel_gateway.web.problems import Problem

MEDIA = {"mp4": (MP4, "video/mp4"), "mkv": (MATROSKA, "video/x-matroska"), "vtt": (VTT, "text/vtt; charset=utf-8")}
REASON_HEADER = "X-Lapel-Reason"
LARGEST_NUMBER = (1 << 53) - 1

_log = structlog.get_logger("lapel.web")

P = Permission
SeesClips = Annotated[Principal, Depends(may(P.SEE_CLIPS, P.SEE_ALARM_CLIPS, P.SEE_OWN))]
PlaysClips = Annotated[Principal, Depends(may(P.PLAY_CLIPS, P.SEE_OWN))]
SeesLooks = Annotated[Principal, Depends(may(P.SEE_AUDIT, P.SEE_CLIPS, P.SEE_OWN))]
SeesOwn = Annotated[Principal, Depends(may(P.SEE_OWN))]

Media = Literal["mp4", "mkv", "vtt"]
Why = Annotated[
    str | None,
    Header(alias=REASON_HEADER, max_length=looks.MAX_REASON_CHARACTERS, description="Why you look, in words."),
]
Before = Annotated[int | None, Query(ge=1, le=LARGEST_NUMBER)]


class ListedClips(ClipSearch):
    """The query of a list of clips."""

    state: Word = ""
    limit: Limit = 100


class View(BaseModel):
    """Why somebody is about to look: ``kind`` is incident, complaint, evidence, quality or other."""

    model_config = ConfigDict(extra="forbid")

    kind: Annotated[str, Field(max_length=16)] = looks.OTHER
    reason: Annotated[str, Field(max_length=looks.MAX_REASON_CHARACTERS)] = ""
    reference: Annotated[str, Field(max_length=looks.MAX_REFERENCE_CHARACTERS)] = ""


def install(
    app: FastAPI,
    engine: sa.Engine,
    views: Views,
    now_ms: Callable[[], int],
    reason_ms: int,
    zone: tzinfo | None,
) -> None:
    """Add the routes to ``app``. A reason holds for ``reason_ms``; ``zone``: of dates, None = this machine's."""

    @app.get("/api/v1/clips", response_model=models.Clips)
    def list_clips(user: SeesClips, asked: Annotated[ListedClips, Query()]) -> dict[str, Any]:
        found = asked.find(engine, user, zone, asked.limit, asked.state)
        return {"clips": [describe.clip_words(row) for row in found.rows], "next": found.next or None}

    @app.get("/api/v1/clip-views", response_model=models.Looks)
    def list_views_of_mine(user: SeesOwn, before: Before = None, limit: Limit = 100) -> dict[str, Any]:
        return {"views": looks.list_looks(engine, of_person=user.name, limit=limit, before=before)}

    @app.get("/api/v1/clips/{clip_id}", response_model=models.Clip)
    def show_clip(user: SeesClips, clip_id: str) -> dict[str, Any]:
        return describe.clip_words(row_of(engine, clip_id, user))

    @app.get("/api/v1/clips/{clip_id}/views", response_model=models.Looks)
    def list_views(user: SeesLooks, clip_id: str, before: Before = None, limit: Limit = 100) -> dict[str, Any]:
        named = describe.parse_clip_name(clip_id)
        if not user.may(P.SEE_AUDIT) or named is None:
            row = row_of(engine, clip_id, user)
            if not (user.may(P.SEE_CLIPS) or looks.is_own(row, user)):
                raise _no_such_clip()
            named = (row["device"], row["clip"])
        return {"views": looks.list_looks(engine, named, limit=limit, before=before)}

    @app.post("/api/v1/clips/{clip_id}/views", status_code=HTTPStatus.CREATED, response_model=models.Looks)
    def look(user: PlaysClips, clip_id: str, view: View) -> dict[str, Any]:
        row = row_of(engine, clip_id, user)
        enter(engine, row, user, Reason(view.kind, view.reason, view.reference), now_ms(), reason_ms)
        found = looks.list_looks(engine, (row["device"], row["clip"]), limit=100)
        return {"views": [one for one in found if one["seen"]["by"] == user.name]}

    @app.get("/api/v1/clips/{clip_id}/media/{kind}", response_class=FileResponse, responses=schema.MEDIA)
    def media(user: PlaysClips, clip_id: str, kind: Media, why: Why = None) -> FileResponse:
        path = _shown(user, clip_id, kind, why)
        _log.info("clip fetched", id=clip_id, media=kind, by=user.name)
        name = f"{clip_id}.{kind}"
        return FileResponse(path, media_type=MEDIA[kind][1], filename=name, content_disposition_type="inline")

    @app.get("/api/v1/clips/{clip_id}/frames", response_model=models.FrameTimes)
    def frames(user: PlaysClips, clip_id: str, why: Why = None) -> dict[str, Any]:
        return {"frames_ms": frame_times(_shown(user, clip_id, "mp4", why))}

    def _shown(user: Principal, clip_id: str, kind: Media, why: str | None) -> Path:
        """A file of a clip that somebody may see now. Raises Problem."""
        row = row_of(engine, clip_id, user)
        clip = describe.clip_words(row)
        name = MEDIA[kind][0]
        assembly = clip["assembly"]
        if assembly is None:
            raise Problem(HTTPStatus.CONFLICT, f"clip {clip_id} is {clip['state']}: it is not assembled yet")
        if name not in assembly["files"]:
            reason = assembly.get("reason") or "it has nothing to see or hear"
            raise Problem(HTTPStatus.NOT_FOUND, f"clip {clip_id} has no {kind}: {reason}")
        path = views.path(row["device"], row["clip"], name)
        if not path.is_file():
            raise Problem(HTTPStatus.NOT_FOUND, f"the {kind} of clip {clip_id} is missing from the view area")
        admit(engine, row, user, why if user.how == "token" else None, now_ms(), reason_ms)
        return path

    @app.get("/api/v1/clips/{clip_id}/thumbnail", response_class=FileResponse, responses=schema.PICTURE)
    def thumbnail(user: SeesClips, clip_id: str) -> FileResponse:
        with reading(engine) as connection:
            row = catalogue.one_clip(connection, clip_id, user)
            sharp = row is not None and looks.may_look(connection, row, user, now_ms() - reason_ms)
        if row is None:
            raise _no_such_clip()
        if not (user.may(P.PLAY_CLIPS) or looks.is_own(row, user)):
            raise Problem(HTTPStatus.NOT_FOUND, "clips are shown in pictures to those who may play them")
        path = views.path(row["device"], row["clip"], THUMBNAIL if sharp else BLURRED)
        if not path.is_file():
            raise Problem(HTTPStatus.NOT_FOUND, f"clip {clip_id} has no picture")
        return FileResponse(path, media_type="image/jpeg")


def enter(engine: sa.Engine, row: sa.RowMapping, user: Principal, reason: Reason, now: int, reason_ms: int) -> None:
    """Enter why somebody looks. Raises Problem."""
    try:
        looks.enter_look(engine, row, user, None if looks.is_own(row, user) else reason, now, now - reason_ms)
    except LookError as error:
        raise Problem(HTTPStatus.UNPROCESSABLE_ENTITY, str(error)) from None


def admit(engine: sa.Engine, row: sa.RowMapping, user: Principal, said: str | None, now: int, reason_ms: int) -> None:
    """Let somebody see a clip who gave a reason, lately or with the request (``said``). Raises Problem."""
    try:
        admitted = looks.admit(engine, row, user, said, now, now - reason_ms)
    except LookError as error:
        raise Problem(HTTPStatus.UNPROCESSABLE_ENTITY, f"{REASON_HEADER}: {error}") from None
    if not admitted:
        name = describe.clip_name(row["device"], row["clip"])
        raise Problem(
            HTTPStatus.FORBIDDEN,
            f"say first why you look at somebody else's clip: on its page, with a header {REASON_HEADER}: WORDS, "
            f"or with POST /api/v1/clips/{name}/views",
        )


def row_of(engine: sa.Engine, clip_id: str, user: Principal) -> sa.RowMapping:
    """The clip of an id, if somebody may know of it. Raises Problem."""
    with reading(engine) as connection:
        row = catalogue.one_clip(connection, clip_id, user)
    if row is None:
        raise _no_such_clip()
    return row


def _no_such_clip() -> Problem:
    return Problem(HTTPStatus.NOT_FOUND, "there is no such clip")
