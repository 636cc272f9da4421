"""Users and their tokens."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from lapel_gateway import users
from lapel_gateway.ledger import reading
from lapel_gateway.ledger.schema import user as user_table
from lapel_gateway.users import UserError
from tests.gateway.ledgers import new_ledger

NOW_MS = 1_760_000_000_000


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[sa.Engine]:
    with new_ledger(tmp_path) as engine:
        yield engine


def test_a_token_names_its_user_and_nobody_else(engine: sa.Engine) -> None:
    ann, ben = users.add_user(engine, "Ann Archer", NOW_MS), users.add_user(engine, "Ben", NOW_MS)

    assert users.authenticate(engine, ann) == "Ann Archer"
    assert users.authenticate(engine, ben) == "Ben"


def test_a_token_has_256_random_bits_and_is_not_in_the_ledger(engine: sa.Engine, tmp_path: Path) -> None:
    token = users.add_user(engine, "Ann", NOW_MS)
    engine.dispose()

    assert len(bytes.fromhex(token.removeprefix("lapel_"))) == 32
    for file in tmp_path.iterdir():
        content = file.read_bytes()
        assert token.encode() not in content
        assert bytes.fromhex(token.removeprefix("lapel_")) not in content


@pytest.mark.parametrize("wrong", ["", "lapel_", "lapel_" + "0" * 64, "x" * 10_000, "\ud800", "Ann"])
def test_a_wrong_token_names_nobody(engine: sa.Engine, wrong: str) -> None:
    users.add_user(engine, "Ann", NOW_MS)

    assert users.authenticate(engine, wrong) is None


def test_a_changed_token_names_nobody(engine: sa.Engine) -> None:
    token = users.add_user(engine, "Ann", NOW_MS)
    changed = token[:-1] + ("0" if token[-1] != "0" else "1")

    assert users.authenticate(engine, changed) is None
    assert users.authenticate(engine, token.upper()) is None


def test_a_revoked_token_names_nobody_and_its_user_stays_on_the_list(engine: sa.Engine) -> None:
    token = users.add_user(engine, "Ann", NOW_MS)

    users.revoke_user(engine, "Ann", NOW_MS + 5)
    users.revoke_user(engine, "Ann", NOW_MS + 9)

    assert users.authenticate(engine, token) is None
    assert users.list_users(engine) == [users.User("Ann", NOW_MS, NOW_MS + 5)]


def test_a_name_is_never_given_twice(engine: sa.Engine) -> None:
    users.add_user(engine, "Ann", NOW_MS)
    with pytest.raises(UserError, match="exists"):
        users.add_user(engine, " Ann ", NOW_MS)

    users.revoke_user(engine, "Ann", NOW_MS)
    with pytest.raises(UserError, match="not given to somebody else"):
        users.add_user(engine, "Ann", NOW_MS)


def test_a_renewed_token_replaces_the_old_one(engine: sa.Engine) -> None:
    old = users.add_user(engine, "Ann", NOW_MS)
    users.revoke_user(engine, "Ann", NOW_MS)

    new = users.renew_token(engine, "Ann")

    assert users.authenticate(engine, old) is None
    assert users.authenticate(engine, new) == "Ann"
    assert users.list_users(engine)[0].disabled_ms is None


@pytest.mark.parametrize("name", ["", "  ", "a\x07b", "x" * 49, "é" * 25])
def test_a_name_that_a_device_cannot_show_is_refused(engine: sa.Engine, name: str) -> None:
    with pytest.raises(UserError, match="printable text"):
        users.add_user(engine, name, NOW_MS)


def test_unknown_names_are_said_to_be_unknown(engine: sa.Engine) -> None:
    with pytest.raises(UserError, match="no user 'Cy'"):
        users.revoke_user(engine, "Cy", NOW_MS)
    with pytest.raises(UserError, match="no user 'Cy'"):
        users.renew_token(engine, "Cy")


def test_the_ledger_holds_the_hash_of_the_token(engine: sa.Engine) -> None:
    users.add_user(engine, "Ann", NOW_MS, entropy=lambda size: bytes(size))

    with reading(engine) as connection:
        (row,) = connection.execute(sa.select(user_table)).all()
    # printf 'lapel_%064d' 0 | sha256sum
    assert row.token_hash.hex() == "6fc8d7e18c92fbc2ea75391205818d28265d077238dfe93b6b50fbe16476253b"
