"""What becomes of the users of a gateway from before accounts had roles."""

from __future__ import annotations

import hashlib
import sqlite3
from pathlib import Path

import pytest

from lapel_gateway.accounts.permissions import Permission
from lapel_gateway.accounts.tokens import list_tokens, principal_of_token
from lapel_gateway.accounts.users import list_users
from lapel_gateway.ledger import open_ledger, opening

NOW_MS = 1_760_000_000_000
FORMER = "0007"


def test_who_had_a_token_may_do_with_it_what_every_token_could_do_and_no_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "ledger.sqlite"
    with monkeypatch.context() as patch:
        patch.setattr(opening, "SCHEMA_REVISION", FORMER)
        open_ledger(path).dispose()
    old = sqlite3.connect(path)
    for name, disabled_ms in (("Ann", None), ("Ben", 7)):
        token_hash = hashlib.sha256(f"lapel_{name}".encode()).digest()
        old.execute("INSERT INTO user VALUES (?, ?, ?, ?)", (name, token_hash, 5, disabled_ms))
    old.commit()
    old.close()

    engine = open_ledger(path)

    ann = principal_of_token(engine, "lapel_Ann", "", NOW_MS)
    assert ann is not None
    assert (ann.name, ann.roles) == ("Ann", ("evidence", "responder", "wearer"))
    assert {
        Permission.ANSWER_ALARMS,
        Permission.PLAY_CLIPS,
        Permission.RUN_VISITS,
        Permission.KEEP_RISKS,
    } < ann.permissions
    assert not ann.permissions & {Permission.KEEP_USERS, Permission.SEE_AUDIT}
    assert principal_of_token(engine, "lapel_Ben", "", NOW_MS) is None
    assert [(one.name, one.created_ms, one.disabled_ms, one.has_password) for one in list_users(engine)] == [
        ("Ann", 5, None, False),
        ("Ben", 5, 7, False),
    ]
    assert [(one.user, one.ended_ms, one.expires_ms) for one in list_tokens(engine)] == [
        ("Ann", None, None),
        ("Ben", 7, None),
    ]
    engine.dispose()
    new = sqlite3.connect(path)
    assert new.execute("PRAGMA foreign_key_check").fetchall() == []
    new.close()
