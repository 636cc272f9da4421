"""A board in memory: flash that tears, storage that forgets what was not flushed, a network of byte pipes.

Everything random comes from one seeded generator, so that a failing case is found again.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from lapel_sim.inprocess.board import MemoryButtons

if TYPE_CHECKING:
    from lapel_device.boards.contract import Accelerometer, Bytes, Gnss, Storage, TlsIdentity, Writable


class PowerCut(Exception):
    """The power went. Whatever was being done is done in part, or not at all."""


class MemorySectors:
    """Two NOR-flash sectors. The `cut_at`-th operation from now is torn, and PowerCut raised.

    What a torn operation leaves may be marginal: it reads as one thing until `decay`, and as another afterwards, unless
    the operation was repeated. Even an erase that seems complete and a program that seems not to have begun can be so.
    """

    count = 2
    size_bytes = 4096

    def __init__(self, seed: int = 0) -> None:
        self.random = random.Random(seed)
        self.data = [bytearray(b"\xff" * self.size_bytes) for _ in range(2)]
        self.marginal: list[dict[int, int]] = [{}, {}]  # byte -> value that it decays to
        self.operations = 0
        self.cut_at = -1
        self.failing = False
        self.stuck = False  # erasing does nothing
        self.programmed: list[bytes] = []
        self.erased: list[bytes] = []  # what stood in the first 128 bytes before

    def read(self, index: int, offset: int, buffer: Writable) -> None:
        buffer[:] = self.data[index][offset : offset + len(buffer)]

    def erase(self, index: int) -> None:
        self._check()
        self.erased.append(bytes(self.data[index][:128]))
        if self.stuck:
            return
        if self._is_cut():
            reach = self.random.choice((0.5, 1.0))
            for at in range(self.size_bytes):
                if self.random.random() < reach:
                    self._erase_byte(index, at, marginal=self.random.random() < 0.5)
            raise PowerCut
        for at in range(self.size_bytes):
            self._erase_byte(index, at, marginal=False)

    def program(self, index: int, offset: int, data: Bytes) -> None:
        self._check()
        self.programmed.append(bytes(data))
        if self._is_cut():
            reach = self.random.choice((0, self.random.randrange(len(data) + 1), len(data)))
            for at in range(len(data)):
                old = self.data[index][offset + at]
                if at < reach:
                    self._program_byte(index, offset + at, data[at], marginal=self.random.random() < 0.3)
                elif self.random.random() < 0.3:
                    self.marginal[index][offset + at] = old & data[at]
            raise PowerCut
        for at in range(len(data)):
            self._program_byte(index, offset + at, data[at], marginal=False)

    def decay(self) -> None:
        """Marginal bits fall back."""
        for index in range(2):
            for at, value in self.marginal[index].items():
                self.data[index][at] = value
            self.marginal[index].clear()

    def _erase_byte(self, index: int, at: int, marginal: bool) -> None:
        old = self.data[index][at]
        self.data[index][at] = 0xFF
        if marginal and old != 0xFF:
            self.marginal[index][at] = old
        else:
            self.marginal[index].pop(at, None)

    def _program_byte(self, index: int, at: int, value: int, marginal: bool) -> None:
        old = self.data[index][at]
        self.data[index][at] = old & value
        lurking = self.marginal[index].pop(at, old)
        if marginal and old & value != old:
            self.marginal[index][at] = old
        elif lurking & old != old:
            self.marginal[index][at] = lurking & value  # programming cures bits that want to be 1, not those at 0

    def _check(self) -> None:
        if self.failing:
            raise OSError(5)

    def _is_cut(self) -> bool:
        self.operations += 1
        return self.operations - 1 == self.cut_at


class MemoryFile:
    """An open file of MemoryStorage."""

    def __init__(self, storage: MemoryStorage, path: str, mode: str) -> None:
        self._storage = storage
        self._path = path
        self._writing = mode != "rb"
        self._at = 0
        if mode == "ab":
            self._at = len(storage.files[path])
        # A reader sees what was durable when it opened the file, as on littlefs and FAT.
        self._seen = bytes(storage.durable.get(path, b"")) if mode == "rb" else b""

    def read(self, size: int = -1, /) -> bytes:
        end = len(self._seen) if size < 0 else self._at + size
        data = self._seen[self._at : end]
        self._at += len(data)
        return data

    def readinto(self, buffer: Writable, /) -> int:
        self._storage.check()
        data = self.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def write(self, data: Bytes, /) -> int:
        self._storage.operation(self._path)
        content = self._storage.files[self._path]
        room = self._storage.free_bytes()
        if len(data) > room:
            raise OSError(28)
        content[self._at : self._at + len(data)] = data
        self._at += len(data)
        return len(data)

    def seek(self, offset: int, whence: int = 0, /) -> int:
        self._at = offset
        return offset

    def flush(self) -> None:
        self._storage.operation(self._path)
        self._storage.durable[self._path] = bytes(self._storage.files[self._path])

    def close(self) -> None:
        if self._writing:
            self._writing = False
            self.flush()


class MemoryStorage:
    """Files with what is durable kept apart. The `cut_at`-th write, flush, remove or rename raises PowerCut."""

    def __init__(self, size_bytes: int = 16 << 20, seed: int = 0) -> None:
        self.random = random.Random(seed)
        self.files: dict[str, bytearray] = {}
        self.durable: dict[str, bytes] = {}
        self.folders: set[str] = set()
        self.size_bytes = size_bytes
        self.operations = 0
        self.cut_at = -1
        self.failing = False
        self.fail_at = -1  # this operation alone fails
        self.trace: list[str] = []

    def check(self) -> None:
        if self.failing:
            raise OSError(5)

    def operation(self, path: str) -> None:
        self.check()
        self.operations += 1
        self.trace.append(path)
        if self.operations - 1 == self.cut_at:
            raise PowerCut
        if self.operations - 1 == self.fail_at:
            raise OSError(5)

    def open(self, path: str, mode: str) -> MemoryFile:
        self.check()
        if mode == "wb":
            self.operation(path)
            if "/" in path[1:] and path[: path.rindex("/")] not in self.folders:
                raise OSError(2)
            self.files[path] = bytearray()
        elif path not in self.files:
            if mode != "ab":
                raise OSError(2)
            self.files[path] = bytearray()
        return MemoryFile(self, path, mode)

    def listdir(self, path: str) -> Iterator[str]:
        self.check()
        return iter([name[len(path) + 1 :] for name in list(self.files) if name.startswith(path + "/")])

    def remove(self, path: str) -> None:
        if path not in self.files:
            raise OSError(2)
        self.operation(path)
        del self.files[path]
        self.durable.pop(path, None)

    def rename(self, old: str, new: str) -> None:
        self.operation(new)
        self.files[new] = self.files.pop(old)
        self.durable[new] = bytes(self.files[new])
        self.durable.pop(old, None)

    def mkdir(self, path: str) -> None:
        self.check()
        self.folders.add(path)

    def size(self, path: str) -> int:
        return len(self.files[path]) if path in self.files else -1

    def free_bytes(self) -> int:
        return self.size_bytes - sum(len(content) for content in self.files.values())

    def total_bytes(self) -> int:
        return self.size_bytes

    def power_cut(self) -> None:
        """Forget what was not flushed: of what was appended, any part may have arrived, its end torn."""
        self.cut_at = -1
        for path in list(self.files):
            kept = self.durable.get(path)
            if kept is None:
                if self.random.random() < 0.5:
                    del self.files[path]
                    continue
                kept = b""
            content = bytes(self.files[path])
            if content[: len(kept)] == kept and len(content) > len(kept):
                tail = bytearray(content[len(kept) : self.random.randint(len(kept), len(content))])
                for at in range(max(0, len(tail) - 64), len(tail)):
                    if self.random.random() < 0.3:
                        tail[at] = self.random.randrange(256)
                kept += bytes(tail)
            self.files[path] = bytearray(kept)
            self.durable[path] = kept


class MemoryLink:
    """The device's end of a connection. `to_broker` holds what was sent; `feed` gives it something to receive."""

    def __init__(self) -> None:
        self.to_broker = bytearray()
        self._incoming = bytearray()
        self.room = 1 << 30  # bytes that `send` still takes
        self.closed = False
        self.dead = False
        self.ended = False

    def feed(self, data: bytes) -> None:
        self._incoming += data

    def send(self, data: memoryview) -> int | None:
        self._check()
        size = min(len(data), self.room)
        if not size:
            return None
        self.to_broker += data[:size]
        self.room -= size
        return size

    def recv_into(self, buffer: memoryview) -> int | None:
        self._check()
        size = min(len(buffer), len(self._incoming))
        if not size:
            return 0 if self.ended else None
        buffer[:size] = self._incoming[:size]
        del self._incoming[:size]
        return size

    def close(self) -> None:
        self.closed = True

    def _check(self) -> None:
        if self.dead or self.closed:
            raise OSError(104)


