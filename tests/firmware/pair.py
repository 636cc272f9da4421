"""Two real peers joined: the whole application on a board in memory, and a gateway that speaks the protocol.

The gateway here keeps everything in lists and answers at once; what it leaves out, or says wrongly, is up to the test.
"""

import random
from typing import Any, Self

from lapel_device.application import Application
from lapel_device.button_log import ButtonLog
from lapel_protocol import command as commands
from lapel_protocol import event as events
from lapel_protocol.clip import RECORD_CLIP_END, RECORD_CLIP_HEADER
from lapel_protocol.command import Command
from lapel_protocol.commanding import seal_command
from lapel_protocol.event import Event
from lapel_protocol.limits import CLIP_END_BYTES, CLIP_HEADER_BYTES, SEGMENT_HEADER_BYTES
from lapel_protocol.opening import open_clip_end, open_event
from lapel_protocol.orders import (
    LEVEL_OPENED,
    AlarmReceipt,
    Credit,
    EventReceipt,
    Receipt,
    Welcome,
)
from lapel_protocol.report_decoders import decode_clip_cut, decode_hello, decode_recording_note
from lapel_protocol.stream import decode_segment_header
from lapel_protocol.topics import LANE_ALARM, LANE_CLIP, LANE_DOWN, LANE_EVENT, parse_topic, topic
from lapel_sim.inprocess.broker import Broker
from lapel_sim.inprocess.network import MemoryNetwork
from tests.firmware.desk import DEVICE, DeskBoard, OpenedClip, epoch_keys

STEP_MS = 20
WALL_MS = 1_760_000_000_000
ALARM_BUTTON = 2
RECORD_BUTTON = 1


class Clip:
    """What has arrived of one clip: its records by place."""

    def __init__(self) -> None:
        self.header = b""
        self.segments: dict[int, bytes] = {}
        self.end = b""
        self.cut: tuple[int, bytes] | None = None
        self.receipted = False

    @property
    def contiguous(self) -> int:
        count = 0
        while count in self.segments:
            count += 1
        return count

    @property
    def file(self) -> bytes:
        return self.header + b"".join(self.segments[index] for index in range(self.contiguous)) + self.end

    def opened(self) -> OpenedClip:
        return OpenedClip(self.file)


class Gateway:
    """Answers hellos, events, alarms and clips while `answers` is on."""

    def __init__(self) -> None:
        self.broker = Broker(self._published)
        self.network = MemoryNetwork(self.broker)
        self.answers = True
        self.receipts_alarms = True
        self.now_ms = WALL_MS
        self.boot = -1
        self.nonce = bytes(8)
        self.counter = 0
        self.lanes: list[str] = []
        self.alarms: list[bytes] = []
        self.events: dict[tuple[int, int], Event] = {}
        self.clips: dict[int, Clip] = {}

    def _published(self, name: str, payload: bytes) -> None:
        device, lane = parse_topic(name)
        assert device == DEVICE
        self.lanes.append(lane)
        if lane == LANE_CLIP:
            self._clip(payload)
            return
        boot = int.from_bytes(payload[12:16], "big")
        event = open_event(epoch_keys(boot), payload)
        self.boot = max(self.boot, boot)
        if lane == LANE_ALARM:
            self.alarms.append(payload)
            if self.answers and self.receipts_alarms:
                self.say(commands.ALARM_RECEIPT, AlarmReceipt(event.boot, event.counter, self.now_ms))
        self.events[event.boot, event.counter] = event
        if not self.answers:
            return
        if event.kind == events.HELLO:
            self._hello(event)
        elif lane == LANE_EVENT and event.kind != events.HEARTBEAT:
            self.say(commands.EVENT_RECEIPT, EventReceipt([(event.boot, event.counter)]))
            if event.kind == events.CLIP_CUT:
                cut = decode_clip_cut(event.payload)
                self.clips.setdefault(cut.clip, Clip()).cut = (cut.segments, cut.head)
                self._receipts()

    def _hello(self, event: Event) -> None:
        hello = decode_hello(event.payload)
        self.boot = event.boot
        self.nonce = hello.nonce
        self.say(commands.WELCOME, Welcome(self.now_ms, b"challeng", hello.next_epoch), nonce=hello.nonce)
        held = [(number, clip.contiguous) for number, clip in self.clips.items()][-40:]
        self.say(commands.CREDIT, Credit(b"challeng", 1 << 24, 1 << 24, held))

    def _clip(self, payload: bytes) -> None:
        at = 0
        while at < len(payload):
            if payload[at] == RECORD_CLIP_HEADER:
                number = int.from_bytes(payload[at + 12 : at + 16], "big")
                self.clips.setdefault(number, Clip()).header = payload[at : at + CLIP_HEADER_BYTES]
                at += CLIP_HEADER_BYTES
            elif payload[at] == RECORD_CLIP_END:
                number = int.from_bytes(payload[at + 12 : at + 16], "big")
                self.clips.setdefault(number, Clip()).end = payload[at : at + CLIP_END_BYTES]
                at += CLIP_END_BYTES
            else:
                header = decode_segment_header(payload[at : at + SEGMENT_HEADER_BYTES])
                size = SEGMENT_HEADER_BYTES + header.size_bytes
                self.clips.setdefault(header.clip, Clip()).segments[header.index] = payload[at : at + size]
                at += size
        self._receipts()

    def _receipts(self) -> None:
        """A receipt for every clip that is here up to its settled end, once."""
        for number, clip in self.clips.items():
            if clip.receipted or not clip.header or not self.answers:
                continue
            if clip.end:
                end = open_clip_end(epoch_keys(number), clip.end)
                settled = end.segments, end.head
            elif clip.cut is not None:
                settled = clip.cut
            else:
                continue
            if clip.contiguous == settled[0]:
                clip.receipted = True
                self.say(commands.RECEIPT, Receipt(number, settled[0], LEVEL_OPENED, settled[1]))

    def say(self, kind: int, body: Any, nonce: bytes = bytes(8)) -> None:
        """Send a command to the present boot; guarded kinds get its nonce, the next counter and a minute."""
        command = Command(kind, DEVICE, self.boot, body.encode(), nonce)
        if kind == commands.WELCOME:
            command.issued_ms = self.now_ms
        elif kind in commands.GUARDED_KINDS:
            self.counter += 1
            command.nonce = self.nonce
            command.counter = self.counter
            command.issued_ms = self.now_ms
            command.expires_ms = self.now_ms + 60_000
        self.broker.send(DEVICE.hex(), topic(DEVICE, LANE_DOWN), seal_command(epoch_keys(self.boot), command))

    def reported(self, kind: int) -> list[Event]:
        """The events of a kind, in the order in which they were made."""
        return [event for _, event in sorted(self.events.items()) if event.kind == kind]


