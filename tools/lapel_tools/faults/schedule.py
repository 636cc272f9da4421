"""One seed: what the wearer does, what goes wrong and when, and the loop that lets everybody act in a seeded order."""

from __future__ import annotations

import hashlib
import random
import tempfile
import traceback
from dataclasses import dataclass, field
from pathlib import Path

from lapel_gateway.keystore import OrganisationKey
from lapel_protocol.topics import parse_topic
from lapel_sim.inprocess.broker import Broker
from lapel_sim.inprocess.storage import STYLES

from .device_side import ALARM, RECORD, DeviceSide
from .gateway_side import EPOCH_MS, GatewaySide
from .invariants import Broken, Watcher

FAULTS_MS = 16_000
"""Virtual time during which things go wrong."""

SETTLE_MS = 400_000
"""Progress bound: once faults have stopped, everything is receipted within this virtual time."""

_FAULTS = ("cut_at_operation", "cut_now", "drop_link", "kill_gateway", "fill_disk", "broker_forgets")


@dataclass
class Result:
    """What one seed did. `broken` is empty when every invariant held; `trace` is the same for the same seed."""

    seed: int
    broken: str = ""
    schedule: list[str] = field(default_factory=list)
    clips: int = 0
    alarms: int = 0
    cuts: int = 0
    kills: int = 0
    virtual_ms: int = 0
    trace: str = ""


