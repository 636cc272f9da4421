"""The vault's journal: what was placed in any number of clips is made durable here by one sync, and in its files later.

A batch touches as many files as there are devices that send. A sync of each would cost more than all else that ingest
does; one frame in one file costs the same however many clips it is about.

Rules that hold here
- The file has a page that says how long its halves are, and two halves. Frames are appended to one while the clips of
  the other's frames are synced; a half is freed, durably, once they are, and nothing is written to it before that.
- A frame counts when `append` has returned. One that a crash has torn may be read back with old bytes in it: what it is
  about nobody has claimed yet, and that is verified anew. Only its table has a checksum.
- Frames are numbered, and a half's frames follow each other: what older use has left behind the newest is not read.
"""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from lapel_gateway.durable import sync_folder, write_all_at

JOURNAL_NAME = ".journal"

HALF_BYTES = 32 << 20
"""As much again is written twice at most after a crash: a fraction of a second."""

_ALIGN = 4096
"""Frames start at a page, so that writing one never rewrites a page of another."""

_MAGIC = b"LVJ1"
_FIRST_PAGE = struct.Struct(">4sQ")  # magic, bytes of a half
_HEAD = struct.Struct(">4sQII")  # magic, number, entries, bytes of all entries; then a CRC-32 of these and of the table
_CRC = struct.Struct(">I")
_ENTRY = struct.Struct(">16sIQI")  # device, clip, offset, bytes
_FIRST_NUMBER_BYTES = 7  # of the eight that a frame's number has
_TABLE_AT = _HEAD.size + _CRC.size


class Placed(NamedTuple):
    """Bytes that were placed in a clip's file, in parts that follow each other."""

    device: str
    clip: int
    offset: int
    parts: Sequence[bytes | memoryview]


class VaultJournal:
    """The journal's file, for one writer. `turn` and `append` are one thread's; `free` may be called from another."""

    def __init__(self, path: Path, half_bytes: int = HALF_BYTES) -> None:
        """Open or make the file; `frames` and `reset` come before the first `append`. Raises OSError.

        `half_bytes` is rounded up to whole pages.
        """
        self.half_bytes = self._found_half_bytes = _aligned(half_bytes)
        made = not path.exists()
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
        if made:
            # The vault's own folder may be as new as the file.
            sync_folder(path.parent)
            sync_folder(path.parent.parent)
        first = os.pread(self._file, _FIRST_PAGE.size, 0)
        if len(first) == _FIRST_PAGE.size and first.startswith(_MAGIC):
            _, self._found_half_bytes = _FIRST_PAGE.unpack(first)
        self._half = 0
        self._at = 0
        # Not from 1: behind the frames of this life those of an earlier one may stand, and must not seem to follow.
        self._number = int.from_bytes(os.urandom(_FIRST_NUMBER_BYTES), "big")

    def frames(self) -> Iterator[list[Placed]]:
        """What whole frames say, oldest first; the newest may hold old bytes (see above). Raises OSError."""
        halves = [found for half in (0, 1) if (found := self._scan(half))]
        for starts in sorted(halves):
            for number, start in starts:
                yield self._read(start)
                self._number = max(self._number, number + 1)

    def reset(self) -> None:
        """Everything that frames are about is durable elsewhere: forget them, durably. Raises OSError."""
        for half_bytes in {self._found_half_bytes, self.half_bytes}:
            for half in (0, 1):
                os.pwrite(self._file, bytes(_TABLE_AT), _ALIGN + half * half_bytes)
        os.fdatasync(self._file)
        if self._found_half_bytes != self.half_bytes or not os.pread(self._file, 1, 0).strip(b"\0"):
            os.pwrite(self._file, _FIRST_PAGE.pack(_MAGIC, self.half_bytes), 0)
            os.fdatasync(self._file)
            self._found_half_bytes = self.half_bytes
        self._half = self._at = 0

    @staticmethod
    def frame_bytes(placed: Sequence[Placed]) -> int:
        """What the frame takes of a half."""
        size = sum(len(part) for one in placed for part in one.parts)
        return _aligned(_TABLE_AT + len(placed) * _ENTRY.size + size)

    def fits(self, placed: Sequence[Placed]) -> bool:
        """Whether this half has room for the frame."""
        return self._at + self.frame_bytes(placed) <= self.half_bytes

    def append(self, placed: Sequence[Placed]) -> None:
        """Make this durable. Raises OSError; then it is not, and the next frame takes its place."""
        table = b"".join(
            [_ENTRY.pack(one.device.encode(), one.clip, one.offset, sum(map(len, one.parts))) for one in placed]
        )
        size = sum(len(part) for one in placed for part in one.parts)
        head = _HEAD.pack(_MAGIC, self._number, len(placed), size)
        start = self._start(self._half) + self._at
        parts: list[bytes | memoryview] = [head, _CRC.pack(zlib.crc32(table, zlib.crc32(head))), table]
        for one in placed:
            parts += one.parts
        write_all_at(self._file, parts, start)
        os.fdatasync(self._file)
        self._number += 1
        self._at += self.frame_bytes(placed)

    def turn(self) -> int:
        """Go on in the other half, which has to be free; returns the one that was left."""
        left, self._half, self._at = self._half, 1 - self._half, 0
        return left

    def free(self, half: int) -> None:
        """All that the half's frames are about is durable elsewhere. Raises OSError."""
        os.pwrite(self._file, bytes(_TABLE_AT), self._start(half))
        os.fdatasync(self._file)

    def close(self) -> None:
        """Let go of the file."""
        os.close(self._file)

    def _start(self, half: int) -> int:
        return _ALIGN + half * self.half_bytes

    def _scan(self, half: int) -> list[tuple[int, int]]:
        """(number, where) of each frame of a half."""
        found: list[tuple[int, int]] = []
        at = _ALIGN + half * self._found_half_bytes
        end = at + self._found_half_bytes
        while at < end:
            frame = self._frame(at)
            if frame is None or (found and frame[0] != found[-1][0] + 1):
                break
            number, size = frame
            found.append((number, at))
            at += size
        return found

    def _frame(self, at: int) -> tuple[int, int] | None:
        """(number, size in the file) of the frame that begins there, None when none does."""
        head = os.pread(self._file, _TABLE_AT, at)
        if len(head) < _TABLE_AT:
            return None
        magic, number, entries, size = _HEAD.unpack_from(head)
        (crc,) = _CRC.unpack_from(head, _HEAD.size)
        table_bytes = entries * _ENTRY.size
        if magic != _MAGIC or table_bytes + size > self._found_half_bytes:
            return None
        table = os.pread(self._file, table_bytes, at + _TABLE_AT)
        if zlib.crc32(table, zlib.crc32(head[: _HEAD.size])) != crc:
            return None
        return number, _aligned(_TABLE_AT + table_bytes + size)

    def _read(self, at: int) -> list[Placed]:
        """What the frame that begins there says; short where the file ends inside it."""
        _, _, entries, size = _HEAD.unpack(os.pread(self._file, _HEAD.size, at))
        at += _TABLE_AT
        table = os.pread(self._file, entries * _ENTRY.size, at)
        data = memoryview(os.pread(self._file, size, at + len(table)))
        placed = []
        for device, clip, offset, length in _ENTRY.iter_unpack(table):
            placed.append(Placed(device.decode(), clip, offset, [data[:length]]))
            data = data[length:]
        return placed


def _aligned(size: int) -> int:
    return -(-size // _ALIGN) * _ALIGN
