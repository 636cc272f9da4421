"""Who makes a request, and whether they may: asked once for each request, before anything else is done with it.

Rules that hold here
- A request is made with a token (``Authorization: Bearer``) or within a session (cookie), never as anybody by default.
- Whoever has none of the permissions that a route declares is refused, and the audit log says so. What changes
  something, and what is recorded (`RECORDED`), is in the audit log before it is done.
- In a session, a request that changes something comes from one of our own pages: its cookie goes with no request from
  elsewhere (SameSite), the browser's word on where it comes from is held against our address, and it carries a token
  that only our pages have.
- Requests are counted for each user; beyond a number in a minute the answer is to wait.
"""

from __future__ import annotations

import hmac
import threading
import time
from collections.abc import Callable
from http import HTTPStatus
from urllib.parse import urlsplit

import sqlalchemy as sa
from fastapi import Request

from lapel_gateway.accounts.audit import ALLOWED, REFUSED, note
from lapel_gateway.accounts.logins import LogIns
from lapel_gateway.accounts.permissions import RECORDED, Permission, permissions_of
from lapel_gateway.accounts.principal import Principal
from lapel_gateway.accounts.sessions import Browser, Session, find_session
from lapel_gateway.accounts.tokens import principal_of_token
from lapel_gateway.accounts.users import roles_of
from lapel_gateway.ledger import reading, writing
from lapel_gateway.web.installed import Installed
from lapel_gateway.web.problems import Problem

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
FORM_FIELD = "form_token"
FORM_HEADER = "X-Form-Token"

LOOK_MS = 3_600_000
"""Whoever looks at the same thing for longer is noted again."""

MAX_LOOKS = 4096
"""Looks that are remembered; one that is forgotten is noted again."""

LOG_IN_WORDS = "log in, or send a token of yours as Authorization: Bearer; `lapel user token add NAME TOKEN` makes one"
_PREFIX = "__Host-"
"""A browser takes such a cookie from https only, for the whole of this host and for no other (RFC 6265bis 4.1.3.2)."""


class Buckets:
    """Requests of each user: so many a minute, and at most half a minute's at once."""

    def __init__(self, per_min: int, clock_s: Callable[[], float] = time.monotonic) -> None:
        self._rate = per_min / 60
        self._most = per_min / 2
        self._clock_s = clock_s
        self._lock = threading.Lock()
        self._left: dict[str, tuple[float, float]] = {}

    def take(self, name: str) -> float:
        """Count one request; returns how many seconds to wait, 0 for none."""
        now_s = self._clock_s()
        with self._lock:
            left, since_s = self._left.get(name, (self._most, now_s))
            left = min(self._most, left + (now_s - since_s) * self._rate)
            if left < 1:
                return (1 - left) / self._rate
            self._left[name] = (left - 1, now_s)
        return 0.0


class Cookies:
    """The names of our cookies, and how they are given."""

    def __init__(self, *, behind_tls: bool) -> None:
        prefix = _PREFIX if behind_tls else ""
        self.secure = behind_tls
        self.session = f"{prefix}lapel-session"
        self.known = f"{prefix}lapel-known"
        self.form = f"{prefix}lapel-form"
        self.under_way = f"{prefix}lapel-under-way"


