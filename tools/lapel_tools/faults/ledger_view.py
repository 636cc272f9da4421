"""The ledger as any other process would see it: what is committed, and nothing else. Cheap enough to ask often."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any


class LedgerView:
    """Reads a ledger's file with a connection of its own. `close` it before the file is replaced."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._connection: sqlite3.Connection | None = None

    def row(self, query: str, arguments: tuple[Any, ...] = ()) -> Any:
        """The first row, or None."""
        return self._open().execute(query, arguments).fetchone()

    def rows(self, query: str) -> list[Any]:
        """Every row."""
        return self._open().execute(query).fetchall()

    def close(self) -> None:
        """Let go of the file; it is opened again when asked."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _open(self) -> sqlite3.Connection:
        if self._connection is None:
            self._connection = sqlite3.connect(self._path, isolation_level=None)
        return self._connection
