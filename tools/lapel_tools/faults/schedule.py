"""One seed: what the wearers do, what goes wrong and when, and the loop that lets everybody act in a seeded order."""

from __future__ import annotations

import functools
import gc
import hashlib
import os
import random
import shutil
import tempfile
import traceback
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from multiprocessing.util import Finalize
from pathlib import Path

from lapel_gateway.keystore import OrganisationKey
from lapel_protocol.topics import parse_topic
from lapel_sim.inprocess.broker import Broker, Session
from lapel_sim.inprocess.network import MemoryNetwork
from lapel_sim.inprocess.storage import STYLES

from .backups import WAYS
from .device_side import ALARM, RECORD, DeviceSide
from .gateway_side import EPOCH_MS, GatewaySide
from .invariants import Watcher
from .plan import FAULTS_MS, Plan, Step, generator, make_plan
from .promises import Broken, Promises

SETTLE_MS = 400_000
"""Progress bound: once faults have stopped, everything is receipted within this virtual time."""

_LOOK_MS = 600
_BACKUP_MS = 4_000
_QUIET_TURNS = 6
_NEVER = 1 << 60
_DECLINES = 0.35  # of parcels that whoever is told of alarms and clips does not take at once
_CLOCK_STEPS_MS = (400, 20_000, 3_600_000, 86_400_000, 86_400_000)
_KILL_POINTS = (
    "ingest.verified",
    "ingest.vault_placed",
    "ingest.vault_synced",
    "vault.files_synced",
    "ingest.ledger_written",
    "ingest.ledger_committed",
    "alarms.written",
    "alarms.committed",
    "alarms.acknowledged",
    "assembly.opened",
    "assembly.copied",
    "assembly.published",
    "assembly.committed",
    "outbox.claimed",
    "outbox.delivered",
    "outbox.settled",
)
_MISCHIEF = {"duplicates": "duplicate", "reordering": "swap", "delays": "delay", "replays": "replay"}


@dataclass
class Result:
    """What one seed did. `broken` is empty when every invariant held; `trace` is the same for the same seed."""

    seed: int
    broken: str = ""
    schedule: list[str] = field(default_factory=list)
    devices: int = 0
    clips: int = 0
    alarms: int = 0
    rests: int = 0
    cuts: int = 0
    kills: int = 0
    virtual_ms: int = 0
    trace: str = ""
    numbers: list[int] = field(default_factory=list)
    fired: Counter[str] = field(default_factory=Counter)
    effects: Counter[str] = field(default_factory=Counter)


@dataclass(order=True)
class _Mend:
    """Something that is put right at its time."""

    at_ms: int
    order: int
    what: str
    action: Callable[[], None] = field(compare=False)


