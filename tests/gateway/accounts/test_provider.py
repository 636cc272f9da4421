"""Logging in at an identity provider: a small real one, over HTTP, which can also be told to lie."""

from __future__ import annotations

import base64
import hashlib
import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, quote_plus, urlencode, urlsplit

import httpx
import pytest
from joserfc import jwk, jwt

from lapel_gateway.accounts.provider import Provider, join_subject
from lapel_gateway.accounts.users import UserError, disable_user, find_user
from lapel_gateway.ledger import reading
from lapel_gateway.settings.config import Config, load_config
from lapel_gateway.web.server import WebError, provider_of
from tests.gateway.accounts.office import NOW_MS, PASSWORD, Office, opened
from tests.support.accounts import BY

CLIENT, SECRET = "lapel", "a secret of the client's"
KEY = jwk.RSAKey.generate_key(2048, parameters={"kid": "1"})
OTHER_KEY = jwk.RSAKey.generate_key(2048, parameters={"kid": "1"})


@dataclass
class Directory:
    """The provider: one person is logged in there, and goes on at once."""

    port: int
    claims: dict[str, Any] = field(default_factory=dict)
    lie: Callable[[dict[str, Any]], Any] = dict
    key: jwk.RSAKey = field(default_factory=lambda: KEY)
    asked: dict[str, dict[str, str]] = field(default_factory=dict)
    """By code, what the authorization was asked with."""

    @property
    def issuer(self) -> str:
        return f"http://127.0.0.1:{self.port}/realm"

    def configuration(self) -> dict[str, Any]:
        names = {"authorization_endpoint": "authorize", "token_endpoint": "token", "jwks_uri": "keys"}
        return {"issuer": self.issuer, **{name: f"{self.issuer}/{path}" for name, path in names.items()}}

    def authorize(self, query: dict[str, str]) -> str:
        assert (query["response_type"], query["client_id"], query["code_challenge_method"]) == ("code", CLIENT, "S256")
        code = f"code-{len(self.asked)}"
        self.asked[code] = query
        return f"{query['redirect_uri']}?{urlencode({'state': query['state'], 'code': code})}"

    def token(self, given: dict[str, str], authorization: str) -> dict[str, Any] | None:
        """An ID token for a code that is spent once, by the client that asked, with the verifier of its challenge."""
        asked = self.asked.pop(given.get("code", ""), None)
        basic = base64.b64encode(f"{CLIENT}:{quote_plus(SECRET)}".encode()).decode()
        challenge = hashlib.sha256(given.get("code_verifier", "").encode()).digest()
        sent = base64.urlsafe_b64encode(challenge).rstrip(b"=").decode()
        if asked is None or authorization != f"Basic {basic}" or sent != asked["code_challenge"]:
            return None
        claims = {"iss": self.issuer, "aud": CLIENT, "nonce": asked["nonce"], "iat": NOW_MS // 1000}
        claims |= {
            "exp": NOW_MS // 1000 + 300,
            "sub": "u-1",
            "name": "Ann Archer",
            "groups": ["control"],
            **self.claims,
        }
        token = jwt.encode({"alg": "RS256", "kid": "1"}, self.lie(claims), self.key)
        return {"access_token": "x", "token_type": "Bearer", "expires_in": 300, "id_token": token}


@pytest.fixture
def directory(free_ports: list[int]) -> Iterator[Directory]:
    told = Directory(free_ports[1])

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            address = urlsplit(self.path)
            query = {name: values[0] for name, values in parse_qs(address.query).items()}
            if address.path.endswith("/authorize"):
                self.send_response(302)
                self.send_header("location", told.authorize(query))
                self.end_headers()
            elif address.path.endswith("/keys"):
                self._json(200, {"keys": [KEY.as_dict(private=False)]})
            else:
                self._json(200, told.configuration())

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"])).decode()
            given = {name: values[0] for name, values in parse_qs(body).items()}
            answer = told.token(given, self.headers.get("authorization", ""))
            self._json(200 if answer else 400, answer or {"error": "invalid_grant"})

        def _json(self, status: int, value: object) -> None:
            content = json.dumps(value).encode()
            self.send_response(status)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *arguments: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", told.port), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield told
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture
def office(tmp_path: Path, directory: Directory, free_ports: list[int]) -> Iterator[Office]:
    roles = {"control": "responder", "staff": "wearer"}
    provider = Provider(directory.issuer, CLIENT, SECRET, "openid profile", "name", "groups", roles)
    url = f"http://127.0.0.1:{free_ports[0]}"
    with opened(tmp_path, port=free_ports[0], provider=provider, public_url=url) as office:
        yield office


def enter(office: Office) -> httpx.Response:
    """To the provider and back, as a browser follows."""
    return office.browser().get("/login/provider", next="/api/v1/me")


def roles_of(office: Office, name: str) -> tuple[str, ...]:
    with reading(office.engine) as connection:
        return find_user(connection, name).roles


def test_the_first_log_in_makes_a_user_with_the_roles_of_the_groups_and_the_next_finds_it(
    office: Office, directory: Directory
) -> None:
    person = office.browser()
    assert 'href="/login/provider?next=' in person.get("/login").text
    inside = person.get("/login/provider", next="/api/v1/me")
    assert "You are logged in" in inside.text
    assert 'href="/api/v1/me"' in inside.text
    me = person.get("/api/v1/me").json()
    assert (me["name"], me["roles"], me["how"]) == ("Ann Archer", ["responder"], "session")
    directory.claims = {"name": "Ann Baker", "groups": ["staff", "control", "others"]}
    assert "As Ann Archer" in enter(office).text
    assert roles_of(office, "Ann Archer") == ("responder", "wearer")
    assert ("Ann Archer", "set roles", "done") in office.lines()
    assert SECRET not in repr(office.installed)


def test_whoever_has_none_of_the_roles_any_more_is_not_let_in(office: Office, directory: Directory) -> None:
    enter(office)
    for groups in ([], "none", None, {"control": 1}, ["Control"]):
        directory.claims = {"groups": groups}
        refused = enter(office)
        assert (refused.status_code, "none of the roles" in refused.text) == (403, True)
    assert office.lines()[-1] == ("Ann Archer", "log in", "refused")


def test_a_name_that_a_user_here_has_is_not_taken_over_until_the_two_are_joined(
    office: Office, directory: Directory
) -> None:
    office.add("Ann Archer", ["operator"], PASSWORD)
    refused = enter(office)
    assert refused.status_code == 403
    assert "joined" in refused.text
    assert roles_of(office, "Ann Archer") == ("operator",)
    join_subject(office.engine, "Ann Archer", directory.issuer, "u-1", BY, NOW_MS)
    assert "As Ann Archer" in enter(office).text
    office.add("Ben", ["wearer"])
    with pytest.raises(UserError, match="is Ann Archer already"):
        join_subject(office.engine, "Ben", directory.issuer, "u-1", BY, NOW_MS)


def test_a_disabled_user_is_not_let_in_whatever_the_provider_says(office: Office) -> None:
    enter(office)
    disable_user(office.engine, "Ann Archer", BY, NOW_MS)
    assert enter(office).status_code == 403


@pytest.mark.parametrize(
    "lie",
    [
        {"iss": "https://evil.example"},
        {"aud": "another client"},
        {"nonce": "another"},
        {"exp": NOW_MS // 1000 - 61},
        {"iat": NOW_MS // 1000 + 3600, "nbf": NOW_MS // 1000 + 3600},
        {"sub": None},
        {"sub": ""},
        {"sub": "x" * 256},
        {"aud": [CLIENT, "another"], "azp": "another"},
    ],
)
def test_an_id_token_that_is_not_for_this_log_in_lets_nobody_in(
    office: Office, directory: Directory, lie: dict[str, Any]
) -> None:
    directory.lie = lambda claims: {**claims, **lie}
    assert enter(office).status_code == 403
    assert all(line[1] != "add user" for line in office.lines())


def test_an_id_token_that_another_key_signed_lets_nobody_in(office: Office, directory: Directory) -> None:
    directory.key = OTHER_KEY
    assert enter(office).status_code == 403


def test_a_log_in_ends_in_the_browser_in_which_it_was_begun_in_time_and_once(
    office: Office, directory: Directory
) -> None:
    one, other = office.browser(), office.browser()

    def back_of(person: Any) -> str:
        away = person.client.get("/login/provider").headers["location"]
        return str(httpx.get(away, trust_env=False).headers["location"])

    link = back_of(one)
    assert other.get(link).status_code == 403
    assert "begin again" in other.page
    back_of(other)
    assert other.get(link).status_code == 403
    office.clock[0] += 10 * 60_000
    assert "took too long" in one.get(link).text
    office.clock[0] = NOW_MS
    good = back_of(one)
    assert "You are logged in" in one.client.get(good).text
    assert one.get(good).status_code == 403
    assert other.get("/login/provider/back", error="access_denied").status_code == 403


def test_a_provider_that_is_not_there_or_is_another_is_told_without_its_secret(
    tmp_path: Path, directory: Directory, free_ports: list[int]
) -> None:
    for issuer, words in (
        (f"http://127.0.0.1:{free_ports[2]}", "does not answer"),
        (f"{directory.issuer}/other", "another address"),
    ):
        provider = Provider(issuer, CLIENT, SECRET, "openid", "name", "groups", {"control": "responder"})
        folder = tmp_path / words
        folder.mkdir()
        with opened(folder, provider=provider, public_url="http://127.0.0.1:1") as office:
            answer = office.browser().get("/login/provider")
            assert (answer.status_code, words in answer.text) == (502, True)
            assert SECRET not in answer.text


def test_without_a_provider_there_is_no_way_to_one(tmp_path: Path) -> None:
    with opened(tmp_path) as office:
        person = office.browser()
        assert "/login/provider" not in person.get("/login").text
        assert person.get("/login/provider").status_code == 404


def test_a_provider_is_configured_as_a_whole_or_not_at_all(tmp_path: Path) -> None:
    secret = tmp_path / "oidc.txt"
    secret.touch(mode=0o600)
    secret.write_text(SECRET)
    text = '[oidc]\nissuer = "https://login.example.org"\nclient_secret_file = "oidc.txt"\n'
    file = tmp_path / "lapel.toml"

    def configured(more: str) -> Config:
        file.write_text(more)
        return load_config(file)

    with pytest.raises(WebError, match="public_url"):
        provider_of(configured(text))
    whole = configured(f'[web]\npublic_url = "https://l.example"\n{text}roles = {{ "a b" = "auditor" }}\n')
    found = provider_of(whole)
    assert found is not None
    assert (found.client_secret, found.roles) == (SECRET, {"a b": "auditor"})
    assert provider_of(configured("")) is None
