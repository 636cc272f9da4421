"""What a chunk costs with 10, 10 thousand and 1 million clips in the ledger, and what a start costs then.

The rows are copies of a clip that was really taken, spread over a thousand devices in the order of time, each with its
events, its epoch and its outbox row. Their files are not made: neither a chunk nor a start looks at them.
"""

from __future__ import annotations

import logging
import os
import shutil
import sqlite3
import statistics
import tempfile
import time
from pathlib import Path

import structlog

from bench.load import MASTER_KEY, Load, make_load
from bench.report import Report
from lapel_gateway.custody.doubts import write_mark
from lapel_gateway.custody.ingest import IngestCore
from lapel_gateway.custody.vault import Vault
from lapel_gateway.keystore import KeyStore
from lapel_gateway.ledger import open_ledger, writing
from lapel_gateway.ledger.marks import set_mark
from lapel_gateway.registry import Registry

SIZES = (10, 10_000, 1_000_000)
QUICK_SIZES = (10, 1_000, 100_000)
DEVICES = 1000
LOAD_DEVICES = 8
ROUNDS = 9
CLIP_SEGMENTS = 128
BATCH = 256
NOW_MS = 1_700_000_100_000
HISTORY_FROM = 1_000
"""Number of the first copied clip of a device: above those of the load."""

FULL_CHECK = 10_000
BOUND = 1.1


class Grown:
    """A gateway whose ledger holds many clips."""

    def __init__(self, folder: Path, load: Load, clips: int) -> None:
        folder.mkdir()
        shutil.copy(load.ledger, folder / "ledger.sqlite")
        self.clips = clips
        self.vault = Vault(folder / "vault", 0)
        _fill(folder / "ledger.sqlite", clips)
        self.engine = open_ledger(folder / "ledger.sqlite")
        self.core = IngestCore(self.engine, self.vault, Registry(self.engine, KeyStore(MASTER_KEY)))
        self.costs: list[tuple[float, float]] = []

    def take(self, messages: list[tuple[str, bytes]]) -> None:
        """Take one round; keeps (CPU, wall) seconds a message."""
        cpu, wall = time.process_time(), time.perf_counter()
        for at in range(0, len(messages), BATCH):
            self.core.handle(messages[at : at + BATCH], NOW_MS + at)
        self.costs.append(
            ((time.process_time() - cpu) / len(messages), (time.perf_counter() - wall) / len(messages)),
        )

    def start(self) -> float:
        """Seconds that a start takes after an orderly end: ledger and vault carry the same mark."""
        mark = write_mark(self.vault.root)
        with writing(self.engine) as connection:
            set_mark(connection, mark)
        started = time.perf_counter()
        IngestCore(self.engine, self.vault, Registry(self.engine, KeyStore(MASTER_KEY))).recover(NOW_MS)
        return time.perf_counter() - started

    def close(self) -> None:
        """Let go of the files."""
        self.core.close()
        self.engine.dispose()


