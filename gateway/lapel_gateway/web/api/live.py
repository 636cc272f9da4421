"""The picture of now: whole (`GET /api/v1/live`), and as a stream of changes (`GET /api/v1/stream`).

The stream is server-sent events (WHATWG HTML, "Server-sent events"): ``snapshot``, then ``change`` after ``change``, a
``beat`` every second between them, and ``reload`` before a new snapshot where a reader has lost its place. The id of an
event is its cursor: a reader that comes again with it as Last-Event-ID is told only what it missed.

Rules that hold here
- Everybody is told what their permissions open (`overview.views`). Whoever is told where somebody is, is in the audit
  log, once in a while instead of at each event.
- A stream ends after `STREAM_S`, and its reader comes again with its cursor: so whoever has lost the right to look on
  stops seeing anything then, whatever the kind of access.
- Streams have fewer places than the server has connections: however many look on, an answer to an alarm finds one.
- A reader that takes nothing for `SEND_S` is cut off.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from http import HTTPStatus
from typing import Annotated

from fastapi import Depends, FastAPI, Header
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import Response

from lapel_gateway.accounts.audit import ALLOWED, note
from lapel_gateway.accounts.principal import Principal
from lapel_gateway.ledger import writing
from lapel_gateway.overview.feed import Feed, OverviewError
from lapel_gateway.overview.views import WATCHERS, View, view_of
from lapel_gateway.web.access import may
from lapel_gateway.web.event_stream import EventStream
from lapel_gateway.web.guard import Guard
from lapel_gateway.web.problems import Problem

MAX_STREAMS = 256
"""Open at once: above two hundred pages and terminals, which come again before their old stream is known to be over."""

STREAM_S = 60.0
RETRY_MS = 1_000
SEND_S = 10.0
MAX_CURSOR = 64

Watcher = Annotated[Principal, Depends(may(*WATCHERS))]
LastEventId = Annotated[str, Header(alias="Last-Event-ID", max_length=MAX_CURSOR)]


def install(app: FastAPI, guard: Guard, feed: Feed) -> None:
    """Let ``app`` tell what is going on now."""

    @app.get("/api/v1/live")
    async def live(user: Watcher) -> Response:
        view = await run_in_threadpool(look, guard, user)
        try:
            return Response(
                await feed.snapshot(view), media_type="application/json", headers={"Cache-Control": "no-store"}
            )
        except OverviewError as error:
            raise Problem(HTTPStatus.SERVICE_UNAVAILABLE, str(error), {"Retry-After": "1"}) from None

    # The description of the API takes the status from here: the class of this answer has one alone.
    @app.get("/api/v1/stream", status_code=HTTPStatus.OK, response_class=EventStream)
    async def stream(user: Watcher, last_event_id: LastEventId = "") -> EventStream:
        if feed.readers >= MAX_STREAMS:
            raise Problem(
                HTTPStatus.SERVICE_UNAVAILABLE,
                f"{MAX_STREAMS} pages and terminals look on already: close some that nobody looks at",
                {"Retry-After": "5"},
            )
        view = await run_in_threadpool(look, guard, user)
        return EventStream(_events(feed, last_event_id, view), SEND_S)


def look(guard: Guard, user: Principal) -> View:
    """What somebody is told; noted where it says where people are."""
    view = view_of(user.permissions)
    if view.positions and view.sections & {"alarms", "visits"} and not guard.looks(user, "look on", ""):
        with writing(guard.engine) as connection:
            note(connection, user.actor, guard.now_ms(), "look on", "", ALLOWED, "positions among it")
    return view


async def _events(feed: Feed, cursor: str, view: View) -> AsyncGenerator[bytes, None]:
    yield f": lapel\nretry: {RETRY_MS}\n\n".encode()
    async with aclosing(feed.stream(cursor, STREAM_S, view)) as items:
        async for item in items:
            yield item.wire
