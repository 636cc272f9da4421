"""The witness: what a device had durably on its own medium, taken without any help of the firmware or the gateway.

Rules that hold here
- The witness looks at every sync of the simulated medium, when its image is exactly what a power cut would leave, and
  reads it with the littlefs library of another project (PyPI littlefs-python).
- What was once durable is copied at once. A file that is shorter or different later is a fault, and so is a file that
  goes before the gateway holds the same bytes.
- The SHA-256 of a clip is that of the witness's copy up to where the sealed records end; the device's own notes follow.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from zlib import crc32

from littlefs import LittleFS, UserContext
from littlefs.errors import LittleFSError

from lapel_protocol.clip import RECORD_CLIP_END, peek_clip
from lapel_protocol.errors import ProtocolError
from lapel_protocol.event import ALARM_RAISED, peek_event
from lapel_protocol.limits import CLIP_END_BYTES, CLIP_HEADER_BYTES, SEGMENT_HEADER_BYTES
from lapel_protocol.stream import decode_segment_header, segment_body

if TYPE_CHECKING:
    from littlefs.lfs import LFSConfig

    from lapel_sim.disk import BlockDisk

SPOOL = "/spool"
JOURNAL = "/journal"
FACTS = "facts.json"

CLIP_SUFFIX = ".clp"  # 8.3: see lapel_device.spool
_LOG_SUFFIX = ".log"
_ENTRY = 0x4A  # of the device's journal: mark, whether a drill, length, CRC-32, record
_ENTRY_LAYOUT = ">BBHI"
_ENTRY_HEADER_BYTES = 8
_NOTE_BYTES = 52  # after a clip's records: magic, flags, level, zero, segments, bytes, head, CRC-32
_NOTE_MAGIC = b"LPSN"
_NOTE_RECEIPTED = 2


@dataclass(frozen=True)
class Sealed:
    """How far a clip file goes as it is sent: `size` bytes, `segments`, whether an end record is among them."""

    size: int
    segments: int
    ended: bool


def sealed_part(content: bytes) -> Sealed | None:
    """The records at the start of a clip file up to the first that is torn; None without a whole header."""
    if len(content) < CLIP_HEADER_BYTES:
        return None
    try:
        name = peek_clip(content[:CLIP_HEADER_BYTES])
    except ProtocolError:
        return None
    at, segments = CLIP_HEADER_BYTES, 0
    while True:
        if content[at : at + 1] == bytes([RECORD_CLIP_END]) and len(content) >= at + CLIP_END_BYTES:
            return Sealed(at + CLIP_END_BYTES, segments, ended=peek_clip(content[at : at + CLIP_END_BYTES]) == name)
        try:
            header = decode_segment_header(content[at : at + SEGMENT_HEADER_BYTES])
            end = at + SEGMENT_HEADER_BYTES + header.size_bytes
            segment_body(header, content[at:end])
        except ProtocolError:
            return Sealed(at, segments, ended=False)
        if (header.device, header.clip, header.index) != (*name, segments):
            return Sealed(at, segments, ended=False)
        at, segments = end, segments + 1


def receipted(content: bytes) -> bool:
    """Whether the device has noted the gateway's receipt behind a clip."""
    note = content[-_NOTE_BYTES:]
    whole = len(note) == _NOTE_BYTES and note.startswith(_NOTE_MAGIC)
    return whole and crc32(note[:-4]) == struct.unpack(">I", note[-4:])[0] and bool(note[4] & _NOTE_RECEIPTED)


class _Medium(UserContext):
    """The simulated medium as littlefs-python wants it; nothing can be written."""

    def __init__(self, disk: BlockDisk) -> None:
        self._disk = disk

    def read(self, cfg: LFSConfig, block: int, off: int, size: int) -> bytearray:
        return bytearray(self._disk.read(block, off, size))

    def prog(self, cfg: LFSConfig, block: int, off: int, data: bytes) -> int:
        raise OSError("a witness does not write")

    def erase(self, cfg: LFSConfig, block: int) -> int:
        raise OSError("a witness does not erase")

    def sync(self, cfg: LFSConfig) -> int:
        return 0


class Medium:
    """The files on a device's medium as they are durable now; for littlefs only."""

    def __init__(self, disk: BlockDisk) -> None:
        size = disk.block_bytes
        self._files = LittleFS(
            _Medium(disk), block_size=size, block_count=disk.blocks, read_size=size, prog_size=size, cache_size=size
        )

    def sizes(self, folder: str, suffix: str) -> dict[str, int]:
        """Bytes of each file of a folder by its name without the suffix; empty where there is no folder."""
        try:
            entries = list(self._files.scandir(folder))
        except LittleFSError as error:
            if error.code != LittleFSError.Error.LFS_ERR_NOENT:
                raise
            return {}
        return {entry.name.removesuffix(suffix): entry.size for entry in entries if entry.name.endswith(suffix)}

    def read(self, path: str, start: int) -> bytes:
        """A file's content from `start`."""
        with self._files.open(path, "rb") as file:
            file.seek(start)
            return bytes(file.read())