class MemoryNetwork:
    """Hands out links; `on_open` tells the test of each."""

    def __init__(self) -> None:
        self.up = True
        self.refuse = False
        self.links: list[MemoryLink] = []
        self.on_open: Callable[[MemoryLink], None] = lambda link: None

    def is_up(self) -> bool:
        return self.up

    def open(self, host: str, port: int, tls: TlsIdentity | None) -> MemoryLink:
        if self.refuse:
            raise OSError(111)
        link = MemoryLink()
        self.links.append(link)
        self.on_open(link)
        return link


class MemoryClock:
    def __init__(self) -> None:
        self.ticks = 0
        self.rtc = 0

    def ticks_ms(self) -> int:
        return self.ticks

    def rtc_ms(self) -> int:
        return self.rtc

    def set_rtc_ms(self, unix_ms: int) -> None:
        self.rtc = unix_ms


class Profile:
    name = "memory"
    hardware_id = "memory-1"
    max_frame_bytes = 24576
    frame_width = 320
    frame_height = 240
    frame_interval_ms = 200
    audio_rate_hz = 16000
    audio_block_bytes = 3200
    chunk_segments = 4
    window_bytes = 65536
    storage_reserve_bytes = 262144
    sync_segments = 4


class MemoryIndicator:
    def __init__(self) -> None:
        self.shown: list[tuple[int, bool, int]] = []

    def set(self, rgb: int, vibrate: bool, buzzer_hz: int) -> None:
        self.shown.append((rgb, vibrate, buzzer_hz))


