"""Real devices and the real gateway with an enemy between them, in one process and in virtual time.

Real: the device's application with key store, spool, journal, alarm lane and uplink; the gateway's ingest and alarm
cores with ledger and vault. The broker is `lapel_sim.inprocess.hostile`; clocks and entropy follow the seed.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lapel_device.application import Application
from lapel_device.keystore import provision_sectors
from lapel_gateway.alarms import core as alarms
from lapel_gateway.keystore import OrganisationKey
from lapel_gateway.registry import Package
from lapel_protocol import alarm as alarm_states
from lapel_protocol import recording
from lapel_protocol.clip import RECORD_CLIP_HEADER
from lapel_protocol.limits import CLIP_HEADER_BYTES
from lapel_protocol.topics import LANE_ALARM, LANE_CLIP, LANE_DOWN, LANE_EVENT, parse_topic
from lapel_sim.inprocess.board import MemoryBoard
from lapel_sim.inprocess.hostile import TRICKS, HostileBroker, Message, Trick
from lapel_sim.inprocess.network import MemoryNetwork
from lapel_sim.inprocess.storage import STYLES
from tests.support.pair import DevicePair

if TYPE_CHECKING:
    from lapel_device.slots import Running

STEP_MS = 100
_LOOK_MS = 500  # how often the gateway looks for what humans answered
RECORD, ALARM = 1, 2
_CAPACITY_BYTES = 4 << 20
_FRAME_MS = 500


def _clip_of(name: str, content: bytes) -> int:
    """The number of a clip file of the spool; 0 for anything else, such as the marks of alarms."""
    whole = len(content) >= CLIP_HEADER_BYTES and content[0] == RECORD_CLIP_HEADER
    return int(name.split(".")[0], 16) if whole else 0


class Wearable:
    """One device and its wearer."""

    def __init__(
        self, number: int, seed: int, package: Package, broker: HostileBroker, capacity_bytes: int = _CAPACITY_BYTES
    ) -> None:
        self._rng = random.Random(f"wearable {seed} {number}")
        self.id = package.device
        self.package = package
        self.network = MemoryNetwork(broker)
        self.board: Any = MemoryBoard(self._rng, self.network, capacity_bytes, STYLES[0])
        file = self.board.storage.open("/config.json", "wb")
        file.write(json.dumps(dict(package.config)).encode())
        file.close()
        provision_sectors(self.board.sectors, package.chain_key, package.pool)
        self.raised: set[tuple[int, int]] = set()
        self.loader: Callable[[], Running | None] = lambda: None
        """What chooses the firmware at each boot; None where it is not in slots."""
        self._now_ms = 0
        self._resets = 0

    @property
    def name(self) -> str:
        """16 hex digits."""
        return self.id.hex()

    def power_on(self, now_ms: int) -> None:
        self._booted_ms = self._now_ms = now_ms
        self._released_ms = 0
        self._frame_ms = 0
        self.board.clock.now_ms = now_ms
        self.app = Application(self.board, self.loader())
        self.app.boot(0)

    def power_cut(self, now_ms: int) -> None:
        """Off and on again."""
        self.board.lose_power()
        self.power_on(now_ms)

    def hold(self, button: int, duration_ms: int) -> None:
        """Begin to hold a button; it is let go by itself."""
        self.board.buttons.mask = button
        self._released_ms = self._now_ms + duration_ms

    def step(self, now_ms: int) -> None:
        self._now_ms = self.board.clock.now_ms = now_ms
        if self._released_ms and now_ms >= self._released_ms:
            self.board.buttons.mask = self._released_ms = 0
        mono_ms = now_ms - self._booted_ms
        self.app.sample_buttons(self.board.buttons.mask, mono_ms, mono_ms)
        if self.app.wants_camera and now_ms >= self._frame_ms:
            self._frame_ms = now_ms + _FRAME_MS
            jpeg = b"\xff\xd8" + self._rng.randbytes(self._rng.randint(200, 2500)) + b"\xff\xd9"
            self.app.frame(memoryview(jpeg), mono_ms, 320, 240, mono_ms)
        self.app.poll(mono_ms)
        self.app.poll(mono_ms)
        status = self.app.status()
        if status.alarm_counter:
            self.raised.add((status.alarm_boot, status.alarm_counter))
        if self.board.resets != self._resets:
            self._resets = self.board.resets
            self.power_cut(now_ms)

    def spool(self) -> dict[int, bytes]:
        """What is in the device's spool, by clip."""
        found = {}
        for path in self.board.storage.listdir("/spool/"):
            if path.endswith(".clp"):
                found[int(path.split(".")[0], 16)] = self.board.storage.content("/spool/" + path) or b""
        return found


