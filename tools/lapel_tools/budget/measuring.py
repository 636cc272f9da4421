"""Measures what a board's activities cost: the real firmware on its real MicroPython, at the board's own slowness, the
real gateway and the real Mosquitto, with what passes on the link counted.

Everything is done twice, over TLS and without: only without TLS a link shows which of its bytes are records. Two
devices of a kind take part, one that says nothing by itself, so that what it is made to do is all that is counted, and
one whose heartbeats are counted.
"""

from __future__ import annotations

import contextlib
import dataclasses
import importlib
import io
import logging
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import sqlalchemy as sa
import structlog

from lapel_gateway.alarms.core import acknowledge, resolve
from lapel_gateway.ledger.schema import alarm as alarms
from lapel_gateway.ledger.schema import clip as clips
from lapel_gateway.ledger.schema import device as devices
from lapel_gateway.ledger.visit_tables import position as positions
from lapel_gateway.ledger.visit_tables import visit as visits
from lapel_gateway.service import Gateway
from lapel_gateway.settings.visits import VisitsSection
from lapel_gateway.visits import plans
from lapel_sim.device import SimDevice
from lapel_sim.hardware import ESP32S3_CAM, PICO2_W, PICO_W, Hardware, flash
from lapel_sim.hosttime import host_ms
from lapel_sim.provision import provision
from lapel_sim.world import World
from lapel_tools.budget.counting import Both, LinkCount, Way
from lapel_tools.budget.figures import (
    BEAT,
    CONNECT,
    DRILL,
    PING,
    POSITION,
    RECONNECT,
    RECORDING,
    STANDBY,
    VISIT,
    Activity,
    BoardFigures,
    Bytes,
    Media,
)
from lapel_tools.demo.installation import free_port
from lapel_tools.gateway_commands import init
from lapel_tools.provisioning import provision_device
from lapel_tools.site import Site

Broker = Literal["embedded", "mosquitto"]

RECORD_SECONDS = 30
BEATS = 4
_SILENT_S, _BEAT_S = 3600, 5
_QUIET_S = 2.0
_PATIENCE_S = 120.0
_PLACE = (51.4779, -0.0015)
_CHIPS = {"rp2040": PICO_W, "rp2350": PICO2_W, "esp32s3": ESP32S3_CAM}
_RULES = VisitsSection()


@dataclasses.dataclass(frozen=True)
class Taken:
    """One activity as one pass saw it."""

    bytes: Both
    seconds: float
    busy_ms: dict[str, float]


@dataclasses.dataclass(frozen=True)
class Recorded:
    """What the camera and the microphone gave for a recording."""

    seconds: float
    frames: int
    picture_bytes: int
    audio_bytes: int
    behind_s: float

    @property
    def media_bytes(self) -> int:
        """Pictures and sound."""
        return self.picture_bytes + self.audio_bytes


def measure_board(
    board: str,
    tell: Callable[[str], None],
    cost_scale: float = 1.0,
    record_s: float = RECORD_SECONDS,
    brokers: Sequence[Broker] = ("embedded", "mosquitto"),
) -> BoardFigures:
    """Measure one board, in some minutes. `tell` hears what is being done.

    `brokers`: without the embedded one, which has no TLS, records are counted as MQTT's bytes. Raises Timeout,
    DeviceFailed, UnknownSuite, MicroPythonMissing, BrokerError.
    """
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    seen: dict[str, dict[str, Taken]] = {}
    recorded: Recorded | None = None
    for broker in brokers:
        tell(f"{board}: {'over TLS' if broker == 'mosquitto' else 'without TLS'}")
        with tempfile.TemporaryDirectory(prefix="lapel-budget-") as folder:
            run = _Pass(board, Path(folder), broker, cost_scale, record_s)
            seen[broker], recorded = run.measure()
    plain = seen.get("embedded", {})
    activities = {name: _activity(taken, plain.get(name)) for name, taken in seen["mosquitto"].items()}
    if recorded is None:
        return BoardFigures(activities, None)
    profile = hardware_of(board)
    frame_bytes = recorded.picture_bytes / recorded.frames
    # At the board's own rates: a busy machine shows a simulated camera too seldom.
    frames_per_s = 1000 / profile.frame_interval_ms
    audio_bytes_per_s = 2.0 * profile.audio_rate_hz
    whole = activities[RECORDING]
    minute = 60 * (frames_per_s * frame_bytes + audio_bytes_per_s) / recorded.media_bytes
    activities[RECORDING] = Activity(
        whole.up.times(minute),
        whole.down.times(minute),
        60.0,
        {work: ms * minute for work, ms in whole.busy_ms.items()},
    )
    per_media_byte = whole.up.total / recorded.media_bytes
    media = Media(frames_per_s, frame_bytes, audio_bytes_per_s, per_media_byte, recorded.behind_s)
    return BoardFigures(activities, media)


