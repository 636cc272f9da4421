"""What becomes of the clips of a gateway from before they were found by their beginning."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from lapel_gateway.accounts.permissions import permissions_of
from lapel_gateway.accounts.principal import Principal
from lapel_gateway.ledger import open_ledger, opening, reading
from lapel_gateway.viewing.catalogue import Wanted, find_clips

FORMER = "0010"
NOW_MS = 1_760_000_000_000
HOUR_MS = 3_600_000


def test_clips_are_found_in_the_order_in_which_they_began_by_clocks_that_can_be_believed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "ledger.sqlite"
    with monkeypatch.context() as patch:
        patch.setattr(opening, "SCHEMA_REVISION", FORMER)
        open_ledger(path).dispose()
    old = sqlite3.connect(path)
    clips = [
        (1, NOW_MS, NOW_MS - HOUR_MS, 3),
        (2, NOW_MS + 1, 5, 0),  # a clock that was never set
        (3, NOW_MS + 2, NOW_MS + 48 * HOUR_MS, 1),  # one that runs ahead
        (4, NOW_MS + 3, None, None),  # known by its number only
        (5, NOW_MS + 4, NOW_MS - 2 * HOUR_MS, 1),
    ]
    old.execute("PRAGMA foreign_keys=OFF")
    for number, first_ms, wall_ms, trust in clips:
        old.execute(
            "INSERT INTO clip (device, clip, person, device_state, state, alarm, chain, opening, contiguous, extents, "
            "sealed_bytes, first_ms, wall_ms, trust) "
            "VALUES ('00112233aabbccdd', ?, 'Zoë', 'active', 'held', 0, 'linked', 'proved', 1, x'', 9, ?, ?, ?)",
            (number, first_ms, wall_ms, trust),
        )
    old.commit()
    old.close()

    engine = open_ledger(path)

    eve = Principal("Eve", ("evidence",), permissions_of(["evidence"]), "session", "", 1)
    with reading(engine) as connection:
        found = find_clips(connection, Wanted(), eve).rows
    assert [(row["clip"], row["start_ms"]) for row in found] == [
        (4, NOW_MS + 3),
        (3, NOW_MS + 2),
        (2, NOW_MS + 1),
        (1, NOW_MS - HOUR_MS),
        (5, NOW_MS - 2 * HOUR_MS),
    ]
    engine.dispose()
