"""A device and a shore joined, with time that the test lets pass."""

from typing import Any

from lapel_device.epochs import EpochLedger
from lapel_device.identity import Identity
from lapel_device.journal import Journal
from lapel_device.keystore import MARK_BOOT, KeyStore, provision_sectors
from lapel_device.spool import Spool, SpoolClip
from lapel_device.timekeeper import Timekeeper
from lapel_device.uplink import (
    LinkConfig,
    Uplink,
)
from lapel_protocol.event import ALARM_RAISED, RECORDING_NOTE
from lapel_protocol.reports import (
    EPOCH_BOOT,
    AlarmRaised,
    Heartbeat,
    Hello,
    RecordingNote,
)

from .boardkit import MemoryBoard, MemoryLink
from .clipkit import CHAIN_KEY, DEVICE, SealedClip
from .shore import Shore

BUILD_MS = 1_790_000_000_000


class Host:
    """The application's part."""

    def __init__(self) -> None:
        self.sent: list[tuple[int, int]] = []
        self.reported: list[tuple[int, bytes]] = []
        self.commands: list[tuple[int, Any]] = []

    def fill_hello(self, hello: Hello, now_ms: int) -> None:
        hello.firmware = (1, 2, 3)
        hello.battery_percent = 77

    def fill_heartbeat(self, beat: Heartbeat, now_ms: int) -> None:
        beat.battery_percent = 76

    def on_alarm_sent(self, boot: int, counter: int, now_ms: int) -> None:
        self.sent.append((boot, counter))

    def report(self, kind: int, payload: bytes, now_ms: int) -> None:
        self.reported.append((kind, payload))

    def on_event_receipted(self, boot: int, counter: int) -> None:
        """Nobody waits for it."""

    def on_command(self, kind: int, body: Any, now_ms: int) -> None:
        self.commands.append((kind, body))


class World:
    """A device and a shore; `run` lets time pass. `boot` starts the device again on the same flash."""

    def __init__(self) -> None:
        self.shore = Shore()
        self.now_ms = 0
        self.board = MemoryBoard()
        provision_sectors(self.board.sectors, CHAIN_KEY, bytes(32))
        self.boot()

    def boot(self) -> None:
        self.board = MemoryBoard(self.board.sectors, self.board.storage, seed=self.now_ms)
        self.board.network.on_open = self.shore.attach
        board = self.board
        self.keys = KeyStore(board.sectors)
        self.keys.load()
        self.spool = Spool(board.storage, DEVICE, 4)
        self.spool.scan()
        self.journal = Journal(board.storage)
        self.journal.load()
        self.ledger = EpochLedger(board.storage)
        self.ledger.load(self.keys, self.spool.has)
        self.time = Timekeeper(board.clock, board.storage, BUILD_MS)
        self.time.boot(self.now_ms)
        epoch = self.keys.step(MARK_BOOT, bytes(32), 0)
        self.ledger.add(epoch.number, EPOCH_BOOT)
        self.identity = Identity(DEVICE, epoch, self.time)
        self.host = Host()
        config = LinkConfig("broker", 8883, None)
        self.uplink = Uplink(board, self.identity, self.keys, self.spool, self.journal, self.ledger, config, self.host)

    def run(self, duration_ms: int, step_ms: int = 10) -> "World":
        end_ms = self.now_ms + duration_ms
        while self.now_ms < end_ms:
            self.uplink.poll(self.now_ms)
            self.shore.carry(self.now_ms)
            self.spool.work()
            self.now_ms += step_ms
        return self

    @property
    def link(self) -> MemoryLink:
        return self.board.network.links[-1]

    def lose_link(self) -> None:
        self.link.dead = True

    def raise_alarm(self) -> bytes:
        record = self.identity.seal(ALARM_RAISED, AlarmRaised(1, 50, 0).encode(), self.now_ms)
        self.uplink.publish_alarm(record, self.now_ms)
        return record

    def note(self) -> bytes:
        record = self.identity.seal(RECORDING_NOTE, RecordingNote(1, 1, 0, 0).encode(), self.now_ms)
        self.uplink.publish_event(record, self.now_ms)
        return record

    def record(self, clip: int, segments: int, alarm: bool = False) -> SealedClip:
        sealed = SealedClip(clip, segments)
        writer = self.spool.create(clip, 0, alarm, sealed.header)
        for segment in sealed.segments:
            writer.append(segment)
        writer.finish(sealed.end)
        return sealed

    def spooled(self, clip: int) -> SpoolClip:
        found = self.spool.find(clip)
        assert found is not None
        return found

    def clip_bytes(self) -> int:
        return sum(len(payload) for name, payload, _, _ in self.shore.published if name.endswith("/clip"))


class SlowWorld(World):
    """A link that carries `rate` bytes a second each way out, and answers after `delay_ms`."""

    def __init__(self, rate: int, delay_ms: int) -> None:
        super().__init__()
        self.rate = rate
        self.delay_ms = delay_ms
        self._late: list[tuple[int, bytes]] = []  # answers on their way

    def run(self, duration_ms: int, step_ms: int = 5) -> "World":
        end_ms = self.now_ms + duration_ms
        late = self._late
        while self.now_ms < end_ms:
            self.uplink.poll(self.now_ms)
            link = self.shore.link
            if link is not None:
                budget = self.rate * step_ms // 1000
                waiting = bytes(link.to_broker)
                link.to_broker[:] = waiting[:budget]
                before = len(link._incoming)
                self.shore.carry(self.now_ms)
                link.to_broker += waiting[budget:]
                answer = bytes(link._incoming[before:])
                del link._incoming[before:]
                late.append((self.now_ms + self.delay_ms, answer))
                while late and late[0][0] <= self.now_ms:
                    link.feed(late.pop(0)[1])
            self.now_ms += step_ms
        return self
