"""What all pages share: templates, static files, the way between pages, forms that only our own pages can send, errors.

Rules that hold here
- Pages are plain HTML from the server: none has a script, or a style, written into it. A form works without a script;
  what a page's script adds (`static/`) is what changes while one looks.
- Whoever looks at a page is shown the way to those sections alone that their roles open.
- Whatever is shown is escaped by the templates; only `Markup` made here is not.
- A page of somebody who has to log in first sends them there, and back afterwards to a path of ours only.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from importlib import resources
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import jinja2
from fastapi import FastAPI, Request, Response
from fastapi.responses import FileResponse, HTMLResponse, PlainTextResponse, RedirectResponse
from markupsafe import Markup

from lapel_gateway.accounts.permissions import Permission
from lapel_gateway.accounts.principal import Principal
from lapel_gateway.accounts.sessions import KNOWN_MS
from lapel_gateway.accounts.throttle import TooMany
from lapel_gateway.channels.message import moment_text
from lapel_gateway.describe import utc
from lapel_gateway.reports.figure_words import seconds
from lapel_gateway.web.guard import FORM_FIELD, SAFE_METHODS, Guard
from lapel_gateway.web.problems import Problem

LOGIN_PATH = "/login"
PROVIDER_PATH = LOGIN_PATH + "/provider"
HOME_PATH = "/"
ACCOUNT_PATH = "/account"
STATIC_PATH = "/static/"
MAX_NEXT_CHARACTERS = 500

MEDIA_TYPES: Mapping[str, str] = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    ".wav": "audio/wav",
}
"""Of the static files; a file of another kind is none."""

EDITION = "edition.txt"
"""The static file that is made: what a page that stays open compares its own with (`static/live-edition.js`)."""

_FOLDER = Path(str(resources.files("lapel_gateway.web")))


@dataclass(frozen=True)
class Section:
    """One of the pages that everybody is shown the way to who may see it."""

    title: str
    path: str
    any_of: tuple[Permission, ...]

    def is_for(self, user: Principal) -> bool:
        """Whether it is shown to this user."""
        return any(user.may(one) for one in self.any_of)


class Pages:
    """Makes the pages of one gateway."""

    def __init__(self, guard: Guard) -> None:
        self.guard = guard
        self._templates = jinja2.Environment(
            loader=jinja2.FileSystemLoader(_FOLDER / "templates"),
            autoescape=True,
            undefined=jinja2.StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._templates.filters |= {"moment": self._moment, "local": self._local, "ago": self._ago, "seconds": seconds}
        self._static = {one.name: one for one in (_FOLDER / "static").iterdir() if one.suffix in MEDIA_TYPES}
        self.edition = _edition()
        """Of pages and scripts together: another after every update that changed any of them."""
        self.sections: list[Section] = []
        """In the order in which they are shown; whoever comes to the door is shown into the first that is theirs."""

    def add_section(self, title: str, path: str, *any_of: Permission) -> None:
        """Show the way to a page to whoever has one of these permissions."""
        self.sections.append(Section(title, path, any_of))

    def sections_of(self, user: Principal) -> list[Section]:
        """The sections that are shown to somebody."""
        return [one for one in self.sections if one.is_for(user)]

    def show(
        self, request: Request, template: str, status: int = HTTPStatus.OK, cookie: str | None = None, **facts: Any
    ) -> HTMLResponse:
        """A page; its forms carry the token of ``cookie``, by default the one that the request's cookie gives.

        Beside ``facts`` a template has: ``form_token`` (a form's hidden field), ``form_word`` (the same, for scripts),
        ``user`` (whoever is logged in, None = nobody), ``sections``, ``opens``
        (the paths of these, to which links may lead) and ``here`` (the path that was asked for).
        """
        fresh = ""
        if cookie is None:
            cookie = self._form_cookie(request)
        if not cookie:
            cookie = fresh = secrets.token_hex(16)
        word = self.guard.form_token(cookie)
        user: Principal | None = getattr(request.state, "principal", None)
        sections = self.sections_of(user) if user is not None else []
        text = self._templates.get_template(template).render(
            form_token=Markup('<input type="hidden" name="{}" value="{}">').format(FORM_FIELD, word),
            form_word=word if user is not None else "",
            static=STATIC_PATH,
            provider=self.guard.installed.provider is not None,
            user=user,
            sections=sections,
            opens=frozenset(one.path for one in sections),
            here=str(request.scope["path"]),
            **facts,
        )
        response = HTMLResponse(text, status)
        if fresh:
            self._set(response, self.guard.cookies.form, fresh, None)
        return response

    @staticmethod
    def trusted(made_here: str) -> Markup:
        """HTML that was made here, of nothing that came from outside."""
        return Markup(made_here)

    def check_form(self, request: Request, given: str) -> None:
        """Refuse a form that is not from one of our pages as this browser was shown it. Raises Problem."""
        self.guard.check_form(request, self._form_cookie(request), given)

    def go(self, path: str) -> RedirectResponse:
        """On to another page, asked for with GET."""
        return RedirectResponse(path, HTTPStatus.SEE_OTHER)

    def keep_session(self, response: Response, token: str, known: str = "") -> None:
        """Give the browser its session, and that it is no stranger."""
        self._set(response, self.guard.cookies.session, token, None)
        if known:
            self.keep_known(response, known)

    def keep_known(self, response: Response, known: str) -> None:
        """Give the browser the cookie that says that it is no stranger."""
        self._set(response, self.guard.cookies.known, known, KNOWN_MS // 1000)

    def keep_under_way(self, response: Response, kept: str, age_s: int) -> None:
        """Give the browser what a log-in at the identity provider needs again."""
        self._set(response, self.guard.cookies.under_way, kept, age_s)

    def drop_session(self, response: Response) -> None:
        """Take the session's cookie away."""
        cookies = self.guard.cookies
        response.delete_cookie(cookies.session, path="/", secure=cookies.secure, httponly=True, samesite="lax")

    def fault(self, request: Request, problem: Problem) -> Response | None:
        """A problem as a page, or the way to the log-in; None for a request that asked for no page."""
        path = str(request.scope["path"])  # request.url would read the query too, whatever its bytes
        if path.startswith("/api/") or "text/html" not in request.headers.get("accept", ""):
            return None
        if problem.status == HTTPStatus.UNAUTHORIZED and request.method in SAFE_METHODS:
            asked = quote(path, safe="/")
            return self.go(LOGIN_PATH if path in (HOME_PATH, ACCOUNT_PATH) else f"{LOGIN_PATH}?next={asked}")
        title = HTTPStatus(problem.status).phrase
        response = self.show(request, "fault.html", problem.status, title=title, words=problem.detail)
        response.headers.update(problem.headers or {})
        return response

    def install(self, app: FastAPI) -> None:
        """Let ``app`` give out what pages are made of."""

        @app.get(STATIC_PATH + "{name}", include_in_schema=False)
        def static(name: str) -> Response:
            if name == EDITION:
                return PlainTextResponse(self.edition, headers={"Cache-Control": "no-cache"})
            found = self._static.get(name)
            if found is None:
                raise Problem(HTTPStatus.NOT_FOUND, "there is no such file")
            kind = MEDIA_TYPES[found.suffix]
            return FileResponse(found, media_type=kind, headers={"Cache-Control": "no-cache"})

    def _moment(self, time_ms: int | None) -> str:
        return "–" if time_ms is None else moment_text(time_ms, self.guard.installed.zone)

    def _local(self, time_ms: int | None) -> Markup | str:
        """A time as people read it in a table, and as programs do."""
        if time_ms is None:
            return "–"
        text = moment_text(time_ms, self.guard.installed.zone)
        shown = text.partition(" (")[0]
        return Markup('<time datetime="{}" title="{}">{}</time>').format(utc(time_ms) or "", text, shown)

    def _ago(self, time_ms: int | None) -> str:
        """How long ago a time was: now, 5 min ago, 3 h ago, 2 d ago."""
        if time_ms is None:
            return "never"
        gone = max(0, self.guard.now_ms() - time_ms) // 60_000
        if gone < 1:
            return "now"
        if gone < 120:
            return f"{gone} min ago"
        return f"{gone // 60} h ago" if gone < 2880 else f"{gone // 1440} d ago"

    def _form_cookie(self, request: Request) -> str:
        cookies = self.guard.cookies
        return request.cookies.get(cookies.session) or request.cookies.get(cookies.form) or ""

    def _set(self, response: Response, name: str, value: str, age_s: int | None) -> None:
        secure = self.guard.cookies.secure
        response.set_cookie(name, value, max_age=age_s, path="/", secure=secure, httponly=True, samesite="lax")


def next_path(asked: str) -> str:
    """Where to go after the log-in: a path of ours, whatever was asked for."""
    ours = asked.startswith("/") and not asked.startswith(("//", "/\\")) and len(asked) <= MAX_NEXT_CHARACTERS
    if not ours or not asked.isascii() or not asked.isprintable() or "\\" in asked:
        return HOME_PATH
    parts = urlsplit(asked)
    return HOME_PATH if parts.scheme or parts.netloc or parts.path.startswith(LOGIN_PATH) else asked


def wait_words(error: TooMany) -> str:
    """What somebody reads who has to wait."""
    return f"Too many attempts. Wait {max(1, -(-error.wait_ms // 1000))} seconds and try again."


def _edition() -> str:
    digest = hashlib.sha256()
    for path in sorted([*(_FOLDER / "templates").iterdir(), *(_FOLDER / "static").iterdir()]):
        if path.is_file():
            content = path.read_bytes()
            digest.update(f"{path.name} {len(content)}\n".encode() + content)
    return digest.hexdigest()[:16]
