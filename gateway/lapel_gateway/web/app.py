"""The gateway's HTTP application: the API, the pages, and what every request passes.

Rules that hold here
- Every route says which permission it asks for (`access`), except those of monitoring (`api.metrics`) and the way in
  (`pages.login`); every change is made in its user's name. The links in messages (`pages.ack`) carry a token of their
  own, for one alarm.
- Whoever may see only what is their own is told of nothing else, not even that it is there.
- Answers are the words of ``describe``; errors are problem details. Neither shows a secret.
- Plain HTTP, for loopback or behind a TLS proxy.
"""

from __future__ import annotations

from collections.abc import Callable

import sqlalchemy as sa
from fastapi import FastAPI

from lapel_gateway.accounts.provider import IdentityProvider
from lapel_gateway.alarms.ladders import ladders_of
from lapel_gateway.alarms.policies import Reach
from lapel_gateway.overview.feed import Feed
from lapel_gateway.overview.reader import Reader
from lapel_gateway.viewing.assembly import Views
from lapel_gateway.viewing.packing import ExportArea
from lapel_gateway.web import problems, schema
from lapel_gateway.web.api import (
    alarms,
    audit,
    channels,
    clips,
    devices,
    disclosures,
    exports,
    live,
    metrics,
    people,
    pictures,
    policies,
    reports,
    users,
    visits,
)
from lapel_gateway.web.guard import Guard
from lapel_gateway.web.headers import SafeHeaders
from lapel_gateway.web.idempotency import Route
from lapel_gateway.web.installed import NOTHING_INSTALLED, Installed
from lapel_gateway.web.pages import account, ack, login, provider
from lapel_gateway.web.pages import audit as audit_pages
from lapel_gateway.web.pages import clip as clip_page
from lapel_gateway.web.pages import clips as clips_page
from lapel_gateway.web.pages import devices as device_pages
from lapel_gateway.web.pages import live as live_page
from lapel_gateway.web.pages import people as people_pages
from lapel_gateway.web.pages import reports as report_pages
from lapel_gateway.web.pages import risks as risk_pages
from lapel_gateway.web.pages import teams as team_pages
from lapel_gateway.web.pages import visits as visit_pages
from lapel_gateway.web.pages.ack import AckPages
from lapel_gateway.web.pages.frame import Pages
from lapel_gateway.web.problems import BodyLimit

MAX_BODY_BYTES = 16_384
"""Of a request: a resolution with the longest note. Bodies are read before the token is looked at."""


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
    login.install(app, pages)
    account.install(app, pages)
    app.state.feed = Feed(Reader(engine, installed.around), now_ms)
    reason_ms = installed.accounts.reason_ms
    ladders = ladders_of(installed.policies, Reach(dict(installed.channels)))
    # In the order in which people are shown the way to them.
    live_page.install(app, pages, app.state.feed)
    visit_pages.install(app, pages)
    risk_pages.install(app, pages)
    clips_page.install(app, pages, views, now_ms, reason_ms, installed.zone)
    clip_page.install(app, pages, views, now_ms, installed)
    device_pages.install(app, pages)
    people_pages.install(app, pages)
    team_pages.install(app, pages, ladders)
    report_pages.install(app, pages)
    audit_pages.install(app, pages)
    policies.install(app, ladders)
    users.install(app, guard)
    audit.install(app, guard)
    if installed.provider is not None:
        back = f"{installed.public_url}{provider.BACK_PATH}"
        provider.install(app, pages, IdentityProvider(installed.provider, installed.seal, back))
    if installed.links is not None:
        ack.install(app, AckPages(engine, installed.links, now_ms))
    alarms.install(app, engine, now_ms)
    clips.install(app, engine, views, now_ms, reason_ms, installed.zone)
    pictures.install(app, engine, views, now_ms, reason_ms)
    disclosures.install(app, engine, now_ms)
    visits.install(app, engine, now_ms, installed.rules, installed.zone)
    two_needed = installed.accounts.two_person_export
    exports.install(app, engine, ExportArea(views.root), now_ms, reason_ms, two_needed=two_needed)
    devices.install(app, guard)
    people.install(app, engine, now_ms)
    channels.install(app, engine, installed.channels)
    reports.install(app, engine, now_ms, installed.zone)
    live.install(app, guard, app.state.feed)
    metrics.install(app, engine, now_ms, installed)
    return app
