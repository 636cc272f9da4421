"""The vault: sealed originals, byte for byte as the device made them, one file for each clip.

Rules that hold here
- A record is placed at the offset that its index gives (``lapel_protocol.stream.segment_offset``), so the order of
  arrival does not matter and a repeat changes nothing.
- Nothing placed counts until ``sync`` returned: one fdatasync for each touched file, and one fsync of the folder of a
  new file. The ledger claims bytes only after that.
- A reserve of free space is left to the ledger, so that alarms are still recorded when clips find the disk full.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from pathlib import Path

from lapel_gateway.durable import sync_folder

OPEN_FILES = 256
"""File handles kept open: above the number of clips that arrive at one time, far below the usual limit of 1,024."""

RESERVE_BYTES = 256 << 20
"""Free space that clips may not take: a year of alarms and events."""

_SUFFIX = ".lapel"
_MAX_PARTS = 512  # half of Linux's IOV_MAX


class VaultFull(Exception):
    """There is no room for a clip's bytes; nothing of this batch may be acknowledged."""


class Vault:
    """Clip files under one folder: ``<root>/<device>/<clip, 8 hex digits>.lapel``."""

    def __init__(self, root: Path, reserve_bytes: int = RESERVE_BYTES) -> None:
        self.root = root
        self.reserve_bytes = reserve_bytes
        self._handles: OrderedDict[tuple[str, int], int] = OrderedDict()
        self._dirty: set[tuple[str, int]] = set()
        self._new_folders: set[Path] = set()
        self._known_folders: set[Path] = set()
        root.mkdir(parents=True, exist_ok=True)

    def path(self, device: str, clip: int) -> Path:
        """Where the sealed original of a clip is or would be."""
        return self.root / device / f"{clip:08x}{_SUFFIX}"

    def size(self, device: str, clip: int) -> int:
        """Bytes of the clip's file, -1 when there is none."""
        try:
            return self.path(device, clip).stat().st_size
        except FileNotFoundError:
            return -1

    def clips(self) -> Iterator[tuple[str, int]]:
        """Every clip that has a file, in order of device and clip."""
        for name in self.folders():
            for clip in self.numbers(name):
                yield name, clip

    def folders(self, since_s: int = 0) -> list[str]:
        """The devices' folders in which a file was made or removed at or after this Unix time, in order."""
        with os.scandir(self.root) as entries:
            return sorted(entry.name for entry in entries if entry.is_dir() and entry.stat().st_mtime >= since_s)

    def numbers(self, device: str) -> list[int]:
        """The clips of a device that have a file, in order; nothing but names is read."""
        found = []
        with os.scandir(self.root / device) as entries:
            for entry in entries:
                stem, dot, suffix = entry.name.partition(".")
                if dot + suffix == _SUFFIX and len(stem) == 8:
                    with contextlib.suppress(ValueError):
                        found.append(int(stem, 16))
        return sorted(found)

    def check_room(self, size_bytes: int) -> None:
        """Raise VaultFull unless ``size_bytes`` more fit beside the reserve."""
        state = os.statvfs(self.root)
        if state.f_bavail * state.f_frsize < self.reserve_bytes + size_bytes:
            raise VaultFull(f"vault {self.root}: less than {self.reserve_bytes >> 20} MiB free")

    def place(self, device: str, clip: int, offset: int, *parts: bytes | memoryview) -> None:
        """Write ``parts``, at least one, one after the other from ``offset`` of the clip's file, making the file first.

        Raises VaultFull, OSError.
        """
        try:
            handle = self._handle(device, clip, create=True)
            self._dirty.add((device, clip))
            for start in range(0, len(parts), _MAX_PARTS):
                offset = _write_all(handle, parts[start : start + _MAX_PARTS], offset)
        except OSError as error:
            raise _full_or_other(error, self.root) from error

    def truncate(self, device: str, clip: int, size_bytes: int) -> None:
        """Cut the clip's file to ``size_bytes``: what follows was never claimed by the ledger."""
        handle = self._handle(device, clip, create=True)
        self._dirty.add((device, clip))
        os.ftruncate(handle, size_bytes)

    def read(self, device: str, clip: int, offset: int, size_bytes: int) -> bytes:
        """At most ``size_bytes`` from ``offset``: fewer at the end of the file, none where there is no file."""
        try:
            return os.pread(self._handle(device, clip, create=False), size_bytes, offset)
        except FileNotFoundError:
            return b""

    def sync(self) -> None:
        """Make durable whatever was placed since the last call. Raises VaultFull, OSError; then it is still pending."""
        try:
            if len(self._dirty) > 1:
                # Linux begins to write them all out at once, and the syncs below wait for that together.
                for key in self._dirty:
                    os.posix_fadvise(self._handle(*key, create=False), 0, 0, os.POSIX_FADV_DONTNEED)
            for key in sorted(self._dirty):
                os.fdatasync(self._handle(*key, create=False))
                self._dirty.discard(key)
            for folder in sorted(self._new_folders):
                sync_folder(folder)
                self._new_folders.discard(folder)
        except OSError as error:
            raise _full_or_other(error, self.root) from error
        self._close_oldest()

    def close(self) -> None:
        """Close every file. What was not synced stays unclaimed."""
        while self._handles:
            os.close(self._handles.popitem()[1])
        self._dirty.clear()

    def _handle(self, device: str, clip: int, create: bool) -> int:
        key = (device, clip)
        handle = self._handles.get(key)
        if handle is not None:
            self._handles.move_to_end(key)
            return handle
        path = self.path(device, clip)
        try:
            handle = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            if not create:
                raise
            path.parent.mkdir(mode=0o750, exist_ok=True)
            handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
            self._new_folders.add(path.parent)
        if path.parent not in self._known_folders:
            # Made now, or by a process that was killed before it had made folder and files durable by name.
            self._known_folders.add(path.parent)
            self._new_folders |= {self.root, path.parent}
        self._handles[key] = handle
        self._close_oldest()
        return handle

    def _close_oldest(self) -> None:
        """Keep at most OPEN_FILES handles; a file with unsynced bytes stays open, so that its write errors are seen."""
        if len(self._handles) > OPEN_FILES:
            for key in list(self._handles)[: len(self._handles) - OPEN_FILES]:
                if key not in self._dirty:
                    os.close(self._handles.pop(key))


def _write_all(handle: int, parts: Sequence[bytes | memoryview], offset: int) -> int:
    """Write the parts at ``offset`` and return where they end; a short write is carried on from where it stopped."""
    end = offset + sum(len(part) for part in parts)
    offset += os.pwritev(handle, parts, offset)
    while offset < end:
        rest = b"".join(parts)[offset - end :]
        offset += os.pwrite(handle, rest, offset)
    return end


def _full_or_other(error: OSError, root: Path) -> Exception:
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return VaultFull(f"vault {root}: {error.strerror}")
    return error
