"""lapel user: people, roles, tokens, sessions and the audit log, as whoever looks after the gateway sees them."""

from __future__ import annotations

import time

import pytest

from lapel_gateway.accounts.sessions import Browser, begin_session
from lapel_gateway.accounts.setup_links import read_link
from lapel_gateway.ledger import open_ledger, writing
from tests.tools.command import Lapel


def now_ms() -> int:
    return time.time_ns() // 1_000_000


def test_a_new_user_gets_a_set_up_link_which_is_kept_nowhere_readable(lapel: Lapel) -> None:
    added = lapel("user", "add", "Ann Boyle", "--role", "responder", "--role", "wearer")
    assert added.status == 0
    link = added.out.strip()
    assert link.startswith("http://127.0.0.1:8480/setup/")
    assert "whoever opens it first" in added.err
    engine = open_ledger(lapel.folder / "data" / "ledger.sqlite")
    assert read_link(engine, link.rpartition("/")[2], now_ms()).user == "Ann Boyle"
    engine.dispose()
    (user,) = lapel("user", "list", "--json").json
    assert (user["name"], user["roles"], user["has_password"]) == ("Ann Boyle", ["responder", "wearer"], False)
    assert "responder, wearer" in lapel("user", "list").out
    code = link.rpartition("/")[2].encode()
    assert not any(code in file.read_bytes() for file in lapel.folder.rglob("*") if file.is_file())


def test_the_link_leads_to_where_people_reach_the_gateway(lapel: Lapel) -> None:
    text = lapel.config.read_text()
    lapel.config.write_text(
        text.replace('#public_url = "https://lapel.example.org"', 'public_url = "https://l.example/x/"')
    )
    link = lapel("user", "add", "Ann", "--role", "wearer", "--json").json["setup_link"]
    assert link.startswith("https://l.example/x/setup/")


def test_a_user_without_a_role_or_with_one_that_there_is_not_is_refused(lapel: Lapel) -> None:
    assert lapel("user", "add", "Ann").status == 2
    wrong = lapel("user", "add", "Ann", "--role", "admin")
    assert (wrong.status, "roles are wearer, responder" in wrong.err) == (2, True)
    assert "lapel user add NAME --role ROLE" in lapel("user", "list").out


def test_a_name_is_given_to_one_person_only_who_can_be_disabled_enabled_and_given_roles(lapel: Lapel) -> None:
    first = lapel("user", "add", "Ann Boyle", "--role", "wearer").out
    again = lapel("user", "add", "Ann Boyle", "--role", "wearer")
    assert (again.status, again.out) == (2, "")
    assert "lapel user setup 'Ann Boyle'" in again.err
    assert lapel("user", "setup", "Ann Boyle", "--new-authenticator").out not in ("", first)
    assert lapel("user", "roles", "Ann Boyle", "--role", "auditor").status == 0
    assert lapel("user", "disable", "Ann Boyle").status == 0
    (user,) = lapel("user", "list", "--json").json
    assert user["roles"] == ["auditor"]
    assert user["disabled"] is not None
    assert lapel("user", "setup", "Ann Boyle").status == 2
    assert lapel("user", "enable", "Ann Boyle").status == 0
    assert lapel("user", "disable", "Nobody").status == 2


def test_a_token_is_shown_once_and_alone_on_standard_output(lapel: Lapel) -> None:
    lapel("user", "add", "Ann Boyle", "--role", "responder")
    made = lapel("user", "token", "add", "Ann Boyle", "wallboard", "--scope", "see-alarms", "--days", "7")
    token = made.out.strip()
    assert token.startswith("lapel_")
    assert "\n" not in token
    listed = lapel("user", "token", "list")
    assert "wallboard" in listed.out
    (one,) = lapel("user", "token", "list", "Ann Boyle", "--json").json
    assert (one["scopes"], one["expires"]["ms"] - one["made"]["ms"]) == (["see-alarms"], 7 * 24 * 3_600_000)
    assert token not in listed.out + str(one)
    assert lapel("user", "token", "revoke", "Ann Boyle", "wallboard").status == 0
    assert lapel("user", "token", "list", "--json").json[0]["revoked"] is not None
    assert lapel("user", "token", "revoke", "Ann Boyle", "wallboard").status == 2


def test_a_user_is_joined_to_the_identity_provider_where_there_is_one(lapel: Lapel) -> None:
    lapel("user", "add", "Ann", "--role", "wearer")
    refused = lapel("user", "join", "Ann", "u-1")
    assert (refused.status, "[oidc] issuer" in refused.err) == (2, True)
    text = lapel.config.read_text().replace(
        '#issuer = "https://login.example.org/realms/housing"', 'issuer = "https://l.example"'
    )
    lapel.config.write_text(text)
    assert lapel("user", "join", "Ann", "u-1").status == 0
    assert lapel("user", "log", "--json").json[0]["what"] == "join identity provider"
    checked = lapel("gateway", "check-config", "--json")
    assert checked.status == 1
    assert {"[web] public_url", "[oidc] roles", "[oidc] client_secret_file"} <= {
        finding["setting"] for finding in checked.json["findings"]
    }


def test_sessions_are_listed_and_ended_one_or_all(lapel: Lapel) -> None:
    lapel("user", "add", "Ann", "--role", "wearer")
    assert "nobody is logged in" in lapel("user", "session", "list").out
    engine = open_ledger(lapel.folder / "data" / "ledger.sqlite")
    for _ in range(3):
        with writing(engine) as connection:
            begin_session(connection, "Ann", "open", "password", Browser("192.0.2.4", "Test/1"), now_ms())
    engine.dispose()
    found = lapel("user", "session", "list", "Ann", "--json").json
    assert [(one["user"], one["address"]) for one in found] == [("Ann", "192.0.2.4")] * 3
    assert "192.0.2.4" in lapel("user", "session", "list").out
    assert lapel("user", "session", "end", found[0]["id"]).status == 0
    assert lapel("user", "session", "end", found[0]["id"]).status == 3
    assert lapel("user", "session", "end").status == 2
    assert lapel("user", "session", "end", "--all-of", "Ann").status == 0
    assert lapel("user", "session", "list", "--json").json == []


def test_the_audit_log_says_which_account_of_this_machine_did_what(
    lapel: Lapel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOGNAME", "tess")
    lapel("user", "add", "Ann", "--role", "wearer")
    lapel("user", "disable", "Ann")
    lines = lapel("user", "log", "--json").json
    assert [(line["who"], line["how"], line["what"], line["about"]) for line in lines] == [
        ("tess", "command", what, "Ann") for what in ("disable user", "make set-up link", "add user")
    ]
    assert "make set-up link" in lapel("user", "log", "--user", "tess", "--limit", "2").out
    assert lapel("user", "log", "--user", "nobody", "--json").json == []
