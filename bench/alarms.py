"""Alarm latency, idle and while ingest is saturated, through a real Mosquitto and real gateway processes.

Measured on one clock: press to receipt at the device, in the process of the pressing devices; and by a second
subscriber (`bench.observer`), from the alarm's arrival (the broker hands it on) to the gateway's receipt for it (the
broker hands that on), which the gateway sends after its commit. The latter is therefore more than arrival to commit,
never less. Beside it, at the same time and on the same disk: how long a page takes that is appended to a file and made
durable, which is the least that any commit can take.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import structlog

from bench.report import Report
from lapel_gateway.registry import Package
from lapel_sim.fleet.fleet import Fleet
from lapel_sim.fleet.tally import percentile
from lapel_tools.fleet_run import make_fleet
from lapel_tools.load_site import HOST, LoadSite

PRESSING = 200
UPLOADING = 16
COMMITTED_MS = 15.0
"""The bound of arrival to committed, 99 of 100 alarms."""

_EVERY_S = 0.025
_WARM_S = 3.0
_ANSWER_S = 60.0


class Observer:
    """The observing process (`bench.observer`)."""

    def __init__(self, host: str, port: int) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "bench.observer", host, str(port)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        if self._process.stdout is None or self._process.stdout.readline() != "ready\n":
            raise RuntimeError("the observer is not ready")

    def told(self) -> list[float]:
        """Milliseconds from arrival to receipt of each alarm since the last call."""
        if self._process.stdin is None or self._process.stdout is None:
            raise RuntimeError("the observer has no pipes")
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        found: list[float] = json.loads(self._process.stdout.readline())
        return found

    def close(self) -> None:
        """End it."""
        self._process.communicate()


class Disk:
    """A thread that appends a page to a file and makes it durable, over and over, at the pace of the alarms."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "page"
        self._ended = threading.Event()
        self._took_ms: list[float] = []
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def end(self) -> list[float]:
        """Stop it; milliseconds of each page."""
        self._ended.set()
        self._thread.join()
        return self._took_ms

    def _run(self) -> None:
        with self._path.open("wb", buffering=0) as file:
            while not self._ended.wait(_EVERY_S):
                began = time.perf_counter()
                file.write(bytes(4096))
                os.fdatasync(file.fileno())
                self._took_ms.append((time.perf_counter() - began) * 1000)


class Saturation:
    """The uploading devices' process."""

    def __init__(self, site: LoadSite, packages: Sequence[Package]) -> None:
        organisation = site.site.organisation
        task = {
            "host": site.broker.host,
            "port": site.broker.port,
            "modulus": organisation.modulus.hex(),
            "key_id": organisation.key_id.hex(),
            "devices": [(package.device.hex(), package.chain_key.hex()) for package in packages],
        }
        self._process = subprocess.Popen(
            [sys.executable, "-m", "bench.saturate"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        if self._process.stdin is None or self._process.stdout is None:
            raise RuntimeError("the uploading process has no pipes")
        self._process.stdin.write(json.dumps(task) + "\n")
        self._process.stdin.flush()
        self._process.stdout.readline()
        self._began = time.monotonic()

    def end(self) -> float:
        """Stop it; returns the rate of ingest in MB/s of custody."""
        took_s = time.monotonic() - self._began
        told, _ = self._process.communicate()
        return float(json.loads(told.splitlines()[-1])["bytes"]) / 1e6 / took_s


def measure(report: Report) -> None:
    """Idle and saturated, with the gateway as `lapel gateway run` starts it."""
    alarms = 60 if report.quick else 600
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(40))
    report.group("alarms", f"{alarms} alarms of {PRESSING} devices; saturated: {UPLOADING} others upload all the time")
    with (
        tempfile.TemporaryDirectory(prefix="lapel-alarms-", dir=Path.cwd()) as folder,
        LoadSite(Path(folder) / "site", tls=False) as site,
    ):
        packages = site.provision(PRESSING + UPLOADING)
        site.start()
        asyncio.run(_measure(report, site, packages, alarms, Path(folder)))


async def _measure(report: Report, site: LoadSite, packages: Sequence[Package], alarms: int, folder: Path) -> None:
    fleet = make_fleet(site, list(packages[:PRESSING]))
    observer = await asyncio.to_thread(Observer, HOST, site.broker.port)
    await fleet.switch_on(1.0)
    await fleet.settled(_ANSWER_S)
    disk = Disk(folder)
    await _press(fleet, observer, alarms)
    _tell(report, "idle", fleet, observer.told(), disk.end())
    saturation = await asyncio.to_thread(Saturation, site, packages[PRESSING:])
    await asyncio.sleep(_WARM_S)
    before, began = site.usages()["gateway"], time.monotonic()
    disk = Disk(folder)
    await _press(fleet, observer, alarms)
    pages = disk.end()
    busy = (site.usages()["gateway"].cpu_s - before.cpu_s) / (time.monotonic() - began)
    rate = await asyncio.to_thread(saturation.end)
    report.figure("clips into custody meanwhile", rate, "MB/s", f"gateway at {busy:.0%} of a core")
    _tell(report, "saturated", fleet, observer.told(), pages)
    observer.close()
    await fleet.switch_off()


async def _press(fleet: Fleet, observer: Observer, alarms: int) -> None:
    """Press so many alarms, one after the other on different devices, and wait for every receipt."""
    fleet.tally.alarm_ms.clear()
    observer.told()
    for number in range(alarms):
        fleet.members[number % len(fleet.members)].press()
        await asyncio.sleep(_EVERY_S)
    await fleet.drained(_ANSWER_S)


def _tell(report: Report, when: str, fleet: Fleet, committed: list[float], pages: list[float]) -> None:
    pressed = fleet.tally.alarm_ms
    report.figure(f"{when}: arrival to committed, p50", percentile(committed, 0.5), "ms", f"{len(committed)} alarms")
    report.at_most(f"{when}: arrival to committed, p99", percentile(committed, 0.99), "ms", COMMITTED_MS)
    report.figure(f"{when}: arrival to committed, max", max(committed, default=0.0), "ms")
    report.figure(f"{when}: press to receipt at the device, p50", percentile(pressed, 0.5), "ms")
    report.figure(f"{when}: press to receipt at the device, p99", percentile(pressed, 0.99), "ms")
    report.figure(f"{when}: press to receipt at the device, max", max(pressed, default=0.0), "ms")
    report.figure(f"{when}: the disk alone, a page appended, p50", percentile(pages, 0.5), "ms", f"{len(pages)} pages")
    report.figure(f"{when}: the disk alone, a page appended, p99", percentile(pages, 0.99), "ms")