class MemoryCamera:
    def __init__(self) -> None:
        self.on = False

    def start(self, width: int, height: int) -> None:
        self.on = True

    def stop(self) -> None:
        self.on = False

    async def capture(self) -> tuple[memoryview, int, int, int]:
        return memoryview(b"\xff\xd8\xff\xd9"), 0, 320, 240


class MemoryMicrophone:
    def start(self, rate_hz: int) -> None:
        """Nothing to do."""

    def stop(self) -> None:
        """Nothing to do."""

    def readinto(self, buffer: Writable) -> int:
        buffer[:] = bytes(len(buffer))
        return len(buffer)


class MemoryBattery:
    def read(self) -> tuple[int, int]:
        return 80, 300


class MemoryWatchdog:
    def __init__(self) -> None:
        self.fed = 0

    def feed(self) -> None:
        self.fed += 1


class MemoryBoard:
    """A board whose sectors and storage outlive it, as flash does: hand them to the next one."""

    def __init__(
        self, sectors: MemorySectors | None = None, storage: MemoryStorage | None = None, seed: int = 0
    ) -> None:
        self._random = random.Random(seed)
        self.profile = Profile()
        self.clock = MemoryClock()
        self.buttons = MemoryButtons(self.clock)
        self.indicator = MemoryIndicator()
        self.camera = MemoryCamera()
        self.microphone = MemoryMicrophone()
        self.battery = MemoryBattery()
        self.sectors = sectors or MemorySectors(seed)
        self.storage = storage or MemoryStorage(seed=seed)
        self.network = MemoryNetwork()
        self.watchdog = MemoryWatchdog()
        self.lines: list[str] = []
        self.resets = 0
        self.sensor: Accelerometer | None = None
        self.receiver: Gnss | None = None
        self.slot_storage: Storage | None = None

    def accelerometer(self) -> Accelerometer | None:
        return self.sensor

    def gnss(self) -> Gnss | None:
        return self.receiver

    def slots(self) -> Storage | None:
        return self.slot_storage

    def entropy(self, size: int) -> bytes:
        return self._random.randbytes(size)

    def log(self, line: str) -> None:
        self.lines.append(line)

    def reset(self) -> None:
        self.resets += 1