class Schedule:
    """Carries out one plan in a folder of its own."""

    def __init__(self, seed: int, folder: Path, organisation: OrganisationKey, plan: Plan) -> None:
        self.result = Result(seed, devices=plan.devices, schedule=[str(step) for step in plan.steps])
        self.result.numbers = [step.number for step in plan.steps]
        self._seed = seed
        self._plan = plan
        self._rng = rng = random.Random(f"course of seed {seed}")
        self._hash = hashlib.sha256()
        self._said = 0
        self._mends: list[_Mend] = []
        self._orders = 0
        self._restored = False
        self._backup_ms = _BACKUP_MS
        self._rest_ms = 0
        self.now_ms = 0
        self.broker = Broker(self._published, random.Random(f"broker {seed}"))
        self._older_broker: dict[str, Session] = {}
        self.gateway = GatewaySide(
            folder, random.Random(f"gateway {seed}"), organisation, self._to_device, self._acknowledged
        )
        self.devices: list[DeviceSide] = []
        for number in range(plan.devices):
            package = self.gateway.registry.provision(
                f"device {number}", "Wearer", organisation, "broker", 1883, "", EPOCH_MS, EPOCH_MS - 86_400_000
            )
            style = STYLES[(seed + number) % len(STYLES)]
            own = random.Random(f"device {number} of seed {seed}")
            self.devices.append(DeviceSide(own, self.broker, package, style))
        self._restores = any(step.what == "gateway_restored" for step in plan.steps)
        self.promises = Promises(self.devices, self.gateway)
        self.watcher = Watcher(self.devices, self.gateway, self.broker, self.promises)
        self._unsettled = rng.random() < 0.5  # whether broker and network misbehave a little all the time

    # -- what is said -----------------------------------------------------------------------------------------------

    def _published(self, topic: str, payload: bytes) -> None:
        self._trace(topic, payload)
        self.gateway.receive(topic, payload)

    def _to_device(self, topic: str, payload: bytes) -> None:
        self._trace(topic, payload)
        self.promises.said(payload, topic)
        self.broker.send(parse_topic(topic)[0].hex(), topic, payload)

    def _acknowledged(self, topic: str, payload: bytes) -> None:
        self.promises.acknowledged(topic, payload)

    def _trace(self, topic: str, payload: bytes) -> None:
        """What was said and when; not the bytes, which depend on the organisation's key."""
        self._said += 1
        self._hash.update(f"{self.now_ms} {topic} {len(payload)}\n".encode())

    # -- the course -------------------------------------------------------------------------------------------------

    def run(self) -> Result:
        """Carry it out; `result.broken` says what did not hold."""
        result = self.result
        try:
            with self.gateway.cache.installed():
                self._run()
        except Broken as error:
            result.broken = str(error)
        except Exception as error:  # noqa: BLE001 - whatever a core raises is the finding, and the seed names it
            result.broken = f"{type(error).__name__}: {error} at {_place(error)}"
        finally:
            self.gateway.close()
            self._count()
        return result

    def _run(self) -> None:
        self.gateway.start(0)
        self.gateway.back_up()
        for device in self.devices:
            device.power_on(0)
        for episode in range(self._plan.episodes):
            self._misbehave(self._unsettled)
            self.gateway.receiver.declines = _DECLINES
            self._faulty_time([step for step in self._plan.steps if step.episode == episode])
            self._settle()

    def _count(self) -> None:
        result, effects = self.result, self.result.effects
        result.cuts, result.kills = sum(device.cuts for device in self.devices), self.gateway.kills
        result.virtual_ms = self.now_ms
        result.trace = self._hash.hexdigest()
        effects.update(self.gateway.effects)
        for device in self.devices:
            effects.update(device.effects)
            effects.update(device.network.effects)
        effects.update(self.broker.effects)
        effects.update(self.promises.seen)
        effects["queue_overflows"] += sum(inbox.dropped for inbox in self.gateway.inboxes)
        effects["no_space_in_a_write"] += self.gateway.cache.refused
        for what, effect in (
            ("duplicates", "duplicated"),
            ("reordering", "reordered"),
            ("delays", "delayed"),
            ("replays", "replayed"),
        ):
            effects[what] = effects.pop(effect, 0)

    def _faulty_time(self, steps: list[Step]) -> None:
        began_ms = self.now_ms
        steps = list(steps)
        while self.now_ms < began_ms + FAULTS_MS:
            self.now_ms += self._rng.randint(30, 160)
            while steps and began_ms + steps[0].at_ms <= self.now_ms:
                step = steps.pop(0)
                self.result.fired[step.what] += 1
                self._carry_out(step, generator(self._seed, step))
            self._mend(self.now_ms)
            self._revive()
            if self._restores and self.now_ms >= self._backup_ms:
                self._backup_ms = self.now_ms + _BACKUP_MS
                self.gateway.back_up()
                self._older_broker = self.broker.snapshot()
            self._everybody(0.02)
            if self.now_ms >= self._rest_ms:
                self._rest_ms = self.now_ms + _LOOK_MS
                self.promises.check_devices()
                if not self._mends and not self.watcher.unrest():
                    # Every quiescent point is a point to check at, not only the last one.
                    self._check()

    def _check(self) -> None:
        self.promises.check_devices()
        self.result.clips, self.result.alarms = self.watcher.check()
        self.result.rests += 1

    def _revive(self) -> None:
        """Whatever is dark comes back some time later."""
        for number, device in enumerate(self.devices):
            if not device.running and not self._awaited(f"power {number}"):
                self._later(f"power {number}", self._rng.randint(200, 4000), functools.partial(self._power, device))
        if not self.gateway.alive and not self._awaited("gateway"):
            self._later("gateway", self._rng.randint(100, 5000), self._start_gateway)

    def _power(self, device: DeviceSide) -> None:
        if not device.running:
            device.power_on(self.now_ms)

    def _start_gateway(self) -> None:
        if not self.gateway.alive:
            self.gateway.start(self.now_ms)

    def _everybody(self, human: float) -> None:
        """Each actor once, in a seeded order."""
        rng = self._rng
        self.broker.tick(self.now_ms)
        actors = list(range(2 * len(self.devices) + 2))
        rng.shuffle(actors)
        for actor in actors:
            if actor < len(self.devices):
                self.devices[actor].step(self.now_ms)
            elif actor < 2 * len(self.devices):
                self.devices[actor - len(self.devices)].network.move(rng.randint(0, 12_000), rng.randint(0, 4_000))
            elif actor == 2 * len(self.devices):
                self.gateway.step(self.now_ms)
            elif rng.random() < human:
                self.gateway.human(self.now_ms)

    def _settle(self) -> None:
        """Faults stop; the wearers stop recording; everything must come to rest with nothing left to say."""
        gateway = self.gateway
        for device in self.devices:
            device.board.fuse.disarm()
        gateway.spare()
        gateway.kill_restarts([])
        self._misbehave(False)
        self.broker.calm()
        self._mend(_NEVER)
        for device in self.devices:
            self._power(device)
        self._start_gateway()
        if self._restored:
            # What it promises after a restore, it promises from the next hello on.
            self._restored = False
            self.broker.disconnect_all()
        started_ms = self.now_ms
        stopping_ms = quiet = 0
        while True:
            said = self._said
            recording = any(device.recording for device in self.devices)
            self.now_ms += (
                self._rng.randint(20, 250) if recording or quiet < _QUIET_TURNS else self._rng.randint(250, 1000)
            )
            if recording and self.now_ms >= stopping_ms:
                stopping_ms = self.now_ms + 6000
                for device in self.devices:
                    if device.recording:
                        device.press(RECORD, self.now_ms, 2500)
            self._everybody(0.1)
            quiet = quiet + 1 if said == self._said else 0
            if quiet and not recording:
                why = self.watcher.unrest()
                if not why:
                    break
                if self.now_ms - started_ms > SETTLE_MS:
                    raise Broken(f"no progress within {SETTLE_MS} ms after the last fault: {why}")
            elif self.now_ms - started_ms > 2 * SETTLE_MS:
                raise Broken(f"no rest within {2 * SETTLE_MS} ms after the last fault: {self.watcher.unrest()}")
        self._check()

    # -- faults -----------------------------------------------------------------------------------------------------

    def _later(self, what: str, after_ms: int, action: Callable[[], None]) -> None:
        self._orders += 1
        self._mends.append(_Mend(self.now_ms + after_ms, self._orders, what, action))
        self._mends.sort()

    def _awaited(self, what: str) -> bool:
        return any(mend.what == what for mend in self._mends)

    def _mend(self, until_ms: int) -> None:
        while self._mends and self._mends[0].at_ms <= until_ms:
            self._mends.pop(0).action()

    def _misbehave(self, misbehave: bool) -> None:
        """A broker that now and then delivers twice or out of order, as any may."""
        self.broker.mischief.duplicate, self.broker.mischief.swap = (0.03, 0.03) if misbehave else (0.0, 0.0)
        self.gateway.receiver.declines = 0.0

    def _carry_out(self, step: Step, rng: random.Random) -> None:
        device = self.devices[step.device % len(self.devices)]
        if step.what in ("record", "record_now", "stop", "alarm"):
            self._wearer(step.what, device, rng)
        elif step.what in _MISCHIEF:
            self._mischief(_MISCHIEF[step.what], rng)
        elif step.what.startswith(("broker_", "queue_")):
            self._broker_fault(step.what, rng)
        elif step.what.startswith(("gateway_", "disk_", "ledger_", "no_space", "clock_")):
            self._gateway_fault(step.what, rng)
        else:
            self._device_fault(step.what, device, rng)

    def _wearer(self, what: str, device: DeviceSide, rng: random.Random) -> None:
        if what == "record":
            device.press(RECORD, self.now_ms, 180)
            device.press(RECORD, self.now_ms + rng.randint(800, 3000), 180)
        elif what == "alarm":
            device.press(ALARM, self.now_ms, 2500)
        else:
            device.press(RECORD, self.now_ms, 2000)

    def _device_fault(self, what: str, device: DeviceSide, rng: random.Random) -> None:
        network = device.network
        after_ms = rng.randint(100, 6000)
        if what == "power_cut_at_operation":
            device.board.fuse.arm(rng.randint(1, 40))
        elif what == "power_cut_now":
            device.cut_power()
        elif what == "link_lost":
            device.effects["link_lost"] += network.link is not None
            network.switch(False, self._rng, rng.random() < 0.5)
            self._later("link", after_ms, lambda: network.switch(True, self._rng))
        elif what == "half_open":
            network.stick(*rng.choice(((True, False), (False, True), (True, True))))
            if rng.random() < 0.3:  # else it stays so until somebody's keep-alive ends it
                self._later("half open", after_ms, lambda: _unstick(network))
        elif what == "latency":
            network.still = True
            self._later("latency", rng.randint(300, 9000), lambda: setattr(network, "still", False))
        else:
            network.slow_bytes = rng.randint(60, 600)
            self._later("slow", after_ms, lambda: setattr(network, "slow_bytes", 0))

    def _mischief(self, name: str, rng: random.Random) -> None:
        setattr(self.broker.mischief, name, rng.uniform(0.15, 0.5))
        self._later(name, rng.randint(1500, 6000), lambda: setattr(self.broker.mischief, name, 0.0))

    def _broker_fault(self, what: str, rng: random.Random) -> None:
        broker, effects, inboxes = self.broker, self.gateway.effects, self.gateway.inboxes
        if what == "broker_forgets":
            effects[what] += bool(broker.sessions)
            broker.forget()
            for inbox in inboxes:
                inbox.clear()
        elif what == "broker_loses_queues":
            effects[what] += broker.forget_queues() + sum(inbox.clear() for inbox in inboxes)
        elif what == "broker_loses_in_flight":
            effects[what] += broker.forget_in_flight()
        elif what == "broker_rolls_back":
            effects[what] += bool(broker.sessions)
            broker.roll_back(self._older_broker)
            waiting = [list(inbox.messages) for inbox in inboxes]
            for inbox, messages in zip(inboxes, waiting, strict=True):
                del messages[len(messages) // 2 :]
                inbox.clear()
                for message in messages:
                    inbox.put(*message)
        else:
            for inbox in inboxes:
                inbox.limit = 2
            self._later("overflow", rng.randint(1000, 6000), self._widen)
            if rng.random() < 0.7 and self.gateway.alive:
                self.gateway.kill()  # a queue is short only while nobody reads it

    def _widen(self) -> None:
        for inbox in self.gateway.inboxes:
            inbox.limit = 1000

    def _gateway_fault(self, what: str, rng: random.Random) -> None:
        gateway = self.gateway
        after_ms = rng.randint(500, 6000)
        if what in ("gateway_killed", "gateway_crashed"):
            crash = what == "gateway_crashed"
            if rng.random() < 0.5:
                gateway.kill_at("ingest.vault_placed" if crash else rng.choice(_KILL_POINTS), crash)
            else:
                gateway.kill_after(rng.randint(1, 12), crash)
        elif what == "gateway_killed_in_recovery":
            gateway.kill_restarts([rng.randint(1, 4) for _ in range(rng.randint(1, 3))])
            gateway.kill_at(rng.choice(("ingest.vault_placed", "ingest.vault_synced", "ingest.ledger_written")), False)
        elif what == "gateway_restored":
            self._restore(rng)
        elif what == "clock_stepped":
            gateway.effects[what] += gateway.alive
            gateway.offset_ms += rng.choice((-1, -1, 1)) * rng.choice(_CLOCK_STEPS_MS)
        elif not gateway.alive:
            return
        elif what == "disk_full":
            gateway.fill_disk(True)
            self._later("disk", after_ms, lambda: gateway.fill_disk(False))
        elif what == "no_space_in_a_write":
            gateway.fill_in_write(rng.randint(0, 20_000))
            self._later("room", after_ms, lambda: gateway.fill_in_write(None))
        else:
            gateway.fill_ledger(True)
            self._later("ledger", after_ms, lambda: gateway.fill_ledger(False))

    def _restore(self, rng: random.Random) -> None:
        gateway = self.gateway
        if gateway.alive:
            gateway.kill()
        clips, alarms = self.promises.before_restore(), self.watcher.before_restore()
        gateway.restore(rng.choice(WAYS), rng)
        self.promises.after_restore(clips)
        self.watcher.after_restore(alarms)
        if rng.random() < 0.3:
            gateway.kill_restarts([rng.randint(1, 6) for _ in range(rng.randint(1, 3))])
        self._restored = True


def _unstick(network: MemoryNetwork) -> None:
    network.stick(False, False)


def _place(error: Exception) -> str:
    """Where an unexpected exception was raised: file and line of its innermost frame."""
    frame = traceback.extract_tb(error.__traceback__)[-1]
    return f"{Path(frame.filename).name}:{frame.lineno}"


_folders: dict[int, Path] = {}


def remove_folder() -> None:
    """Remove what seeds left in this process's folder, if it has one."""
    path = _folders.pop(os.getpid(), None)
    if path is not None:
        shutil.rmtree(path, ignore_errors=True)


def _folder() -> Path:
    """An empty folder of this process, the same for each of its seeds; in memory where there is some."""
    path = _folders.get(os.getpid())
    if path is None:
        base = Path("/dev/shm")
        path = Path(tempfile.mkdtemp(prefix="lapel-seeds-", dir=base if base.is_dir() else None))
        _folders[os.getpid()] = path
        # Not atexit: a worker process of a pool does not come to it.
        Finalize(None, remove_folder, exitpriority=1)
    for leftover in path.iterdir():
        shutil.rmtree(leftover) if leftover.is_dir() else leftover.unlink()
    return path


@functools.cache
def _set_aside_what_lives_on() -> None:
    """Once a process: a device collects its garbage before each clip, which on a board looks at 192 KiB, and here would
    look at everything that this process has ever imported."""
    gc.collect()
    gc.freeze()


def run_seed(seed: int, organisation: OrganisationKey, plan: Plan | None = None) -> Result:
    """Carry out one seed, or only a part of its plan."""
    _set_aside_what_lives_on()
    return Schedule(seed, _folder(), organisation, plan or make_plan(seed)).run()
