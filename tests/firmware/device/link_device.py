"""Runs on the real MicroPython: key store, spool, journal and uplink over real sockets, on a folder for storage.

`test_link_on_micropython.py` starts it and plays broker and gateway. Arguments: storage folder (with tls/*.der), CK_0
in hex, port, "tls" or "plain", segments to record, milliseconds to run at most.
"""

import gc
import json
import os
import sys
import time

from lapel_device.boards.net import SocketNetwork
from lapel_device.boards.vfs import VfsStorage
from lapel_device.epochs import EpochLedger
from lapel_device.identity import Identity
from lapel_device.journal import Journal
from lapel_device.keystore import KeyStore, provision_sectors
from lapel_device.spool import Spool
from lapel_device.timekeeper import Timekeeper
from lapel_device.uplink import LinkConfig, Uplink
from lapel_protocol.clip import ClipEnd, ClipHeader, seal_clip_end, seal_clip_header
from lapel_protocol.reports import AlarmRaised
from lapel_protocol.stream import SegmentSealer, tink_header

DEVICE = b"\x01\x23\x45\x67\x89\xab\xcd\xef"
# A board's code has its constants folded in; there they cannot be looked up by name.
_MARK_BOOT = 1
_MARK_CLIP = 2
_EPOCH_BOOT = 1
_EPOCH_CLIP = 2
_ALARM_RAISED = 3
_ONLINE = 2
_ticks = time.ticks_ms  # type: ignore[attr-defined,unused-ignore]
_sleep = time.sleep_ms  # type: ignore[attr-defined,unused-ignore]


def tell(**fields: object) -> None:
    """Print one line for the test."""
    print(json.dumps(fields))  # noqa: T201 - the console is how this device talks to its test


class Sectors:
    count = 2
    size_bytes = 4096

    def __init__(self) -> None:
        self._data = [bytearray(b"\xff" * 128), bytearray(b"\xff" * 128)]  # the store uses no more

    def read(self, index: int, offset: int, buffer: memoryview) -> None:
        buffer[:] = self._data[index][offset : offset + len(buffer)]

    def erase(self, index: int) -> None:
        self._data[index][:] = b"\xff" * 128

    def program(self, index: int, offset: int, data: bytes) -> None:
        for at in range(len(data)):
            self._data[index][offset + at] &= data[at]


class Profile:
    chunk_segments = 4
    window_bytes = 65536


class Clock:
    def ticks_ms(self) -> int:
        return int(_ticks())

    def rtc_ms(self) -> int:
        return 0

    def set_rtc_ms(self, unix_ms: int) -> None:
        """The host's clock is what TLS looks at here."""


class Board:
    def __init__(self, root: str) -> None:
        self.profile = Profile()
        self.clock = Clock()
        self.sectors = Sectors()
        self.storage = VfsStorage(root)
        self.network = SocketNetwork(lambda: True)

    def entropy(self, size: int) -> bytes:
        return os.urandom(size)

    def log(self, line: str) -> None:
        tell(log=line)


class Host:
    """The application's part."""

    def __init__(self) -> None:
        self.sent = 0

    def fill_hello(self, hello: object, now_ms: int) -> None:
        """Nothing to add."""

    def fill_heartbeat(self, beat: object, now_ms: int) -> None:
        """Nothing to add."""

    def on_alarm_sent(self, boot: int, counter: int, now_ms: int) -> None:
        self.sent += 1

    def report(self, kind: int, payload: bytes, now_ms: int) -> None:
        """What is said of an alarm's sending is not told here."""

    def on_event_receipted(self, boot: int, counter: int) -> None:
        """Nobody waits for it."""

    def on_command(self, kind: int, body: object, now_ms: int) -> None:
        """Nothing to do."""


def record(keys: KeyStore, spool: Spool, ledger: EpochLedger, sealer: SegmentSealer, segments: int) -> int:
    """Record a clip with the real sealer; its number."""
    epoch = keys.step(_MARK_CLIP, bytes(32), 0)
    header = ClipHeader()
    header.device = DEVICE
    header.clip = epoch.number
    header.wrapped_seed = bytes(384)
    header.tink_header = tink_header(bytes(32), b"prefix7")
    encoded, stream = seal_clip_header(header, epoch.keys, bytes(32))
    writer = spool.create(epoch.number, 0, False, encoded)
    keys.started()
    ledger.add(epoch.number, _EPOCH_CLIP)
    sealer.begin(DEVICE, epoch.number, stream, b"prefix7")
    for index in range(segments):
        while sealer.room:
            sealer.write(b"%08d" % index)
        writer.append(sealer.seal(index == segments - 1))
    end = ClipEnd()
    end.device = DEVICE
    end.clip = epoch.number
    end.segments = segments
    end.head = writer.head
    writer.finish(seal_clip_end(end, epoch.keys))
    return epoch.number


def der(root: str, name: str) -> bytes:
    """A DER file of the device."""
    with open(root + "/tls/" + name + ".der", "rb") as file:
        return file.read()


def heap() -> int:
    """Live bytes after a collection."""
    gc.collect()
    return int(gc.mem_alloc())  # type: ignore[attr-defined,unused-ignore]


def main() -> None:
    """Record, raise an alarm, and run the link until everything is receipted or the time is over."""
    root, chain_key, port, kind, segments, limit_ms = sys.argv[1:7]
    board = Board(root)
    provision_sectors(board.sectors, bytes.fromhex(chain_key), bytes(32))  # type: ignore[arg-type]
    keys = KeyStore(board.sectors)  # type: ignore[arg-type]
    keys.load()
    clock = Timekeeper(board.clock, board.storage, 0)
    clock.boot(0)
    spool = Spool(board.storage, DEVICE, 4)
    spool.scan()
    journal = Journal(board.storage)
    journal.load()
    ledger = EpochLedger(board.storage)
    ledger.load(keys, spool.has)
    boot = keys.step(_MARK_BOOT, bytes(32), 0)
    ledger.add(boot.number, _EPOCH_BOOT)
    identity = Identity(DEVICE, boot, clock)
    host = Host()
    tls = (der(root, "ca"), der(root, "cert"), der(root, "key"), "127.0.0.1") if kind == "tls" else None
    config = LinkConfig("127.0.0.1", int(port), tls)
    uplink = Uplink(board, identity, keys, spool, journal, ledger, config, host)  # type: ignore[arg-type]
    sealer = SegmentSealer()
    clip = record(keys, spool, ledger, sealer, int(segments)) if int(segments) else 0
    started = _ticks()
    now_ms = 0
    online_ms = -1
    early = 0
    while now_ms < int(limit_ms):
        now_ms = int(_ticks()) - started
        uplink.poll(now_ms)
        if online_ms < 0 and uplink.state == _ONLINE:
            online_ms = now_ms
            record_alarm = identity.seal(_ALARM_RAISED, AlarmRaised(1, 50, clip).encode(), now_ms)
            uplink.publish_alarm(record_alarm, now_ms)
            tell(alarm=record_alarm.hex())
        if now_ms > 1000 and not early:
            early = heap()
        if online_ms >= 0 and not spool.count and not journal.count and not ledger.entries():
            break
        _sleep(5)
    uplink.close(now_ms)
    tell(
        clip=clip,
        online_ms=online_ms,
        done_ms=now_ms,
        sent=host.sent,
        clips=spool.count,
        events=journal.count,
        epochs=len(ledger.entries()),
        early=early,
        live=heap(),
        free=gc.mem_free(),  # type: ignore[attr-defined,unused-ignore]
    )
