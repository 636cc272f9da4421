"""The page behind an acknowledge link: it asks, and only its button acknowledges.

Rules that hold here
- GET changes nothing: mail scanners and previews open every link. POST acknowledges as the link's recipient.
- The first acknowledgement counts; whoever is later is told who was first.
- The address is the secret: no page is kept, framed or indexed, none loads anything, and none is told as a referrer.
- Refusals are logged by their reason, counted instead of repeated, and never with the token.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import html
import threading
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

import sqlalchemy as sa
import structlog
from fastapi import FastAPI, Request
from fastapi.responses import HTMLResponse

from lapel_gateway.accounts.audit import DONE, REFUSED, Actor, note
from lapel_gateway.accounts.permissions import Permission
from lapel_gateway.accounts.users import holds
from lapel_gateway.alarms import ack_links
from lapel_gateway.alarms import core as alarms
from lapel_gateway.alarms.ack_links import ACK_PATH, AckLinks, Claim, LinkRefused
from lapel_gateway.alarms.book import get_alarm
from lapel_gateway.alarms.kinds import kind_name
from lapel_gateway.channels.message import is_test, kind_text, moment_text
from lapel_gateway.ledger import reading, writing
from lapel_gateway.ledger.outgoing import add_tallies
from lapel_gateway.ledger.schema import DEVICE_ACTIVE
from lapel_gateway.log import Repeats, printable

_STYLE = (
    "body{font:1.1rem/1.5 sans-serif;max-width:34rem;margin:2rem auto;padding:0 1rem}"
    "button{font:inherit;font-weight:bold;padding:1rem 2rem;width:100%}dt{font-weight:bold}"
)
_STYLE_HASH = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
_HEADERS = {
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "Content-Security-Policy": (
        f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; form-action 'self'; base-uri 'none'; "
        "frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Robots-Tag": "noindex, nofollow",
}

_REFUSALS: dict[str, tuple[int, str]] = {
    ack_links.FORGED: (HTTPStatus.NOT_FOUND, "This link is not one of this gateway's, or not all of it was opened."),
    ack_links.EXPIRED: (HTTPStatus.GONE, "This link has expired."),
    ack_links.REVOKED: (HTTPStatus.FORBIDDEN, "This link was revoked: its user may not acknowledge alarms any more."),
    ack_links.USED: (HTTPStatus.CONFLICT, "This link was used: you have acknowledged this alarm before."),
    ack_links.OWN: (HTTPStatus.FORBIDDEN, "This alarm is your own: somebody else has to acknowledge it."),
    ack_links.GONE: (HTTPStatus.NOT_FOUND, "This alarm is not known here any more."),
}

_log = structlog.get_logger("lapel.web")


@dataclass(frozen=True)
class _Asked:
    """A genuine link and its alarm."""

    claim: Claim
    alarm: sa.Row[Any]


class AckPages:
    """Answers the links that one gateway gave out."""

    def __init__(self, engine: sa.Engine, links: AckLinks, now_ms: Callable[[], int]) -> None:
        self._engine = engine
        self._links = links
        self._now_ms = now_ms
        self._lock = threading.Lock()
        self._repeats = Repeats()

    def ask(self, token: str) -> HTMLResponse:
        """The page with the button. Changes nothing."""
        try:
            asked = self._asked(token)
        except LinkRefused as refusal:
            return self._refused(refusal)
        if _answered(asked.alarm):
            return _page(HTTPStatus.OK, _who_answered(asked.alarm), asked)
        return _page(HTTPStatus.OK, "Nobody has acknowledged this alarm yet.", asked, button=True)

    def acknowledge(self, token: str, address: str = "") -> HTMLResponse:
        """Acknowledge as the link's recipient, if nobody was first; ``address``: where the request comes from."""
        try:
            asked = self._asked(token)
            if _answered(asked.alarm):
                return _page(HTTPStatus.CONFLICT, _who_answered(asked.alarm), asked)
            done = alarms.acknowledge(self._engine, asked.claim.alarm, asked.claim.recipient, self._now_ms())
            with writing(self._engine) as connection:
                actor = Actor(asked.claim.recipient, "link", address)
                note(connection, actor, self._now_ms(), "acknowledge", asked.claim.alarm, DONE if done else REFUSED)
            asked = _Asked(asked.claim, self._alarm(asked.claim))
        except LinkRefused as refusal:
            return self._refused(refusal)
        except alarms.AlarmError as error:
            return _page(HTTPStatus.CONFLICT, printable(str(error), 300))
        if not done:
            return _page(HTTPStatus.CONFLICT, _who_answered(asked.alarm), asked)
        return _page(
            HTTPStatus.OK, "You have acknowledged this alarm. Its wearer is shown that you have seen it.", asked
        )

    def _asked(self, token: str) -> _Asked:
        """What a link is about. Raises LinkRefused."""
        claim = self._links.read(token, self._now_ms())
        if not holds(self._engine, claim.recipient, Permission.ANSWER_ALARMS):
            raise LinkRefused(ack_links.REVOKED, claim)
        row = self._alarm(claim)
        if row.person == claim.recipient:
            raise LinkRefused(ack_links.OWN, claim)
        if row.acknowledged_by == claim.recipient:
            raise LinkRefused(ack_links.USED, claim)
        return _Asked(claim, row)

    def _alarm(self, claim: Claim) -> sa.Row[Any]:
        try:
            with reading(self._engine) as connection:
                return get_alarm(connection, claim.alarm)
        except alarms.AlarmError:
            raise LinkRefused(ack_links.GONE, claim) from None

    def _refused(self, refusal: LinkRefused) -> HTMLResponse:
        with self._lock:
            times = self._repeats.tell(self._now_ms(), refusal.reason)
        if times:
            claim = refusal.claim
            about = {"alarm": claim.alarm, "by": printable(claim.recipient)} if claim else {}
            _log.warning("acknowledge link refused", reason=refusal.reason, times=times, **about)
            # Counted with the line, so that a flood costs no more writes than it does lines.
            with contextlib.suppress(sa.exc.SQLAlchemyError), writing(self._engine) as connection:
                add_tallies(connection, {("", f"ack_link_{refusal.reason}"): times}, self._now_ms())
        status, words = _REFUSALS[refusal.reason]
        return _page(status, words)


