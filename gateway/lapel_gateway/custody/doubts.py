"""What may be in doubt between ledger and vault when the gateway starts, without looking at every clip there is.

Ledger and vault carry the same mark once a start has found them in agreement. As long as both still carry it, neither
was replaced by a copy from before that start, and whatever was made durable before it is where it was. In doubt is then

- every clip that is not held whole,
- the clips that were completed since the mark was set (the outbox numbers them, whatever the clocks said),
- files in folders to which a file was added since: the ledger may be a copy that is older than they are.

Anything else that tells of a replaced vault or ledger (no mark, another one, a mark whose file time is not the one
written in it) puts everything in doubt. What this cannot see is a single old file that vanished or was put back by hand
under an unchanged mark: `everything` looks at all of it, and a clip's damage is found when the clip is read.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import sqlalchemy as sa

from lapel_gateway.custody.vault import Vault
from lapel_gateway.durable import write_file
from lapel_gateway.ledger.marks import devices_with_clips, get_mark, held_of, held_since

MARK_BYTES = 16
MARK_NAME = ".mark"

RENEW_AFTER = 1000
"""Clips completed since the mark was set, beyond which a start sets a new one: a look at so many takes milliseconds."""


@dataclass(frozen=True, slots=True)
class VaultMark:
    """The mark in the vault. `set_s`: when it was set, in whole seconds of the clock that also dates the files."""

    value: bytes
    set_s: int


def read_mark(root: Path) -> VaultMark | None:
    """The vault's mark, None where there is none or where it was copied without its time. Raises OSError."""
    path = root / MARK_NAME
    try:
        content, modified = path.read_bytes(), int(path.stat().st_mtime)
    except FileNotFoundError:
        return None
    value, set_s = content[:MARK_BYTES], int.from_bytes(content[MARK_BYTES:], "big")
    return VaultMark(value, set_s) if len(content) == MARK_BYTES + 8 and set_s == modified else None


def remove_mark(root: Path) -> None:
    """Have the next start look at everything. Raises OSError."""
    (root / MARK_NAME).unlink(missing_ok=True)


def write_mark(root: Path) -> bytes:
    """Give the vault a new mark, durably, and return it. Raises OSError."""
    value, path = os.urandom(MARK_BYTES), root / MARK_NAME
    write_file(path, value)
    set_s = int(path.stat().st_mtime)
    write_file(path, value + set_s.to_bytes(8, "big"))
    os.utime(path, (set_s, set_s))
    return value


class Doubts:
    """What a start has to look at."""

    def __init__(self, connection: sa.Connection, vault: Vault, everything: bool) -> None:
        """Look at the marks; `everything` = do not rely on them."""
        mark, known = read_mark(vault.root), get_mark(connection)
        self._vault = vault
        self._since_s = 0
        self.paired = mark is not None and known is not None and mark.value == known[0] and not everything
        """Whether ledger and vault are those of the last agreement."""
        self.held: list[tuple[str, int, int]] = []
        """(device, clip, bytes) of the held clips to look at, unless it is all of them."""
        if self.paired and mark is not None and known is not None:
            self._since_s = mark.set_s
            self.held = held_since(connection, known[1])

    @property
    def to_renew(self) -> bool:
        """Whether a new mark should be set after this start."""
        return not self.paired or len(self.held) > RENEW_AFTER

    def lost(self, connection: sa.Connection) -> list[tuple[str, int]]:
        """Held clips of which the vault has less than the ledger claims."""
        if self.paired:
            return [(name, clip) for name, clip, size in self.held if self._vault.size(name, clip) < size]
        return [
            (name, clip)
            for name in devices_with_clips(connection)
            for clip, size in sorted(held_of(connection, name).items())
            if self._vault.size(name, clip) < size
        ]

    def unclaimed(self, connection: sa.Connection) -> Iterator[tuple[str, int]]:
        """Files of clips that the ledger does not hold whole, in order."""
        for name in self._vault.folders(self._since_s):
            numbers = self._vault.numbers(name)
            claimed = held_of(connection, name) if numbers else {}
            for clip in numbers:
                if clip not in claimed:
                    yield name, clip
