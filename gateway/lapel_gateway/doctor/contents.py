"""What the ledger tells of an installation that is not well."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import sqlalchemy as sa

from lapel_gateway.channels.health import read_health
from lapel_gateway.channels.setup import reach_of
from lapel_gateway.doctor.machine import is_played
from lapel_gateway.keystore import KeyStore, KeyStoreError
from lapel_gateway.ledger.schema import (
    DEVICE_ACTIVE,
    OUTBOX_WAITING,
    SCHEMA_REVISION,
    alarm,
    outbox,
)
from lapel_gateway.ledger.schema import device as devices
from lapel_gateway.progress import read_progress
from lapel_gateway.registry import Registry
from lapel_gateway.settings.check import Finding
from lapel_gateway.settings.config import Config
from lapel_gateway.systemd import UNIT_NAME

MINUTE_MS = 60_000
STUCK_MS = 10 * MINUTE_MS
"""How old what waits for a channel may be."""

SET_BACK_MS = 5 * MINUTE_MS


def _error(what: str, message: str) -> Finding:
    return Finding("error", what, message)


def _warning(what: str, message: str) -> Finding:
    return Finding("warning", what, message)


def ledger(config: Config, now_ms: int) -> Iterator[Finding]:
    """The ledger's file: there, whole, of this program's time, and of the keys that are here."""
    path = config.ledger_file
    if not path.exists():
        yield _warning("ledger", f"{path} is not there yet: the gateway makes it at its first start, or restore it")
        return
    try:
        with _read_only(path) as connection:
            faults = [text for (text,) in connection.exec_driver_sql("PRAGMA quick_check(5)") if text != "ok"]
            tables = [] if faults else sa.inspect(connection).get_table_names()
            lapels = "alembic_version" in tables
            revision = connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalar() if lapels else ""
    except sa.exc.DatabaseError as error:
        faults = [str(error.orig)]
    if faults:
        yield _error("ledger", f"{path} is damaged ({faults[0]}): stop the gateway and restore the newest backup")
        return
    if not revision:
        yield _error("ledger", f"{path} was not made by Lapel: name another file")
        return
    if revision > SCHEMA_REVISION:
        yield _error("ledger", f"{path} was written by a newer Lapel ({revision}): install that again")
    elif revision < SCHEMA_REVISION:
        yield _warning("ledger", f"{path} is of an older Lapel ({revision}); the next start copies and upgrades it")
    elif config.master_key_file.exists():
        engine = _engine(path)
        try:
            Registry(engine, KeyStore.load(config.master_key_file)).check_keys()
        except KeyStoreError as error:
            yield _error("keys", str(error))
        finally:
            engine.dispose()


def progress(config: Config, now_ms: int) -> Iterator[Finding]:
    """Roles that are played and do not come round, or that the broker tells nothing: a process alone proves little."""
    for connection in _usable(config):
        for role, row in sorted(read_progress(connection).items()):
            if row.fresh(now_ms):
                if row.connected is False:
                    yield _error(f"role {role}", "it has no connection to the broker: look at that, then at its log")
            elif is_played(config, role):
                seconds = max(0, now_ms - row.turned_ms) // 1000
                yield _error(
                    f"role {role}",
                    f"its process runs and did not come round for {seconds} seconds, or the ledger takes nothing: "
                    f"look at the disks and its log, then systemctl restart {UNIT_NAME}",
                )


def ledgers_clock(config: Config, now_ms: int) -> Iterator[Finding]:
    """Times in the ledger that have not come yet: the clock was set back."""
    for connection in _usable(config):
        newest = connection.execute(sa.select(sa.func.max(alarm.c.received_ms))).scalar()
        contact = connection.execute(sa.select(sa.func.max(devices.c.contact_ms))).scalar()
        ahead_ms = max(newest or 0, contact or 0) - now_ms
        if ahead_ms > SET_BACK_MS:
            minutes = ahead_ms // MINUTE_MS
            yield _error("clock", f"the ledger has times {minutes} minutes ahead of this clock: which was wrong?")


def channels(config: Config, now_ms: int) -> Iterator[Finding]:
    """Channels that fail, and what waits too long."""
    people = reach_of(config).people
    for connection in _usable(config):
        for words in read_health(connection, people):
            for part in ("delivery", "link"):
                if words[part] and words[part]["failing"]:
                    yield _error(
                        f"channel {words['channel']}",
                        f"its {part} fails since {words[part]['failing']['utc']}: {words[part]['error']}",
                    )
        old = (outbox.c.state == OUTBOX_WAITING, outbox.c.created_ms < now_ms - STUCK_MS)
        query = sa.select(outbox.c.channel, sa.func.count()).where(*old).group_by(outbox.c.channel)
        for channel, count in connection.execute(query).all():
            if channel and channel not in people:
                yield _error(f"channel {channel}", f"{count} deliveries wait for it and it is not configured")
            else:
                yield _warning(f"channel {channel or 'any'}", f"{count} deliveries wait longer than 10 minutes")


def device_contact(config: Config, now_ms: int) -> Iterator[Finding]:
    """Devices that are silent: one is its own matter, all of them are the gateway's."""
    late_ms = now_ms - config.alarms.heartbeat_late_s * 1000
    for connection in _usable(config):
        query = sa.select(devices.c.name, devices.c.contact_ms).where(devices.c.state == DEVICE_ACTIVE)
        rows = connection.execute(query.order_by(devices.c.name)).all()
        silent = [row.name for row in rows if (row.contact_ms or 0) < late_ms]
        if not rows:
            yield _warning("devices", "there is none yet: lapel device provision")
        elif len(silent) == len(rows):
            yield _warning("devices", f"all {len(rows)} are silent: do they reach the broker's address and port?")
        elif silent:
            some = ", ".join(silent[:5]) + (f" and {len(silent) - 5} more" if len(silent) > 5 else "")
            yield _warning("devices", f"{some}: not heard of for longer than a heartbeat takes")


def _usable(config: Config) -> Iterator[sa.Connection]:
    """One connection to the ledger where it can be read as this program's; what is wrong with it else is said above."""
    if not config.ledger_file.exists():
        return
    try:
        with _read_only(config.ledger_file) as connection:
            found = connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalar()
            if found == SCHEMA_REVISION:
                yield connection
    except sa.exc.DatabaseError:
        return


def _engine(path: Path) -> sa.Engine:
    return sa.create_engine(
        "sqlite://", creator=lambda: sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True, timeout=5)
    )


@contextlib.contextmanager
def _read_only(path: Path) -> Iterator[sa.Connection]:
    """A connection that writes nothing."""
    engine = _engine(path)
    try:
        with engine.connect() as connection:
            yield connection
    finally:
        engine.dispose()


CHECKS = (ledger, progress, ledgers_clock, channels, device_contact)
