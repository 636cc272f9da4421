"""Opening the ledger: SQLite settings, the schema's revision, upgrades after an automatic copy.

An up-to-date database opens without importing alembic (the seeded fault suite restarts the gateway thousands of times).
Writers use :func:`writing`, which takes SQLite's write lock at the start: a transaction that reads first and writes
later would otherwise fail at once, whatever the busy timeout, when another role has written in between.
"""

from __future__ import annotations

import contextlib
import fcntl
import functools
import os
import shutil
import sqlite3
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.util import LRUCache

from lapel_gateway.ledger.schema import SCHEMA_REVISION
from lapel_gateway.ledger.turns import Turns

BUSY_TIMEOUT_MS = 10_000
"""How long a writer waits for another role's commit; a commit takes milliseconds, so ten seconds is a stuck disk."""

CHECKPOINT_S = 1.0
"""How often a busy connection copies the write-ahead log into the database."""

_BEGIN = "lapel_begin"
_TURNS = "lapel_turns"
_TIDIED = "lapel_tidied"
_LOG = "lapel_log"


class LedgerError(Exception):
    """The ledger cannot be used; the message says why and what to do."""


def ledger_path(url: str | Path) -> Path:
    """Return the database file named by ``url``: a path, or an SQLAlchemy URL ``sqlite:///...``.

    Raises LedgerError for any other database.
    """
    if isinstance(url, Path) or "://" not in url:
        return Path(url)
    parsed = sa.make_url(url)
    if parsed.get_backend_name() != "sqlite" or not parsed.database:
        raise LedgerError(
            f"ledger {parsed.render_as_string()}: use a file, as in sqlite:////var/lib/lapel/ledger.sqlite"
        )
    return Path(parsed.database)


def open_ledger(url: str | Path) -> sa.Engine:
    """Open the ledger at ``url``, making or upgrading it where needed, and return its engine.

    An older schema is first copied to ``<file>.before-<revision>`` and then upgraded in one transaction.
    Raises LedgerError when the schema is newer than this program, the file is not a ledger, or it cannot be opened.
    """
    path = ledger_path(url)
    try:
        revision = _revision(path)
        if revision != SCHEMA_REVISION:
            _check_not_newer(path, revision)
            with _upgrade_lock(path):
                revision = _revision(path)
                _check_not_newer(path, revision)
                if revision != SCHEMA_REVISION:
                    _upgrade(path, revision)
    except (OSError, sqlite3.Error) as error:
        raise LedgerError(f"ledger {path}: {error}") from error
    return _engine(path)


@contextlib.contextmanager
def writing(engine: sa.Engine, *, urgent: bool = False, durable: bool = True) -> Iterator[sa.Connection]:
    """One transaction that may write: committed at the end of the block, rolled back when it raises.

    What was committed is durable when the block has ended. Writers take turns (`lapel_gateway.ledger.turns`), one that
    is ``urgent`` before all others; an ordinary one gives its turn back before it waits for the disk, so that the disk
    is waited for once where an urgent one follows. A thread that is writing must not begin a second one inside: it
    would wait for itself. Raises OSError besides what the database raises: then it is not certain to be durable.

    Without ``durable`` the disk is not waited for at all: for what nobody wants to know after a loss of power.
    """
    with engine.connect() as plain:
        connection = plain.execution_options(**{_BEGIN: "BEGIN IMMEDIATE"})
        # FULL syncs the write-ahead log within the commit; NORMAL leaves that to us and keeps the log consistent
        # (https://www.sqlite.org/pragma.html#pragma_synchronous).
        _driver(plain).execute(f"PRAGMA synchronous={'FULL' if urgent else 'NORMAL'}").close()
        with plain.info[_TURNS].turn(urgent=urgent), connection.begin():
            yield connection
        if durable and not urgent:
            _sync_log(plain)
            _tidy(plain)


def tidy(engine: sa.Engine) -> None:
    """Copy what was committed into the database file if that is due, for a process that writes little."""
    with engine.connect() as plain:
        _tidy(plain)


@contextlib.contextmanager
def reading(engine: sa.Engine) -> Iterator[sa.Connection]:
    """One consistent view of the ledger; writers are not held up by it."""
    with engine.connect() as connection, connection.begin():
        yield connection


def _tidy(plain: sa.Connection) -> None:
    """Checkpoint the write-ahead log now and then, while nobody waits for a turn because of it.

    By itself SQLite does so within the commit that fills the log, which then takes fifty milliseconds, and may be an
    alarm's. A passive checkpoint holds no writer up.
    """
    now = time.monotonic()
    if now - plain.info[_TIDIED] >= CHECKPOINT_S:
        plain.info[_TIDIED] = now
        with contextlib.suppress(sqlite3.OperationalError):
            _driver(plain).execute("PRAGMA wal_checkpoint(PASSIVE)").close()


