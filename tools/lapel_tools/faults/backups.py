"""Backups of the gateway, and what it is like to come back from one.

What a restored gateway promises (property 9 of the design): no alarm and no clip that a device still holds is lost.
A device holds an alarm while it repeats it, has it in its journal, or shows it; it holds a clip while its file is on
its storage. What was handed over, deleted there in good faith, and is not in the backup, is gone: no protocol brings it
back. Which of ledger and vault is the older one decides what has to happen:

- both from one moment: later clips and alarms are unknown, and are asked for or said again;
- ledger older than vault: bytes without a claim, which are verified and taken up as if they had just arrived; so is
  the event that settled a cut clip, which is in the vault beside it;
- vault older than ledger: claims without bytes, which are taken back and asked for again.
"""

from __future__ import annotations

import random
import shutil
import sqlite3
from dataclasses import dataclass
from pathlib import Path

from lapel_gateway.custody.vault_journal import JOURNAL_NAME

WAYS = ("both", "both", "ledger_older", "real_backup", "vault_older")
"""How a gateway comes back. `real_backup`: the ledger was copied first, the vault some time later."""

_KEPT = (".lapel", ".cut")
"""Of the vault; its mark is left out, so that a start looks at everything."""


@dataclass(frozen=True)
class Backup:
    """A copy of ledger and vault at one moment."""

    ledger: bytes
    vault: dict[str, bytes]


def copy_gateway(ledger: Path, vault: Path) -> Backup:
    """Copy as a backup tool does: SQLite's own backup, and every file of the vault."""
    source, target = sqlite3.connect(ledger), sqlite3.connect(":memory:")
    try:
        source.backup(target)
        content = target.serialize()
    finally:
        target.close()
        source.close()
    kept = (file for file in sorted(vault.rglob("*")) if file.suffix in _KEPT or file.name == JOURNAL_NAME)
    return Backup(content, {str(file.relative_to(vault)): file.read_bytes() for file in kept})


def restore_gateway(way: str, older: Backup, newer: Backup, ledger: Path, vault: Path) -> None:
    """Put a stopped gateway back, the `way` being one of WAYS; `newer` was made after `older`."""
    if way != "vault_older":
        for leftover in (ledger.with_name(ledger.name + "-wal"), ledger.with_name(ledger.name + "-shm")):
            leftover.unlink(missing_ok=True)
        ledger.write_bytes(older.ledger)
    if way == "ledger_older":
        return
    files = newer.vault if way == "real_backup" else older.vault
    shutil.rmtree(vault, ignore_errors=True)
    vault.mkdir()
    for name, content in files.items():
        path = vault / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content)


def choose(made: list[Backup], rng: random.Random) -> tuple[Backup, Backup]:
    """An older and a newer one (perhaps the same) of the backups there are."""
    first = rng.randrange(len(made))
    return made[first], made[rng.randrange(first, len(made))]
