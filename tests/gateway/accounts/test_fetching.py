"""Exports over the API: asked for, made beside, fetched by those who may, and entered."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any

import httpx
import pytest
import sqlalchemy as sa

from lapel_gateway.ledger import reading
from lapel_gateway.ledger.account_tables import audit
from lapel_gateway.settings.accounts import AccountsSection
from lapel_gateway.viewing.approvals import HOLDS_MS
from lapel_gateway.viewing.looks import list_looks
from lapel_gateway.viewing.packing import ExportArea, Packer
from lapel_gateway.web.installed import Installed
from lapel_gateway.web.server import WebRole
from tests.gateway.ledgers import new_ledger
from tests.gateway.sealed import NOW_MS, Site
from tests.support.accounts import token_of

EVE, EMIL, OTTO = "Eve Evans", "Emil Ek", "Otto Orr"


@dataclass
class Desk:
    """The API over a site with one clip, and its exports made on request."""

    site: Site
    client: httpx.Client
    tokens: dict[str, str]
    clock: list[int]
    two_needed: bool

    def ask(self, who: str, path: str = "", method: str = "GET", **body: Any) -> httpx.Response:
        path = f"/api/v1/clips/{self.site.device}-5/export-requests{path}"
        headers = {"authorization": f"Bearer {self.tokens[who]}"}
        return self.client.request(method, path, headers=headers, json=body or None)

    def pack(self) -> None:
        site = self.site
        packer = Packer(
            site.engine,
            site.vault,
            site.views,
            ExportArea(site.views.root),
            site.keys(),
            lambda: self.clock[0],
            two_needed=self.two_needed,
            keep_free_bytes=0,
        )
        packer.turn()

    def fetched(self) -> list[tuple[str, str]]:
        """(who, about) of the audit log's lines of exports that were fetched."""
        with reading(self.site.engine) as connection:
            rows = connection.execute(sa.select(audit).where(audit.c.what == "fetch export"))
            return [(row.who, f"{row.about} {row.detail}") for row in rows]


@pytest.fixture(params=[False, True], ids=["one person", "two people"])
def desk(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Desk]:
    two_needed: bool = request.param
    clock = [NOW_MS]
    installed = Installed(accounts=AccountsSection(two_person_export=two_needed))
    with new_ledger(tmp_path) as engine:
        site = Site(tmp_path, engine)
        site.hold(site.seal(b"plain" * 3000, 5))
        people = {EVE: "evidence", EMIL: "evidence", OTTO: "auditor"}
        tokens = {name: token_of(engine, name, NOW_MS, [role]) for name, role in people.items()}
        role = WebRole(engine, site.views, "127.0.0.1", 0, lambda: clock[0], installed)
        role.start()
        try:
            with httpx.Client(base_url=role.url, trust_env=False, timeout=30) as client:
                yield Desk(site, client, tokens, clock, two_needed)
        finally:
            role.stop()


def test_an_export_is_asked_for_made_and_fetched_for_a_day(desk: Desk) -> None:
    asked = desk.ask(EVE, method="POST", reason="hearing", reference="C-7")
    assert asked.status_code == HTTPStatus.CREATED
    path = f"/{asked.json()['number']}"
    if desk.two_needed:
        assert asked.json()["state"] == "waiting"
        assert "nobody has agreed" in desk.ask(EVE, path + "/file").json()["detail"]
        desk.ask(EMIL, path + "/approve", "POST")
    early = desk.ask(EVE, path + "/file")
    assert (early.status_code, "is being made" in early.json()["detail"]) == (HTTPStatus.CONFLICT, True)
    assert desk.fetched() == []

    desk.pack()
    [shown] = desk.ask(OTTO).json()["requests"]
    fetched = desk.ask(EVE, path + "/file")

    assert (fetched.status_code, fetched.headers["content-type"]) == (HTTPStatus.OK, "application/zip")
    assert hashlib.sha256(fetched.content).hexdigest() == shown["file"]["sha256"]
    assert f'filename="{desk.site.device}-5.zip"' in fetched.headers["content-disposition"]
    assert fetched.headers["content-disposition"].startswith("attachment")
    assert desk.fetched() == [(EVE, f"{desk.site.device}-5 request {path[1:]}")]
    [look] = list_looks(desk.site.engine, (desk.site.device, 5))
    assert (look["seen"]["by"], look["kind"], look["reason"], look["reference"]) == (EVE, "evidence", "hearing", "C-7")
    assert desk.ask(OTTO, path + "/file").status_code == HTTPStatus.FORBIDDEN

    desk.clock[0] += HOLDS_MS
    assert "more than a day old" in desk.ask(EVE, path + "/file").json()["detail"]
    desk.pack()
    assert not list(ExportArea(desk.site.views.root).root.iterdir())


def test_a_file_that_is_gone_is_asked_for_anew(desk: Desk) -> None:
    number = desk.ask(EVE, method="POST", reason="hearing").json()["number"]
    if desk.two_needed:
        desk.ask(EMIL, f"/{number}/approve", "POST")
    desk.pack()
    ExportArea(desk.site.views.root).path(number).unlink()
    gone = desk.ask(EVE, f"/{number}/file")
    assert (gone.status_code, "ask anew" in gone.json()["detail"]) == (HTTPStatus.NOT_FOUND, True)
    assert desk.fetched() == []
    assert desk.ask(EVE, "/77/file").status_code == HTTPStatus.NOT_FOUND