class Schedule:
    """Carries out one seed in a folder of its own."""

    def __init__(
        self, seed: int, folder: Path, organisation: OrganisationKey, skip: frozenset[int] = frozenset()
    ) -> None:
        self.result = Result(seed)
        self._rng = random.Random(f"lapel fault schedule {seed}")
        self._skip = skip
        self._hash = hashlib.sha256()
        self.now_ms = 0
        self.broker = Broker(self._published)
        self.gateway = GatewaySide(folder, random.Random(f"gateway {seed}"), organisation, self._to_device)
        package = self.gateway.registry.provision(
            "device", "Wearer", organisation, "broker", 1883, "", EPOCH_MS, EPOCH_MS - 86_400_000
        )
        style = STYLES[seed % len(STYLES)]
        self.device = DeviceSide(random.Random(f"device {seed}"), self.broker, package, style)
        self.watcher = Watcher(self.device, self.gateway)
        self._plan = self._make_plan()

    def _published(self, topic: str, payload: bytes) -> None:
        self._trace(topic, payload)
        self.gateway.receive(topic, payload)

    def _to_device(self, topic: str, payload: bytes) -> None:
        self._trace(topic, payload)
        self.broker.send(parse_topic(topic)[0].hex(), topic, payload)

    def _trace(self, topic: str, payload: bytes) -> None:
        """What was said and when; not the bytes, which depend on the organisation's key."""
        self._hash.update(f"{self.now_ms} {topic} {len(payload)}\n".encode())

    def _make_plan(self) -> list[tuple[int, str]]:
        """(virtual time, what) of everything that is planned, in order; `skip` leaves some out to shorten a failure."""
        rng = self._rng
        plan: list[tuple[int, str]] = []
        at = rng.randint(200, 3000)
        while at < FAULTS_MS:
            plan.append((at, rng.choice(("record", "record", "record_now", "stop", "alarm"))))
            at += rng.randint(1200, 6000)
        plan += [(rng.randint(100, FAULTS_MS), rng.choice(_FAULTS)) for _ in range(rng.randint(1, 5))]
        plan.sort()
        return [step for at, step in enumerate(plan) if at not in self._skip]

    def run(self) -> Result:
        """Carry it out; `result.broken` says what did not hold."""
        result = self.result
        result.schedule = [f"{at} ms {what}" for at, what in self._plan]
        try:
            self.device.power_on(0)
            self._faulty_time()
            self._settle()
            result.clips, result.alarms = self.watcher.check()
        except Broken as error:
            result.broken = str(error)
        except Exception as error:  # noqa: BLE001 - whatever a core raises is the finding, and the seed names it
            result.broken = f"{type(error).__name__}: {error} at {_place(error)}"
        finally:
            result.cuts, result.kills = self.device.cuts, self.gateway.kills
            result.virtual_ms = self.now_ms
            result.trace = self._hash.hexdigest()
            self.gateway.close()
        return result

    def _faulty_time(self) -> None:
        plan = list(self._plan)
        mend: list[tuple[int, str]] = []
        while self.now_ms < FAULTS_MS:
            self.now_ms += self._rng.randint(20, 140)
            while plan and plan[0][0] <= self.now_ms:
                self._carry_out(plan.pop(0)[1], mend)
            while mend and mend[0][0] <= self.now_ms:
                self._mend(mend.pop(0)[1])
            if not self.device.running and not any(what == "power" for _, what in mend):
                self._later(mend, "power", 200, 4000)
            if not self.gateway.alive and not any(what == "gateway" for _, what in mend):
                self._later(mend, "gateway", 100, 5000)
            self._everybody()

    def _later(self, mend: list[tuple[int, str]], what: str, soonest_ms: int, latest_ms: int) -> None:
        mend.append((self.now_ms + self._rng.randint(soonest_ms, latest_ms), what))
        mend.sort()

    def _carry_out(self, what: str, mend: list[tuple[int, str]]) -> None:
        rng, device, gateway = self._rng, self.device, self.gateway
        if what == "record":
            device.press(RECORD, self.now_ms, 150)
            device.press(RECORD, self.now_ms + rng.randint(800, 3000), 150)
        elif what in ("record_now", "stop"):
            device.press(RECORD, self.now_ms, 1900)
        elif what == "alarm":
            device.press(ALARM, self.now_ms, 2400)
        elif what == "cut_at_operation":
            device.board.fuse.arm(rng.randint(1, 40))
        elif what == "cut_now":
            device.cut_power()
        elif what == "drop_link":
            device.network.switch(False, rng)
            self._later(mend, "link", 100, 6000)
        elif what == "kill_gateway":
            gateway.kill_after(rng.randint(1, 12))
        elif what == "broker_forgets":
            self.broker.forget()
            gateway.alarm_queue.clear()
            gateway.clip_queue.clear()
        elif what == "fill_disk" and gateway.alive:
            gateway.fill_disk(True)
            self._later(mend, "disk", 500, 6000)

    def _mend(self, what: str) -> None:
        if what == "power" and not self.device.running:
            self.device.power_on(self.now_ms)
        elif what == "gateway" and not self.gateway.alive:
            self.gateway.start(self.now_ms)
        elif what == "link":
            self.device.network.switch(True, self._rng)
        elif what == "disk" and self.gateway.alive:
            self.gateway.fill_disk(False)

    def _everybody(self) -> None:
        """Each actor once, in a seeded order."""
        rng = self._rng
        actors = [0, 1, 2, 3]
        rng.shuffle(actors)
        for actor in actors:
            if actor == 0:
                self.device.step(self.now_ms)
            elif actor == 1:
                self.gateway.step(self.now_ms)
            elif actor == 2:
                self.device.network.move(rng.randint(0, 12_000), rng.randint(0, 4_000))
            elif rng.random() < 0.02:
                self.gateway.human(self.now_ms)

    def _settle(self) -> None:
        """Faults stop; the wearer stops recording; everything must come to rest with nothing left to say."""
        device, gateway = self.device, self.gateway
        device.board.fuse.disarm()
        gateway.spare()
        device.network.switch(True, self._rng)
        if gateway.alive:
            gateway.fill_disk(False)
        else:
            gateway.start(self.now_ms)
        if not device.running:
            device.power_on(self.now_ms)
        started = self.now_ms
        stopping_ms = 0
        while not (self.watcher.at_rest() and not device.recording):
            if self.now_ms - started > SETTLE_MS:
                raise Broken(f"no progress within {SETTLE_MS} ms after the last fault: {self.watcher.unrest()}")
            self.now_ms += self._rng.randint(20, 250)
            if device.recording and self.now_ms >= stopping_ms:
                device.press(RECORD, self.now_ms, 2500)
                stopping_ms = self.now_ms + 6000
            self._everybody()
            if self._rng.random() < 0.05:
                gateway.human(self.now_ms)


def _place(error: Exception) -> str:
    """Where an unexpected exception was raised: file and line of its innermost frame."""
    frame = traceback.extract_tb(error.__traceback__)[-1]
    return f"{Path(frame.filename).name}:{frame.lineno}"


def run_seed(
    seed: int, organisation: OrganisationKey, scratch: Path | None = None, skip: frozenset[int] = frozenset()
) -> Result:
    """Carry out one seed in a temporary folder below `scratch` (default: memory where there is some)."""
    base = scratch or (Path("/dev/shm") if Path("/dev/shm").is_dir() else None)
    with tempfile.TemporaryDirectory(prefix="lapel-seed-", dir=base, ignore_cleanup_errors=True) as folder:
        return Schedule(seed, Path(folder), organisation, skip).run()


def shorten(failing: Result, organisation: OrganisationKey) -> Result:
    """The same seed with every step of its plan left out that the failure does not need."""
    skip: set[int] = set()
    shortest = failing
    for at in range(len(failing.schedule)):
        tried = run_seed(failing.seed, organisation, skip=frozenset(skip | {at}))
        if tried.broken:
            skip.add(at)
            shortest = tried
    return shortest
