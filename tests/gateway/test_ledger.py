"""Opening the ledger: settings, upgrades after a copy, refusals, and speed."""

import errno
import os
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Mapping
from pathlib import Path

import pytest
import sqlalchemy as sa

from lapel_gateway.ledger import LedgerError, fresh_ledger, ledger_path, open_ledger, opening, reading, writing
from lapel_gateway.ledger.account_tables import user
from lapel_gateway.ledger.schema import SCHEMA_REVISION, metadata

NEXT = f"{int(SCHEMA_REVISION) + 1:04d}"
"""The revision that comes after the present one."""


def pragma(engine: sa.Engine, name: str) -> object:
    with engine.connect() as connection:
        return connection.exec_driver_sql(f"PRAGMA {name}").scalar()


def add_user(engine: sa.Engine, name: str) -> None:
    with writing(engine) as connection:
        connection.execute(sa.insert(user).values(name=name, created_ms=1))


def test_the_migrations_make_exactly_the_tables_of_the_schema(tmp_path: Path) -> None:
    from alembic.autogenerate import compare_metadata
    from alembic.migration import MigrationContext

    engine = open_ledger(tmp_path / "ledger.sqlite")
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, metadata) == []
    engine.dispose()


def test_an_urgent_commit_is_durable_and_readers_do_not_wait(tmp_path: Path) -> None:
    engine = open_ledger(tmp_path / "ledger.sqlite")
    assert pragma(engine, "journal_mode") == "wal"
    with writing(engine, urgent=True):
        assert pragma(engine, "synchronous") == 2  # FULL
    assert pragma(engine, "foreign_keys") == 1
    with writing(engine) as connection:
        connection.execute(sa.insert(user).values(name="Zoë", created_ms=1))
        with reading(engine) as other:
            assert other.execute(sa.select(user)).all() == []
    engine.dispose()


def test_an_ordinary_writer_waits_for_the_disk_without_keeping_the_turn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = open_ledger(tmp_path / "ledger.sqlite")
    synced: list[str] = []
    real = os.fdatasync

    def write_urgently() -> None:
        with writing(engine, urgent=True) as connection:
            connection.execute(sa.insert(user).values(name="Sam", created_ms=1))

    def sync(handle: int) -> None:
        urgent = threading.Thread(target=write_urgently)
        urgent.start()
        urgent.join(5)
        assert not urgent.is_alive()
        synced.append(Path(os.readlink(f"/proc/self/fd/{handle}")).name)
        real(handle)

    monkeypatch.setattr(os, "fdatasync", sync)
    add_user(engine, "Zoë")
    assert synced == ["ledger.sqlite-wal"]
    engine.dispose()


def test_a_commit_that_cannot_be_made_durable_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = open_ledger(tmp_path / "ledger.sqlite")

    def fail(_handle: int) -> None:
        raise OSError(errno.EIO, "broken")

    monkeypatch.setattr(os, "fdatasync", fail)
    with pytest.raises(OSError, match="broken"):
        add_user(engine, "Zoë")
    engine.dispose()


def test_a_block_that_raises_leaves_nothing_behind(tmp_path: Path) -> None:
    engine = open_ledger(tmp_path / "ledger.sqlite")

    def fail() -> None:
        with writing(engine) as connection:
            connection.execute(sa.insert(user).values(name="Zoë", created_ms=1))
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    with reading(engine) as connection:
        assert connection.execute(sa.select(user)).all() == []
    engine.dispose()


