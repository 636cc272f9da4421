"""One device on a 1 Mbit/s link: what share of it clips fill, and what that costs an alarm.

The real firmware in the real MicroPython, TLS with client certificates, a real Mosquitto, a real gateway in a process
of its own, and the simulator's link between: 1 Mbit/s and a delay each way, with 8 KiB of buffer as a modem has them.

Two devices of one kind stand side by side and take turns raising alarms: the link of one is full, because its camera
makes more than fits, that of the other carries next to nothing. An alarm's time runs from the moment at which ALARM has
been held for 2 s (by this process's clock, so that a device which is slow to look at its button pays for it) until a
reader of the gateway's ledger finds the alarm committed.
"""

from __future__ import annotations

import dataclasses
import logging
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import sqlalchemy as sa
import structlog

from bench.report import Report
from lapel_device.gestures import ALARM_HOLD_MS
from lapel_gateway.alarms.core import resolve
from lapel_gateway.brokers.mosquitto import find_mosquitto
from lapel_gateway.ledger.schema import alarm as alarms
from lapel_gateway.ledger.schema import clip as clips
from lapel_gateway.ledger.schema import device as devices
from lapel_sim.device import SimDevice
from lapel_sim.hardware import BOARDS, Hardware
from lapel_sim.hosttime import host_ms
from lapel_sim.launcher import MicroPythonMissing, find_micropython
from lapel_sim.provision import provision
from lapel_sim.world import World
from lapel_tools.provisioning import provision_device
from lapel_tools.site import Site

LINE_BITS_PER_S = 1_000_000
LATENCY_MS = 30
MOST_ADDED_MS = 50
# Board, and how much of its own slowness is charged.
_KINDS = (("esp32s3_cam", 1.0), ("pico_w", 0.0))
_ALARMS, _QUICK_ALARMS = 30, 4
_FILL_S, _QUICK_FILL_S = 20.0, 4.0
_LOOK_S = 0.001
_PATIENCE_S = 30.0
_QUIET_INTERVAL_MS = 10_000
_FULL_INTERVAL_MS = 100


