"""The block device that a device's file system is on, with the losses that a power cut causes.

Two kinds of medium. A card takes writes into a cache: until a sync, a power cut may drop any of them, keep later ones
while dropping earlier ones, and tear one at a 512-byte border. NOR flash has no cache, writes only clear bits, and a
cut tears the one operation in progress.
"""

import os
import random
from collections.abc import Callable
from pathlib import Path

_PAGE_BYTES = 512
_ERASED = 0xFF

# (block, offset in it, content)
Write = tuple[int, int, bytes]


class DiskFault(Exception):
    """The firmware asked for what the medium cannot do: outside its range, or setting bits of unerased flash."""


class BlockDisk:
    """Image file of `blocks` blocks. Not thread-safe: one device's requests come one at a time.

    `on_sync` is called at the end of each sync, when `read` gives exactly what a power cut would leave.
    """

    def __init__(self, path: Path, blocks: int, block_bytes: int, write_cache: bool) -> None:
        self.path = path
        self.blocks = blocks
        self.block_bytes = block_bytes
        self.write_cache = write_cache
        size = blocks * block_bytes
        if not path.exists():
            with path.open("wb") as new:
                if write_cache:
                    new.truncate(size)  # a card comes zeroed, and the image stays sparse
                else:
                    for _ in range(blocks):
                        new.write(bytes([_ERASED]) * block_bytes)
        elif path.stat().st_size != size:
            raise ValueError(f"{path} has {path.stat().st_size} bytes, {size} expected")
        self._descriptor = os.open(path, os.O_RDWR)
        self._unsynced: list[Write] = []
        self._pending: dict[int, bytearray] = {}
        self.syncs = 0
        self.on_sync: Callable[[], None] | None = None

    def _position(self, block: int, offset: int, size: int) -> int:
        position = block * self.block_bytes + offset
        if block < 0 or offset < 0 or position + size > self.blocks * self.block_bytes:
            raise DiskFault(f"block {block} offset {offset} size {size} is outside the disk")
        return position

    def read(self, block: int, offset: int, size: int) -> bytes:
        """What the device sees: unsynced writes included."""
        position = self._position(block, offset, size)
        content = bytearray(os.pread(self._descriptor, size, position))
        if self._pending:
            self._overlay(position, content)
        return bytes(content)

    def _overlay(self, position: int, content: bytearray) -> None:
        first, last = position // self.block_bytes, (position + len(content) - 1) // self.block_bytes
        for block in range(first, last + 1):
            cached = self._pending.get(block)
            if cached is None:
                continue
            start = block * self.block_bytes
            low, high = max(position, start), min(position + len(content), start + self.block_bytes)
            content[low - position : high - position] = cached[low - start : high - start]

    def write(self, block: int, offset: int, content: bytes) -> None:
        position = self._position(block, offset, len(content))
        if not self.write_cache:
            self._program(position, content)
            return
        self._unsynced.append((block, offset, content))
        while content:
            block, offset = divmod(position, self.block_bytes)
            piece = content[: self.block_bytes - offset]
            if block not in self._pending:
                self._pending[block] = bytearray(os.pread(self._descriptor, self.block_bytes, block * self.block_bytes))
            self._pending[block][offset : offset + len(piece)] = piece
            position += len(piece)
            content = content[len(piece) :]

    def _program(self, position: int, content: bytes) -> None:
        old = os.pread(self._descriptor, len(content), position)
        if any(new & ~before for before, new in zip(old, content, strict=True)):
            raise DiskFault(f"write at byte {position} sets bits of flash that was not erased")
        os.pwrite(self._descriptor, content, position)

    def erase(self, block: int) -> None:
        """Flash: every bit of the block becomes one. A card has no erase that its user can see."""
        position = self._position(block, 0, self.block_bytes)
        if not self.write_cache:
            os.pwrite(self._descriptor, bytes([_ERASED]) * self.block_bytes, position)

    def sync(self) -> None:
        """Make everything written so far durable."""
        for block, offset, content in self._unsynced:
            os.pwrite(self._descriptor, content, block * self.block_bytes + offset)
        self._unsynced.clear()
        self._pending.clear()
        self.syncs += 1
        if self.on_sync is not None:
            self.on_sync()

    @property
    def unsynced_bytes(self) -> int:
        return sum(len(content) for _, _, content in self._unsynced)

    def tear_write(self, block: int, offset: int, content: bytes, rng: random.Random) -> None:
        """The write in progress when the power goes: a prefix of it arrives, on flash with a half-programmed byte
        after it.
        """
        if self.write_cache:
            self._unsynced.append((block, offset, content))  # settle() decides what becomes of it
            return
        position = self._position(block, offset, len(content))
        done = rng.randrange(len(content) + 1)
        self._program(position, content[:done])
        if done < len(content):
            before = os.pread(self._descriptor, 1, position + done)[0]
            os.pwrite(self._descriptor, bytes([before & (content[done] | rng.randrange(256))]), position + done)

    def tear_erase(self, block: int, rng: random.Random) -> None:
        """An erase cut short leaves flash in between: some of the zero bits are ones again."""
        if self.write_cache:
            return
        position = self._position(block, 0, self.block_bytes)
        old = os.pread(self._descriptor, self.block_bytes, position)
        mask = rng.randbytes(self.block_bytes)
        os.pwrite(self._descriptor, bytes(byte | extra for byte, extra in zip(old, mask, strict=True)), position)

    def settle(self, rng: random.Random) -> tuple[int, int]:
        """The power is gone: decide which unsynced pages reached the medium. Returns (pages kept, pages lost)."""
        pages = [page for write in self._unsynced for page in _pages(write)]
        self._unsynced.clear()
        self._pending.clear()
        if rng.random() < 0.5:
            kept = pages[: rng.randrange(len(pages) + 1)]  # in order, up to somewhere
        else:
            kept = [page for page in pages if rng.random() < 0.5]  # the card's controller chose its own order
        for block, offset, content in kept:
            os.pwrite(self._descriptor, content, block * self.block_bytes + offset)
        return len(kept), len(pages) - len(kept)

    def close(self) -> None:
        os.close(self._descriptor)


def _pages(write: Write) -> list[Write]:
    """A write cut at 512-byte borders: a card writes such a page whole or not at all."""
    block, offset, content = write
    pages = []
    while content:
        room = _PAGE_BYTES - offset % _PAGE_BYTES
        pages.append((block, offset, content[:room]))
        offset += room
        content = content[room:]
    return pages