def test_writers_that_read_first_take_turns_instead_of_failing(tmp_path: Path) -> None:
    engine = open_ledger(tmp_path / "ledger.sqlite")

    def count_up(who: int) -> None:
        for _number in range(20):
            with writing(engine) as connection:
                seen = len(connection.execute(sa.select(user)).all())
                name = f"{seen}"
                connection.execute(sa.insert(user).values(name=name, created_ms=1))

    threads = [threading.Thread(target=count_up, args=(who,)) for who in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with reading(engine) as connection:
        names = {row.name for row in connection.execute(sa.select(user))}
    assert names == {str(number) for number in range(60)}
    engine.dispose()


def test_a_newer_schema_is_refused_with_what_to_do_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    fresh_ledger(path)
    connection = sqlite3.connect(path)
    connection.execute("UPDATE alembic_version SET version_num = '9999'")
    connection.commit()
    connection.close()
    before = path.read_bytes()
    with pytest.raises(LedgerError, match=r"9999 is newer than this program's .*install the newer Lapel"):
        open_ledger(path)
    assert path.read_bytes() == before
    assert list(tmp_path.glob("*.before-*")) == []


def test_another_programs_database_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE contacts (name TEXT)")
    connection.commit()
    connection.close()
    before = path.read_bytes()
    with pytest.raises(LedgerError, match="not made by Lapel"):
        open_ledger(path)
    assert path.read_bytes() == before


def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    path.write_bytes(b"no database at all, " * 100)
    with pytest.raises(LedgerError, match="not a database"):
        open_ledger(path)


def test_another_kind_of_database_is_refused_by_name() -> None:
    with pytest.raises(LedgerError, match="use a file"):
        ledger_path("postgresql://host/lapel")


def test_an_older_schema_is_copied_before_it_is_upgraded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "ledger.sqlite"
    engine = open_ledger(path)
    add_user(engine, "Zoë")
    engine.dispose()
    scripts = _migrations_with_a_second(tmp_path)
    monkeypatch.setattr(opening, "SCHEMA_REVISION", NEXT)
    monkeypatch.setattr(opening, "__file__", str(scripts / "opening.py"))
    for _ in range(2):
        engine = open_ledger(path)
        with engine.connect() as connection:
            assert connection.exec_driver_sql("SELECT shoe_size FROM user").all() == [(None,)]
        engine.dispose()
    copies = list(tmp_path.glob(f"ledger.sqlite.before-{NEXT}*"))
    assert len(copies) == 1
    kept = sqlite3.connect(copies[0])
    assert kept.execute("SELECT version_num FROM alembic_version").fetchall() == [(SCHEMA_REVISION,)]
    assert kept.execute("SELECT name FROM user").fetchall() == [("Zoë",)]
    kept.close()


def test_an_upgrade_that_fails_is_undone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "ledger.sqlite"
    fresh_ledger(path)
    scripts = _migrations_with_a_second(tmp_path, then="op.execute('SELECT nonsense FROM nowhere')")
    with monkeypatch.context() as patch:
        patch.setattr(opening, "SCHEMA_REVISION", NEXT)
        patch.setattr(opening, "__file__", str(scripts / "opening.py"))
        with pytest.raises(LedgerError, match=r"failed and was undone.*nowhere"):
            open_ledger(path)
    engine = open_ledger(path)
    with engine.connect() as connection:
        columns = [row[1] for row in connection.exec_driver_sql("PRAGMA table_info(user)")]
    assert "shoe_size" not in columns
    engine.dispose()


def _migrations_with_a_second(folder: Path, then: str = "pass") -> Path:
    """The real migrations and one more, that adds a column."""
    source = Path(opening.__file__).parent / "migrations"
    target = folder / "newer" / "migrations"
    (target / "versions").mkdir(parents=True)
    (target / "env.py").write_text((source / "env.py").read_text())
    for script in (source / "versions").glob("0*.py"):
        (target / "versions" / script.name).write_text(script.read_text())
    (target / "versions" / f"{NEXT}_shoes.py").write_text(
        "import sqlalchemy as sa\nfrom alembic import op\n\n"
        f"revision = '{NEXT}'\ndown_revision = '{SCHEMA_REVISION}'\nbranch_labels = depends_on = None\n\n\n"
        "def upgrade() -> None:\n"
        f"    op.add_column('user', sa.Column('shoe_size', sa.Integer()))\n    {then}\n"
    )
    return target.parent


def test_opening_an_up_to_date_ledger_leaves_alembic_alone(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    fresh_ledger(path)
    program = (
        "import sys\nfrom lapel_gateway.ledger import open_ledger\n"
        f"open_ledger({str(path)!r}).dispose()\nsys.exit('alembic' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


def test_a_fresh_ledger_equals_a_migrated_one(tmp_path: Path) -> None:
    fresh_ledger(tmp_path / "fresh.sqlite")
    open_ledger(tmp_path / "migrated.sqlite").dispose()

    def schema(name: str) -> list[tuple[str]]:
        connection = sqlite3.connect(tmp_path / name)
        rows = connection.execute("SELECT sql FROM sqlite_master ORDER BY name").fetchall()
        connection.close()
        return rows

    assert schema("fresh.sqlite") == schema("migrated.sqlite")


def test_alarms_of_an_older_ledger_keep_their_log_and_escalate_when_nobody_had_answered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "ledger.sqlite"
    with monkeypatch.context() as patch:
        patch.setattr(opening, "SCHEMA_REVISION", "0002")
        open_ledger(path).dispose()
    old = sqlite3.connect(path)
    old.execute("PRAGMA foreign_keys=ON")
    device: dict[str, object] = dict.fromkeys(("name", "person", "status", "settings"), "")
    numbers = ("minimum_suite", "provisioned_ms", "authenticated_epoch", "boot_floor", "ledger_to", "command_counter")
    device |= {"device": "00" * 8, "state": "active", "sealed_key": b"", **dict.fromkeys(numbers, 0)}
    _insert(old, "device", device)
    for counter, answered in ((2, None), (3, 5_000)):
        row: dict[str, object] = {
            "id": f"{'00' * 8}-0-{counter}",
            "device": "00" * 8,
            "boot": 0,
            "counter": counter,
            "kind": 1,
        }
        row |= {"state": "received", "person": "Ann", "device_state": "active", "raised_wall_ms": 1, "trust": 3}
        row |= {"raised_mono_ms": 2, "battery_percent": 80, "received_ms": 4_000, "untold": 0}
        _insert(old, "alarm", {**row, "acknowledged_ms": answered})
        _insert(old, "alarm_log", {"alarm_id": row["id"], "at_ms": 4_000, "step": "received", "who": "x", "detail": ""})
    old.commit()
    old.close()
    open_ledger(path).dispose()
    new = sqlite3.connect(path)
    assert new.execute(
        "SELECT counter, person, about, test, battery_percent FROM alarm ORDER BY counter"
    ).fetchall() == [
        (2, "Ann", "", 0, 80),
        (3, "Ann", "", 0, 80),
    ]
    assert new.execute("SELECT count(*) FROM alarm_log").fetchone() == (2,)
    assert new.execute("SELECT alarm_id, taken, next_at_ms FROM escalation").fetchall() == [
        (f"{'00' * 8}-0-2", 0, 4_000)
    ]
    assert new.execute("PRAGMA foreign_key_check").fetchall() == []
    new.close()


def _insert(connection: sqlite3.Connection, table: str, values: Mapping[str, object]) -> None:
    marks = ", ".join("?" * len(values))
    connection.execute(f"INSERT INTO {table} ({', '.join(values)}) VALUES ({marks})", list(values.values()))
