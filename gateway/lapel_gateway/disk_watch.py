"""Watches the room on the gateway's disks: that one fills up is an alarm before it stops anything.

Ingest keeps a reserve free and takes no more clips below it (`vault`); by then devices have to keep theirs. The bound
here is above that, so that there is time to do something.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path

import sqlalchemy as sa

from lapel_gateway.alarms.kinds import DISK_LOW
from lapel_gateway.alarms.own import note_again, raise_own
from lapel_gateway.ledger import writing

ENOUGH = 1.1
"""So much of the bound has to be free again before a disk counts as mended."""


def free_bytes(folder: Path) -> int:
    """Bytes that this user can still write there. Raises OSError."""
    state = os.statvfs(folder)
    return state.f_bavail * state.f_frsize


class DiskWatch:
    """The disks under some folders, each watched once."""

    def __init__(
        self,
        engine: sa.Engine,
        folders: Sequence[Path],
        low_bytes: int,
        free: Callable[[Path], int] = free_bytes,
    ) -> None:
        """``low_bytes`` free, or less, is an alarm; 0 watches nothing."""
        self._engine = engine
        self._folders = {folder.stat().st_dev: folder for folder in reversed(folders) if folder.is_dir()}
        self._low_bytes = low_bytes
        self._free = free
        self._low: set[Path] = set()

    def look(self, now_ms: int) -> None:
        """Raise an alarm for each disk that has become low, and note when it is no more. Raises OSError and what the
        ledger raises; then it is to be looked again."""
        for folder in self._folders.values() if self._low_bytes else ():
            free = self._free(folder)
            was_low = folder in self._low
            if not was_low and free <= self._low_bytes:
                detail = (
                    f"{free >> 20} MiB are free on the disk of {folder}, less than {self._low_bytes >> 20} MiB: make "
                    "room, or give it a larger disk; when it is full the gateway takes no more clips"
                )
                with writing(self._engine) as connection:
                    raise_own(connection, DISK_LOW, str(folder), detail, now_ms)
                self._low.add(folder)
            elif was_low and free > self._low_bytes * ENOUGH:
                with writing(self._engine) as connection:
                    note_again(connection, DISK_LOW, str(folder), f"{free >> 20} MiB are free again", now_ms)
                self._low.discard(folder)