def install(app: FastAPI, pages: AckPages) -> None:
    """Let ``app`` answer acknowledge links."""

    @app.get(ACK_PATH + "{token}", include_in_schema=False)
    def ask(token: str) -> HTMLResponse:
        return pages.ask(token)

    @app.post(ACK_PATH + "{token}", include_in_schema=False)
    def acknowledge(request: Request, token: str) -> HTMLResponse:
        return pages.acknowledge(token, request.client.host if request.client is not None else "")


def _answered(row: sa.Row[Any]) -> bool:
    return row.acknowledged_by is not None or row.resolved_by is not None


def _who_answered(row: sa.Row[Any]) -> str:
    if row.acknowledged_by is not None:
        return f"{printable(row.acknowledged_by)} has acknowledged this alarm, {moment_text(row.acknowledged_ms)}."
    return f"{printable(row.resolved_by)} has resolved this alarm as {row.resolution}, {moment_text(row.resolved_ms)}."


def _page(status: int, words: str, asked: _Asked | None = None, button: bool = False) -> HTMLResponse:
    parts = [f"<h1>{'Alarm' if asked is None else _title(asked.alarm)}</h1>", f"<p>{html.escape(words)}</p>"]
    if asked is not None:
        facts = "".join(f"<dt>{name}</dt><dd>{html.escape(value)}</dd>" for name, value in _facts(asked.alarm) if value)
        parts.append(f"<dl>{facts}</dl>")
    if asked is not None and button:
        who = html.escape(printable(asked.claim.recipient))
        parts.append(f'<form method="post"><button>I am {who} and I have seen this alarm</button></form>')
    head = f'<meta charset="utf-8"><meta name="viewport" content="width=device-width"><style>{_STYLE}</style>'
    text = (
        f'<!DOCTYPE html><html lang="en"><head>{head}<title>Alarm</title></head><body>{"".join(parts)}</body></html>\n'
    )
    return HTMLResponse(text, status, _HEADERS)


def _title(row: sa.Row[Any]) -> str:
    kind = kind_name(row.kind)
    # A drill is marked where the ledger has a column for it.
    marks = {"kind": kind, "resolution": row.resolution, "test": row._mapping.get("test")}
    drill = "TEST: " if is_test(marks) else ""
    return html.escape(f"{drill}Alarm {kind_text(kind)}: {printable(row.person) or 'nobody’s device'}")


def _facts(row: sa.Row[Any]) -> list[tuple[str, str]]:
    cancelled = "by its wearer (unverified: a human still has to answer)" if row.cancelled_ms is not None else ""
    state = "" if row.device_state == DEVICE_ACTIVE else f"{row.device_state}: it may be in other hands"
    return [
        ("Received", moment_text(row.received_ms)),
        ("Cancelled", cancelled),
        ("Device", f"{row.device}{f' ({state})' if state else ''}"),
        ("Alarm id", row.id),
    ]
