"""Storage on the real littlefs (littlefs-python), with the sizes that the boards mount it with.

Its on-disk format is MicroPython's: each mounts what the other formatted (tests/seeded/test_storage_media.py).
MicroPython also keeps each file's time as an attribute, which the firmware never reads.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from littlefs import lfs
from littlefs.context import UserContext
from littlefs.errors import LittleFSError

from .block_storage import BlockStorage, Volume, VolumeFile
from .blocks import ERASE_BYTES, Medium, MediumGone

UNIT_BYTES = 128  # readsize and progsize; see hardware.DiskKind.unit_bytes
CACHE_BYTES = 4 * UNIT_BYTES  # MicroPython gives littlefs and every open file four units
LOOKAHEAD_BYTES = 128
BLOCK_CYCLES = 100  # MicroPython's
_FORMAT_VERSION = 0x00020001
_EIO = -5
# LFS_O_RDONLY 1, WRONLY 2, RDWR 3, CREAT 0x100, TRUNC 0x400, APPEND 0x800: as MicroPython opens these modes.
_FLAGS = {"rb": 0x001, "wb": 0x502, "ab": 0x902, "r+b": 0x003}

T = TypeVar("T")


class _Device(UserContext):
    """What littlefs asks of a block device."""

    def __init__(self, medium: Medium) -> None:
        self._medium = medium

    def read(self, cfg: lfs.LFSConfig, block: int, off: int, size: int) -> bytearray:
        try:
            return bytearray(self._medium.read(block * ERASE_BYTES + off, size))
        except MediumGone:
            return bytearray(size)  # the binding passes no read error on; nothing that follows reaches the medium

    def prog(self, cfg: lfs.LFSConfig, block: int, off: int, data: bytes) -> int:
        return self._told(lambda: self._medium.write(block * ERASE_BYTES + off, bytes(data)))

    def erase(self, cfg: lfs.LFSConfig, block: int) -> int:
        return self._told(lambda: self._medium.erase(block * ERASE_BYTES))

    def sync(self, cfg: lfs.LFSConfig) -> int:
        return self._told(self._medium.sync)

    @staticmethod
    def _told(act: Callable[[], None]) -> int:
        try:
            act()
        except MediumGone:
            return _EIO
        return 0


def _asked(call: Callable[[], T]) -> T:
    try:
        return call()
    except LittleFSError as error:
        raise OSError(-error.code, error.name) from None


class LittlefsFile(VolumeFile):
    """An open file: littlefs shows others what it held when it was last synced."""

    def __init__(self, volume: lfs.LFSFilesystem, path: str, mode: str) -> None:
        self._volume = volume
        self._file = _asked(lambda: lfs.file_open(volume, path, lfs.LFSFileFlag(_FLAGS[mode])))

    def read(self, size: int) -> bytes:
        left = _asked(lambda: lfs.file_size(self._volume, self._file) - lfs.file_tell(self._volume, self._file))
        return _asked(lambda: lfs.file_read(self._volume, self._file, max(0, min(size, left))))

    def write(self, data: bytes) -> int:
        return _asked(lambda: lfs.file_write(self._volume, self._file, data))

    def seek(self, offset: int, whence: int) -> int:
        return _asked(lambda: lfs.file_seek(self._volume, self._file, offset, whence))

    def sync(self) -> None:
        _asked(lambda: lfs.file_sync(self._volume, self._file))

    def close(self) -> None:
        _asked(lambda: lfs.file_close(self._volume, self._file))


class LittlefsVolume(Volume):
    """A mounted littlefs."""

    def __init__(self, medium: Medium, format_first: bool) -> None:
        self._blocks = medium.size_bytes // ERASE_BYTES
        self._config = lfs.LFSConfig(
            context=_Device(medium),
            block_size=ERASE_BYTES,
            block_count=self._blocks,
            read_size=UNIT_BYTES,
            prog_size=UNIT_BYTES,
            cache_size=CACHE_BYTES,
            lookahead_size=LOOKAHEAD_BYTES,
            block_cycles=BLOCK_CYCLES,
            disk_version=_FORMAT_VERSION,
        )
        self._volume = lfs.LFSFilesystem()
        if format_first:
            _asked(lambda: lfs.format(self._volume, self._config))
        _asked(lambda: lfs.mount(self._volume, self._config))

    def open(self, path: str, mode: str) -> VolumeFile:
        return LittlefsFile(self._volume, path, mode)

    def listdir(self, path: str) -> list[str]:
        names: list[str] = []
        try:
            folder = _asked(lambda: lfs.dir_open(self._volume, path))
        except FileNotFoundError:
            return names
        while (entry := _asked(lambda: lfs.dir_read(self._volume, folder))) is not None:
            if entry.name not in (".", ".."):
                names.append(entry.name)
        _asked(lambda: lfs.dir_close(self._volume, folder))
        return names

    def remove(self, path: str) -> None:
        _asked(lambda: lfs.remove(self._volume, path))

    def rename(self, old: str, new: str) -> None:
        _asked(lambda: lfs.rename(self._volume, old, new))

    def mkdir(self, path: str) -> None:
        _asked(lambda: lfs.mkdir(self._volume, path))

    def size(self, path: str) -> int:
        return _asked(lambda: lfs.stat(self._volume, path)).size

    def free_bytes(self) -> int:
        return (self._blocks - _asked(lambda: lfs.fs_size(self._volume))) * ERASE_BYTES


class LittlefsStorage(BlockStorage):
    """A littlefs on `medium`, formatted first unless it is not `new`."""

    def __init__(self, medium: Medium, new: bool = True) -> None:
        self._new = new
        super().__init__(medium, medium.size_bytes)

    def _mounted(self) -> Volume:
        volume = LittlefsVolume(self.medium, self._new)
        self._new = False
        return volume
