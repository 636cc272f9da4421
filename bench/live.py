"""What it costs to look on: two hundred readers of the stream, two thousand devices, alarms that everybody has to see.

The API as the gateway serves it, in this process; the readers in one of their own (`bench.live_readers`). Each device
is in contact once a minute. The time runs from an alarm's commit to its arrival at each reader.
"""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import sqlalchemy as sa
import structlog

from bench.report import Report
from lapel_gateway.alarms.kinds import VISIT_OVERDUE
from lapel_gateway.alarms.own import raise_own
from lapel_gateway.ledger import fresh_ledger, open_ledger, writing
from lapel_gateway.ledger.schema import DEVICE_ACTIVE
from lapel_gateway.ledger.schema import device as devices
from lapel_gateway.shells import wall_ms
from lapel_gateway.viewing.assembly import Views
from lapel_gateway.web.server import WebRole
from tests.support.accounts import token_of

READERS, QUICK_READERS = 200, 10
DEVICES, QUICK_DEVICES = 2_000, 100
ALARMS, QUICK_ALARMS = 40, 4
PAUSE_S = 0.5
CONTACT_S = 60.0
BOUND_MS = 250.0
"""From commit to reader."""


class Heartbeats:
    """Every device is in contact once in `CONTACT_S`, in a thread of its own."""

    def __init__(self, engine: sa.Engine, names: list[str]) -> None:
        self._engine = engine
        self._names = names
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="heartbeats", daemon=True)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _beat(self) -> None:
        at = 0
        while not self._ended.wait(CONTACT_S / len(self._names)):
            with writing(self._engine) as connection:
                heard = sa.update(devices).where(devices.c.device == self._names[at % len(self._names)])
                connection.execute(heard.values(contact_ms=wall_ms()))
            at += 1


def measure(report: Report) -> None:
    """Look on."""
    count = QUICK_READERS if report.quick else READERS
    fleet = QUICK_DEVICES if report.quick else DEVICES
    alarms = QUICK_ALARMS if report.quick else ALARMS
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    report.group("live", f"{count} readers of the stream, {fleet} devices, {alarms} alarms")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "ledger.sqlite"
        fresh_ledger(path)
        engine = open_ledger(path)
        token = token_of(engine, "bench", wall_ms())
        names = [f"{number:016x}" for number in range(fleet)]
        with writing(engine) as connection:
            connection.execute(sa.insert(devices), [_device(name) for name in names])
        role = WebRole(engine, Views(Path(folder) / "views"), "127.0.0.1", 0)
        role.start()
        try:
            with Heartbeats(engine, names):
                _look_on(report, engine, role.port, token, count, alarms)
        finally:
            role.stop()
            engine.dispose()


def _look_on(report: Report, engine: sa.Engine, port: int, token: str, count: int, alarms: int) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "bench.live_readers", str(port), str(count)],
        env={**os.environ, "LAPEL_TOKEN": token},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdin is not None and process.stdout is not None  # noqa: S101, PT018 - both are pipes
    try:
        first = json.loads(process.stdout.readline())
        report.figure("until every reader has the whole", first["ready_s"], "s")
        cpu, wall = time.process_time(), time.perf_counter()
        committed: dict[str, float] = {}
        for number in range(alarms):
            time.sleep(PAUSE_S)
            with writing(engine, urgent=True) as connection:
                raise_own(connection, VISIT_OVERDUE, f"bench {number}", "a measurement", wall_ms())
            committed[f"bench {number}"] = time.monotonic()
        time.sleep(PAUSE_S)
        busy = (time.process_time() - cpu) / (time.perf_counter() - wall)
        process.stdin.write("\n")
        process.stdin.flush()
        arrived: list[tuple[str, float]] = json.loads(process.stdout.readline())
    finally:
        process.kill()
        process.wait()
    waits = sorted((at - committed[about]) * 1000 for about, at in arrived)
    report.figure("arrivals of those wanted", len(waits) / (count * alarms), "share")
    if waits:
        report.figure("commit to reader, median", waits[len(waits) // 2], "ms")
        report.at_most("commit to reader, 99 %", waits[len(waits) * 99 // 100], "ms", BOUND_MS)
        report.figure("commit to reader, longest", waits[-1], "ms")
    report.figure("processor of the web role and of the heartbeats' commits", busy * 100, "%")


def _device(name: str) -> dict[str, object]:
    status = {"at_ms": 1, "firmware": "1.0.0", "battery_percent": 80, "battery_minutes": 300, "clips_held": 0}
    return {
        "device": name,
        "state": DEVICE_ACTIVE,
        "name": f"camera {name[-4:]}",
        "person": f"person {name[-4:]}",
        "minimum_suite": 1,
        "sealed_key": b"",
        "provisioned_ms": 1,
        "authenticated_epoch": 0,
        "boot_floor": 0,
        "ledger_to": 0,
        "command_counter": 0,
        "status": json.dumps(status),
        "settings": "",
    }
