"""The page of what is going on now: as it stood when it was asked for, and from there on kept current by its script.

Rules that hold here
- Without a script it is read like any page, and alarms are answered by its forms; it then says that it stands still.
- A refusal (one's own alarm, somebody was first) is the page again, with the words for it.
- It shows the sections that its reader's permissions open, as the stream does.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Annotated, Any

from anyio import from_thread
from fastapi import Depends, FastAPI, Form, Request, Response

from lapel_gateway.accounts.permissions import Permission
from lapel_gateway.accounts.principal import Principal
from lapel_gateway.alarms.kinds import KIND_NAMES, TECHNICAL_NAMES, UNKNOWN
from lapel_gateway.channels.message import kind_text
from lapel_gateway.overview.feed import Feed, OverviewError
from lapel_gateway.overview.views import NO_CLIPS, WATCHERS
from lapel_gateway.web.access import may
from lapel_gateway.web.api.alarms import MAX_NOTE, Reason, acknowledge_alarm, note_alarm, resolve_alarm
from lapel_gateway.web.api.live import Watcher, look
from lapel_gateway.web.pages.frame import Pages
from lapel_gateway.web.problems import Problem

LIVE_PATH = "/live"

P = Permission
Answers = Annotated[Principal, Depends(may(P.ANSWER_ALARMS))]
NoteField = Annotated[str, Form(max_length=MAX_NOTE)]

KINDS = {name: kind_text(name).capitalize() for name in KIND_NAMES.values()} | {
    KIND_NAMES[UNKNOWN]: "Alarm of unknown kind"
}


def install(app: FastAPI, pages: Pages, feed: Feed) -> None:
    """Add the page to ``app``."""
    engine, now_ms = pages.guard.engine, pages.guard.now_ms
    pages.add_section("Live", LIVE_PATH, *WATCHERS)

    @app.get(LIVE_PATH, include_in_schema=False)
    def live_page(request: Request, user: Watcher) -> Response:
        return _shown(request, user)

    @app.post(LIVE_PATH + "/alarms/{alarm_id}/acknowledge", include_in_schema=False)
    def acknowledge_on_page(request: Request, user: Answers, alarm_id: str) -> Response:
        return _done(request, user, lambda: acknowledge_alarm(engine, alarm_id, user.name, now_ms()))

    @app.post(LIVE_PATH + "/alarms/{alarm_id}/resolve", include_in_schema=False)
    def resolve_on_page(
        request: Request, user: Answers, alarm_id: str, reason: Annotated[Reason, Form()], note: NoteField = ""
    ) -> Response:
        return _done(request, user, lambda: resolve_alarm(engine, alarm_id, user.name, reason, note, now_ms()))

    @app.post(LIVE_PATH + "/alarms/{alarm_id}/notes", include_in_schema=False)
    def note_on_page(request: Request, user: Answers, alarm_id: str, note: NoteField = "") -> Response:
        return _done(request, user, lambda: note_alarm(engine, alarm_id, user.name, note, now_ms()))

    def _done(request: Request, user: Principal, do: Callable[[], None]) -> Response:
        try:
            do()
        except Problem as problem:
            return _shown(request, user, problem.status, f"{problem.detail[:1].upper()}{problem.detail[1:]}.")
        return pages.go(LIVE_PATH)

    def _shown(request: Request, user: Principal, status: int = HTTPStatus.OK, words: str = "") -> Response:
        view = look(pages.guard, user)
        now: dict[str, Any] | None = None
        trouble = ""
        try:
            now = json.loads(from_thread.run(feed.snapshot, view))
        except OverviewError as error:
            trouble = f"What is going on is not known: {error}."
        return pages.show(
            request,
            "live.html",
            status,
            now=now,
            trouble=trouble,
            words=words,
            bad=True,
            edition=pages.edition,
            kinds=KINDS,
            technical=sorted(TECHNICAL_NAMES),
            sees=[name for name, sections in PARTS.items() if view.sections & sections],
            answers=user.may(P.ANSWER_ALARMS),
            plays=user.may(P.PLAY_CLIPS) and view.clips != NO_CLIPS,
            tone=_tone,
            tel=_tel,
        )


PARTS = {
    "alarms": {"alarms"},
    "visits": {"visits"},
    "devices": {"devices"},
    "clips": {"clips"},
    "gateway": {"roles", "channels", "storage", "broker"},
}
"""The parts of the page, and the sections of which it has to be told one."""


def _tone(alarm: Mapping[str, Any]) -> str:
    """How loudly an alarm is shown; `static/live-alarms.js` says the same."""
    if alarm["acknowledged"]:
        return "answered"
    if alarm["test"]:
        return "drill"
    return "technical" if alarm["kind"] in TECHNICAL_NAMES else "urgent"


def _tel(phone: str) -> str:
    """The address of a telephone number (RFC 3966), of what people write."""
    return "tel:" + "".join(c for c in phone if c in "+0123456789*#")
