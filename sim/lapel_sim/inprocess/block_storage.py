"""Storage on real file-system code over a simulated medium: what littlefs and FAT have in common here.

Rules that hold here:

- A cut falls into an operation of the medium, in the middle of whatever the file system was doing. The C code gets
  errors from then on; once it has returned, PowerCut is raised.
- After `lose_power` the file system is mounted again from the medium; nothing in memory outlives it. A file that is
  still open belongs to the volume that is gone.
"""

from __future__ import annotations

import errno
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from typing import TypeVar

from .blocks import Medium
from .fuse import PowerCut

T = TypeVar("T")


class VolumeFile(ABC):
    """An open file of one volume. Every method raises OSError."""

    @abstractmethod
    def read(self, size: int) -> bytes: ...

    @abstractmethod
    def write(self, data: bytes) -> int: ...

    @abstractmethod
    def seek(self, offset: int, whence: int) -> int: ...

    @abstractmethod
    def sync(self) -> None: ...

    @abstractmethod
    def close(self) -> None: ...


class Volume(ABC):
    """A mounted file system. Every method raises OSError."""

    @abstractmethod
    def open(self, path: str, mode: str) -> VolumeFile: ...

    @abstractmethod
    def listdir(self, path: str) -> list[str]: ...

    @abstractmethod
    def remove(self, path: str) -> None: ...

    @abstractmethod
    def rename(self, old: str, new: str) -> None: ...

    @abstractmethod
    def mkdir(self, path: str) -> None: ...

    @abstractmethod
    def size(self, path: str) -> int: ...

    @abstractmethod
    def free_bytes(self) -> int: ...


class BlockFile:
    """An open file; see `boards.contract.File`."""

    def __init__(self, storage: BlockStorage, file: VolumeFile, writable: bool) -> None:
        self._storage = storage
        self._file: VolumeFile | None = file
        self._writable = writable

    def _open_file(self) -> VolumeFile:
        if self._file is None:
            raise OSError(errno.EBADF)
        return self._file

    def read(self, size: int = -1, /) -> bytes:
        file = self._open_file()
        return self._storage.run(lambda: file.read(size if size >= 0 else 1 << 30))

    def readinto(self, buffer: bytearray | memoryview, /) -> int:
        data = self.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def write(self, data: bytes | bytearray | memoryview, /) -> int:
        if not self._writable:
            raise OSError(errno.EBADF)
        file = self._open_file()
        return self._storage.run(lambda: file.write(bytes(data)))

    def seek(self, offset: int, whence: int = 0, /) -> int:
        file = self._open_file()
        return self._storage.run(lambda: file.seek(offset, whence))

    def flush(self) -> None:
        if self._writable:
            self._storage.run(self._open_file().sync)

    def close(self) -> None:
        if self._file is not None:
            file, self._file = self._file, None
            try:
                self._storage.run(file.close)
            finally:
                self._storage.forget(file)


class BlockStorage(ABC):
    """Files by absolute path; see `inprocess.storage.SimulatedStorage`."""

    def __init__(self, medium: Medium, capacity_bytes: int) -> None:
        self.medium = medium
        self._capacity = capacity_bytes
        self._volume: Volume | None = None
        # The volume knows its open files by address: they must not be collected before they are closed.
        self._files: list[VolumeFile] = []
        self.on_remove: Callable[[str, bytes], None] | None = None
        self.failing = False
        self.mount()

    @abstractmethod
    def _mounted(self) -> Volume:
        """Mount the medium; raises OSError when there is no file system on it."""

    def mount(self) -> None:
        """Mount what is on the medium; raises OSError when there is no file system on it."""
        self._files = []
        self._volume = None
        self._volume = self._mounted()

    def run(self, call: Callable[[], T]) -> T:
        """Carry out one call into the file system."""
        if self.failing:
            raise OSError(errno.EIO)
        if self.medium.dead:
            raise PowerCut
        try:
            result = call()
        except OSError:
            if self.medium.dead:
                raise PowerCut from None
            raise
        if self.medium.dead:
            raise PowerCut
        return result

    def forget(self, file: VolumeFile) -> None:
        """The file is closed."""
        self._files = [known for known in self._files if known is not file]

    @property
    def volume(self) -> Volume:
        """The mounted file system. Raises OSError when there is none."""
        if self._volume is None:
            raise OSError(errno.ENODEV)
        return self._volume

    def open(self, path: str, mode: str) -> BlockFile:
        file = self.run(lambda: self.volume.open(path, mode))
        self._files.append(file)
        return BlockFile(self, file, mode != "rb")

    def listdir(self, path: str) -> Iterable[str]:
        return self.run(lambda: self.volume.listdir(path.rstrip("/") or "/"))

    def remove(self, path: str) -> None:
        if self.on_remove is not None and not self.failing:
            content = self.content(path)
            if content is not None:
                self.on_remove(path, content)
        self.run(lambda: self.volume.remove(path))

    def rename(self, old: str, new: str) -> None:
        """Not in the board contract, because of what FAT makes of it: only to show that."""
        self.run(lambda: self.volume.rename(old, new))

    def mkdir(self, path: str) -> None:
        try:
            self.run(lambda: self.volume.mkdir(path))
        except OSError as error:
            if error.errno != errno.EEXIST:
                raise

    def size(self, path: str) -> int:
        try:
            return self.run(lambda: self.volume.size(path))
        except OSError:
            return -1

    def free_bytes(self) -> int:
        return self.run(self.volume.free_bytes)

    def total_bytes(self) -> int:
        return self._capacity

    def content(self, path: str) -> bytes | None:
        """What an observer sees in a file now, or None. On littlefs, of an open file: what was flushed."""
        if self.medium.dead or self._volume is None:
            return None
        try:
            file = self._volume.open(path, "rb")
        except OSError:
            return None
        try:
            return file.read(1 << 30)
        finally:
            file.close()

    def lose_power(self) -> None:
        """Keep what the medium keeps, and mount it again; every open file is void afterwards."""
        self.medium.power_on()
        self.mount()
