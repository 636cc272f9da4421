"""Runs on the real MicroPython: flash, card and key sectors in memory, whose power is cut in a chosen operation.

The same media as lapel_sim.inprocess.blocks, for MicroPython's own file systems (os.AbstractBlockDev).
"""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, TypeVar

    from lapel_device.boards.contract import File, Storage
    from tests.firmware.device.storage_life import Dice

    T = TypeVar("T")

SECTOR = 512
PAGE = 256
_ZEROS = bytes(SECTOR)
_IO_ERROR = -5
_IOCTL_SYNC, _IOCTL_COUNT, _IOCTL_SIZE, _IOCTL_ERASE = 3, 4, 5, 6


class PowerCut(BaseException):
    """The power is gone. Not an Exception: firmware must not be able to catch it."""


class Fuse:
    """Counts operations; the `blows_at`-th is torn."""

    def __init__(self, dice: "Dice") -> None:
        self.dice = dice
        self.operations = 0
        self.blows_at = 0

    def blows(self) -> bool:
        """Count one operation; True when it is the one that is torn."""
        self.operations += 1
        return self.operations == self.blows_at


class Flash:
    """NOR flash: programming clears bits, an erase sets those of 4096 bytes."""

    block_bytes = 4096

    def __init__(self, fuse: Fuse, blocks: int) -> None:
        self.fuse = fuse
        self.blocks = blocks
        self.image = memoryview(bytearray(b"\xff" * (blocks * self.block_bytes)))
        self._blank = memoryview(b"\xff" * self.block_bytes)

    def read(self, at: int, buffer: bytearray) -> None:
        """Fill the buffer."""
        buffer[:] = self.image[at : at + len(buffer)]

    def write(self, at: int, content: "bytes | bytearray") -> None:
        """Program. Raises PowerCut."""
        cut = self.fuse.blows()
        size = len(content)
        if cut:
            content = self._torn(at, bytes(content))
        old = self.image[at : at + size]
        if old == self._blank[:size]:
            self.image[at : at + size] = content
        else:
            for i in range(size):
                self.image[at + i] = old[i] & content[i]
        if cut:
            raise PowerCut

    def _torn(self, at: int, content: bytes) -> bytes:
        dice = self.fuse.dice
        done = dice.below(len(content) + 1)
        if dice.below(2):
            half = bytes([content[done] | dice.below(256)]) if done < len(content) else b""
            return (content[:done] + half + b"\xff" * len(content))[: len(content)]
        start = max(0, done - (at + done) % PAGE)
        end = min(len(content), start + PAGE - (at + start) % PAGE)
        page = bytes([byte | dice.below(256) for byte in content[start:end]])
        return content[:start] + page + b"\xff" * (len(content) - end)

    def erase(self, block: int) -> None:
        """Erase one block. Raises PowerCut."""
        start = block * self.block_bytes
        end = start + self.block_bytes
        if not self.fuse.blows():
            self.image[start:end] = self._blank
            return
        dice = self.fuse.dice
        for at in range(start, end):
            self.image[at] |= dice.below(256)
        raise PowerCut

    def sync(self) -> None:
        """Nothing is held back."""

    def power_on(self) -> None:
        """What is programmed stays."""


