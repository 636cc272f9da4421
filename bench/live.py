"""What it costs to look on: two hundred pages, two thousand devices, and clips that come in as fast as they can.

A real Mosquitto and the gateway as `lapel gateway run` starts it, in four processes; the devices in this process,
those that upload (`bench.saturate`) and the readers (`bench.live_readers`) in processes of their own, at a low
priority: on a real site their processors are elsewhere. Turns with and without readers follow one another, each kind
first as often as second, so that both have the same machine and the same drift of its disk. A disk that stands still
for seconds spoils the pair of turns in which it does: what counts is the median of the pairs. The time of an alarm runs
from the press on its device to its arrival at each reader.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import sqlalchemy as sa
import structlog

from bench.alarms import Saturation
from bench.report import Report
from lapel_gateway.ledger import reading
from lapel_gateway.ledger.schema import clip as clips
from lapel_gateway.overview.feed import IDLE_S
from lapel_gateway.registry import Package
from lapel_gateway.shells import wall_ms
from lapel_sim.fleet.fleet import Fleet
from lapel_sim.fleet.tally import percentile
from lapel_tools.fleet_run import make_fleet
from lapel_tools.load_site import LoadSite
from tests.support.accounts import token_of

READERS, QUICK_READERS = 200, 10
DEVICES, QUICK_DEVICES = 2_000, 100
UPLOADING = 16
ROUNDS, QUICK_ROUNDS = 20, 2
TURN_S, QUICK_TURN_S = 8.0, 5.0
PRESSES = 2
"""In each turn: open alarms, whose every step all readers are told of. That is 900 an hour of two thousand wearers,
which is more than a bad day has. With 8, an alarm a second, telling two hundred readers of them took 7 % of the rate of
ingest from two cores that load, readers and gateway share."""

BEHIND_MS = 1_000.0
"""How far a page may be behind, at most."""

SLOWED = 0.95
"""Of the rate of ingest, what is left at least while they look on."""

_ON_S = 40.0
_SETTLE_S = 120.0
_WARM_S = 3.0
_REST_S = 2.0


@dataclass
class Turns:
    """What came of all turns of a kind."""

    rates: list[float] = field(default_factory=list)
    """MB/s into custody."""
    busy: list[float] = field(default_factory=list)
    """Share of one processor that the gateway took."""
    receipts_ms: list[float] = field(default_factory=list)
    """From press to receipt at the device."""


class Readers:
    """The reading process (`bench.live_readers`)."""

    def __init__(self, port: int, token: str, count: int) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "bench.live_readers", str(port), str(count)],
            env={**os.environ, "LAPEL_TOKEN": token},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.ready_s = float(json.loads(self._line())["ready_s"])

    def told(self) -> list[tuple[str, float]]:
        """(device, when its alarm arrived), for every reader; ends the process."""
        if self._process.stdin is not None:
            self._process.stdin.write("\n")
            self._process.stdin.flush()
        found: list[tuple[str, float]] = json.loads(self._line())
        self._process.communicate()
        return found

    def _line(self) -> str:
        return self._process.stdout.readline() if self._process.stdout is not None else ""


def measure(report: Report) -> None:
    """Look on."""
    count = QUICK_READERS if report.quick else READERS
    fleet = QUICK_DEVICES if report.quick else DEVICES
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(40))
    report.group("live", f"{count} readers of the stream, {fleet} devices, {UPLOADING} others that upload all the time")
    with (
        tempfile.TemporaryDirectory(prefix="lapel-live-", dir=Path.cwd()) as folder,
        LoadSite(Path(folder) / "site", tls=False) as site,
    ):
        packages = site.provision(fleet + UPLOADING)
        token = token_of(site.site.engine, "bench", wall_ms())
        site.start()
        asyncio.run(_measure(report, site, packages, token, count))


async def _measure(report: Report, site: LoadSite, packages: Sequence[Package], token: str, count: int) -> None:
    rounds, turn_s = (QUICK_ROUNDS, QUICK_TURN_S) if report.quick else (ROUNDS, TURN_S)
    fleet = make_fleet(site, list(packages[:-UPLOADING]))
    await fleet.switch_on(2.0 if report.quick else _ON_S)
    await fleet.settled(_SETTLE_S)
    saturation = await asyncio.to_thread(Saturation, site, packages[-UPLOADING:])
    await asyncio.sleep(_WARM_S)
    alone, watched = Turns(), Turns()
    waits: list[float] = []
    ready_s: list[float] = []
    members = iter(range(len(fleet.members)))

    async def turn(turns: Turns) -> dict[str, float]:
        return await _turn(site, fleet, [next(members) for _ in range(PRESSES)], packages, turn_s, turns)

    async def watched_turn() -> None:
        readers = await asyncio.to_thread(Readers, site.site.config.web.port, token, count)
        ready_s.append(readers.ready_s)
        await asyncio.sleep(_REST_S)
        pressed = await turn(watched)
        told = await asyncio.to_thread(readers.told)
        waits.extend((at - pressed[device]) * 1000 for device, at in told if device in pressed)

    for number in range(rounds):
        if number % 2:
            await watched_turn()
            # The ledger is read on for a while, in case that somebody comes again.
            await asyncio.sleep(IDLE_S + _REST_S)
            await turn(alone)
        else:
            await turn(alone)
            await watched_turn()
    await asyncio.to_thread(saturation.end)
    await fleet.switch_off()
    presses = rounds * PRESSES
    report.figure("until every reader has the whole", max(ready_s), "s")
    report.at_least("arrivals of those wanted", len(waits) / (count * presses), "share", 1.0)
    report.figure("press to reader, p50", percentile(waits, 0.5), "ms", f"{presses} alarms, {len(waits)} arrivals")
    report.figure("press to reader, p99", percentile(waits, 0.99), "ms")
    report.at_most("press to reader, longest", max(waits, default=0.0), "ms", BEHIND_MS)
    for words, turns in (("nobody looks on", alone), ("readers look on", watched)):
        rate, busy = sum(turns.rates) / len(turns.rates), sum(turns.busy) / len(turns.busy)
        report.figure(f"{words}: clips into custody", rate, "MB/s", f"gateway at {busy:.0%} of a core")
        report.figure(f"{words}: press to receipt, p99", percentile(turns.receipts_ms, 0.99), "ms")
    pairs = [looked / not_looked for looked, not_looked in zip(watched.rates, alone.rates, strict=True)]
    low, median, high = (percentile(pairs, share) for share in (0.25, 0.5, 0.75))
    report.figure("ingest beside readers, quartiles", low, "", f"to {high:.2f}; {min(pairs):.2f} to {max(pairs):.2f}")
    report.at_least("ingest beside readers, of that without", median, "", SLOWED)


async def _turn(
    site: LoadSite, fleet: Fleet, who: Sequence[int], packages: Sequence[Package], turn_s: float, turns: Turns
) -> dict[str, float]:
    """One turn, in which these members press; {device: when} (CLOCK_MONOTONIC)."""
    fleet.tally.alarm_ms.clear()
    before, spent, began = _bytes(site), site.usages()["gateway"].cpu_s, time.monotonic()
    pressed: dict[str, float] = {}
    for at, number in enumerate(who):
        await asyncio.sleep(max(0.0, began + turn_s * at / len(who) - time.monotonic()))
        pressed[packages[number].device.hex()] = time.monotonic()
        fleet.members[number].press()
    await asyncio.sleep(max(0.0, began + turn_s - time.monotonic()))
    took_s = time.monotonic() - began
    turns.rates.append((_bytes(site) - before) / 1e6 / took_s)
    turns.busy.append((site.usages()["gateway"].cpu_s - spent) / took_s)
    turns.receipts_ms += fleet.tally.alarm_ms
    await fleet.drained(_SETTLE_S)
    await asyncio.sleep(1.0)
    return pressed


def _bytes(site: LoadSite) -> int:
    """Sealed bytes of all clips as the ledger has them."""
    with reading(site.site.engine) as connection:
        return int(connection.execute(sa.select(sa.func.coalesce(sa.func.sum(clips.c.sealed_bytes), 0))).scalar_one())
