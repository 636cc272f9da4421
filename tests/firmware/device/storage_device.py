"""Runs on the real MicroPython: spool, journal and ledger on a real littlefs or FAT in memory, across power cuts.

`test_storage_on_micropython.py` starts it. Arguments: "lfs" or "fat". A power cut forgets every open file and mounts
anew.
"""

import json
import os
import sys

import vfs

from lapel_device.boards.vfs import VfsStorage
from lapel_device.epochs import EpochLedger
from lapel_device.journal import Journal
from lapel_device.spool import Spool
from lapel_protocol.clip import ClipHeader, seal_clip_header
from lapel_protocol.event import Event, seal_event
from lapel_protocol.keys import EpochKeys
from lapel_protocol.stream import SegmentSealer, tink_header

DEVICE = b"\x01\x23\x45\x67\x89\xab\xcd\xef"
_BLOCK = 512
_EPOCH_BOOT = 1


class Disk:
    """A block device in memory."""

    def __init__(self, blocks: int) -> None:
        self._data = bytearray(blocks * _BLOCK)
        self._blocks = blocks

    def readblocks(self, block: int, buffer: bytearray, offset: int = 0) -> None:
        at = block * _BLOCK + offset
        buffer[:] = self._data[at : at + len(buffer)]

    def writeblocks(self, block: int, buffer: bytearray, offset: int = 0) -> None:
        at = block * _BLOCK + offset
        self._data[at : at + len(buffer)] = buffer

    def ioctl(self, operation: int, argument: int) -> int:
        return {4: self._blocks, 5: _BLOCK}.get(operation, 0)


class Keys:
    """A key store that has consumed epoch 0."""

    epoch = 1
    last_mark = 1
    last_started = True


def tell(**fields: object) -> None:
    """Print one line for the test."""
    print(json.dumps(fields))  # noqa: T201 - the console is how this device talks to its test


def main() -> None:
    """Record, cut the power, look at what is there."""
    kind = vfs.VfsLfs2 if sys.argv[1] == "lfs" else vfs.VfsFat
    disk = Disk(2048)
    kind.mkfs(disk)
    vfs.mount(kind(disk), "/flash")
    storage = VfsStorage("/flash")

    def power_cut() -> None:
        vfs.umount("/flash")
        vfs.mount(kind(disk), "/flash")

    keys = EpochKeys(bytes(32))
    sealer = SegmentSealer()
    spool = Spool(storage, DEVICE, 4)
    spool.scan()
    files = {}
    heads = {}
    for clip in (1, 2):
        header = ClipHeader()
        header.device = DEVICE
        header.clip = clip
        header.wrapped_seed = bytes(384)
        header.tink_header = tink_header(bytes(32), b"prefix7")
        encoded, stream = seal_clip_header(header, keys, bytes(32))
        sealer.begin(DEVICE, clip, stream, b"prefix7")
        writer = spool.create(clip, 0, clip == 2, encoded)
        files[clip] = encoded
        for index in range(10):
            while sealer.room:
                sealer.write(b"%08d" % index)
            record = sealer.seal(clip == 1 and index == 9)
            files[clip] += bytes(record)
            writer.append(record)
            live = spool.find(clip)
            buffer = memoryview(bytearray(live.content_bytes))  # type: ignore[union-attr]
            got = spool.read(live, 0, len(buffer), buffer)  # type: ignore[arg-type]
            if got != len(buffer) or buffer != files[clip][: len(buffer)]:
                tell(unreadable=index)
        heads[clip] = writer.head
        if clip == 1:
            writer.finish(bytes(120))
    journal = Journal(storage)
    journal.load()
    records = [seal_event(keys, Event(5, DEVICE, 1, counter, 0, 0, 0, bytes(20))) for counter in range(1, 61)]
    appended = [journal.append(record) for record in records]
    ledger = EpochLedger(storage)
    ledger.load(Keys(), spool.has)  # type: ignore[arg-type]
    for epoch in range(1, 6):
        ledger.add(epoch, _EPOCH_BOOT)

    power_cut()
    spool = Spool(storage, DEVICE, 4)
    spool.scan()
    cut = None
    for _ in range(100):
        cut = spool.work() or cut
    if cut is not None:
        spool.settled(cut)
        tell(cut=cut.clip, segments=cut.segments)
    tell(clips=[[clip.clip, clip.segments, clip.ended, clip.alarm] for clip in spool.clips()])
    first = spool.find(1)
    tell(head=first is not None and first.head == heads[1])
    spool.mark_receipted(first, 1)  # type: ignore[arg-type]

    power_cut()
    spool = Spool(storage, DEVICE, 4)
    spool.scan()
    for _ in range(100):
        if spool.work() is not None:
            tell(again=True)
    tell(left=spool.count, room=spool.make_room(spool.free_bytes + 1), has=[spool.has(1), spool.has(2)])
    journal = Journal(storage)
    journal.load()
    size = journal.read(0, buffer)
    tell(appended=all(appended), same=buffer[:size] == records[0], window=journal.count)
    while journal.count:
        _, boot, counter = journal.describe(0)
        journal.receipt(boot, counter)
    ledger = EpochLedger(storage)
    later = Keys()
    later.epoch = 6
    ledger.load(later, spool.has)  # type: ignore[arg-type]
    tell(events=len(list(storage.listdir("/journal"))), epochs=len(ledger.entries()), absent=storage.size("/nothing"))
    tell(names=sorted(os.listdir("/flash")))