class Card:
    """A card: 512-byte sectors in a cache until a sync. `any_order`: they may land in part, and in any order."""

    block_bytes = 512

    def __init__(self, fuse: Fuse, blocks: int, any_order: bool) -> None:
        self.fuse = fuse
        self.blocks = blocks
        self.image: dict[int, bytes | memoryview] = {}  # by sector; what was never written is zero
        self._any_order = any_order
        self._cache: dict[int, bytes | memoryview] = {}
        self._unsynced: list[tuple[int, bytes | memoryview]] = []

    def _sector(self, sector: int) -> "bytes | memoryview":
        return self._cache.get(sector) or self.image.get(sector) or _ZEROS

    def read(self, at: int, buffer: bytearray) -> None:
        """Fill the buffer with what was written, synced or not."""
        start = at % SECTOR
        end = at + len(buffer)
        if start + len(buffer) <= SECTOR:
            buffer[:] = self._sector(at // SECTOR)[start : start + len(buffer)]
            return
        done = 0
        while at < end:
            sector, start = divmod(at, SECTOR)
            piece = self._sector(sector)[start : start + end - at]
            buffer[done : done + len(piece)] = piece
            done += len(piece)
            at += len(piece)

    def write(self, at: int, content: "bytes | bytearray") -> None:
        """Take sectors, or parts of them, into the cache. Raises PowerCut."""
        first, before = divmod(at, SECTOR)
        content = bytes(content)
        if before:
            content = bytes(self._sector(first)[:before]) + content
        after = -len(content) % SECTOR
        if after:
            content += bytes(self._sector(first + len(content) // SECTOR)[SECTOR - after :])
        sectors = [
            (first + start // SECTOR, content[start : start + SECTOR]) for start in range(0, len(content), SECTOR)
        ]
        if self.fuse.blows():
            self._unsynced += sectors[: self.fuse.dice.below(len(sectors) + 1)]
            raise PowerCut
        self._unsynced += sectors
        self._cache.update(sectors)

    def erase(self, block: int) -> None:
        """A card has none."""

    def sync(self) -> None:
        """Write everything to the medium. Raises PowerCut."""
        if self.fuse.blows():
            raise PowerCut
        self._keep(self._unsynced)

    def _keep(self, sectors: "list[tuple[int, bytes | memoryview]]") -> None:
        self.image.update(sectors)
        self._unsynced = []
        self._cache = {}

    def power_on(self) -> None:
        """Of what was not synced, some is there."""
        dice = self.fuse.dice
        if self._any_order and dice.below(2):
            share = dice.below(101)
            self._keep([write for write in self._unsynced if dice.below(100) < share])
        else:
            self._keep(self._unsynced[: dice.below(len(self._unsynced) + 1)])


class Disk:
    """A medium as MicroPython's file systems want it, for one boot.

    When the power goes they get errors from then on: an exception through their C code would leave it half way.
    """

    def __init__(self, medium: "Flash | Card", block_bytes: int) -> None:
        self._medium = medium
        self._block_bytes = block_bytes
        self._blocks = medium.blocks * medium.block_bytes // block_bytes
        self.dead = False

    def readblocks(self, block: int, buffer: bytearray, offset: int = 0) -> int:
        if self.dead:
            return _IO_ERROR
        self._medium.read(block * self._block_bytes + offset, buffer)
        return 0

    def writeblocks(self, block: int, buffer: bytearray, offset: int = 0) -> int:
        if self.dead:
            return _IO_ERROR
        try:
            self._medium.write(block * self._block_bytes + offset, buffer)
        except PowerCut:
            self.dead = True
            return _IO_ERROR
        return 0

    def ioctl(self, operation: int, argument: int) -> int:
        if operation == _IOCTL_COUNT:
            return self._blocks
        if operation == _IOCTL_SIZE:
            return self._block_bytes
        if self.dead:
            return _IO_ERROR
        try:
            if operation == _IOCTL_SYNC:
                self._medium.sync()
            elif operation == _IOCTL_ERASE:
                self._medium.erase(argument)
        except PowerCut:
            self.dead = True
            return _IO_ERROR
        return 0


class PoweredFile:
    """An open file whose every method raises PowerCut once the power is gone."""

    def __init__(self, disk: Disk, file: "File") -> None:
        self._disk = disk
        self._file = file

    def read(self, size: int = -1) -> bytes:
        return ask(self._disk, self._file.read, size)

    def readinto(self, buffer: "bytearray | memoryview") -> "int | None":
        return ask(self._disk, self._file.readinto, buffer)

    def write(self, data: "bytes | bytearray | memoryview") -> "int | None":
        return ask(self._disk, self._file.write, data)

    def seek(self, offset: int, whence: int = 0) -> int:
        return ask(self._disk, self._file.seek, offset, whence)

    def flush(self) -> None:
        ask(self._disk, self._file.flush)

    def close(self) -> None:
        ask(self._disk, self._file.close)


class PoweredStorage:
    """The board's own Storage, with the difference that no code goes on after the power is gone."""

    def __init__(self, disk: Disk, storage: "Storage") -> None:
        self._disk = disk
        self._storage = storage
        self._files: list[File] = []

    def open(self, path: str, mode: str) -> PoweredFile:
        file = ask(self._disk, self._storage.open, path, mode)
        self._files.append(file)
        return PoweredFile(self._disk, file)

    def listdir(self, path: str) -> "list[str]":
        return ask(self._disk, lambda: list(self._storage.listdir(path)))

    def remove(self, path: str) -> None:
        ask(self._disk, self._storage.remove, path)

    def mkdir(self, path: str) -> None:
        ask(self._disk, self._storage.mkdir, path)

    def size(self, path: str) -> int:
        return ask(self._disk, self._storage.size, path)

    def free_bytes(self) -> int:
        return ask(self._disk, self._storage.free_bytes)

    def total_bytes(self) -> int:
        return ask(self._disk, self._storage.total_bytes)

    def end(self) -> None:
        """The boot is over: nothing of it is left to the garbage collector, whose finalisers may not allocate."""
        self._disk.dead = True
        for file in self._files:
            try:
                file.close()
            except OSError:
                continue


def ask(disk: Disk, method: "Callable[..., T]", *arguments: "Any") -> "T":
    """Call a method of the storage. Raises PowerCut when the power went meanwhile."""
    try:
        answer = method(*arguments)
    except OSError:
        if disk.dead:
            raise PowerCut  # noqa: B904 - the cause is lost on MicroPython
        raise
    if disk.dead:
        raise PowerCut
    return answer


class Sectors:
    """The key store's two sectors, on the same power."""

    count = 2
    size_bytes = 4096

    def __init__(self, fuse: Fuse) -> None:
        self._flash = Flash(fuse, 2)

    def read(self, index: int, offset: int, buffer: bytearray) -> None:
        self._flash.read(index * self.size_bytes + offset, buffer)

    def program(self, index: int, offset: int, data: "bytes | bytearray") -> None:
        self._flash.write(index * self.size_bytes + offset, data)

    def erase(self, index: int) -> None:
        self._flash.erase(index)