class DevicePair:
    """A device and its gateway, in steps of 20 ms. The camera gives `picture` while it is wanted."""

    def __init__(self, board: DeskBoard | None = None, connected: bool = True) -> None:
        self.board = board or DeskBoard()
        self.gateway = Gateway()
        self.board.network = self.gateway.network  # type: ignore[assignment]
        self.random = random.Random(1)
        if not connected:
            self.gateway.network.switch(False, self.random)
        self.captured: list[tuple[int, bytes]] = []
        self.start()

    def start(self) -> None:
        """Power on."""
        self.now_ms = 0
        self._frame_ms = 0
        self._audio_ms = 0
        self.app = Application(self.board.as_board())
        self.app.boot(0)

    def power_cut(self) -> None:
        """Cut the power and put it on again."""
        up = self.gateway.network.is_up()
        self.gateway.network.switch(False, self.random)
        self.gateway.network.switch(up, self.random)
        self.board.power_cut()
        self.start()

    def link(self, up: bool) -> None:
        """Join or lose the bearer."""
        self.gateway.network.switch(up, self.random)

    def run(self, duration_ms: int) -> Self:
        """Let time pass."""
        end_ms = self.now_ms + duration_ms
        while self.now_ms < end_ms:
            self.step()
        return self

    def step(self) -> None:
        """20 ms of the device's life."""
        self.now_ms += STEP_MS
        self.gateway.now_ms += STEP_MS
        now_ms = self.now_ms
        self.board.clock.ticks = now_ms
        self.app.sample_buttons(self.board.buttons.mask, now_ms, now_ms)
        if self.app.wants_camera and now_ms >= self._frame_ms:
            self._frame_ms = now_ms + self.app.frame_interval_ms
            picture = b"\xff\xd8" + self.random.randbytes(self.random.randrange(500, 3000)) + b"\xff\xd9"
            self.captured.append((now_ms, picture))
            self.app.frame(memoryview(picture), now_ms, 160, 120, now_ms)
        if self.app.wants_audio and now_ms >= self._audio_ms:
            self._audio_ms = now_ms + 100
            self.app.audio(memoryview(bytes(3200)), now_ms)
        self.app.poll(now_ms)
        self.gateway.network.move(1 << 20, 1 << 20)

    def press(self) -> Self:
        """A short push of RECORD, and a while."""
        return self._push(RECORD_BUTTON, 200).run(600)

    def hold(self) -> Self:
        """Hold RECORD until it counts."""
        return self._push(RECORD_BUTTON, 1700).run(200)

    def hold_alarm(self) -> Self:
        """Hold ALARM until it counts."""
        return self._push(ALARM_BUTTON, 2200).run(200)

    def hold_drill(self) -> Self:
        """Hold both buttons until it counts."""
        return self._push(RECORD_BUTTON | ALARM_BUTTON, 3200).run(300)

    def type_pin(self, symbols: str) -> Self:
        """Short and long pushes of RECORD, and the pause that ends them."""
        for symbol in symbols:
            self._push(RECORD_BUTTON, 800 if symbol == "L" else 160).run(300)
        return self.run(2000)

    def notes(self) -> list[int]:
        """What the recording notes that arrived say, in order."""
        return [decode_recording_note(note.payload).what for note in self.gateway.reported(events.RECORDING_NOTE)]

    def stall(self, *levels: tuple[int, int]) -> Self:
        """The device's loop stands still while its buttons are at each (mask, ms), and looks again only then."""
        log = ButtonLog(self.now_ms)
        for mask, duration_ms in levels:
            log.record.edge(bool(mask & RECORD_BUTTON), self.now_ms)
            log.alarm.edge(bool(mask & ALARM_BUTTON), self.now_ms)
            self.now_ms += duration_ms
            self.gateway.now_ms += duration_ms
        self.board.clock.ticks = self.now_ms
        missed = True
        while missed:
            missed = log.look(levels[-1][0], self.now_ms)
            self.app.sample_buttons(log.mask, log.ticks, self.now_ms)
        return self

    def shows(self, pattern: int) -> bool:
        """Whether the device shows a pattern of feedback, alone or in turn."""
        return self.app._display.is_on(pattern)

    def _push(self, button: int, duration_ms: int) -> Self:
        self.board.buttons.mask |= button
        self.run(duration_ms)
        self.board.buttons.mask &= ~button
        return self
