"""Alarm latency, idle and while ingest is saturated, through a real Mosquitto and real gateway processes.

Measured on one clock, in the process of the pressing devices: press to receipt at the device; and by a second
subscriber, from the alarm's arrival (the broker hands it on) to the gateway's receipt for it (the broker hands that
on), which the gateway sends after its commit. The latter is therefore more than arrival to commit, never less.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import structlog

from bench.report import Report
from lapel_gateway.registry import Package
from lapel_protocol.command import ALARM_RECEIPT
from lapel_protocol.topics import LANE_ALARM, LANE_DOWN, lane_filter
from lapel_sim.fleet import packets
from lapel_sim.fleet.connection import Connection
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
_KIND_AT = 2  # of a command record


class Observer:
    """A subscriber that notes when alarms and their receipts pass the broker."""

    def __init__(self) -> None:
        self.committed_ms: list[float] = []
        self.ready = asyncio.Event()
        self._arrived: dict[str, float] = {}
        self._connection: Connection | None = None

    async def connect(self, host: str, port: int) -> None:
        """Connect and subscribe."""
        connection = Connection(self, None, "")
        self._connection = connection
        await asyncio.get_running_loop().create_connection(lambda: connection, host, port)
        await self.ready.wait()

    def opened(self) -> None:
        """TCP is up."""
        self._send(packets.connect("observer", 0, True))

    def packet(self, kind: int, flags: int, body: bytes) -> None:
        """The broker sent something."""
        now = time.perf_counter()
        if kind == packets.CONNACK:
            self._send(packets.subscribe(1, lane_filter(LANE_ALARM)))
            self._send(packets.subscribe(2, lane_filter(LANE_DOWN)))
        elif kind == packets.SUBACK and body[:2] == b"\0\2":
            self.ready.set()
        elif kind == packets.PUBLISH:
            topic, number, payload = packets.read_publish(flags, body)
            if number:
                self._send(packets.puback(number))
            *_, device, lane = topic.split("/")
            if lane == LANE_ALARM:
                self._arrived.setdefault(device, now)
            elif payload[_KIND_AT] == ALARM_RECEIPT and device in self._arrived:
                self.committed_ms.append((now - self._arrived.pop(device)) * 1000)

    def lost(self, reason: str) -> None:
        """The connection is over."""
        raise RuntimeError(f"the observer was cut off: {reason}")

    def close(self) -> None:
        """Leave."""
        if self._connection is not None:
            self._connection.close()

    def _send(self, data: bytes) -> None:
        if self._connection is not None:
            self._connection.send(data)


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
        asyncio.run(_measure(report, site, packages, alarms))


async def _measure(report: Report, site: LoadSite, packages: Sequence[Package], alarms: int) -> None:
    fleet = make_fleet(site, list(packages[:PRESSING]))
    observer = Observer()
    await observer.connect(HOST, site.broker.port)
    await fleet.switch_on(1.0)
    await fleet.settled(_ANSWER_S)
    await _press(fleet, observer, alarms)
    _tell(report, "idle", fleet, observer)
    saturation = await asyncio.to_thread(Saturation, site, packages[PRESSING:])
    await asyncio.sleep(_WARM_S)
    before, began = site.usages()["gateway"], time.monotonic()
    await _press(fleet, observer, alarms)
    busy = (site.usages()["gateway"].cpu_s - before.cpu_s) / (time.monotonic() - began)
    rate = await asyncio.to_thread(saturation.end)
    report.figure("clips into custody meanwhile", rate, "MB/s", f"gateway at {busy:.0%} of a core")
    _tell(report, "saturated", fleet, observer)
    observer.close()
    await fleet.switch_off()


async def _press(fleet: Fleet, observer: Observer, alarms: int) -> None:
    """Press so many alarms, one after the other on different devices, and wait for every receipt."""
    fleet.tally.alarm_ms.clear()
    observer.committed_ms.clear()
    for number in range(alarms):
        fleet.members[number % len(fleet.members)].press()
        await asyncio.sleep(_EVERY_S)
    await fleet.drained(_ANSWER_S)


def _tell(report: Report, when: str, fleet: Fleet, observer: Observer) -> None:
    committed, pressed = observer.committed_ms, fleet.tally.alarm_ms
    report.figure(f"{when}: arrival to committed, p50", percentile(committed, 0.5), "ms", f"{len(committed)} alarms")
    report.at_most(f"{when}: arrival to committed, p99", percentile(committed, 0.99), "ms", COMMITTED_MS)
    report.figure(f"{when}: arrival to committed, max", max(committed, default=0.0), "ms")
    report.figure(f"{when}: press to receipt at the device, p50", percentile(pressed, 0.5), "ms")
    report.figure(f"{when}: press to receipt at the device, p99", percentile(pressed, 0.99), "ms")
    report.figure(f"{when}: press to receipt at the device, max", max(pressed, default=0.0), "ms")
