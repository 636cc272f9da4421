"""A device in a fault schedule: the real application on a board in memory, and the wearer who presses its buttons."""

from __future__ import annotations

import json
import random
import struct
from binascii import crc32
from collections import Counter

from lapel_device.alarm_control import AlarmControl
from lapel_device.application import Application
from lapel_device.feedback import Feedback
from lapel_device.keystore import provision_sectors
from lapel_device.spool import _path as spool_path
from lapel_gateway.registry import Package
from lapel_protocol.event import peek_event
from lapel_protocol.limits import CLIP_HEADER_BYTES
from lapel_sim.inprocess.board import MemoryBoard
from lapel_sim.inprocess.broker import Broker
from lapel_sim.inprocess.fuse import PowerCut
from lapel_sim.inprocess.network import MemoryNetwork

RECORD, ALARM = 1, 2
_CAPACITIES = (280 << 10, 450 << 10, 2 << 20)  # in the smaller ones, clips must be deleted to make room
_FRAME_MS = 500
_AUDIO_BYTES = 640
_IDLE_MS = 250
"""How often a device is let run when nothing moves: its own timers are seconds."""

_WORST_DRIFT = 0.01
"""An uncompensated RC oscillator; a crystal is a hundred times better."""

JOURNAL = "/journal/"
_ENTRY = ">BBHI"
_ENTRY_BYTES = 8


class GivenFrame:
    """A frame that the camera gave: its bytes, and when it was exposed, in milliseconds since the boot."""

    def __init__(self, jpeg: bytes, boot: int, captured_ms: int) -> None:
        self.jpeg = jpeg
        self.boot = boot
        self.captured_ms = captured_ms


