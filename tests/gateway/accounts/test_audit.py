"""What is asked of the audit log: who, what, about what, with which outcome, when; and only its own for everybody."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from lapel_gateway.accounts.audit import ALLOWED, DONE, REFUSED, Actor, Wanted, note, read_lines
from lapel_gateway.accounts.users import list_users
from lapel_gateway.ledger import reading, writing
from lapel_gateway.settings.accounts import AccountsSection
from lapel_gateway.web.pages import audit as pages
from tests.gateway.accounts.office import NOW_MS, Office, opened

DAY_MS = 86_400_000
LINES = (
    ("Rita", "acknowledge", "alarm-1", ALLOWED, ""),
    ("Rita", "list_users", "", REFUSED, "needs keep-users"),
    ("Olga", "add user", "Ann_Archer", DONE, "100% wearer"),
    ("Olga", "add user", "Annie", DONE, ""),
)


@pytest.fixture
def office(tmp_path: Path) -> Iterator[Office]:
    with opened(tmp_path, accounts=AccountsSection(requests_per_min=100_000)) as office:
        with writing(office.engine) as connection:
            for number, (who, what, about, outcome, detail) in enumerate(LINES):
                at_ms = NOW_MS - (len(LINES) - number) * DAY_MS
                note(connection, Actor(who, "session"), at_ms, what, about, outcome, detail)
        yield office


def numbers(office: Office, wanted: Wanted, limit: int = 100, before: int | None = None) -> list[int]:
    """The numbers of the lines above that are found, newest first."""
    with reading(office.engine) as connection:
        return [line.id for line in read_lines(connection, limit, before, wanted) if line.id <= len(LINES)]


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        (Wanted(), [4, 3, 2, 1]),
        (Wanted(who="Rita"), [2, 1]),
        (Wanted(who="rita"), []),
        (Wanted(what="list users"), [2]),
        (Wanted(what="LIST_us"), [2]),
        (Wanted(what="add"), [4, 3]),
        (Wanted(about="ann"), [4, 3]),
        (Wanted(about="n_a"), [3]),
        (Wanted(about="%"), [3]),
        (Wanted(about="keep-users"), [2]),
        (Wanted(outcome=REFUSED), [2]),
        (Wanted(from_ms=NOW_MS - 3 * DAY_MS, to_ms=NOW_MS - DAY_MS), [3, 2]),
        (Wanted(who="Olga", about="annie", outcome=DONE), [4]),
    ],
)
def test_lines_are_found_by_what_is_asked_for(office: Office, wanted: Wanted, found: list[int]) -> None:
    assert numbers(office, wanted) == found


def test_who_reads_on_misses_nothing_and_sees_nothing_twice(office: Office) -> None:
    assert numbers(office, Wanted(who="Olga"), 1) == [4]
    assert numbers(office, Wanted(who="Olga"), 1, 4) == [3]
    assert numbers(office, Wanted(who="Olga"), 1, 3) == []


def ask(office: Office, name: str, path: str, **query: Any) -> httpx.Response:
    if name not in {user.name for user in list_users(office.engine)}:
        office.add(name, [{"Olga": "operator", "Rita": "responder"}[name]])
    headers = {"cookie": f"lapel-session={office.session(name)}"}
    return httpx.get(f"{office.url}{path}", params=query, headers=headers, trust_env=False)


def test_the_api_finds_them_by_day_too(office: Office) -> None:
    found = ask(office, "Olga", "/api/v1/audit", **{"from": "2025-10-07", "to": "2025-10-07"}).json()["lines"]
    assert [line["what"] for line in found] == ["add user"]
    assert ask(office, "Olga", "/api/v1/audit", outcome="maybe").status_code == 422
    assert "neither a date" in ask(office, "Olga", "/api/v1/audit", to="soon").json()["detail"]


def test_everybody_is_told_what_they_did_and_nothing_else(office: Office) -> None:
    lines = ask(office, "Rita", "/api/v1/me/audit").json()["lines"]
    assert {line["who"] for line in lines} == {"Rita"}
    assert len(lines) >= 2


def test_a_file_that_is_read_in_parts_has_every_line_once(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pages, "CSV_ROWS", 3)
    with writing(office.engine) as connection:
        for number in range(7):
            note(connection, Actor("Bo", "session"), NOW_MS, "acknowledge", f"alarm-{number}\nand more", ALLOWED)
    response = ask(office, "Olga", "/audit.csv", who="Bo")
    lines = list(csv.DictReader(io.StringIO(response.content.decode("utf-8-sig"))))
    assert [line["about"].partition("\\")[0] for line in lines] == [f"alarm-{number}" for number in range(6, -1, -1)]
    assert list(lines[0]) == list(pages.COLUMNS)
