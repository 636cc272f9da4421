"""The gateway's page cache: what a machine that crashes takes with it, although every write had returned.

It stands where the gateway's modules say `os`, keeps for every changed file what was last made durable, and on `crash`
puts back what had not been: page by page, in no order, names of new files included. It can also say that the disk is
full in the middle of a write. The ledger is SQLite's own business (C code that does not come through here): in
synchronous=FULL mode a committed transaction is durable, and an open one is lost with the process anyway.
"""

from __future__ import annotations

import contextlib
import errno
import os
import random
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

_PAGE_BYTES = 4096


class PageCache:
    """Behaves as the module `os`; see above. `room_bytes` None = as much as there is."""

    def __init__(self) -> None:
        self._names: dict[int, str] = {}
        self._durable: dict[str, bytes] = {}  # of files changed since: their content then
        self._unnamed: set[str] = set()  # files and folders whose name is not durable yet
        self._folders: set[str] = set()
        self.room_bytes: int | None = None
        self.refused = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(os, name)

    @contextlib.contextmanager
    def installed(self) -> Iterator[None]:
        """The gateway's modules use it inside the block."""
        modules = [
            module
            for name, module in list(sys.modules.items())
            if name.startswith("lapel_gateway.") and getattr(module, "os", None) is os
        ]
        for module in modules:
            module.os = self  # type: ignore[attr-defined]
        try:
            yield
        finally:
            for module in modules:
                module.os = os  # type: ignore[attr-defined]

    # -- what stands for os -----------------------------------------------------------------------------------------

    def open(self, path: str | Path, flags: int, mode: int = 0o777) -> int:
        """See os.open."""
        name = str(path)
        fresh = bool(flags & os.O_CREAT) and not os.path.lexists(name)
        if fresh:
            self._take_room(0)
        handle = os.open(path, flags, mode)
        self._names[handle] = name
        if fresh:
            self._durable[name] = b""
            self._unnamed.add(name)
            folder = os.path.dirname(name)
            if folder not in self._folders:
                self._folders.add(folder)
                self._unnamed.add(folder)
        return handle

    def close(self, handle: int) -> None:
        """See os.close."""
        self._names.pop(handle, None)
        os.close(handle)

    def pwrite(self, handle: int, data: Any, offset: int) -> int:
        """See os.pwrite."""
        self._changes(handle)
        self._take_room(len(data))
        return os.pwrite(handle, data, offset)

    def pwritev(self, handle: int, parts: Any, offset: int) -> int:
        """See os.pwritev; what does not fit is not written, and a short write is an honest answer."""
        self._changes(handle)
        size = sum(len(part) for part in parts)
        if self.room_bytes is not None and 0 < self.room_bytes < size:
            room, self.room_bytes = self.room_bytes, 0
            return os.pwrite(handle, b"".join(parts)[:room], offset)
        self._take_room(size)
        return os.pwritev(handle, parts, offset)

    def write(self, handle: int, data: Any) -> int:
        """See os.write."""
        self._changes(handle)
        self._take_room(len(data))
        return os.write(handle, data)

    def ftruncate(self, handle: int, size: int) -> None:
        """See os.ftruncate."""
        self._changes(handle)
        os.ftruncate(handle, size)

    def fdatasync(self, handle: int) -> None:
        """See os.fdatasync."""
        os.fdatasync(handle)
        self._durable.pop(self._names.get(handle, ""), None)

    def fsync(self, handle: int) -> None:
        """See os.fsync; of a folder it makes the names in it durable."""
        os.fsync(handle)
        name = self._names.get(handle, "")
        self._durable.pop(name, None)
        self._unnamed = {path for path in self._unnamed if os.path.dirname(path) != name}

    def _changes(self, handle: int) -> None:
        name = self._names.get(handle)
        if name is not None and name not in self._durable:
            self._durable[name] = Path(name).read_bytes()

    def _take_room(self, size: int) -> None:
        if self.room_bytes is None:
            return
        if self.room_bytes <= 0 or self.room_bytes < size:
            self.refused += 1
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self.room_bytes -= size

    # -- what the schedule asks -------------------------------------------------------------------------------------

    def durable(self, path: Path) -> bytes:
        """What a crash now would leave of a file for certain; empty when that is nothing."""
        name = str(path)
        if name in self._unnamed or os.path.dirname(name) in self._unnamed:
            return b""
        kept = self._durable.get(name)
        if kept is not None:
            return kept
        try:
            return path.read_bytes()
        except FileNotFoundError:
            return b""

    @property
    def unsynced(self) -> int:
        """How many files a crash now could change."""
        return len(self._durable)

    def settle(self) -> None:
        """Every process that wrote is gone and the machine is well: the kernel writes everything out in time."""
        self._names.clear()
        self._durable.clear()
        self._unnamed.clear()

    def crash(self, rng: random.Random) -> int:
        """The machine goes down: lose what chance takes of what was not made durable; returns how many files it hit."""
        hit = 0
        for name, kept in sorted(self._durable.items()):
            try:
                written = Path(name).read_bytes()
            except FileNotFoundError:
                continue
            left = _some_pages(kept, written, rng)
            hit += left != written
            Path(name).write_bytes(left)
        for name in sorted(self._unnamed, reverse=True):
            if os.path.isfile(name) and rng.random() < 0.5:
                os.unlink(name)
                hit += 1
        self.settle()
        return hit


def _some_pages(kept: bytes, written: bytes, rng: random.Random) -> bytes:
    """A file of which any of the changed pages reached the disk, and its length is that of the last one that did."""
    left = bytearray(kept)
    if len(written) < len(kept) and rng.random() < 0.5:
        del left[len(written) :]
    for start in range(0, len(written), _PAGE_BYTES):
        page = written[start : start + _PAGE_BYTES]
        if page == kept[start : start + _PAGE_BYTES] or rng.random() < 0.5:
            continue
        if len(left) < start:
            left.extend(bytes(start - len(left)))
        left[start : start + len(page)] = page
    return bytes(left)
