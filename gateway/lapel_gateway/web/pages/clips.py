"""The page on which clips are found, and the list of who saw one's own.

Rules that hold here
- A picture is shown blurred to whoever may play the clip and has not said why they look, and as it is afterwards; who
  may not play it is shown none. See `web.api.clips`.
- What was looked for is in the address, so that a search can be kept, sent on, and paged through.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import tzinfo
from http import HTTPStatus
from typing import Annotated, Any
from urllib.parse import urlencode

import sqlalchemy as sa
from fastapi import Depends, FastAPI, Query, Request, Response
from markupsafe import Markup
from pydantic import Field

from lapel_gateway.accounts.permissions import Permission
from lapel_gateway.accounts.principal import Principal
from lapel_gateway.describe import clip_name
from lapel_gateway.ledger import reading
from lapel_gateway.ledger.schema import device as devices
from lapel_gateway.people import list_people
from lapel_gateway.viewing import catalogue, looks
from lapel_gateway.viewing.assembly import Views
from lapel_gateway.viewing.catalogue import ALARM, PLAIN, Found
from lapel_gateway.viewing.thumbnail import BLURRED, THUMBNAIL
from lapel_gateway.web.access import may
from lapel_gateway.web.clip_search import ClipSearch
from lapel_gateway.web.pages import clip_words as words_of
from lapel_gateway.web.pages.frame import Pages
from lapel_gateway.web.problems import Problem
from lapel_protocol.names import NOTICE_NAMES

CLIPS_PATH = "/clips"
LOOKS_PER_PAGE = 100
LARGEST_NUMBER = (1 << 53) - 1

P = Permission
SeesClips = Annotated[Principal, Depends(may(P.SEE_CLIPS, P.SEE_ALARM_CLIPS, P.SEE_OWN))]


class ShownClips(ClipSearch):
    """The query of the page. ``mine``: the list of who saw one's own instead, those before the look ``before``."""

    mine: str | None = None
    before: Annotated[int | None, Field(ge=1, le=LARGEST_NUMBER)] = None


@dataclass(frozen=True)
class Card:
    """One clip in the list."""

    id: str
    person: str
    device: str
    alarm: bool
    state: tuple[str, str]
    started: Markup
    length: str
    notice: str
    picture: str
    """Where its picture is; "" = there is none."""
    blurred: bool
    why: str
    """Why there is no picture; "" = there is one."""


def install(
    app: FastAPI,
    pages: Pages,
    views: Views,
    now_ms: Callable[[], int],
    reason_ms: int,
    zone: tzinfo | None,
) -> None:
    """Add the page to ``app``. A reason holds for ``reason_ms``; ``zone``: of times, None = this machine's."""
    engine = pages.guard.engine
    pages.add_section("Clips", CLIPS_PATH, P.SEE_CLIPS, P.SEE_ALARM_CLIPS, P.SEE_OWN)

    @app.get(CLIPS_PATH, include_in_schema=False)
    def show_clips(request: Request, user: SeesClips, query: Annotated[ShownClips, Query()]) -> Response:
        if query.mine is not None and user.may(P.SEE_OWN):
            return _mine(request, user, query.before)
        asked = query.model_dump(by_alias=True, exclude={"after", "mine", "before"})
        said = ""
        found = Found([], "")
        try:
            found = query.find(engine, user, zone, catalogue.PAGE)
        except Problem as problem:
            said = f"{problem.detail[:1].upper()}{problem.detail[1:]}."
        everybody = user.may(P.SEE_CLIPS)
        with reading(engine) as connection:
            names = catalogue.people_with_clips(connection) if everybody else []
        said_of = {name: text for name, text in asked.items() if text}
        return pages.show(
            request,
            "clips.html",
            HTTPStatus.UNPROCESSABLE_ENTITY if said else HTTPStatus.OK,
            cards=_cards(found.rows, user),
            asked=asked,
            narrowed=len(set(said_of) - {"words", "from", "to"}),
            searched=bool(said_of),
            paged=bool(query.after),
            first=_address(said_of),
            older=_address({**said_of, "after": found.next}) if found.next else "",
            words=said,
            people=names,
            teams=sorted({one.team for one in list_people(engine) if one.team}) if everybody else [],
            conditions=[(name, words_of.CONDITION_WORDS[name][1]) for name in catalogue.CONDITIONS],
            kinds=[(ALARM, "An alarm"), (PLAIN, "The wearer")],
            notices=[(NOTICE_NAMES[number], text) for number, text in words_of.NOTICE_WORDS.items()],
            everybody=everybody,
            has_own=user.may(P.SEE_OWN),
            zone=words_of.zone_name(zone, now_ms()),
        )

    def _mine(request: Request, user: Principal, before: int | None) -> Response:
        found = looks.list_looks(engine, of_person=user.name, limit=LOOKS_PER_PAGE + 1, before=before)
        shown = found[:LOOKS_PER_PAGE]
        return pages.show(
            request,
            "clips_mine.html",
            looks=shown,
            kinds=looks.KINDS,
            older=f"{CLIPS_PATH}?mine&before={shown[-1]['number']}" if len(found) > LOOKS_PER_PAGE else "",
            paged=before is not None,
            when=lambda ms: words_of.time_tag(ms, zone),
            zone=words_of.zone_name(zone, now_ms()),
        )

    def _cards(rows: list[sa.RowMapping], user: Principal) -> list[Card]:
        keys = [(row["device"], row["clip"]) for row in rows]
        with reading(engine) as connection:
            known = devices.c.device.in_({device for device, _ in keys})
            query = sa.select(devices.c.device, devices.c.name).where(known)
            names = {row.device: row.name for row in connection.execute(query)}
            admitted = looks.seen_lately(connection, keys, user, now_ms() - reason_ms)
        return [
            _card(row, user, names.get(row["device"], row["device"]), (row["device"], row["clip"]) in admitted)
            for row in rows
        ]

    def _card(row: sa.RowMapping, user: Principal, device: str, admitted: bool) -> Card:
        assembly = words_of.assembly_of(row)
        own = looks.is_own(row, user)
        may_see = own or user.may(P.PLAY_CLIPS)
        sharp = own or (admitted and may_see)
        there = may_see and views.path(row["device"], row["clip"], THUMBNAIL if sharp else BLURRED).is_file()
        name = clip_name(row["device"], row["clip"])
        return Card(
            id=name,
            person=row["person"],
            device=device,
            alarm=row["alarm"],
            state=words_of.CONDITION_WORDS[catalogue.condition_of(row)],
            started=words_of.time_tag(row["start_ms"], zone),
            length=words_of.length_text(words_of.length_ms(row, assembly)),
            notice=words_of.NOTICE_WORDS.get(row["notice"], ""),
            picture=f"/api/v1/clips/{name}/thumbnail" if there else "",
            blurred=not sharp,
            why="" if there else words_of.no_picture(row, assembly, may_see),
        )


def _address(asked: dict[str, Any]) -> str:
    return f"{CLIPS_PATH}?{urlencode(asked)}" if asked else CLIPS_PATH
