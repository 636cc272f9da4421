"""A device in a fault schedule: the real application on a board in memory, and the wearer who presses its buttons."""

from __future__ import annotations

import json
import random

from lapel_device.application import Application
from lapel_device.keystore import provision_sectors
from lapel_gateway.registry import Package
from lapel_sim.inprocess.board import MemoryBoard
from lapel_sim.inprocess.broker import Broker
from lapel_sim.inprocess.fuse import PowerCut
from lapel_sim.inprocess.network import MemoryNetwork

RECORD, ALARM = 1, 2
_LEAST_CAPACITY_BYTES = 450 << 10  # a clip or two: old ones must be deleted to make room
_MOST_CAPACITY_BYTES = 2 << 20
_FRAME_MS = 500
_AUDIO_BYTES = 640


class GivenFrame:
    """A frame that the camera gave: its bytes, and when it was exposed, in milliseconds since the boot."""

    def __init__(self, jpeg: bytes, boot: int, captured_ms: int) -> None:
        self.jpeg = jpeg
        self.boot = boot
        self.captured_ms = captured_ms


class DeviceSide:
    """One device, its wearer and its link. `running` says whether it has power."""

    def __init__(self, rng: random.Random, broker: Broker, package: Package, style: str) -> None:
        self._rng = rng
        self.name = package.device.hex()
        self.network = MemoryNetwork(broker)
        self.board = MemoryBoard(rng, self.network, rng.choice((_LEAST_CAPACITY_BYTES, _MOST_CAPACITY_BYTES)), style)
        file = self.board.storage.open("/config.json", "wb")
        file.write(json.dumps(dict(package.config)).encode())
        file.close()
        provision_sectors(self.board.sectors, package.chain_key, package.pool)
        self.frames: list[GivenFrame] = []
        self.alarms_raised: set[tuple[int, int]] = set()
        self.cuts = 0
        self._presses: list[tuple[int, int]] = []  # (virtual time, mask from then on)
        self._frame_due = 0
        self.running = False

    def power_on(self, now_ms: int) -> None:
        """Boot; a cut may fall into the boot itself."""
        self._booted_ms = now_ms
        self.board.clock.now_ms = now_ms
        self._presses = []
        self.running = True
        try:
            self.app = Application(self.board)
            self.app.boot(0)
        except PowerCut:
            self._lose_power()

    def _lose_power(self) -> None:
        self.cuts += 1
        self.running = False
        self.board.lose_power()

    def cut_power(self) -> None:
        """Cut it now, between two operations."""
        if self.running:
            self._lose_power()

    def press(self, button: int, at_ms: int, duration_ms: int) -> None:
        """The wearer holds a button for so long."""
        self._presses.append((at_ms, button))
        self._presses.append((at_ms + duration_ms, 0))
        self._presses.sort()

    @property
    def recording(self) -> bool:
        """Whether the application wants frames."""
        return self.running and self.app.wants_camera

    def step(self, now_ms: int) -> None:
        """Let the application do a little."""
        self.board.clock.now_ms = now_ms
        if not self.running:
            return
        mono_ms = now_ms - self._booted_ms
        try:
            while self._presses and self._presses[0][0] <= now_ms:
                self.board.buttons.mask = self._presses.pop(0)[1]
            self.app.sample_buttons(self.board.buttons.read(), mono_ms)
            if self.app.wants_camera and now_ms >= self._frame_due:
                self._frame_due = now_ms + _FRAME_MS
                self._give_frame(mono_ms)
            if self.app.wants_audio:
                self.app.audio(memoryview(self._rng.randbytes(_AUDIO_BYTES)), mono_ms)
            for _ in range(self._rng.randint(1, 4)):
                self.app.poll(mono_ms)
            status = self.app.status()
            if status.alarm_counter:
                self.alarms_raised.add((status.alarm_boot, status.alarm_counter))
        except PowerCut:
            self._lose_power()

    def _give_frame(self, mono_ms: int) -> None:
        if self._rng.random() < 0.05:
            self.app.frame(memoryview(b""), mono_ms, 320, 240, mono_ms)
            return
        jpeg = b"\xff\xd8" + self._rng.randbytes(self._rng.randint(200, 2500)) + b"\xff\xd9"
        self.frames.append(GivenFrame(jpeg, self.app.status().boot, mono_ms))
        self.app.frame(memoryview(jpeg), mono_ms, 320, 240, mono_ms)
