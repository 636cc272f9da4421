"""Users, their roles and tokens, and what is kept of them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from lapel_gateway.accounts import users
from lapel_gateway.accounts.audit import note, read_lines
from lapel_gateway.accounts.permissions import ROLES, Permission
from lapel_gateway.accounts.principal import Principal
from lapel_gateway.accounts.tokens import DAY_MS, USED_MS, add_token, list_tokens, principal_of_token, revoke_token
from lapel_gateway.accounts.users import NoSuchUser, User, UserError
from lapel_gateway.ledger import reading, writing
from lapel_gateway.ledger.account_tables import api_token, audit
from tests.gateway.ledgers import new_ledger
from tests.support.accounts import BY, token_of

NOW_MS = 1_760_000_000_000


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[sa.Engine]:
    with new_ledger(tmp_path) as engine:
        yield engine


def whose(engine: sa.Engine, token: str, now_ms: int = NOW_MS) -> str | None:
    found = principal_of_token(engine, token, "192.0.2.9", now_ms)
    return None if found is None else found.name


def test_a_token_names_its_user_with_what_the_roles_give(engine: sa.Engine) -> None:
    ann, ben = token_of(engine, "Ann Archer", NOW_MS, ["wearer"]), token_of(engine, "Ben", NOW_MS, ["auditor"])

    assert principal_of_token(engine, ann, "192.0.2.9", NOW_MS) == Principal(
        "Ann Archer", ("wearer",), ROLES["wearer"], "token", "192.0.2.9"
    )
    assert whose(engine, ben) == "Ben"


def test_a_token_has_256_random_bits_and_is_not_in_the_ledger(engine: sa.Engine, tmp_path: Path) -> None:
    token = token_of(engine, "Ann", NOW_MS)
    engine.dispose()

    assert len(bytes.fromhex(token.removeprefix("lapel_"))) == 32
    for file in tmp_path.iterdir():
        content = file.read_bytes()
        assert token.encode() not in content
        assert bytes.fromhex(token.removeprefix("lapel_")) not in content


@pytest.mark.parametrize("wrong", ["", "lapel_", "lapel_" + "0" * 64, "x" * 10_000, "\ud800", "Ann"])
def test_a_wrong_token_names_nobody(engine: sa.Engine, wrong: str) -> None:
    token_of(engine, "Ann", NOW_MS)

    assert whose(engine, wrong) is None


def test_a_changed_token_names_nobody(engine: sa.Engine) -> None:
    token = token_of(engine, "Ann", NOW_MS)
    changed = token[:-1] + ("0" if token[-1] != "0" else "1")

    assert whose(engine, changed) is None
    assert whose(engine, token.upper()) is None


def test_a_disabled_users_token_names_nobody_until_the_user_is_enabled(engine: sa.Engine) -> None:
    token = token_of(engine, "Ann", NOW_MS, ["wearer"])

    users.disable_user(engine, "Ann", BY, NOW_MS + 5)
    users.disable_user(engine, "Ann", BY, NOW_MS + 9)

    assert whose(engine, token) is None
    assert users.list_users(engine) == [User("Ann", ("wearer",), NOW_MS, NOW_MS + 5)]
    users.enable_user(engine, "Ann", BY, NOW_MS + 10)
    assert whose(engine, token) == "Ann"


def test_a_name_is_never_given_twice(engine: sa.Engine) -> None:
    users.add_user(engine, "Ann", ["wearer"], BY, NOW_MS)
    with pytest.raises(UserError, match="exists"):
        users.add_user(engine, " Ann ", ["wearer"], BY, NOW_MS)

    users.disable_user(engine, "Ann", BY, NOW_MS)
    with pytest.raises(UserError, match="not given to somebody else"):
        users.add_user(engine, "Ann", ["wearer"], BY, NOW_MS)


@pytest.mark.parametrize("name", ["", "  ", "a\x07b", "x" * 49, "é" * 25, "\ud800"])
def test_a_name_that_a_device_cannot_show_is_refused(engine: sa.Engine, name: str) -> None:
    with pytest.raises(UserError, match="printable text"):
        users.add_user(engine, name, ["wearer"], BY, NOW_MS)


@pytest.mark.parametrize("roles", [[], ["admin"], ["wearer", "Operator"]])
def test_roles_that_there_are_not_are_refused_with_those_there_are(engine: sa.Engine, roles: list[str]) -> None:
    with pytest.raises(UserError, match="roles are wearer, responder"):
        users.add_user(engine, "Ann", roles, BY, NOW_MS)
    assert users.list_users(engine) == []


def test_unknown_names_are_said_to_be_unknown(engine: sa.Engine) -> None:
    for act in (users.disable_user, users.enable_user):
        with pytest.raises(NoSuchUser, match="no user 'Cy'"):
            act(engine, "Cy", BY, NOW_MS)
    with pytest.raises(NoSuchUser, match="no user 'Cy'"):
        users.set_roles(engine, "Cy", ["wearer"], BY, NOW_MS)
    with pytest.raises(NoSuchUser, match="no user 'Cy'"):
        add_token(engine, "Cy", "x", BY, NOW_MS)


def test_a_role_that_is_taken_away_is_gone_from_tokens_too(engine: sa.Engine) -> None:
    token = token_of(engine, "Ann", NOW_MS, ["evidence", "wearer"])
    users.set_roles(engine, "Ann", ["wearer"], BY, NOW_MS)

    found = principal_of_token(engine, token, "", NOW_MS)

    assert found is not None
    assert found.permissions == ROLES["wearer"]
    assert not users.holds(engine, "Ann", Permission.SEE_CLIPS)
    assert users.holds(engine, "Ann", Permission.SEE_OWN)


def test_a_token_reaches_no_further_than_its_scopes_or_its_users_roles(engine: sa.Engine) -> None:
    users.add_user(engine, "Ann", ["responder", "evidence"], BY, NOW_MS)
    token = add_token(engine, "Ann", "wallboard", BY, NOW_MS, ["see-alarms", "see-clips"])
    found = principal_of_token(engine, token, "", NOW_MS)
    assert found is not None
    assert found.permissions == {Permission.SEE_ALARMS, Permission.SEE_CLIPS}

    users.set_roles(engine, "Ann", ["responder"], BY, NOW_MS)

    found = principal_of_token(engine, token, "", NOW_MS)
    assert found is not None
    assert found.permissions == {Permission.SEE_ALARMS}


@pytest.mark.parametrize(
    ("scopes", "words"),
    [(["all"], "no permission 'all'"), (["keep-users"], "do not give keep-users"), ([], "good for nothing")],
)
def test_scopes_that_there_are_not_or_that_the_roles_do_not_give_are_refused(
    engine: sa.Engine, scopes: list[str], words: str
) -> None:
    users.add_user(engine, "Ann", ["wearer"], BY, NOW_MS)

    with pytest.raises(UserError, match=words):
        add_token(engine, "Ann", "x", BY, NOW_MS, scopes)
    assert list_tokens(engine) == []


def test_a_token_ends_with_its_time_or_when_it_is_revoked_and_its_name_is_free_again(engine: sa.Engine) -> None:
    users.add_user(engine, "Ann", ["wearer"], BY, NOW_MS)
    passing = add_token(engine, "Ann", "passing", BY, NOW_MS, days=1)
    lasting = add_token(engine, "Ann", "lasting", BY, NOW_MS)
    with pytest.raises(UserError, match="has a token 'passing'"):
        add_token(engine, "Ann", "passing", BY, NOW_MS)

    assert whose(engine, passing, NOW_MS + DAY_MS - 1) == "Ann"
    assert whose(engine, passing, NOW_MS + DAY_MS) is None
    revoke_token(engine, "Ann", "lasting", BY, NOW_MS)
    assert whose(engine, lasting) is None
    with pytest.raises(UserError, match="no token 'lasting'"):
        revoke_token(engine, "Ann", "lasting", BY, NOW_MS)
    again = add_token(engine, "Ann", "passing", BY, NOW_MS + DAY_MS)
    assert whose(engine, again, NOW_MS + DAY_MS) == "Ann"


def test_when_a_token_was_last_used_is_kept_but_not_written_with_every_request(engine: sa.Engine) -> None:
    token = token_of(engine, "Ann", NOW_MS)
    assert list_tokens(engine, "Ann")[0].used_ms is None
    for at_ms in (NOW_MS + 5, NOW_MS + USED_MS, NOW_MS + USED_MS + 4):
        whose(engine, token, at_ms)
    assert list_tokens(engine, "Ann")[0].used_ms == NOW_MS + 5
    whose(engine, token, NOW_MS + USED_MS + 5)
    assert list_tokens(engine, "Ann")[0].used_ms == NOW_MS + USED_MS + 5


def test_the_ledger_holds_the_hash_of_the_token(engine: sa.Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("secrets.token_hex", lambda size: "00" * size)
    token_of(engine, "Ann", NOW_MS)

    with reading(engine) as connection:
        (row,) = connection.execute(sa.select(api_token)).all()
    # printf 'lapel_%064d' 0 | sha256sum
    assert row.token_hash.hex() == "6fc8d7e18c92fbc2ea75391205818d28265d077238dfe93b6b50fbe16476253b"


def test_every_change_of_a_user_is_in_the_audit_log_with_who_made_it(engine: sa.Engine) -> None:
    token_of(engine, "Ann", NOW_MS, ["wearer"])
    users.set_roles(engine, "Ann", ["responder"], BY, NOW_MS + 1)
    users.disable_user(engine, "Ann", BY, NOW_MS + 2)

    with reading(engine) as connection:
        lines = list(reversed(read_lines(connection, 10)))

    assert [(line.what, line.about, line.outcome) for line in lines] == [
        (what, "Ann", "done") for what in ("add user", "add token", "set roles", "disable user")
    ]
    assert {(line.who, line.how, line.address) for line in lines} == {("Olive Operator", "session", "192.0.2.1")}
    assert lines[2].detail == "wearer -> responder"


def test_no_line_of_the_audit_log_can_be_changed_or_removed(engine: sa.Engine) -> None:
    users.add_user(engine, "Ann", ["wearer"], BY, NOW_MS)

    for change in (sa.update(audit).values(who="Ben"), sa.delete(audit)):
        with pytest.raises(sa.exc.IntegrityError, match="only ever added to"), writing(engine) as connection:
            connection.execute(change)
    with reading(engine) as connection:
        assert [line.who for line in read_lines(connection, 10)] == ["Olive Operator"]


def test_what_comes_from_outside_is_made_printable_in_the_audit_log(engine: sa.Engine) -> None:
    users.add_user(engine, "Ann", ["wearer"], BY, NOW_MS)
    users.set_roles(engine, "Ann", ["auditor"], BY, NOW_MS)
    with writing(engine) as connection:
        note(connection, BY, NOW_MS, "look", "a\x1b[2J\ud800" + "x" * 1000)
    with reading(engine) as connection:
        about = read_lines(connection, 1)[0].about
    assert about.isprintable()
    assert len(about) == 300