def hardware_of(board: str) -> Hardware:
    """The simulator's hardware with this board's own profile: the firmware is told what the board would tell it."""
    module = importlib.import_module(f"lapel_device.boards.{board}")
    base = _CHIPS[module.BOARD["chip"]]
    disk = base.disk if module.PROFILE["frame_width"] else flash(1)
    return dataclasses.replace(base, name=board, disk=disk, **module.PROFILE)


def _activity(taken: Taken, plain: Taken | None) -> Activity:
    """The TLS pass's bytes; of those inside TLS, the share that were records is the plain pass's."""
    other = plain.bytes if plain is not None else Both()
    return Activity(
        _bytes(taken.bytes.up, other.up), _bytes(taken.bytes.down, other.down), taken.seconds, taken.busy_ms
    )


def _bytes(way: Way, plain: Way) -> Bytes:
    share = plain.records / plain.application if plain.application else 0.0
    records = way.application * share
    return Bytes(way.handshake, way.framing, way.application - records, records)


class _Pass:
    """One world, one gateway, two devices of a kind."""

    def __init__(
        self,
        board: str,
        folder: Path,
        broker: Broker,
        cost_scale: float,
        record_s: float,
    ) -> None:
        self._hardware = hardware_of(board)
        self._has_gnss = "GNSS" in importlib.import_module(f"lapel_device.boards.{board}").BOARD["parts"]
        self._folder = folder
        self._broker: Broker = broker
        self._cost_scale = cost_scale
        self._record_s = record_s
        self._taken: dict[str, Taken] = {}

    def measure(self) -> tuple[dict[str, Taken], Recorded | None]:
        """Everything that this board can do."""
        with (
            self._gateway() as site,
            World(self._folder / "world", seed=5, cost_scale=self._cost_scale) as world,
        ):
            self._site, self._world = site, world
            beating, self._beats = self._device("beating", _BEAT_S)
            self._device_acting, self._acts = self._device("acting", _SILENT_S)
            self._connect()
            beating.power_on()
            self._reconnect()
            self._drill()
            self._visit()
            recorded = self._record() if self._hardware.frame_width else None
            self._standby(beating)
        return self._taken, recorded

    @contextmanager
    def _gateway(self) -> Iterator[Site]:
        config = self._folder / "lapel.toml"
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            init(config, organisation="Budget", data_dir=self._folder / "data", broker=self._broker, port=free_port())
        site = Site(config)
        gateway = Gateway(site.config, ("alarms", "ingest"))
        gateway.start()
        try:
            yield site
        finally:
            gateway.stop()
            site.engine.dispose()

    def _device(self, name: str, heartbeat_s: int) -> tuple[SimDevice, LinkCount]:
        device = self._world.add_device(name, self._hardware)
        package = self._folder / f"{name}-package"
        provision_device(
            self._site,
            name,
            f"wearer of {name}",
            package,
            _wall_ms(),
            {"heartbeat_s": heartbeat_s, "frame_interval_ms": self._hardware.frame_interval_ms},
            {"drills": True},
        )
        provision(device, package)
        device.gnss.position = _PLACE if self._has_gnss else None
        count = LinkCount(self._broker == "mosquitto")
        device.link.observer = count
        return device, count

    # -- the activities ---------------------------------------------------------------------------------------------

    def _connect(self) -> None:
        with self._taking(CONNECT):
            self._device_acting.power_on()
            self._wait(lambda: self._row("acting")["boot"] is not None, "a hello")

    def _reconnect(self) -> None:
        device = self._device_acting
        before = self._answers(device)
        with self._taking(RECONNECT):
            device.link.reset()
            self._wait(lambda: self._answers(device) > before, "a welcome")

    def _answers(self, device: SimDevice) -> int:
        said = self._world.journal.entries("console", device=device.name)
        return sum("the gateway answers" in entry["line"] for entry in said)

    def _drill(self) -> None:
        """A test of the alarm, seen, and over; where there is a receiver, with the first position."""
        device = self._device_acting
        engine = self._site.engine
        with self._taking(DRILL):
            device.hold("BOTH", 3300)
            device.wait_shown("alarm received", _PATIENCE_S)
            self._wait(lambda: self._rows(alarms), "the alarm at the gateway")
            [row] = self._rows(alarms)
            acknowledge(engine, row["id"], "budget", _wall_ms())
            device.wait_shown("alarm acknowledged", _PATIENCE_S)
            if self._has_gnss:
                self._wait(lambda: self._rows(positions), "a position")
            self._quiet(self._acts)
            if self._has_gnss:
                self._position()
            resolve(engine, row["id"], "budget", "test", "", _wall_ms())
            device.wait_shown("alarm resolved", _PATIENCE_S)
        if self._has_gnss:
            drill, place = self._taken[DRILL], self._taken[POSITION]
            self._taken[DRILL] = Taken(drill.bytes - place.bytes, drill.seconds, drill.busy_ms)

    def _position(self) -> None:
        known = len(self._rows(positions))
        with self._taking(POSITION):
            self._wait(lambda: len(self._rows(positions)) > known, "another position")

    def _visit(self) -> None:
        """A visit that was planned, begun, checked into and ended; where there is a receiver, with one position."""
        device = self._device_acting
        known = len(self._rows(positions))
        with self._taking(VISIT):
            now_ms = _wall_ms()
            wanted = plans.Wanted(
                "wearer of acting", "4 High Street", "a boiler", expected_min=30, planned_ms=now_ms + 60_000
            )
            plans.plan(self._site.engine, wanted, "budget", now_ms, _RULES)
            self._wait(lambda: not self._only_visit()["untold"], "the device to be told of the visit")
            device.press("RECORD", 2)
            self._wait(lambda: self._only_visit()["state"] == "active", "the visit's start")
            if self._has_gnss:
                self._wait(lambda: len(self._rows(positions)) > known, "a position")
            self._wait(lambda: not device.shows("visit noted", 500), "the start to be noted")
            device.press("RECORD", 2)
            device.wait_shown("visit noted", _PATIENCE_S)
            self._wait(lambda: not device.shows("visit noted", 500), "the check-in to be noted")
            device.hold("RECORD", 120, 1700)
            self._wait(lambda: self._only_visit()["state"] == "ended", "the visit's end")

    def _record(self) -> Recorded:
        device, journal, seconds = self._device_acting, self._world.journal, self._record_s
        with self._taking(RECORDING):
            device.hold("RECORD", 1700)
            device.wait_shown("recording", _PATIENCE_S)
            until = time.monotonic() + seconds
            self._wait(lambda: time.monotonic() >= until, "the end of the recording", 4 * seconds + _PATIENCE_S)
            device.hold("RECORD", 1700)
            device.wait_shown("recording stopped", _PATIENCE_S)
            self._wait(self._held, "the clip")
            held_ms = host_ms()
        turns = journal.entries("camera", device=device.name)
        on_ms, off_ms = (turns[at]["at_ms"] for at in (-2, -1))
        sound = journal.entries("microphone", device=device.name)[-1]
        sizes = [frame["size"] for frame in device.frames()]
        return Recorded(
            (off_ms - on_ms) / 1000, len(sizes), sum(sizes), sound["given_bytes"], (held_ms - off_ms) / 1000
        )

    def _held(self) -> bool:
        """Whether the gateway has the clip, whole and authentic."""
        return any(row["verified_ms"] for row in self._rows(clips))

    def _standby(self, beating: SimDevice) -> None:
        """Some heartbeats, and the pings of the one that is silent."""
        self._wait(lambda: self._row("beating")["boot"] is not None, "a hello")
        self._quiet(self._beats)
        before, began, busy = self._beats.counted, time.monotonic(), dict(beating.bench.charged_ms)
        for _ in range(BEATS):
            carried = self._beats.counted.up.total
            self._wait(lambda carried=carried: self._beats.counted.up.total > carried, "a heartbeat")  # type: ignore[misc]
            self._quiet(self._beats)
        bytes_ = self._beats.counted - before
        each = Both(_part(bytes_.up, BEATS), _part(bytes_.down, BEATS))
        seconds = time.monotonic() - began
        self._taken[BEAT] = Taken(each, 0.0, {})
        self._taken[STANDBY] = Taken(Both(), seconds, _spent(beating.bench.charged_ms, busy))
        self._wait(lambda: self._acts.counted.pings > 1, "pings")
        pinged = self._acts.counted
        self._taken[PING] = Taken(
            Both(_part(pinged.ping_up, pinged.pings), _part(pinged.ping_down, pinged.pings)), 0.0, {}
        )

    # -- taking -----------------------------------------------------------------------------------------------------

    @contextmanager
    def _taking(self, activity: str) -> Iterator[None]:
        device = self._device_acting
        before, began, busy = self._acts.counted, time.monotonic(), dict(device.bench.charged_ms)
        yield
        seconds = time.monotonic() - began
        self._quiet(self._acts)
        self._taken[activity] = Taken(self._acts.counted - before, seconds, _spent(device.bench.charged_ms, busy))

    def _quiet(self, count: LinkCount) -> None:
        """Wait until nothing but pings has passed for a while."""
        state = [_carried(count), time.monotonic()]

        def settled() -> bool:
            carried = _carried(count)
            if carried != state[0]:
                state[:] = carried, time.monotonic()
            return time.monotonic() - state[1] >= _QUIET_S

        self._wait(settled, "a quiet link")

    def _wait(self, condition: Callable[[], object], what: str, timeout_s: float = _PATIENCE_S) -> None:
        self._world.wait_until(condition, timeout_s, what)

    # -- the gateway's side -----------------------------------------------------------------------------------------

    def _rows(self, table: sa.Table) -> list[dict[str, Any]]:
        with self._site.engine.connect() as connection:
            return [dict(row._mapping) for row in connection.execute(sa.select(table))]

    def _row(self, name: str) -> dict[str, Any]:
        [row] = [row for row in self._rows(devices) if row["name"] == name]
        return row

    def _only_visit(self) -> dict[str, Any]:
        [row] = self._rows(visits)
        return row


def _carried(count: LinkCount) -> float:
    counted = count.counted
    return counted.up.total + counted.down.total


def _part(way: Way, count: int) -> Way:
    return Way(*(round(value / count) for value in dataclasses.astuple(way)))


def _spent(now: dict[str, float], before: dict[str, float]) -> dict[str, float]:
    spent = {work: ms - before.get(work, 0.0) for work, ms in now.items()}
    return {work: ms for work, ms in spent.items() if ms}


def _wall_ms() -> int:
    return time.time_ns() // 1_000_000
