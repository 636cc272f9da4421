"""A storage medium, key sectors and a board whose contents an input dictates."""

from __future__ import annotations

import errno
import io
from collections.abc import Iterable
from typing import TYPE_CHECKING

from tests.firmware import boardkit

if TYPE_CHECKING:
    from lapel_device.boards.contract import Bytes, File, Writable

SECTOR_BYTES = 4096
CAPACITY_BYTES = 1 << 20


class _Written(io.BytesIO):
    """An open file that puts its content into the card when it is flushed or closed."""

    def __init__(self, card: Card, path: str, content: bytes) -> None:
        super().__init__(content)
        self.seek(0, io.SEEK_END)
        self._card = card
        self._path = path

    def flush(self) -> None:
        if not self.closed:
            self._card.files[self._path] = self.getvalue()

    def close(self) -> None:
        self.flush()
        super().close()


class Card:
    """`boards.contract.Storage` over a dictionary of files."""

    def __init__(self, files: dict[str, bytes]) -> None:
        self.files = files

    def open(self, path: str, mode: str) -> File:
        if mode == "rb":
            if path not in self.files:
                raise OSError(errno.ENOENT)
            return io.BytesIO(self.files[path])
        return _Written(self, path, b"" if mode == "wb" else self.files.get(path, b""))

    def listdir(self, path: str) -> Iterable[str]:
        start = path + "/"
        return [name[len(start) :] for name in self.files if name.startswith(start)]

    def remove(self, path: str) -> None:
        if self.files.pop(path, None) is None:
            raise OSError(errno.ENOENT)

    def rename(self, old: str, new: str) -> None:
        if old not in self.files:
            raise OSError(errno.ENOENT)
        self.files[new] = self.files.pop(old)

    def mkdir(self, path: str) -> None:
        """Folders need no making here."""

    def size(self, path: str) -> int:
        return len(self.files[path]) if path in self.files else -1

    def free_bytes(self) -> int:
        return CAPACITY_BYTES - sum(len(content) for content in self.files.values())

    def total_bytes(self) -> int:
        return CAPACITY_BYTES


class Flash:
    """`boards.contract.Sectors`: two sectors of NOR flash, as fast as Python slices are."""

    count = 2
    size_bytes = SECTOR_BYTES

    def __init__(self, first: bytes = b"", second: bytes = b"") -> None:
        self.sectors = [bytearray(content.ljust(SECTOR_BYTES, b"\xff")) for content in (first, second)]

    def read(self, index: int, offset: int, buffer: Writable) -> None:
        buffer[:] = self.sectors[index][offset : offset + len(buffer)]

    def erase(self, index: int) -> None:
        self.sectors[index] = bytearray(b"\xff" * SECTOR_BYTES)

    def program(self, index: int, offset: int, data: Bytes) -> None:
        sector = self.sectors[index]
        for at, value in enumerate(bytes(data), offset):
            sector[at] &= value


class Board(boardkit.MemoryBoard):
    """A board with a `Card` and a `Flash`."""

    def __init__(self, card: Card, flash: Flash) -> None:
        super().__init__()
        self.storage = card  # type: ignore[assignment]
        self.sectors = flash  # type: ignore[assignment]
