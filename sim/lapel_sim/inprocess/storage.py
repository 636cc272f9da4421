"""Storages whose power can be cut in any operation: two fast models in this module, and the real file systems' code.

Style "flash" (littlefs): a file that was not flushed reverts to its last flushed content as a whole; a new one is
absent or empty. Style "card" (FAT): a file keeps an arbitrary prefix of what was appended, possibly torn inside a
record; one that was opened anew for writing may have its old content again, or none, until it is flushed. Removing is
atomic and durable. There is no rename, as in the board contract. Whatever the real ones leave, a model can leave too:
tests/seeded/test_storage_models.py.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Protocol

from .blocks import ERASE_BYTES, SECTOR_BYTES, Card, Flash
from .fat_storage import LEAST_BYTES, FatStorage
from .fuse import Fuse, PowerCut
from .littlefs_storage import LittlefsStorage

if TYPE_CHECKING:
    from lapel_device.boards.contract import File

MODELS = ("flash", "card")
"""The fast ones, in this module."""
REAL = ("littlefs-flash", "littlefs-card", "fat-card")
"""The real file systems' code on a medium in memory (see blocks); storage is a small part of a fault schedule, which
they hardly slow down. "fat-card" needs MicroPython's library (see micropython_fat)."""
STYLES = MODELS + REAL


class SimulatedStorage(Protocol):
    """`boards.contract.Storage` that can lose its power. `on_remove` sees each path, and its content, just before it
    goes; while `failing`, every operation raises OSError.
    """

    on_remove: Callable[[str, bytes], None] | None
    failing: bool

    def open(self, path: str, mode: str) -> File: ...

    def listdir(self, path: str) -> Iterable[str]: ...

    def remove(self, path: str) -> None: ...

    def mkdir(self, path: str) -> None: ...

    def size(self, path: str) -> int: ...

    def free_bytes(self) -> int: ...

    def total_bytes(self) -> int: ...

    def content(self, path: str) -> bytes | None:
        """What an observer sees in a file now, or None."""
        ...

    def lose_power(self) -> None:
        """Keep what the medium keeps; every open file is void afterwards."""
        ...


class _Node:
    def __init__(self) -> None:
        self.durable: bytes | None = None  # None: the file is not on the medium yet
        self.before: bytes | None = None  # what stood there before it was opened anew and not flushed since
        self.content = bytearray()


class MemoryFile:
    """An open file; see `boards.contract.File`."""

    def __init__(self, storage: MemoryStorage, node: _Node, writable: bool, position: int) -> None:
        self._storage = storage
        self._node = node
        self._writable = writable
        self._position = position

    def read(self, size: int = -1, /) -> bytes:
        end = len(self._node.content) if size < 0 else self._position + size
        data = bytes(self._node.content[self._position : end])
        self._position += len(data)
        return data

    def readinto(self, buffer: bytearray | memoryview, /) -> int:
        data = self.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def write(self, data: bytes | bytearray | memoryview, /) -> int:
        if not self._writable:
            raise OSError(errno.EBADF)
        self._storage.write(self._node, self._position, bytes(data))
        self._position += len(data)
        return len(data)

    def seek(self, offset: int, whence: int = 0, /) -> int:
        base = (0, self._position, len(self._node.content))[whence]
        self._position = base + offset
        return self._position

    def flush(self) -> None:
        if self._writable:
            self._storage.flush(self._node)

    def close(self) -> None:
        self.flush()


