"""Storage on MicroPython's own FatFs, as its VfsFat calls it (extmod/vfs_fat.c, vfs_fat_file.c).

FAT16 with clusters of one sector, without a partition table: many small clusters, so that files are torn in every way.
FAT has no transactions. What the firmware may rely on, given a card that keeps the order of writes and writes sectors
whole (the SD protocol's promise): a synced file keeps its content while nothing but its own appends touch it; two names
in one folder may, after a cut in a rename, be one and the same content, and deleting either then frees it for both.
"""

from __future__ import annotations

import ctypes
import errno

from . import micropython_fat as fatfs
from .block_storage import BlockStorage, Volume, VolumeFile
from .blocks import SECTOR_BYTES, Medium

LEAST_BYTES = 4400 * SECTOR_BYTES
"""Below 4,085 clusters FAT is FAT12, whose entries straddle sectors; no card that is sold has that."""

_CLUSTER_BYTES = SECTOR_BYTES
_FILLER = "/filler.bin"
_MODES = {
    "rb": fatfs.READ,
    "wb": fatfs.WRITE | fatfs.CREATE_ALWAYS,
    "ab": fatfs.WRITE | fatfs.OPEN_ALWAYS,
    "r+b": fatfs.READ | fatfs.WRITE,
}


class FatFile(VolumeFile):
    """An open file."""

    def __init__(self, fat: fatfs.FatFs, path: str, mode: str) -> None:
        self._fat = fat
        self._file = fatfs.structure()
        fatfs.check(fat.call("f_open", self._file, path.encode(), _MODES[mode]))
        self._position = 0
        if mode == "ab":
            self.seek(0, 2)

    def read(self, size: int) -> bytes:
        size = min(size, fatfs.file_size(self._file))
        buffer = ctypes.create_string_buffer(max(1, size))
        done = ctypes.c_uint()
        fatfs.check(self._fat.bare("f_read", self._file, buffer, size, ctypes.byref(done)))
        self._position += done.value
        return buffer.raw[: done.value]

    def write(self, data: bytes) -> int:
        done = ctypes.c_uint()
        fatfs.check(self._fat.bare("f_write", self._file, data, len(data), ctypes.byref(done)))
        self._position += done.value
        if done.value != len(data):
            raise OSError(errno.ENOSPC)
        return done.value

    def seek(self, offset: int, whence: int) -> int:
        base = (0, self._position, fatfs.file_size(self._file))[whence]
        self._position = base + offset
        fatfs.check(self._fat.bare("f_lseek", self._file, ctypes.c_uint32(self._position)))
        return self._position

    def sync(self) -> None:
        fatfs.check(self._fat.bare("f_sync", self._file))

    def close(self) -> None:
        fatfs.check(self._fat.bare("f_close", self._file))


class FatVolume(Volume):
    """A mounted FAT."""

    def __init__(self, medium: Medium) -> None:
        self._fat = fatfs.FatFs(medium)

    def format(self, leave_bytes: int) -> None:
        """Make the file system and fill it until about `leave_bytes` are free."""
        work = ctypes.create_string_buffer(SECTOR_BYTES)
        kind = fatfs.FM_FAT | fatfs.FM_SFD
        fatfs.check(self._fat.call("f_mkfs", kind, _CLUSTER_BYTES, work, len(work)))
        self.mount()
        filler = self.free_bytes() - leave_bytes
        if filler > 0:
            file = FatFile(self._fat, _FILLER, "wb")
            file.seek(filler, 0)
            file.close()

    def mount(self) -> None:
        fatfs.check(self._fat.call("f_mount"))

    def open(self, path: str, mode: str) -> VolumeFile:
        return FatFile(self._fat, path, mode)

    def listdir(self, path: str) -> list[str]:
        names: list[str] = []
        folder, info = fatfs.structure(), fatfs.structure()
        result = self._fat.call("f_opendir", folder, path.encode())
        if result in (fatfs.FR_NO_FILE, fatfs.FR_NO_PATH):
            return names
        fatfs.check(result)
        while True:
            fatfs.check(self._fat.bare("f_readdir", folder, info))
            name, _ = fatfs.entry(info)
            if not name:
                return names
            if f"/{name}" != _FILLER:
                names.append(name)

    def remove(self, path: str) -> None:
        fatfs.check(self._fat.call("f_unlink", path.encode()))

    def rename(self, old: str, new: str) -> None:
        names = (old.encode(), new.encode())
        result = self._fat.call("f_rename", *names)
        if result == fatfs.FR_EXIST:
            self.remove(new)
            result = self._fat.call("f_rename", *names)
        fatfs.check(result)

    def mkdir(self, path: str) -> None:
        fatfs.check(self._fat.call("f_mkdir", path.encode()))

    def size(self, path: str) -> int:
        info = fatfs.structure()
        fatfs.check(self._fat.call("f_stat", path.encode(), info))
        return fatfs.entry(info)[1]

    def free_bytes(self) -> int:
        clusters = ctypes.c_uint32()
        fatfs.check(self._fat.call("f_getfree", ctypes.byref(clusters)))
        return clusters.value * _CLUSTER_BYTES


class FatStorage(BlockStorage):
    """A FAT on `medium`, formatted when it is new; `capacity_bytes` of it can be used."""

    def __init__(self, medium: Medium, capacity_bytes: int) -> None:
        self._new = True
        super().__init__(medium, capacity_bytes)

    def _mounted(self) -> Volume:
        volume = FatVolume(self.medium)
        if self._new:
            volume.format(self.total_bytes())
            self._new = False
        else:
            volume.mount()
        return volume