class Guard:
    """Answers for one gateway."""

    def __init__(self, engine: sa.Engine, now_ms: Callable[[], int], installed: Installed) -> None:
        self.engine = engine
        self.now_ms = now_ms
        self.installed = installed
        self.rules = installed.accounts.rules
        self.cookies = Cookies(behind_tls=installed.behind_tls)
        self.logins = LogIns(engine, installed.seal, self.rules, now_ms)
        self._buckets = Buckets(installed.accounts.requests_per_min)
        self._looks: dict[tuple[str, str, str], int] = {}
        self._looks_lock = threading.Lock()

    def authorise(
        self, request: Request, any_of: tuple[Permission, ...], given: str, *, again: bool = False
    ) -> Principal:
        """Who makes the request, if one of the permissions is theirs (or none is asked for). Raises Problem.

        ``given``: the token of a form, as the request carries it; "" = none. ``again``: it belongs to one look with
        those before it, of which the audit log has been told.
        """
        done: Principal | None = getattr(request.state, "principal", None)
        if done is not None:
            return done
        principal = self._identify(request)
        wait_s = self._buckets.take(principal.name)
        if wait_s:
            raise Problem(
                HTTPStatus.TOO_MANY_REQUESTS,
                f"more than {self.installed.accounts.requests_per_min} requests a minute: wait",
                {"Retry-After": str(int(wait_s) + 1)},
            )
        changing = request.method not in SAFE_METHODS
        what = getattr(request.scope.get("route"), "name", "") or request.method
        about = " ".join(map(str, request.path_params.values()))
        if principal.how == "session" and changing:
            self.check_form(request, request.cookies.get(self.cookies.session, ""), given)
        held = [one for one in any_of if principal.may(one)]
        if any_of and not held:
            with writing(self.engine) as connection:
                note(connection, principal.actor, self.now_ms(), what, about, REFUSED, f"needs {any_of[0]}")
            giver = "this token does" if principal.how == "token" else "your roles do"
            raise Problem(HTTPStatus.FORBIDDEN, f"this needs the permission {any_of[0]}, which {giver} not give")
        if changing or (RECORDED & set(any_of) and not (again and self.looks(principal, what, about))):
            with writing(self.engine) as connection:
                note(connection, principal.actor, self.now_ms(), what, about, ALLOWED)
        request.state.principal = principal
        return principal

    def looks(self, principal: Principal, what: str, about: str) -> bool:
        """Whether this user has looked at the same lately; from now on they have."""
        key, now_ms = (principal.name, what, about), self.now_ms()
        with self._looks_lock:
            before = self._looks.pop(key, None)
            if before is not None and 0 <= now_ms - before < LOOK_MS:
                self._looks[key] = before
                return True
            self._looks[key] = now_ms
            if len(self._looks) > MAX_LOOKS:
                del self._looks[next(iter(self._looks))]
        return False

    def session_of(self, request: Request) -> Session | None:
        """The session of the request's cookie, at whatever stage."""
        cookie = request.cookies.get(self.cookies.session, "")
        return find_session(self.engine, cookie, self.rules.limits, self.now_ms())

    def browser_of(self, request: Request) -> Browser:
        """Where the request comes from."""
        return Browser(
            _address(request), request.headers.get("user-agent", ""), request.cookies.get(self.cookies.known, "")
        )

    def form_token(self, cookie: str) -> str:
        """What a form carries back, of the session's cookie, or, before there is one, of the form's own."""
        return self.installed.seal.form_token(cookie)

    def check_form(self, request: Request, cookie: str, given: str) -> None:
        """Refuse what does not come from our own pages. Raises Problem."""
        if not cookie or not self._from_here(request):
            raise Problem(HTTPStatus.FORBIDDEN, "this was sent by a page of another site: open it here and try again")
        if not hmac.compare_digest(self.form_token(cookie).encode(), given.encode("utf-8", "replace")):
            raise Problem(
                HTTPStatus.FORBIDDEN,
                f"the form is out of date: load the page again (programs send {FORM_HEADER}, or use a token)",
            )

    def _identify(self, request: Request) -> Principal:
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        now_ms, address = self.now_ms(), _address(request)
        found: Principal | None = None
        if scheme:
            if scheme.lower() == "bearer":
                found = principal_of_token(self.engine, token.strip(), address, now_ms)
        elif (session := self.session_of(request)) is not None and session.stage == "open":
            with reading(self.engine) as connection:
                roles = roles_of(connection, session.user)
            found = Principal(session.user, tuple(roles), permissions_of(roles), "session", address, session.id)
        if found is None:
            raise Problem(HTTPStatus.UNAUTHORIZED, LOG_IN_WORDS, {"WWW-Authenticate": "Bearer"})
        return found

    def _from_here(self, request: Request) -> bool:
        """Whether the browser says that one of our pages sent it (Fetch Metadata, RFC 6454); silence is no word."""
        site = request.headers.get("sec-fetch-site")
        if site is not None:
            return site == "same-origin"
        origin = request.headers.get("origin")
        if origin is None:
            return True
        ours = {request.headers.get("host", "").lower()}
        if self.installed.public_url:
            ours.add(urlsplit(self.installed.public_url).netloc.lower())
        try:
            return urlsplit(origin).netloc.lower() in ours - {""}
        except ValueError:
            return False


def _address(request: Request) -> str:
    return request.client.host if request.client is not None else ""