class MemoryStorage:
    """Files by absolute path; see `boards.contract.Storage`. `on_remove` sees each path just before it goes."""

    def __init__(self, fuse: Fuse, capacity_bytes: int, style: str) -> None:
        if style not in MODELS:
            raise ValueError(style)
        self._fuse = fuse
        self._capacity = capacity_bytes
        self._style = style
        self._nodes: dict[str, _Node] = {}
        self.on_remove: Callable[[str, bytes], None] | None = None
        self.failing = False

    def _check(self) -> None:
        if self.failing:
            raise OSError(errno.EIO)

    def open(self, path: str, mode: str) -> File:
        self._check()
        node = self._nodes.get(path)
        if mode == "rb":
            if node is None:
                raise OSError(errno.ENOENT)
            return MemoryFile(self, node, False, 0)
        if mode == "r+b" and node is None:
            raise OSError(errno.ENOENT)
        if node is None:
            node = self._nodes[path] = _Node()
        if mode == "wb":
            node.content = bytearray()
            if self._style == "card" and node.durable is not None:
                node.before = node.before or node.durable
                node.durable = b""
        return MemoryFile(self, node, True, len(node.content) if mode == "ab" else 0)

    def write(self, node: _Node, position: int, data: bytes) -> None:
        """Put bytes into the cache of an open file."""
        self._check()
        if self.free_bytes() < position + len(data) - len(node.content):
            raise OSError(errno.ENOSPC)

        def put(size: int) -> None:
            node.content[position : position + size] = data[:size]

        self._fuse.step(lambda: put(len(data)), lambda: put(self._fuse.rng.randrange(len(data) + 1)))

    def flush(self, node: _Node) -> None:
        """Make an open file durable."""
        self._check()
        if node.durable is not None and node.durable == node.content and node.before is None:
            return

        def keep() -> None:
            node.durable = bytes(node.content)
            node.before = None

        def tear() -> None:
            if self._fuse.rng.random() < 0.5:
                keep()

        self._fuse.step(keep, tear)

    def listdir(self, path: str) -> Iterable[str]:
        self._check()
        start = path.rstrip("/") + "/"
        return list(dict.fromkeys(p[len(start) :].partition("/")[0] for p in self._nodes if p.startswith(start)))

    def remove(self, path: str) -> None:
        self._check()
        if path not in self._nodes:
            raise OSError(errno.ENOENT)
        if self.on_remove is not None:
            self.on_remove(path, bytes(self._nodes[path].content))

        def gone() -> None:
            del self._nodes[path]

        self._fuse.step(gone, lambda: gone() if self._fuse.rng.random() < 0.5 else None)

    def mkdir(self, path: str) -> None:
        self._check()

    def size(self, path: str) -> int:
        node = self._nodes.get(path)
        return -1 if node is None else len(node.content)

    def free_bytes(self) -> int:
        return self._capacity - sum(len(node.content) for node in self._nodes.values())

    def total_bytes(self) -> int:
        return self._capacity

    def content(self, path: str) -> bytes | None:
        """What an observer sees in a file now, or None."""
        node = self._nodes.get(path)
        return None if node is None else bytes(node.content)

    def lose_power(self) -> None:
        """Keep what the medium keeps; every open file is void afterwards."""
        rng = self._fuse.rng
        for path, node in list(self._nodes.items()):
            if node.durable is None and rng.random() < 0.5:
                del self._nodes[path]
                continue
            kept = durable = node.durable or b""
            if node.before is not None and rng.random() < 0.5:
                kept = node.before
            elif self._style == "card" and len(node.content) > len(durable) and node.content.startswith(durable):
                kept = bytes(node.content[: rng.randint(len(durable), len(node.content))])
            fresh = self._nodes[path] = _Node()
            fresh.durable = kept
            fresh.content = bytearray(kept)


def make_storage(style: str, fuse: Fuse, capacity_bytes: int) -> SimulatedStorage:
    """An empty storage of one of STYLES, whose operations `fuse` counts and tears."""
    if style == "littlefs-flash":
        return LittlefsStorage(Flash(fuse, _blocks(capacity_bytes)))
    if style == "littlefs-card":
        return LittlefsStorage(Card(fuse, _blocks(capacity_bytes), any_order=True))
    if style == "fat-card":
        size = max(LEAST_BYTES, capacity_bytes * 9 // 8)
        return FatStorage(Card(fuse, size - size % SECTOR_BYTES, any_order=False), capacity_bytes)
    return MemoryStorage(fuse, capacity_bytes, style)


def _blocks(capacity_bytes: int) -> int:
    return capacity_bytes // ERASE_BYTES * ERASE_BYTES


__all__ = ["MODELS", "REAL", "STYLES", "MemoryFile", "MemoryStorage", "PowerCut", "SimulatedStorage", "make_storage"]