def measure(report: Report) -> None:
    """Cost per chunk and of a start, by the size of the ledger."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    report.group("growth", "4 KiB chunks in batches of 256, the core alone, by clips in the ledger")
    sizes = QUICK_SIZES if report.quick else SIZES
    with tempfile.TemporaryDirectory(dir=Path.cwd(), prefix=".bench-") as folder:
        root = Path(folder)
        rounds = ROUNDS + 1
        load = make_load(root / "load", 1, LOAD_DEVICES * rounds, CLIP_SEGMENTS, LOAD_DEVICES)
        share = len(load.messages) // rounds
        seed = load.messages[:share]
        template = Grown(root / "template", load, 0)
        template.take(seed)
        template.close()
        ready = Load(root / "template" / "ledger.sqlite", load.messages[share:], load.clips, load.segments)
        gateways = [Grown(root / str(size), ready, size) for size in sizes]
        for number in range(ROUNDS):
            # Turn by turn, and not always in the same order.
            order = gateways if number % 2 else gateways[::-1]
            for gateway in order:
                gateway.take(ready.messages[number * share : (number + 1) * share])
        cpu = {one.clips: statistics.median(cost for cost, _ in one.costs) * 1e6 for one in gateways}
        for one in gateways:
            wall = statistics.median(cost for _, cost in one.costs) * 1e6
            report.figure(f"chunk, {one.clips:,} clips", cpu[one.clips], "µs CPU", f"{wall:.1f} µs wall")
        for one in gateways[1:]:
            # Of the same round each: what else the machine did then, it did to both.
            pairs = zip(one.costs, gateways[0].costs, strict=True)
            ratio = statistics.median(cost / base for (cost, _), (base, _) in pairs)
            report.at_most(f"chunk, {one.clips:,} clips, of that at {sizes[0]}", ratio, "", BOUND)
        for one in gateways:
            report.figure(f"start, {one.clips:,} clips", one.start() * 1e3, "ms")
            one.close()
        _full_check(report, root, ready)


def _full_check(report: Report, root: Path, load: Load) -> None:
    """A look at every clip, as after a restored backup, for each clip."""
    whole = Grown(root / "full", load, FULL_CHECK)
    connection = sqlite3.connect(root / "full" / "ledger.sqlite")
    for device, clip, size in connection.execute("SELECT device, clip, sealed_bytes FROM clip"):
        path = whole.vault.path(device, clip)
        path.parent.mkdir(exist_ok=True)
        with path.open("wb") as file:
            os.truncate(file.fileno(), size)
    connection.close()
    started = time.perf_counter()
    whole.core.recover(NOW_MS, everything=True)
    report.figure("full check, a clip", (time.perf_counter() - started) / FULL_CHECK * 1e6, "µs")
    whole.close()


def _fill(path: Path, clips: int) -> None:
    """Copy one held clip, its event, epoch and outbox row so many times; devices take turns, as they do in time."""
    if not clips:
        return
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA synchronous=OFF")
    devices = [name for (name,) in connection.execute("SELECT device FROM device")]
    more = [os.urandom(8).hex() for _ in range(DEVICES - len(devices))]
    connection.executemany(_copy(connection, "device", device="?1", name="?1"), [(name, 1) for name in more])
    connection.execute("CREATE TEMP TABLE place (at INTEGER PRIMARY KEY, name TEXT)")
    connection.executemany("INSERT INTO place VALUES (?, ?)", enumerate(devices + more))
    name = f"(SELECT name FROM place WHERE at = n % {DEVICES})"
    number = f"({HISTORY_FROM} + n / {DEVICES})"
    when = "first_ms - ?1 + n"
    copies = [
        _copy(connection, "clip", device=name, clip=number, first_ms=when, verified_ms=when),
        _copy(connection, "epoch", device=name, epoch=number),
        _copy(connection, "outbox", id="NULL", key=f"'assemble-' || {name} || '-' || n", state="'done'"),
    ]
    for statement in copies:
        connection.execute(statement, (clips, clips))
    connection.execute(
        f"WITH RECURSIVE numbers(n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM numbers LIMIT ?1) "
        f"INSERT INTO event SELECT {name}, 0, {number}, 1, n, n, 3, n, randomblob(24), randomblob(136) FROM numbers",
        (clips,),
    )
    connection.commit()
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()


def _copy(connection: sqlite3.Connection, table: str, **changes: str) -> str:
    """An insert of the table's first row again, for each of LIMIT numbers n, some columns changed."""
    columns = [row[1] for row in connection.execute(f"PRAGMA table_info({table})")]
    values = ", ".join(changes.get(column, column) for column in columns)
    return (
        "WITH RECURSIVE numbers(n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM numbers LIMIT ?2) "
        f"INSERT INTO {table} SELECT {values} FROM numbers, (SELECT * FROM {table} LIMIT 1)"
    )