class Stage:
    """A gateway, its devices and a hostile broker. Virtual time passes in `run`."""

    def __init__(
        self,
        folder: Path,
        seed: int = 1,
        devices: int = 1,
        capacity_bytes: int = _CAPACITY_BYTES,
        organisation: OrganisationKey | None = None,
    ) -> None:
        """`organisation` is the gateway's half of the key, by default with the private one."""
        self.rng = random.Random(f"stage {seed}")
        self.gateway = DevicePair(folder, seed=seed, devices=0, organisation=organisation)
        self.broker = HostileBroker(self._arrived, self.rng)
        self.now_ms = 0
        self._queue: list[Message] = []
        self.deleted = 0
        self.devices = []
        for number in range(devices):
            package = self.gateway.registry.provision(
                f"camera {number}", "Wearer", self.gateway.organisation, "broker", 1883, "", self.gateway.now_ms, 0
            )
            device = Wearable(number, seed, package, self.broker, capacity_bytes)
            device.board.storage.on_remove = self._watch(device)
            device.power_on(0)
            self.devices.append(device)

    @property
    def one(self) -> Wearable:
        return self.devices[0]

    def _watch(self, device: Wearable) -> Callable[[str, bytes], None]:
        """At the moment of a deletion on the device the gateway must hold what goes."""

        def removed(path: str, content: bytes) -> None:
            number = _clip_of(path.rpartition("/")[2], content)
            if number:
                stored = self.gateway.vault.path(device.name, number).read_bytes()
                assert stored, path
                assert content.startswith(stored), path
                self.deleted += 1

        return removed

    def _arrived(self, topic: str, payload: bytes) -> None:
        self._queue.append((topic, payload))

    def enemy(self, chance: float, tricks: tuple[Trick, ...] = TRICKS) -> None:
        """From now on the broker plays these tricks on this part of all messages; 0 makes it honest again."""
        self.broker.tricks = tricks
        self.broker.chance = chance

    def run(self, duration_ms: int) -> None:
        """Let time pass for everybody."""
        end_ms = self.now_ms + duration_ms
        while self.now_ms < end_ms:
            self.step()

    def step(self) -> None:
        self.now_ms += STEP_MS
        self.gateway.now_ms += STEP_MS
        self.broker.tick(self.now_ms)
        for device in self.devices:
            device.step(self.now_ms)
            device.network.move(1 << 20, 1 << 20)
        self._gateway_step()

    def _gateway_step(self) -> None:
        messages, self._queue = self._queue, []
        bulk = []
        for topic, payload in messages:
            # Each connection of the gateway reads its own lanes; a broker may hand it any topic all the same.
            if topic.endswith("/" + LANE_ALARM):
                self._tell(self.gateway.alarms.handle(topic, payload, self.gateway.now_ms).downlinks)
            elif not topic.endswith("/" + LANE_DOWN):
                bulk.append((topic, payload))
        if bulk:
            self._tell(self.gateway.ingest.handle(bulk, self.gateway.now_ms).downlinks)
        if self.now_ms % _LOOK_MS == 0:
            self._tell(self.gateway.alarms.untold(self.gateway.now_ms))

    def _tell(self, downlinks: list[Message]) -> None:
        for topic, payload in downlinks:
            self.broker.send(parse_topic(topic)[0].hex(), topic, payload)

    def restart_gateway(self) -> None:
        """Kill it and start it on what it left."""
        self._tell(self.gateway.restart())

    # -- what people do ---------------------------------------------------------------------------------------------

    def record(self, device: Wearable | None = None, for_ms: int = 2500) -> None:
        """A clip without notice, begun and ended by holding RECORD."""
        device = device or self.one
        device.hold(RECORD, 1700)
        self.run(2000 + for_ms)
        device.hold(RECORD, 1700)
        self.run(2000)

    def press_alarm(self, device: Wearable | None = None) -> None:
        device = device or self.one
        device.hold(ALARM, 2200)
        self.run(2400)

    def answer_alarms(self) -> None:
        """A human resolves everything that is open."""
        for row in self.gateway.rows("alarm", "resolved_ms IS NULL"):
            alarms.resolve(self.gateway.engine, row["id"], "Dana", "true", "", self.gateway.now_ms)

    # -- rest -------------------------------------------------------------------------------------------------------

    def unrest(self) -> str:
        """What is still under way; empty when nothing is."""
        for device in self.devices:
            status = device.app.status()
            assert not status.fault, status.fault
            if not status.welcomed:
                return f"{device.name} is not welcomed"
            if status.recording or status.clips_held or status.events_held:
                return f"{device.name} holds {status.clips_held} clips and {status.events_held} events"
            if status.alarm not in (alarm_states.QUIET, alarm_states.RESOLVED):
                return f"{device.name} shows an alarm"
        return "alarms are open" if self.gateway.rows("alarm", "resolved_ms IS NULL") else ""

    def settle(self, within_ms: int = 400_000) -> int:
        """Let an honest broker and an attentive human end everything; returns how long it took, in virtual time."""
        self.enemy(0.0)
        began_ms = self.now_ms
        for device in self.devices:
            if device.app.status().recording == recording.RECORDING:
                device.hold(RECORD, 1700)
        self.run(2500)
        while unrest := self.unrest():
            assert self.now_ms - began_ms < within_ms, unrest
            self.run(1000)
            self.answer_alarms()
        return self.now_ms - began_ms

    def assert_true(self) -> None:
        """What the gateway holds is what the devices made, all of it, and nothing else."""
        said = {payload for topic, payload in self.broker.up if topic.endswith((LANE_EVENT, LANE_ALARM))}
        rows = self.gateway.rows("event")
        assert rows
        for row in rows:
            assert row["record"] in said, "an event that no device sent"
        for device in self.devices:
            known = {(row["boot"], row["counter"]) for row in self.gateway.rows("alarm", "device = :d", d=device.name)}
            assert known == device.raised
            clips = {row["clip"]: row for row in self.gateway.rows("clip", "device = :d", d=device.name)}
            for number, content in device.spool().items():
                row = clips.pop(number)
                assert row["state"] == "held"
                stored = self.gateway.vault.path(device.name, number).read_bytes()
                assert content.startswith(stored)
                assert row["opening"] == ("proved" if self.gateway.organisation.can_open else "untried")
            assert len(clips) <= self.deleted, "a clip that no device has"
            epochs = {row["epoch"] for row in self.gateway.rows("epoch", "device = :d", d=device.name)}
            assert epochs >= set(range(device.app.status().boot + 1)), "an epoch that is not accounted for"

    def close(self) -> None:
        self.gateway.stop()


def lane_of(message: Message) -> str:
    """The lane of a message that a device or the gateway truly sent."""
    return parse_topic(message[0])[1]


BULK = (LANE_CLIP, LANE_EVENT)
