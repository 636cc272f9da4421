"""How soon somebody is told: alarms of many devices at once to several webhooks, one of which hangs.

A real Mosquitto and real gateway processes. Idle: alarms alone, every receiver answers. Loaded: a thousand alarms of
200 devices within a minute while others upload all the time, and a third receiver takes connections and never answers.
The time runs from an alarm's commit at the gateway to its arrival at a receiver that answers; whether each receiver was
told of each alarm exactly once is counted, not assumed.
"""

from __future__ import annotations

import asyncio
import base64
import json
import secrets
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import structlog

from bench.alarms import Saturation
from bench.report import Report
from lapel_gateway.registry import Package
from lapel_sim.fleet.fleet import Fleet
from lapel_sim.fleet.tally import percentile
from lapel_tools.fleet_run import make_fleet
from lapel_tools.load_site import LoadSite

PRESSING = 200
UPLOADING = 16
RECEIVERS = 2
LOADED_ALARMS = 1_000
IDLE_ALARMS = 200
MINUTE_S = 60.0

_WARM_S = 3.0
_ANSWER_S = 60.0
_QUIET_S = 3.0


class Receivers:
    """The receivers' process (`bench.receivers`)."""

    def __init__(self, folder: Path) -> None:
        for number in range(RECEIVERS + 1):
            path = folder / f"receiver-{number}"
            path.touch(mode=0o600)
            path.write_text("whsec_" + base64.b64encode(secrets.token_bytes(32)).decode())
        self._process = subprocess.Popen(
            [sys.executable, "-m", "bench.receivers", str(folder), str(RECEIVERS)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.ports: list[int] = self._line()

    def settings(self, count: int) -> str:
        """Tables for the first so many of them; the last of all hangs."""
        return "".join(
            f'\n[[webhook]]\nname = "receiver-{number}"\nurl = "http://127.0.0.1:{self.ports[number]}/"\n'
            f'secret_file = "receiver-{number}"\n'
            for number in range(count)
        )

    def told(self) -> list[dict[str, Any]]:
        """What came since the last call."""
        if self._process.stdin is None:
            raise RuntimeError("the receivers have no pipes")
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        found: list[dict[str, Any]] = self._line()
        return found

    def close(self) -> None:
        """End them."""
        self._process.communicate()

    def _line(self) -> Any:
        if self._process.stdout is None:
            raise RuntimeError("the receivers have no pipes")
        return json.loads(self._process.stdout.readline())


def measure(report: Report) -> None:
    """Idle, then loaded, each with a gateway of its own, as `lapel gateway run` starts it."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(40))
    alarms = 100 if report.quick else LOADED_ALARMS
    report.group(
        "notify",
        f"alarms of {PRESSING} devices to {RECEIVERS} webhooks; loaded: {alarms} of them at "
        f"{LOADED_ALARMS / MINUTE_S:.0f} a second, {UPLOADING} devices upload, a third webhook hangs",
    )
    idle = _run(report, "idle", 20 if report.quick else IDLE_ALARMS, hung=False)
    loaded = _run(report, "loaded", alarms, hung=True)
    report.figure("loaded against idle, p99", loaded / idle, "times")


def _run(report: Report, when: str, alarms: int, *, hung: bool) -> float:
    with tempfile.TemporaryDirectory(prefix="lapel-notify-", dir=Path.cwd()) as folder:
        site_folder = Path(folder) / "site"
        site_folder.mkdir()
        receivers = Receivers(site_folder)
        try:
            with LoadSite(site_folder, tls=False) as site:
                with site.config_file.open("a") as file:
                    file.write(receivers.settings(RECEIVERS + int(hung)))
                packages = site.provision(PRESSING + UPLOADING)
                site.start()
                return asyncio.run(_measure(report, when, site, packages, alarms, receivers, saturated=hung))
        finally:
            receivers.close()


async def _measure(
    report: Report,
    when: str,
    site: LoadSite,
    packages: Sequence[Package],
    alarms: int,
    receivers: Receivers,
    *,
    saturated: bool,
) -> float:
    fleet = make_fleet(site, list(packages[:PRESSING]))
    await fleet.switch_on(1.0)
    await fleet.settled(_ANSWER_S)
    saturation = await asyncio.to_thread(Saturation, site, packages[PRESSING:]) if saturated else None
    await asyncio.sleep(_WARM_S)
    receivers.told()
    began = time.monotonic()
    await _press(fleet, alarms)
    took_s = time.monotonic() - began
    told = await _all_told(receivers, alarms)
    if saturation is not None:
        rate = await asyncio.to_thread(saturation.end)
        report.figure("clips into custody meanwhile", rate, "MB/s")
    await fleet.switch_off()
    report.figure(f"{when}: alarms pressed", float(alarms), "", f"in {took_s:.1f} s")
    times = [took_ms for receiver in told for _, _, took_ms in receiver["raised"]]
    for number, receiver in enumerate(told):
        ids = Counter(identifier for _, identifier, _ in receiver["raised"])
        missing = alarms - len({alarm for alarm, _, _ in receiver["raised"]})
        report.at_most(f"{when}: alarms that receiver {number} was not told of", float(missing), "", 0.0)
        report.at_most(f"{when}: told twice", float(sum(ids.values()) - len(ids)), "", 0.0)
        report.at_most(f"{when}: not genuine", float(receiver["refused"]), "", 0.0)
    report.figure(f"{when}: committed to arrival at a receiver, p50", percentile(times, 0.5), "ms", f"{len(times)}")
    report.figure(f"{when}: committed to arrival at a receiver, p99", percentile(times, 0.99), "ms")
    report.figure(f"{when}: the slowest", max(times, default=0.0), "ms")
    return percentile(times, 0.99)


async def _press(fleet: Fleet, alarms: int) -> None:
    """Press so many alarms on different devices, spread evenly, and wait for every receipt."""
    began = time.monotonic()
    for number in range(alarms):
        # With so many devices the last alarm of each was receipted long ago.
        if not fleet.members[number % len(fleet.members)].press():
            raise RuntimeError("an alarm was not receipted before its device raised the next")
        await asyncio.sleep(max(0.0, began + number * MINUTE_S / LOADED_ALARMS - time.monotonic()))
    await fleet.drained(_ANSWER_S)


async def _all_told(receivers: Receivers, alarms: int) -> list[dict[str, Any]]:
    """What each receiver was told until every one knows all, and nothing more came for a while; or time is up."""
    told: list[dict[str, Any]] = [{"raised": [], "messages": 0, "refused": 0} for _ in range(RECEIVERS)]
    deadline = time.monotonic() + _ANSWER_S
    quiet_since = time.monotonic()
    while time.monotonic() < deadline:
        news = await asyncio.to_thread(receivers.told)
        for one, new in zip(told, news, strict=True):
            one["raised"] += new["raised"]
            one["messages"] += new["messages"]
            one["refused"] += new["refused"]
            if new["messages"]:
                quiet_since = time.monotonic()
        whole = all(len({alarm for alarm, _, _ in one["raised"]}) >= alarms for one in told)
        if whole and time.monotonic() - quiet_since > _QUIET_S:
            break
        await asyncio.sleep(0.2)
    return told
