"""Ingest of sealed chunks through Mosquitto, end to end, beside peers that do less, or that promise as much.

Measured from the first byte that the publisher sends: for the gateway, until the device side has heard the receipt of
every clip, that is after each segment was verified, placed, synced, committed and acknowledged; for the bare
subscribers, until the last message was taken; for JetStream and the HTTP server, until the last was acknowledged.
"""

from __future__ import annotations

import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from bench import peers
from bench.load import DEVICES, Load, make_load
from bench.publisher import write_packets
from bench.report import Report
from lapel_gateway.ledger import open_ledger, reading
from lapel_gateway.ledger.schema import clip as clips
from lapel_protocol.command import RECEIPT

WINDOW = 4
"""Messages that one device has under way, as the firmware's uplink does."""

TIMEOUT_S = 120.0
CHUNKS = ((1, "4 KiB"), (4, "16 KiB"))
MANY_DEVICES = 512


@dataclass(frozen=True, slots=True)
class Run:
    """One run: how long it took, and processor seconds of the receiving side (None = not of interest)."""

    wall_s: float
    cpu_s: float


@dataclass(slots=True)
class Bench:
    """One load and the files that the publisher reads."""

    folder: Path
    load: Load

    def packets(self, kind: str) -> Path:
        """The publisher's file for this kind of peer, written once."""
        path = self.folder / f"{kind}.packets"
        if not path.exists():
            write_packets(path, kind, self.load.messages)
        return path

    def scratch(self) -> Path:
        """An empty folder for one run."""
        path = self.folder / "run"
        shutil.rmtree(path, ignore_errors=True)
        path.mkdir()
        return path