class DeviceSide:
    """One device, its wearer and its link. `running` says whether it has power. Its clock drifts."""

    def __init__(self, rng: random.Random, broker: Broker, package: Package, style: str) -> None:
        self._rng = rng
        self.package = package
        self.name = package.device.hex()
        self.network = MemoryNetwork(broker)
        self.board = MemoryBoard(rng, self.network, rng.choice(_CAPACITIES), style)
        file = self.board.storage.open("/config.json", "wb")
        file.write(json.dumps(dict(package.config)).encode())
        file.close()
        provision_sectors(self.board.sectors, package.chain_key, package.pool)
        self.frames: list[GivenFrame] = []
        self.journalled: dict[tuple[int, int], bytes] = {}
        self.alarms_raised: set[tuple[int, int]] = set()
        self.cuts = 0
        self.effects: Counter[str] = Counter()
        self.drift = rng.uniform(-_WORST_DRIFT, _WORST_DRIFT)
        self._presses: list[tuple[int, int]] = []  # (virtual time, mask from then on)
        self._frame_due = 0
        self._idle_until = 0
        self.running = False

    def power_on(self, now_ms: int) -> None:
        """Boot; a cut may fall into the boot itself."""
        self._booted_ms = now_ms
        self.board.clock.now_ms = self._local(now_ms)
        self._presses = []
        self._idle_until = 0
        self.running = True
        try:
            self.app = Application(self.board)
            self.app.boot(0)
            self._listen()
        except PowerCut:
            self.effects["power_cut_at_operation"] += 1
            self._lose_power()

    def _listen(self) -> None:
        """Note every event that the device believes to have in its journal."""
        if not self.app._ready:
            return
        publish = self.app._uplink.publish_event

        def noted(record: bytes, now_ms: int, drill: bool = False) -> bool:
            kept = publish(record, now_ms, drill)
            if kept:
                _, _, boot, counter = peek_event(record)
                self.journalled[boot, counter] = record
            return kept

        self.app._uplink.publish_event = noted  # type: ignore[method-assign]

    def _local(self, elapsed_ms: int) -> int:
        return round(elapsed_ms * (1 + self.drift))

    def _lose_power(self) -> None:
        self.cuts += 1
        self.running = False
        self.board.lose_power()

    def cut_power(self) -> bool:
        """Cut it now, between two operations; False when it had none."""
        if not self.running:
            return False
        self.effects["power_cut_now"] += 1
        self._lose_power()
        return True

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
        if not self.running:
            return
        app = self.app
        recording = app.wants_camera
        if not recording and now_ms < self._idle_until and self._quiet(now_ms):
            return
        self._idle_until = now_ms + _IDLE_MS
        self.board.clock.now_ms = self._local(now_ms)
        mono_ms = self._local(now_ms - self._booted_ms)
        try:
            pressed = False
            while self._presses and self._presses[0][0] <= now_ms:
                self.board.buttons.mask = self._presses.pop(0)[1]
                pressed = True
            app.sample_buttons(self.board.buttons.mask, mono_ms, mono_ms)
            if app.wants_camera and now_ms >= self._frame_due:
                self._frame_due = now_ms + _FRAME_MS
                self._give_frame(mono_ms)
            if app.wants_audio:
                app.audio(memoryview(self._rng.randbytes(_AUDIO_BYTES)), mono_ms)
            for _ in range(self._rng.randint(1, 3)):
                app.poll(mono_ms)
            if pressed or self.board.buttons.mask & ALARM:
                self._note_alarm()
        except PowerCut:
            self.effects["power_cut_at_operation"] += 1
            self._lose_power()

    def _quiet(self, now_ms: int) -> bool:
        link = self.network.link
        if link is not None and (link.sent or link.received):
            return False
        return not self.board.buttons.mask and not (self._presses and self._presses[0][0] <= now_ms)

    def _note_alarm(self) -> None:
        status = self.app.status()
        if status.alarm_counter:
            self.alarms_raised.add((status.alarm_boot, status.alarm_counter))

    def _give_frame(self, mono_ms: int) -> None:
        if self._rng.random() < 0.05:
            self.app.frame(memoryview(b""), mono_ms, 320, 240, mono_ms)
            return
        jpeg = b"\xff\xd8" + self._rng.randbytes(self._rng.randint(200, 2500)) + b"\xff\xd9"
        self.frames.append(GivenFrame(jpeg, self.app.status().boot, mono_ms))
        self.app.frame(memoryview(jpeg), mono_ms, 320, 240, mono_ms)

    # -- what an observer finds on it --------------------------------------------------------------------------------

    def holds_alarm(self, boot: int, counter: int) -> bool:
        """Whether it still repeats, keeps or shows this alarm."""
        if not self.running:
            journalled = any(
                (boot, counter) == event[:2] for content in self._journals() for event in events_of(content)
            )
            return journalled or self._latched() == (boot, counter)
        status = self.app.status()
        if (status.alarm_boot, status.alarm_counter) == (boot, counter) and self.app._alarm.latched:
            return True
        lane, journal = self.app._uplink._alarms, self.app._journal
        return lane.find(boot, counter) is not None or journal.row_of(boot, counter) >= 0

    def _latched(self) -> tuple[int, int]:
        latch = AlarmControl(Feedback(self.board.indicator), self.board.storage)
        return (latch.boot, latch.counter) if latch.load(0) else (0, 0)

    def _journals(self) -> list[bytes]:
        storage = self.board.storage
        return [storage.content(JOURNAL + name) or b"" for name in sorted(storage.listdir(JOURNAL))]

    def clips(self) -> list[int]:
        """Clips with a whole header on its storage, ascending."""
        storage = self.board.storage
        folder = spool_path(0).rpartition("/")[0]
        paths = [f"{folder}/{name}" for name in storage.listdir(folder)]
        numbers = [(clip_of(path), path) for path in paths]
        return sorted(clip for clip, path in numbers if clip is not None and storage.size(path) >= CLIP_HEADER_BYTES)

    def receipted(self) -> list[int]:
        """Clips that it counts as the gateway's, as far as it has looked at them since its boot."""
        return list(self.app._spool._receipted) if self.running and self.app._ready else []

    def clip_content(self, clip: int) -> bytes | None:
        """A clip's file as it is on its storage, or None."""
        return self.board.storage.content(spool_path(clip))


def clip_of(path: str) -> int | None:
    """The clip that a file on a device's storage is; None when it is none."""
    try:
        clip = int(path.rpartition("/")[2][:8], 16)
    except ValueError:
        return None
    return clip if path == spool_path(clip) else None


def events_of(content: bytes) -> list[tuple[int, int, bytes]]:
    """(boot, counter, record) of the whole entries of a journal file, in order."""
    found = []
    at = 0
    while at + _ENTRY_BYTES <= len(content):
        _, drill, size, crc = struct.unpack_from(_ENTRY, content, at)
        record = content[at + _ENTRY_BYTES : at + _ENTRY_BYTES + size]
        if len(record) != size or crc32(record, drill) != crc:
            break
        _, _, boot, counter = peek_event(record)
        found.append((boot, counter, record))
        at += _ENTRY_BYTES + size
    return found
