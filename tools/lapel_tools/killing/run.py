"""One run: set up, let everything be killed, stop the faults, wait until all is at rest, judge."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from lapel_gateway.custody.vault import Vault
from lapel_gateway.ledger import reading
from lapel_gateway.ledger import schema as tables
from lapel_protocol.names import CUSTODY_STATE_NAMES
from lapel_sim.hardware import BOARDS
from lapel_sim.provision import provision
from lapel_sim.world import World
from lapel_tools.console import FAILED, CommandError
from lapel_tools.demo.duty_room import DutyRoom
from lapel_tools.killing.chaos import Chaos
from lapel_tools.killing.duty import DutyOfficer
from lapel_tools.killing.judge import RUN_FACTS, Verdict, judge
from lapel_tools.killing.plant import DEFAULTS, OWN, Plant
from lapel_tools.killing.wearer import Wearer
from lapel_tools.killing.witness import Witness, sealed_part

STALL_S = 120.0
"""Progress bound: once faults have stopped, less is left to be done after this time, until nothing is."""

SETTLE_S = 1200.0
"""And all of it is done after this time, on a machine that converts clips more slowly than they were recorded."""

GAP_S = (0.4, 3.2)
"""Shortest and longest pause between two faults of a long run."""

_SAY_EVERY_S = 20.0
_DELIVERED = CUSTODY_STATE_NAMES[5]

Say = Callable[[str], None]


@dataclass
class Report:
    """What a run did, and the verdict on what is left."""

    seed: int
    minutes: float
    folder: str
    kills: dict[str, int] = field(default_factory=dict)
    killed_together: int = 0
    link_faults: dict[str, int] = field(default_factory=dict)
    starts: dict[str, int] = field(default_factory=dict)
    boots: int = 0
    connections: int = 0
    settle_s: float = 0.0
    done: dict[str, int] = field(default_factory=dict)
    ended_by_themselves: list[str] = field(default_factory=list)
    verdict: Verdict = field(default_factory=Verdict)

    def words(self) -> dict[str, Any]:
        """For JSON."""
        return {**{name: value for name, value in vars(self).items() if name != "verdict"}, **self.verdict.words()}


class Stopped(Exception):
    """The run was asked to end early."""


class Run:
    """One run in `folder`, which must be empty or not exist."""

    def __init__(self, folder: Path, seed: int, devices: int, minutes: float, gap_s: tuple[float, float]) -> None:
        self.report = Report(seed, minutes, str(folder))
        self._folder = folder
        self._rng = random.Random(f"lapel kills {seed}")
        self._boards = [list(BOARDS)[number % len(BOARDS)] for number in range(devices)]
        self._gap_s = gap_s
        self._faults: list[str] = []
        self._stopped = False

    def stop(self) -> None:
        """End early; from a signal handler, which must not take a lock."""
        self._stopped = True

    def run(self, say: Say) -> Report:
        """Carry it out. Raises CommandError, Stopped, and what the simulator raises."""
        room = DutyRoom()
        try:
            with Plant(self._folder, room.url) as plant:
                room.trust(plant.webhook_secret)
                plant.start()
                say(f"gateway: four processes at {plant.url}, Mosquitto with mutual TLS on port {plant.port}")
                with World(self._folder / "world", seed=self.report.seed) as world:
                    self._play(plant, world, say)
        finally:
            room.close()
        say("everything is stopped; every clip, alarm and epoch is compared")
        verdict = self.report.verdict = judge(self._folder)
        if room.refused:
            self._faults.append(f"{room.refused} webhooks had no good signature")
        verdict.faults += self._faults
        return self.report

    def _play(self, plant: Plant, world: World, say: Say) -> None:
        witnesses, wearers = self._people(plant, world)
        officer = DutyOfficer(plant)
        chaos = Chaos(plant, wearers, random.Random(self._rng.random()), self._gap_s)
        try:
            say(f"{len(wearers)} devices: {', '.join(self._boards)}; they record and raise alarms from now on")
            officer.start()
            for wearer in wearers:
                wearer.start()
            self._two_halves(plant, chaos, world, say)
            chaos.mend()
            for wearer in wearers:
                wearer.rest()
            self.report.settle_s = self._settle(plant, chaos, witnesses, wearers, say)
        finally:
            for wearer in wearers:
                wearer.end()
            officer.end()
        for wearer in wearers:
            wearer.device.switch_off()
        for witness in witnesses.values():
            witness.finish()
        plant.stop()
        self._count(plant, world, chaos, wearers)
        self._faults += officer.faults

    def _people(self, plant: Plant, world: World) -> tuple[dict[str, Witness], list[Wearer]]:
        witnesses: dict[str, Witness] = {}
        wearers = []
        ids = {}
        vault = Vault(plant.site.config.vault_dir, 0)
        for number, board in enumerate(self._boards, 1):
            device = world.add_device(f"camera-{number}", board)
            package = plant.package(device.name)
            provision(device, package)
            ids[device.name] = json.loads((package / "config.json").read_text(encoding="utf-8"))["device"]
            witnesses[device.name] = Witness(
                device.disk, self._folder / "witness" / device.name, _held_by(vault, ids[device.name])
            )
            wearers.append(Wearer(device, random.Random(self._rng.random())))
        (self._folder / RUN_FACTS).write_text(json.dumps({"devices": ids}), encoding="utf-8")
        return witnesses, wearers

    def _two_halves(self, plant: Plant, chaos: Chaos, world: World, say: Say) -> None:
        """First with the gateway's own Mosquitto, then with one that forgets everything when it is killed."""
        for mode in (OWN, DEFAULTS):
            if mode != plant.mode:
                killed = plant.change_mode(mode)
                for name in killed:
                    chaos.kills[f"{name}, {OWN}" if name == "mosquitto" else name] += 1
                chaos.together += len(killed) > 1
                plant.start()
            say(f"Mosquitto's persistence: {mode}")
            ends = time.monotonic() + self.report.minutes * 30
            while (left := ends - time.monotonic()) > 0:
                chaos.run(min(left, _SAY_EVERY_S), lambda: self._stopped)
                if self._stopped:
                    raise Stopped
                say(f"{chaos.total} kills, {chaos.link_faults.total()} link faults, {_clips_so_far(world)} frames")

    def _settle(
        self, plant: Plant, chaos: Chaos, witnesses: dict[str, Witness], wearers: list[Wearer], say: Say
    ) -> float:
        started = said = moved = time.monotonic()
        before = ""
        while unrest := self._unrest(plant, witnesses, wearers):
            now = time.monotonic()
            if self._stopped:
                raise Stopped
            if unrest != before:
                before, moved = unrest, now
            if now - moved > STALL_S or now - started > SETTLE_S:
                self._faults.append(f"not at rest after {now - started:.0f} s: {unrest}")
                break
            if now - said > _SAY_EVERY_S:
                said = now
                say(f"the faults have stopped; {unrest}")
            chaos.look_after()
            time.sleep(0.2)
        return time.monotonic() - started

    def _unrest(self, plant: Plant, witnesses: dict[str, Witness], wearers: list[Wearer]) -> str:
        """What is still under way, in words; "" when nothing is."""
        for wearer in wearers:
            if wearer.failed:
                raise CommandError(wearer.failed, FAILED)
            if not wearer.quiet:
                return f"{wearer.device.name} is busy, or off"
        for role in plant.roles.values():
            if not role.running:
                return f"{role.name} does not run"
        for name, witness in witnesses.items():
            if waiting := witness.waiting():
                return f"{name}: {len(waiting)} clips have no receipt yet"
        with reading(plant.site.engine) as connection:
            rows = connection.execute(sa.select(tables.clip.c.state, tables.clip.c.header_ms)).all()
            under_way = sum(1 for row in rows if row.header_ms is not None and row.state != _DELIVERED)
            if under_way:
                return f"{under_way} of {len(rows)} clips are not delivered yet"
            here = sa.or_(tables.alarm.c.resolved_ms.is_(None), tables.alarm.c.untold)
            if connection.execute(sa.select(tables.alarm.c.id).where(here)).first():
                return "an alarm is open"
            parcels = sa.select(tables.outbox.c.id).where(tables.outbox.c.state == tables.OUTBOX_WAITING)
            if connection.execute(parcels).first():
                return "deliveries wait"
        return ""

    def _count(self, plant: Plant, world: World, chaos: Chaos, wearers: list[Wearer]) -> None:
        report = self.report
        cuts = world.journal.entries("power", on=False)
        armed = sum(1 for entry in cuts if str(entry["reason"]).startswith("in the middle"))
        report.kills = dict(sorted(chaos.kills.items())) | ({"device, in a write": armed} if armed else {})
        report.killed_together = chaos.together
        report.link_faults = dict(sorted(chaos.link_faults.items()))
        report.starts = {process.name: process.starts for process in (*plant.roles.values(), plant.broker)}
        report.boots = sum(wearer.device.boots for wearer in wearers)
        report.connections = sum(wearer.device.link.connections for wearer in wearers)
        for wearer in wearers:
            for what, count in wearer.done.items():
                report.done[what] = report.done.get(what, 0) + count
        report.ended_by_themselves = [end for process in (*plant.roles.values(), plant.broker) for end in process.ended]


def _held_by(vault: Vault, device: str) -> Callable[[int, bytes], str]:
    """Asked by the witness at each deletion on the device: does the gateway have it?"""

    def ask(clip: int, content: bytes) -> str:
        sealed = sealed_part(content)
        path = vault.path(device, clip)
        stored = path.read_bytes() if path.exists() else b""
        if sealed is None or stored == content[: sealed.size]:
            return ""
        return f"the gateway has {len(stored)} of its {sealed.size} bytes"

    return ask


def _clips_so_far(world: World) -> int:
    return len(world.journal.entries("frame", fits=True))