class Publisher:
    """The publisher's process, ready to go."""

    def __init__(self, kind: str, port: int, packets: Path) -> None:
        command = [sys.executable, "-m", "bench.publisher", kind, str(port), str(packets), str(WINDOW)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        if self._line() != "ready":
            raise RuntimeError("the publisher is not ready")

    def go(self) -> None:
        """Begin."""
        if self._process.stdin is not None:
            self._process.stdin.write("go\n")
            self._process.stdin.flush()

    def end(self) -> tuple[float, float]:
        """(when it began, when its last message was acknowledged), monotonic."""
        times = json.loads(self._line())
        self._process.communicate()
        return times["started"], times["finished"]

    def _line(self) -> str:
        return self._process.stdout.readline().strip() if self._process.stdout else ""


def gateway(bench: Bench, reader: str) -> Run:
    """The ingest role with one of its readers."""
    folder = bench.scratch()
    shutil.copy(bench.load.ledger, folder / "ledger.sqlite")
    with (
        peers.mosquitto(folder) as port,
        peers.subscriber("bench.gateway_side", folder, str(port), reader) as process,
    ):
        publisher = Publisher("mqtt", port, bench.packets("mqtt"))
        ear = peers.Receipts(port, RECEIPT)
        before = peers.cpu_s(process.pid)
        publisher.go()
        ended = ear.wait(bench.load.clips, TIMEOUT_S)
        used = peers.cpu_s(process.pid) - before
        started, _ = publisher.end()
        ear.close()
        if process.stdin:
            process.stdin.close()
        process.wait(TIMEOUT_S)
    check(folder, bench.load)
    return Run(ended - started, used)


def check(folder: Path, load: Load) -> None:
    """Raise unless ledger and vault hold every clip whole."""
    engine = open_ledger(folder / "ledger.sqlite")
    with reading(engine) as connection:
        rows = connection.execute(clips.select()).all()
    engine.dispose()
    held = sum(row.contiguous for row in rows if row.state == "held" and row.receipt_ms is not None)
    size = sum(file.stat().st_size for file in (folder / "vault").rglob("*.lapel"))
    if (held, size) != (load.segments, load.payload_bytes):
        raise RuntimeError(f"{held} of {load.segments} segments are held, {size} of {load.payload_bytes} bytes")


def mosquitto_sub(bench: Bench) -> Run:
    """`mosquitto_sub` with QoS 1, its output thrown away."""
    folder = bench.scratch()
    count = str(len(bench.load.messages))
    command = ["mosquitto_sub", "-q", "1", "-c", "-i", "subscriber", "-t", "lapel/v1/+/+/clip", "-C", count]
    with peers.mosquitto(folder) as port:
        publisher = Publisher("mqtt", port, bench.packets("mqtt"))
        with peers.running(*command, "-p", str(port)) as process:
            # It tells nobody when it has subscribed; a message published earlier would be lost, and it would not end.
            time.sleep(0.5)
            before = last = peers.cpu_s(process.pid)
            publisher.go()
            while process.poll() is None:
                last = _cpu_so_far(process.pid, last)
                time.sleep(0.001)
            ended = time.monotonic()
        started, _ = publisher.end()
    return Run(ended - started, last - before)


def _cpu_so_far(process_id: int, last: float) -> float:
    try:
        return peers.cpu_s(process_id) or last
    except OSError:
        return last


def paho(bench: Bench) -> Run:
    """A bare paho subscriber."""
    folder = bench.scratch()
    with (
        peers.mosquitto(folder) as port,
        peers.subscriber("bench.peer_paho", str(port), str(len(bench.load.messages))) as process,
    ):
        publisher = Publisher("mqtt", port, bench.packets("mqtt"))
        before = peers.cpu_s(process.pid)
        publisher.go()
        if process.stdout is None or process.stdout.readline() != b"done\n":
            raise RuntimeError("the subscriber ended early")
        ended = time.monotonic()
        used = peers.cpu_s(process.pid) - before
        started, _ = publisher.end()
    return Run(ended - started, used)


def jetstream(bench: Bench) -> Run:
    """NATS JetStream, synced at every message."""
    with peers.nats(bench.scratch()) as (port, process_id):
        return _acknowledged("nats", bench, port, process_id)


def http_put(bench: Bench) -> Run:
    """An HTTP server that syncs each body."""
    with peers.http_put(bench.scratch()) as (port, process_id):
        return _acknowledged("http", bench, port, process_id)


def _acknowledged(kind: str, bench: Bench, port: int, process_id: int) -> Run:
    publisher = Publisher(kind, port, bench.packets(kind))
    before = peers.cpu_s(process_id)
    publisher.go()
    started, ended = publisher.end()
    return Run(ended - started, peers.cpu_s(process_id) - before)


CONTENDERS: dict[str, Callable[[Bench], Run]] = {
    "mosquitto_sub to nowhere": mosquitto_sub,
    "Lapel, own reader": lambda bench: gateway(bench, "socket"),
    "Lapel, paho": lambda bench: gateway(bench, "paho"),
    "bare paho subscriber": paho,
    "NATS JetStream, sync always": jetstream,
    "HTTP PUT, fdatasync of each": http_put,
}
SLOW = frozenset({"NATS JetStream, sync always", "HTTP PUT, fdatasync of each"})
"""Get fewer messages: a sync of each takes its time."""

BOUNDS = {"Lapel, own reader": 0.8, "Lapel, paho": 0.55}


def measure(report: Report) -> None:
    """Every contender at both sizes, the runs interleaved, the median of each."""
    with tempfile.TemporaryDirectory(dir=Path.cwd(), prefix=".bench-") as folder:
        for chunk_segments, size in CHUNKS:
            _measure(report, Path(folder) / str(chunk_segments), chunk_segments, size)
        _measure_many(report, Path(folder) / "many")


def _measure(report: Report, folder: Path, chunk_segments: int, size: str) -> None:
    report.group(f"ingest {size}", f"chunks of {size} through Mosquitto, 32 devices, {WINDOW} chunks under way each")
    clips, clip_segments, rounds = (32, 128, 1) if report.quick else (128, 256, 3)
    whole = Bench(folder / "whole", make_load(folder / "whole", chunk_segments, clips, clip_segments))
    few = Bench(folder / "few", make_load(folder / "few", chunk_segments, 32, 32))
    runs: dict[str, list[Run]] = {name: [] for name in CONTENDERS}
    for _ in range(rounds):
        for name, run in CONTENDERS.items():
            runs[name].append(run(few if name in SLOW else whole))
    rates: dict[str, float] = {}
    for name, found in runs.items():
        load = (few if name in SLOW else whole).load
        middle = sorted(found, key=lambda run: run.wall_s)[len(found) // 2]
        count = len(load.messages)
        rates[name] = count / middle.wall_s
        note = f"{load.payload_bytes / middle.wall_s / 1e6:.0f} MB/s, {middle.cpu_s / count * 1e6:.0f} µs of CPU each"
        report.figure(name, rates[name], "messages/s", note)
    base = statistics.median(len(whole.load.messages) / run.wall_s for run in runs["mosquitto_sub to nowhere"])
    for name in ("Lapel, own reader", "Lapel, paho"):
        report.at_least(f"{name}, of mosquitto_sub", rates[name] / base, "", BOUNDS[name])
    shutil.rmtree(folder)


def _measure_many(report: Report, folder: Path) -> None:
    """A batch is about as many clips as devices send: what more of them cost."""
    report.group("ingest from many", f"chunks of 4 KiB through Mosquitto, {MANY_DEVICES} devices beside {DEVICES}")
    segments, rounds = (16, 1) if report.quick else (64, 3)
    many = Bench(folder / "many", make_load(folder / "many", 1, MANY_DEVICES, segments, MANY_DEVICES))
    few = Bench(folder / "few", make_load(folder / "few", 1, MANY_DEVICES, segments))
    rates: dict[str, float] = {}
    for name, bench in (("few", few), ("many", many)):
        runs = [gateway(bench, "socket").wall_s for _ in range(rounds)]
        rates[name] = len(bench.load.messages) / statistics.median(runs)
    report.figure(f"{DEVICES} devices", rates["few"], "messages/s")
    report.figure(f"{MANY_DEVICES} devices", rates["many"], "messages/s")
    report.figure(f"{MANY_DEVICES} devices, of {DEVICES}", rates["many"] / rates["few"], "")
    shutil.rmtree(folder)