class Witness:
    """Watches one device's medium from its provisioning on, and keeps a copy of every clip below `folder`.

    `on_gone(clip, content)` is asked at each deletion whether that was right; its answer is a fault in words, or "".
    """

    def __init__(self, disk: BlockDisk, folder: Path, on_gone: Callable[[int, bytes], str]) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.sizes: dict[int, int] = {}
        self.gone: set[int] = set()
        self.alarms: set[tuple[int, int]] = set()
        self.faults: list[str] = []
        self.looks = 0
        self._disk = disk
        self._on_gone = on_gone
        self._journal: dict[str, int] = {}
        disk.on_sync = self._look

    def path(self, clip: int) -> Path:
        """Where the copy of a clip is."""
        return self.folder / f"{clip:08x}{CLIP_SUFFIX}"

    def waiting(self) -> list[int]:
        """Clips that are on the medium and have no note of a receipt."""
        return [clip for clip in sorted(self.sizes) if clip not in self.gone and not receipted(self._tail(clip))]

    def finish(self) -> None:
        """The device is off: read every clip once more, compare it with the copy, and write down what was seen."""
        self._disk.on_sync = None
        medium = Medium(self._disk)
        for name in medium.sizes(SPOOL, CLIP_SUFFIX):
            copy = self.path(int(name, 16))
            content = medium.read(f"{SPOOL}/{name}{CLIP_SUFFIX}", 0)
            if copy.exists() and not content.startswith(copy.read_bytes()):
                self._fault(f"clip {int(name, 16)}: what was durable on the medium has changed")
        facts = {"gone": sorted(self.gone), "alarms": sorted(self.alarms), "faults": self.faults, "looks": self.looks}
        (self.folder / FACTS).write_text(json.dumps(facts), encoding="utf-8")

    def _fault(self, fault: str) -> None:
        """Note a fault once, however often it is seen."""
        if fault not in self.faults:
            self.faults.append(fault)

    def _look(self) -> None:
        """Never raises: it runs inside the device's own request."""
        try:
            medium = Medium(self._disk)
            self._look_at_clips(medium)
            self._look_at_journal(medium)
        except Exception as error:  # noqa: BLE001 - a medium that cannot be read is the finding
            self._fault(f"look {self.looks}: {type(error).__name__}: {error}")
        self.looks += 1

    def _look_at_clips(self, medium: Medium) -> None:
        now = {int(name, 16): size for name, size in medium.sizes(SPOOL, CLIP_SUFFIX).items()}
        for clip, size in now.items():
            had = self.sizes.get(clip, 0)
            if size < had:
                self._fault(f"clip {clip} was {had} bytes long, durably, and is {size} now")
            elif size > had:
                with self.path(clip).open("ab") as copy:
                    copy.write(medium.read(f"{SPOOL}/{clip:08x}{CLIP_SUFFIX}", had))
            self.sizes[clip] = max(size, had)
        for clip in set(self.sizes) - set(now) - self.gone:
            self.gone.add(clip)
            content = self.path(clip).read_bytes() if self.sizes[clip] else b""
            # A bare header that is taken back is a start that was refused; the judge asks what the device says of it.
            fault = self._on_gone(clip, content) if len(content) > CLIP_HEADER_BYTES else ""
            if fault:
                self._fault(f"clip {clip} was deleted on the device: {fault}")

    def _look_at_journal(self, medium: Medium) -> None:
        now = medium.sizes(JOURNAL, _LOG_SUFFIX)
        for name in set(self._journal) - set(now):
            del self._journal[name]  # the number may be used again
        for name, size in now.items():
            had = self._journal.get(name, 0)
            if size > had:
                data = medium.read(f"{JOURNAL}/{name}{_LOG_SUFFIX}", had)
                records, used = _entries(data)
                self._journal[name] = had + used
                for kind, _, boot, counter in records:
                    if kind == ALARM_RAISED:
                        self.alarms.add((boot, counter))

    def _tail(self, clip: int) -> bytes:
        with self.path(clip).open("rb") as copy:
            copy.seek(max(0, self.sizes[clip] - _NOTE_BYTES))
            return copy.read()


def _entries(data: bytes) -> tuple[list[tuple[int, bytes, int, int]], int]:
    """(kind, device, boot, counter) of each whole event at the start of a piece of a journal file, and their bytes."""

    def walk() -> Iterator[tuple[int, tuple[int, bytes, int, int]]]:
        at = 0
        while len(data) >= at + _ENTRY_HEADER_BYTES:
            mark, drill, size, crc = struct.unpack_from(_ENTRY_LAYOUT, data, at)
            record = data[at + _ENTRY_HEADER_BYTES : at + _ENTRY_HEADER_BYTES + size]
            if mark != _ENTRY or len(record) != size or crc32(record, drill) != crc:
                return
            at += _ENTRY_HEADER_BYTES + size
            yield at, peek_event(record)

    found = list(walk())
    return [event for _, event in found], found[-1][0] if found else 0
