"""The newest picture of a clip, from when its first one is here: what somebody who answers an alarm looks at.

Rules that hold here
- Nothing is opened here: this role has no key. Of a clip that is coming in the role that delivers gives the picture
  (`viewing.live_pictures`), of an assembled one its copy does.
- A page asks again once a second with the ETag that it has, and is told of a picture once. An endless answer would take
  one of the few connections that a browser has for a gateway, for each clip; and whoever may not look any more would.
- Each clip that somebody looks at is in the audit log, once in a while instead of once a second.
- An alarm that nobody has resolved is reason enough to see its clip, and is entered as that; any other look at somebody
  else's clip needs one that was given before (`api.clips`).
"""

from __future__ import annotations

from collections.abc import Callable
from http import HTTPStatus
from pathlib import Path
from typing import Annotated, Any

import sqlalchemy as sa
from fastapi import Depends, FastAPI, Header, Response

from lapel_gateway import describe
from lapel_gateway.accounts.permissions import Permission
from lapel_gateway.accounts.principal import Principal
from lapel_gateway.ledger import reading
from lapel_gateway.ledger.schema import alarm
from lapel_gateway.viewing import looks
from lapel_gateway.viewing.assembly import FORM_SEALED, MATROSKA, Views
from lapel_gateway.viewing.frames import FrameFinder
from lapel_gateway.viewing.live_pictures import LiveArea
from lapel_gateway.web.access import may
from lapel_gateway.web.api.clips import Why, admit, row_of
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


def install(app: FastAPI, engine: sa.Engine, views: Views, now_ms: Callable[[], int], reason_ms: int) -> None:
    """Add the route to ``app``. A reason holds for ``reason_ms``."""
    area = LiveArea(views.root)

    @app.get("/api/v1/clips/{clip_id}/picture", response_class=Response, responses=ANSWERS)
    def newest_picture(user: Looks, clip_id: str, if_none_match: IfNoneMatch = "", why: Why = None) -> Response:
        row = row_of(engine, clip_id, user)
        clip, now = describe.clip_words(row), now_ms()
        if not looks.admit(engine, row, user, None, now, now - reason_ms):
            said = why if user.how == "token" else None
            admit(engine, row, user, said or _open_alarm(engine, row), now, reason_ms)
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


def _open_alarm(engine: sa.Engine, row: sa.RowMapping) -> str | None:
    """The reason that an alarm is which the clip was recorded with and which is open still."""
    with reading(engine) as connection:
        query = sa.select(alarm.c.id).where(
            alarm.c.device == row["device"], alarm.c.clip == row["clip"], alarm.c.resolved_ms.is_(None)
        )
        found = connection.execute(query.limit(1)).scalar_one_or_none()
    return None if found is None else f"the alarm {found} is open"


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