def _sync_log(plain: sa.Connection) -> None:
    """Make durable what is in the write-ahead log. It stays the same file as long as a connection is open."""
    if _LOG not in plain.info:
        plain.info[_LOG] = os.open(f"{plain.engine.url.database}-wal", os.O_RDONLY | os.O_CLOEXEC)
    os.fdatasync(plain.info[_LOG])


def _driver(connection: sa.Connection) -> sqlite3.Connection:
    driver = connection.connection.driver_connection
    if not isinstance(driver, sqlite3.Connection):
        raise TypeError("the ledger is not an SQLite database")
    return driver


def fresh_ledger(path: Path) -> None:
    """Write a new, empty, up-to-date ledger at ``path`` quickly, from a template built once in each process.

    The template itself is made by the migrations. For tests and simulations; ``path`` is overwritten.
    """
    path.write_bytes(_template())


@functools.cache
def _template() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "template.sqlite"
        open_ledger(path).dispose()
        connection = sqlite3.connect(path)
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        connection.close()
        return path.read_bytes()


_compiled: LRUCache[Any, Any] = LRUCache(1000)
"""Statements compiled once a process, not once an engine: the gateway has a few hundred."""


def _engine(path: Path) -> sa.Engine:
    engine = sa.create_engine(
        f"sqlite:///{path}",
        connect_args={"timeout": BUSY_TIMEOUT_MS / 1000, "check_same_thread": False},
        execution_options={"compiled_cache": _compiled},
    )

    @sa.event.listens_for(engine, "connect")
    def configure(connection: sqlite3.Connection, record: sa.pool.ConnectionPoolEntry) -> None:
        record.info[_TURNS] = Turns(path)
        record.info[_TIDIED] = time.monotonic()
        # The driver must not open transactions by itself: "begin" below does.
        connection.isolation_level = None
        connection.execute("PRAGMA journal_mode=WAL").close()
        connection.execute("PRAGMA synchronous=FULL").close()
        connection.execute("PRAGMA foreign_keys=ON").close()
        connection.execute("PRAGMA wal_autocheckpoint=0").close()

    @sa.event.listens_for(engine, "close")
    def close(_connection: sqlite3.Connection, record: sa.pool.ConnectionPoolEntry) -> None:
        record.info.pop(_TURNS).close()
        log = record.info.pop(_LOG, None)
        if log is not None:
            os.close(log)

    @sa.event.listens_for(engine, "begin")
    def begin(connection: sa.Connection) -> None:
        connection.exec_driver_sql(connection.get_execution_options().get(_BEGIN, "BEGIN"))

    return engine


def _revision(path: Path) -> str | None:
    """The schema's revision: None = no database yet, or an empty one. Raises LedgerError for another program's file."""
    if not path.exists():
        return None
    connection = sqlite3.connect(path, timeout=BUSY_TIMEOUT_MS / 1000)
    try:
        tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        if not tables:
            return None
        if "alembic_version" not in tables:
            raise LedgerError(f"ledger {path}: this database was not made by Lapel; name another file")
        row = connection.execute("SELECT version_num FROM alembic_version").fetchone()
        return str(row[0]) if row else None
    finally:
        connection.close()


def _check_not_newer(path: Path, revision: str | None) -> None:
    if revision is not None and revision > SCHEMA_REVISION:
        raise LedgerError(
            f"ledger {path}: its schema {revision} is newer than this program's {SCHEMA_REVISION}; "
            f"install the newer Lapel again, or restore the copy made before that upgrade"
        )


@contextlib.contextmanager
def _upgrade_lock(path: Path) -> Iterator[None]:
    """Roles started as separate processes upgrade once, not each."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(f"{path}.upgrade-lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _upgrade(path: Path, revision: str | None) -> None:
    if revision is not None:
        _copy(path, path.with_name(f"{path.name}.before-{SCHEMA_REVISION}"))
    from alembic import command
    from alembic.config import Config

    engine = _engine(path)
    try:
        config = Config()
        config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
        with writing(engine) as connection:
            config.attributes["connection"] = connection
            command.upgrade(config, SCHEMA_REVISION)
    except sa.exc.DBAPIError as error:
        raise LedgerError(
            f"ledger {path}: the upgrade to schema {SCHEMA_REVISION} failed and was undone: {error.orig}"
        ) from error
    finally:
        engine.dispose()


def _copy(path: Path, copy: Path) -> None:
    """Copy a live database, durably; an earlier copy of the same name is kept beside it."""
    if copy.exists():
        number = 1
        while (spare := copy.with_name(f"{copy.name}.{number}")).exists():
            number += 1
        shutil.move(copy, spare)
    source, target = sqlite3.connect(path), sqlite3.connect(copy)
    try:
        source.backup(target)
    finally:
        target.close()
        source.close()
    with open(copy, "rb") as file:
        os.fsync(file.fileno())