def measure(report: Report) -> None:
    """Both kinds of camera; prints nothing but a note where a program is missing."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    report.group("uplink", f"a link of 1 Mbit/s and {LATENCY_MS} ms each way, real MicroPython, TLS, Mosquitto")
    try:
        find_micropython()
    except MicroPythonMissing as missing:
        print(f"  left out: {missing}")
        return
    if find_mosquitto() is None:
        print("  left out: there is no mosquitto on this machine (make system-deps)")
        return
    # A Pico W makes and seals less than this link carries; without its own work it fills it.
    for kind, cost_scale in _KINDS[:1] if report.quick else _KINDS:
        with tempfile.TemporaryDirectory(prefix="lapel-bench-") as folder:
            _measure_kind(report, kind, cost_scale, Path(folder))


def _measure_kind(report: Report, kind: str, cost_scale: float, folder: Path) -> None:
    with (
        _gateway(folder / "gateway") as site,
        World(folder / "world", seed=3, cost_scale=cost_scale) as world,
    ):
        quiet = _device(world, site, "quiet", BOARDS[kind], {"frame_interval_ms": _QUIET_INTERVAL_MS, "audio": 0})
        fast = dataclasses.replace(BOARDS[kind], frame_interval_ms=_FULL_INTERVAL_MS)
        full = _device(world, site, "full", fast, {"frame_interval_ms": _FULL_INTERVAL_MS})
        for device in (quiet, full):
            device.power_on()
        for device in (quiet, full):
            _wait_hello(world, site, device)
            device.hold("RECORD", 1700)
            device.wait_shown("recording")
        name = kind if cost_scale else f"{kind}, its own work free"
        _throughput(report, site, full, name)
        with _Watch(site) as watch:
            rounds = _QUICK_ALARMS if report.quick else _ALARMS
            hands = [_Hand(watch, site, device, rounds, offset) for device, offset in ((quiet, 0.0), (full, 1.3))]
            for hand in hands:
                hand.start()
            for hand in hands:
                hand.join()
        for hand in hands:
            if hand.error is not None:
                raise hand.error
        _alarms(report, name, hands[0].taken_ms, hands[1].taken_ms)


def _throughput(report: Report, site: Site, device: SimDevice, name: str) -> None:
    """What the link carries once it is full, and how much of that is sealed clip."""
    time.sleep(2.0)  # the window finds its size
    sealed, carried, started = _sealed_bytes(site, device.name), device.link.bytes_up, time.monotonic()
    since_ms = host_ms()
    time.sleep(_QUICK_FILL_S if report.quick else _FILL_S)
    seconds = time.monotonic() - started
    line = LINE_BITS_PER_S / 8 * seconds
    carried, sealed = device.link.bytes_up - carried, _sealed_bytes(site, device.name) - sealed
    frames = [frame for frame in device.frames() if frame["at_ms"] >= since_ms]
    made = sum(frame["size"] for frame in frames) / seconds
    report.figure(
        f"{name}: of the line, made by the camera",
        made * 8 / LINE_BITS_PER_S,
        "x",
        f"{len(frames) / seconds:.1f} fps, {made / 1000:.0f} kB/s",
    )
    report.figure(f"{name}: of the line, bytes carried", carried / line, "x", f"{carried / seconds / 1000:.0f} kB/s")
    report.figure(f"{name}: of the line, sealed clip held", sealed / line, "x", f"{sealed / seconds / 1000:.0f} kB/s")


def _alarms(report: Report, name: str, idle_ms: list[float], full_ms: list[float]) -> None:
    for words, taken in (("idle", idle_ms), ("full", full_ms)):
        report.figure(
            f"{name}: held to committed, link {words}, p50",
            statistics.median(taken),
            "ms",
            f"p99 {_percentile(taken, 99):.0f}, max {max(taken):.0f}, of {len(taken)}",
        )
    added = statistics.median(full_ms) - statistics.median(idle_ms)
    report.at_most(f"{name}: added by a full link, p50", added, "ms", MOST_ADDED_MS)
    worst = _percentile(full_ms, 99) - _percentile(idle_ms, 99)
    report.figure(f"{name}: added by a full link, p99", worst, "ms")


def _percentile(values: list[float], percent: int) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, len(ordered) * percent // 100)]


# -- the site ---------------------------------------------------------------------------------------------------------


@contextmanager
def _gateway(folder: Path) -> Iterator[Site]:
    """A gateway's alarms and ingest, with a Mosquitto of its own, in a process of its own."""
    folder.mkdir(parents=True)
    config = folder / "lapel.toml"
    command = [sys.executable, "-m", "lapel_tools", "gateway"]
    setup = ("--organisation", "Bench", "--data-dir", "data", "--broker", "mosquitto", "--port", str(_free_port()))
    subprocess.run([*command, "init", str(config), *setup], cwd=folder, check=True, capture_output=True)
    site = Site(config)
    with (folder / "gateway.log").open("wb") as log:
        process = subprocess.Popen(
            [*command, "run", "--role", "alarms", "--role", "ingest", "--config", str(config)],
            cwd=folder,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
        try:
            _wait_listening(site, process, folder / "gateway.log")
            yield site
        finally:
            process.terminate()
            process.wait(_PATIENCE_S)
            site.engine.dispose()


def _wait_listening(site: Site, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + _PATIENCE_S
    while True:
        try:
            socket.create_connection((site.config.broker.host, site.config.broker.port), 1).close()
        except OSError:
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"the gateway did not start:\n{log.read_text()}") from None
            time.sleep(0.05)
        else:
            return


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _device(world: World, site: Site, name: str, kind: Hardware, settings: dict[str, int]) -> SimDevice:
    device = world.add_device(name, kind)
    package = world.root / f"{name}-package"
    provision_device(site, name, "", package, time.time_ns() // 1_000_000, settings)
    provision(device, package)
    device.link.slow(LINE_BITS_PER_S)
    device.link.latency(LATENCY_MS)
    return device


def _row(site: Site, name: str) -> sa.RowMapping:
    with site.engine.connect() as connection:
        return connection.execute(sa.select(devices).where(devices.c.name == name)).mappings().one()


def _wait_hello(world: World, site: Site, device: SimDevice) -> None:
    world.wait_until(lambda: _row(site, device.name)["boot"] is not None, 60, f"a hello of {device.name}")


def _sealed_bytes(site: Site, name: str) -> int:
    of_device = sa.select(sa.func.sum(clips.c.sealed_bytes)).where(clips.c.device == _row(site, name)["device"])
    with site.engine.connect() as connection:
        return int(connection.execute(of_device).scalar() or 0)


# -- alarms -----------------------------------------------------------------------------------------------------------


class _Watch(threading.Thread):
    """Looks for new alarms in the ledger every millisecond, and keeps when it first saw each."""

    def __init__(self, site: Site) -> None:
        super().__init__(name="ledger-watch", daemon=True)
        self._site = site
        self._seen: dict[str, tuple[str, float]] = {}  # alarm: device, when
        self._changed = threading.Condition()
        self._stopping = False

    def run(self) -> None:
        version = None
        with self._site.engine.connect() as connection:
            while not self._stopping:
                # Tells without reading anything whether another process has committed.
                now_version = connection.exec_driver_sql("PRAGMA data_version").scalar()
                if now_version != version:
                    version = now_version
                    self._look(connection)
                connection.rollback()
                time.sleep(_LOOK_S)

    def _look(self, connection: sa.Connection) -> None:
        rows = connection.execute(sa.select(alarms.c.id, alarms.c.device)).all()
        at = time.monotonic()
        with self._changed:
            for identifier, device in rows:
                self._seen.setdefault(identifier, (device, at))
            self._changed.notify_all()

    def next(self, device: str, known: set[str]) -> tuple[str, float]:
        """The name of an alarm of this device that is not `known`, and when it was first seen. Raises TimeoutError."""
        with self._changed:
            found: list[tuple[str, float]] = []

            def there() -> bool:
                found[:] = [(name, at) for name, (of, at) in self._seen.items() if of == device and name not in known]
                return bool(found)

            if not self._changed.wait_for(there, _PATIENCE_S):
                raise TimeoutError(f"no alarm of {device} was committed in {_PATIENCE_S} s")
        return found[0]

    def __enter__(self) -> _Watch:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping = True
        self.join()


class _Hand(threading.Thread):
    """Holds one device's ALARM again and again, resolves what comes of it, and keeps how long each took."""

    def __init__(self, watch: _Watch, site: Site, device: SimDevice, rounds: int, offset_s: float) -> None:
        super().__init__(name=f"hand-{device.name}", daemon=True)
        self._watch = watch
        self._site = site
        self._device = device
        self._rounds = rounds
        self._offset_s = offset_s
        self.taken_ms: list[float] = []
        self.error: Exception | None = None

    def run(self) -> None:
        try:
            time.sleep(self._offset_s)
            known: set[str] = set()
            for _ in range(self._rounds):
                known.add(self._once(known))
        except Exception as error:  # noqa: BLE001 - raised again by whoever waits for this thread
            self.error = error

    def _once(self, known: set[str]) -> str:
        row = _row(self._site, self._device.name)
        held = time.monotonic() + ALARM_HOLD_MS / 1000
        self._device.hold("ALARM", ALARM_HOLD_MS + 200)
        identifier, committed = self._watch.next(row["device"], known)
        self.taken_ms.append((committed - held) * 1000)
        resolve(self._site.engine, identifier, "bench", "test", "", time.time_ns() // 1_000_000)
        self._device.wait_shown("alarm resolved", _PATIENCE_S)
        return identifier
