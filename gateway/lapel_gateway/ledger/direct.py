"""Statements of the hot paths: built with SQLAlchemy Core once, run by the driver itself.

SQLAlchemy spends a tenth of a millisecond on a statement whatever it does, SQLite a few microseconds; ingest runs
dozens for each batch. Values are given in the driver's own types: bytes, str, int, None. What the driver raises is
raised as SQLAlchemy raises it, so that callers meet one kind of error.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Mapping
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.sqlite.pysqlite import SQLiteDialect_pysqlite

_DIALECT = SQLiteDialect_pysqlite(paramstyle="named")


class Direct:
    """One statement with named values (`sa.bindparam`, or the columns of an insert)."""

    def __init__(self, statement: sa.Executable, columns: Iterable[str] | None = None) -> None:
        """`columns`: those that an insert is to have, by default all. Raises ValueError for a list."""
        names = None if columns is None else list(columns)
        compiled = statement.compile(dialect=_DIALECT, column_keys=names)  # type: ignore[attr-defined]
        self.text = str(compiled)
        """The SQL, for the driver and for EXPLAIN."""
        if any(parameter.expanding for parameter in compiled.bind_names):
            raise ValueError("the driver knows no lists")
        self._fixed = {name: one.value for one, name in compiled.bind_names.items() if not one.required}
        """Values that the statement came with."""

    def all(self, connection: sa.Connection, values: Mapping[str, Any]) -> list[tuple[Any, ...]]:
        """Every row."""
        try:
            return _driver(connection).execute(self.text, {**self._fixed, **values}).fetchall()
        except sqlite3.Error as error:
            raise _as_sqlalchemy(self.text, error) from error

    def run(self, connection: sa.Connection, values: Mapping[str, Any]) -> int:
        """Run it once; returns how many rows it changed."""
        try:
            return _driver(connection).execute(self.text, {**self._fixed, **values}).rowcount
        except sqlite3.Error as error:
            raise _as_sqlalchemy(self.text, error) from error

    def run_each(self, connection: sa.Connection, rows: Iterable[Mapping[str, Any]]) -> None:
        """Run it for each of these."""
        try:
            _driver(connection).executemany(
                self.text, [{**self._fixed, **row} for row in rows] if self._fixed else rows
            )
        except sqlite3.Error as error:
            raise _as_sqlalchemy(self.text, error) from error


def _driver(connection: sa.Connection) -> sqlite3.Connection:
    driver = connection.connection.driver_connection
    if not isinstance(driver, sqlite3.Connection):
        raise TypeError("the ledger is not an SQLite database")
    return driver


def _as_sqlalchemy(text: str, error: sqlite3.Error) -> Exception:
    made: Exception = sa.exc.DBAPIError.instance(text, None, error, sqlite3.Error)
    return made
