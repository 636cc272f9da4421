"""The newest picture of a clip, from when its first one is here: what somebody who answers an alarm looks at.

Rules that hold here
- Nothing is opened here: this role has no key. Of a clip that is coming in the role that delivers gives the picture
  (`viewing.live_pictures`), of an assembled one its copy does.
- A page asks again once a second with the ETag that it has, and is told of a picture once. An endless answer would take
  one of the few connections that a browser has for a gateway, for each clip; and whoever may not look any more would.
- Each clip that somebody looks at is in the audit log, once in a while instead of once a second.
"""

from __future__ import annotations

from http import HTTPStatus
from pathlib import Path
from typing import Annotated, Any

import sqlalchemy as sa
from fastapi import Depends, FastAPI, Header, Response

from lapel_gateway.accounts.permissions import Permission
from lapel_gateway.accounts.principal import Principal
from lapel_gateway.viewing.assembly import FORM_SEALED, MATROSKA, Views
from lapel_gateway.viewing.frames import FrameFinder
from lapel_gateway.viewing.live_pictures import LiveArea
from lapel_gateway.web.access import may
from lapel_gateway.web.api.clips import clip_of
from lapel_gateway.web.problems import Problem

TAIL_BYTES = 2 << 20
"""Of a copy, read for its last picture: there is a Cluster in each."""

P = Permission
Looks = Annotated[Principal, Depends(may(P.PLAY_CLIPS, P.SEE_OWN, again=True))]
IfNoneMatch = Annotated[str, Header(alias="If-None-Match", max_length=200)]

ANSWERS: dict[int | str, dict[str, Any]] = {
    200: {"description": "The newest picture.", "content": {"image/jpeg": {}}},
    204: {"description": "No picture is here yet: ask again in a second."},
    304: {"description": "There is no newer one."},
}


def install(app: FastAPI, engine: sa.Engine, views: Views) -> None:
    """Add the route to ``app``."""
    area = LiveArea(views.root)

    @app.get("/api/v1/clips/{clip_id}/picture", response_class=Response, responses=ANSWERS)
    def newest_picture(user: Looks, clip_id: str, if_none_match: IfNoneMatch = "") -> Response:
        clip = clip_of(engine, clip_id, user)
        assembly = clip["assembly"]
        if assembly is not None:
            if assembly["form"] == FORM_SEALED:
                raise _sealed(assembly["reason"])
            path = views.path(clip["device"], clip["clip"], MATROSKA)
            return _answer(_last_picture(path), f"assembled-{clip['assembled']['ms']}", if_none_match)
        area.ask(clip_id)
        seen = area.see(clip_id)
        if seen.why_not:
            raise _sealed(seen.why_not)
        return _answer(seen.picture, seen.tag, if_none_match)


def _answer(picture: bytes, tag: str, known: str) -> Response:
    if not picture:
        return Response(status_code=HTTPStatus.NO_CONTENT)
    headers = {"ETag": f'"{tag}"', "Cache-Control": "no-store"}
    if known == headers["ETag"]:
        return Response(status_code=HTTPStatus.NOT_MODIFIED, headers=headers)
    return Response(picture, media_type="image/jpeg", headers=headers)


def _last_picture(matroska: Path) -> bytes:
    finder = FrameFinder()
    try:
        with matroska.open("rb") as file:
            size = file.seek(0, 2)
            if size > TAIL_BYTES:
                finder.resume()
            file.seek(max(0, size - TAIL_BYTES))
            finder.write(file.read(TAIL_BYTES))
    except FileNotFoundError:
        raise Problem(HTTPStatus.NOT_FOUND, "the clip's copy is missing from the view area") from None
    return finder.frame


def _sealed(why: str) -> Problem:
    return Problem(HTTPStatus.CONFLICT, f"no picture here: {why}")
