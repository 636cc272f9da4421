"""A gateway's API and pages over a ledger, and people at their browsers."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pyotp
import sqlalchemy as sa

from lapel_gateway.accounts.sessions import Browser, begin_session
from lapel_gateway.accounts.setup_links import make_link, use_link
from lapel_gateway.accounts.users import add_user
from lapel_gateway.ledger import reading, writing
from lapel_gateway.ledger.account_tables import audit
from lapel_gateway.viewing.assembly import Views
from lapel_gateway.web.installed import Installed
from lapel_gateway.web.server import WebRole
from tests.gateway.ledgers import new_ledger
from tests.support.accounts import BY

NOW_MS = 1_760_000_000_000
PASSWORD = "correct horse battery staple"
HOUR_MS = 3_600_000


@dataclass
class Office:
    """The gateway; its clock stands still until it is moved."""

    engine: sa.Engine
    url: str
    installed: Installed
    clock: list[int] = field(default_factory=lambda: [NOW_MS])
    clients: list[httpx.Client] = field(default_factory=list)
    feed: Any = None
    """What tells those who look on, to be looked at."""

    def add(self, name: str, roles: Iterable[str], password: str | None = None) -> None:
        """A user, with a password where one is given."""
        add_user(self.engine, name, roles, BY, self.clock[0])
        if password is not None:
            use_link(self.engine, self.link(name), password, 8, "192.0.2.1", self.clock[0])

    def link(self, name: str, *, new_authenticator: bool = False) -> str:
        """The code of a set-up link."""
        return make_link(self.engine, name, BY, self.clock[0], HOUR_MS, new_authenticator=new_authenticator)

    def session(self, name: str, stage: Any = "open") -> str:
        """The token of a session of a user's."""
        with writing(self.engine) as connection:
            return begin_session(connection, name, stage, "password", Browser("192.0.2.7", "Test/1"), self.clock[0])

    def lines(self) -> list[tuple[str, str, str]]:
        """The audit log: (who, what, outcome), oldest first."""
        with reading(self.engine) as connection:
            rows = connection.execute(sa.select(audit).order_by(audit.c.id))
            return [(row.who, row.what, row.outcome) for row in rows]

    def browser(self) -> Person:
        """Somebody at a browser that was never here before."""
        client = httpx.Client(base_url=self.url, trust_env=False, timeout=30, headers=PAGES)
        self.clients.append(client)
        return Person(self, client)


PAGES = {"accept": "text/html", "user-agent": "Test/1"}
_TOKEN = re.compile(r'name="form_token" value="([0-9a-f]{64})"')


@dataclass
class Person:
    """One browser: it keeps cookies, and sends the forms that it was shown."""

    office: Office
    client: httpx.Client
    page: str = ""
    secret: str = ""

    def get(self, path: str, **query: Any) -> httpx.Response:
        """Open a page, following where it leads."""
        return self._shown(self.client.get(path, params=query or None, follow_redirects=True))

    def send(
        self, path: str, follow: bool = True, headers: dict[str, str] | None = None, **fields: Any
    ) -> httpx.Response:
        """Send the form of the page that is shown."""
        found = _TOKEN.search(self.page)
        data = {"form_token": found[1] if found else "", **fields}
        return self._shown(self.client.post(path, data=data, headers=headers, follow_redirects=follow))

    def log_in(self, name: str, password: str = PASSWORD) -> httpx.Response:
        """The first step."""
        self.get("/login")
        return self.send("/login", name=name, password=password)

    def enrol(self) -> httpx.Response:
        """Set up the authenticator that the page shows, and give its code."""
        found = re.search(r'<code class="secret">([A-Z2-7]+)</code>', self.page)
        assert found is not None, self.page
        self.secret = found[1]
        return self.send("/login/authenticator", code=self.code())

    def code(self, steps: int = 0) -> str:
        """What the authenticator shows, some half minutes from now."""
        return pyotp.TOTP(self.secret).at(self.office.clock[0] // 1000 + 30 * steps)

    def _shown(self, response: httpx.Response) -> httpx.Response:
        if "text/html" in response.headers.get("content-type", ""):
            self.page = response.text
        return response


@contextmanager
def opened(folder: Path, port: int = 0, **settings: Any) -> Iterator[Office]:
    """An office over a new ledger, as it is really served."""
    installed = Installed(**settings)
    clock = [NOW_MS]
    with new_ledger(folder) as engine:
        office = Office(engine, "", installed, clock)
        with serving(office, folder, port):
            try:
                yield office
            finally:
                for client in office.clients:
                    client.close()


@contextmanager
def serving(office: Office, folder: Path, port: int = 0) -> Iterator[None]:
    """The office's gateway is there."""
    clock = office.clock
    role = WebRole(office.engine, Views(folder / "views"), "127.0.0.1", port, lambda: clock[0], office.installed)
    role.start()
    office.url, office.feed = role.url, role._feed
    try:
        yield
    finally:
        assert role.stop()
