"""Requests that are sent again because their answer was lost."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
import sqlalchemy as sa

from lapel_gateway.accounts.tokens import add_token, list_tokens, revoke_token
from lapel_gateway.accounts.users import list_users
from lapel_gateway.ledger import reading, writing
from lapel_gateway.ledger.account_tables import idempotency
from lapel_gateway.ledger.visit_tables import visit
from tests.gateway.accounts.office import HOUR_MS, NOW_MS, Office, opened
from tests.support.accounts import BY

VISIT = {"place": "4 High Street", "person": "Zoë"}


@pytest.fixture
def office(tmp_path: Path) -> Iterator[Office]:
    with opened(tmp_path) as office:
        for name, roles in (("Ann", ["responder", "operator"]), ("Ben", ["responder"])):
            office.add(name, roles)
        yield office


@pytest.fixture
def client(office: Office) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=office.url, trust_env=False, timeout=30) as client:
        yield client


def bearer(office: Office, name: str) -> dict[str, str]:
    return {"authorization": f"Bearer {add_token(office.engine, name, 'x', BY, NOW_MS)}"}


def count(engine: sa.Engine, table: sa.Table) -> int:
    with reading(engine) as connection:
        return int(connection.execute(sa.select(sa.func.count()).select_from(table)).scalar_one())


def plan(client: httpx.Client, headers: dict[str, str], key: str, **body: Any) -> httpx.Response:
    return client.post("/api/v1/visits", headers={**headers, "idempotency-key": key}, json={**VISIT, **body})


def test_a_request_that_is_sent_again_gets_the_same_answer_and_does_nothing_again(
    office: Office, client: httpx.Client
) -> None:
    ann = bearer(office, "Ann")
    first = plan(client, ann, "k-1", planned="2026-01-01T09:00Z")
    again = plan(client, ann, "k-1", planned="2026-01-01T09:00Z")
    assert (first.status_code, again.status_code) == (201, 201)
    assert (again.content, again.headers["content-type"]) == (first.content, first.headers["content-type"])
    assert (first.headers.get("idempotent-replayed"), again.headers["idempotent-replayed"]) == (None, "true")
    assert count(office.engine, visit) == 1


def test_a_form_of_a_page_can_be_sent_again_too(office: Office, client: httpx.Client) -> None:
    cookie = office.session("Ann")
    form = {"form_token": office.installed.seal.form_token(cookie), "name": "wallboard", "scope": "see-alarms"}
    headers = {"cookie": f"lapel-session={cookie}", "idempotency-key": "k-1", "accept": "text/html"}
    made = [client.post("/account/tokens", headers=headers, data=form) for _ in range(2)]
    assert [answer.status_code for answer in made] == [200, 200]
    assert made[0].text == made[1].text
    assert [one.name for one in list_tokens(office.engine, "Ann")] == ["wallboard"]


def test_a_refusal_is_told_again_as_it_was(office: Office, client: httpx.Client) -> None:
    ann = bearer(office, "Ann")
    refused = [plan(client, ann, "k-1", place=" ") for _ in range(2)]
    assert [answer.status_code for answer in refused] == [422, 422]
    assert refused[0].json() == refused[1].json()
    assert refused[1].headers["content-type"] == "application/problem+json"


def test_another_request_with_a_key_that_was_used_is_refused(office: Office, client: httpx.Client) -> None:
    ann = bearer(office, "Ann")
    plan(client, ann, "k-1")
    other = plan(client, ann, "k-1", person="Sam")
    elsewhere = client.post("/api/v1/visits/1/end", headers={**ann, "idempotency-key": "k-1"}, json=VISIT)
    assert (other.status_code, elsewhere.status_code) == (422, 422)
    assert "used for another request" in other.json()["detail"]
    assert count(office.engine, visit) == 1


def test_keys_of_two_users_are_two_keys(office: Office, client: httpx.Client) -> None:
    assert plan(client, bearer(office, "Ann"), "k-1").status_code == 201
    assert plan(client, bearer(office, "Ben"), "k-1", person="Sam").status_code == 201


def test_who_may_not_any_more_is_told_no_kept_answer(office: Office, client: httpx.Client) -> None:
    ann = bearer(office, "Ann")
    plan(client, ann, "k-1")
    revoke_token(office.engine, "Ann", "x", BY, NOW_MS)
    assert plan(client, ann, "k-1").status_code == 401


def test_a_key_is_good_as_new_after_a_day(office: Office, client: httpx.Client) -> None:
    ann = bearer(office, "Ann")
    plan(client, ann, "k-1")
    office.clock[0] += 24 * HOUR_MS
    assert plan(client, ann, "k-1", person="Sam").status_code == 201
    assert count(office.engine, idempotency) == 1


def test_a_request_whose_first_was_never_answered_is_not_done_again(office: Office, client: httpx.Client) -> None:
    ann = bearer(office, "Ann")
    plan(client, ann, "k-1")
    with writing(office.engine) as connection:
        connection.execute(sa.update(idempotency).values(status=None))
    again = plan(client, ann, "k-1")
    assert again.status_code == 409
    assert "look at what became of it" in again.json()["detail"]
    assert count(office.engine, visit) == 1


def test_of_many_at_once_one_is_done(office: Office, client: httpx.Client) -> None:
    ann = bearer(office, "Ann")
    with ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(lambda _: plan(client, ann, "k-1").status_code, range(12)))
    assert set(answers) <= {201, 409}
    assert 201 in answers
    assert count(office.engine, visit) == 1


def test_a_request_that_was_not_understood_leaves_its_key_free(office: Office, client: httpx.Client) -> None:
    ann = bearer(office, "Ann")
    assert plan(client, ann, "k-1", expected_min="many").status_code == 422
    assert plan(client, ann, "k-1").status_code == 201


@pytest.mark.parametrize("key", ["", "x" * 256, "a\tb", "é"])
def test_a_key_that_is_none_is_refused(office: Office, client: httpx.Client, key: str) -> None:
    headers = {**bearer(office, "Ann"), "idempotency-key": key.encode("latin-1")}
    answer = client.post("/api/v1/visits", headers=headers, json=VISIT)  # type: ignore[arg-type]
    assert answer.status_code == 422
    assert count(office.engine, visit) == 0


def test_an_answer_with_a_secret_is_kept_but_not_readably(office: Office, client: httpx.Client, tmp_path: Path) -> None:
    headers = {**bearer(office, "Ann"), "idempotency-key": "k-1"}
    made = [client.post("/api/v1/users", headers=headers, json={"name": "Cy", "roles": ["wearer"]}) for _ in range(2)]
    assert made[0].json() == made[1].json()
    code = made[0].json()["setup_link"].rpartition("/")[2]
    assert len([one for one in list_users(office.engine) if one.name == "Cy"]) == 1
    assert not any(code.encode() in file.read_bytes() for file in tmp_path.iterdir() if file.is_file())
