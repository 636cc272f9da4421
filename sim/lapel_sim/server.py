"""Answers one device's requests (lapel_sim.board.ops) from the world's models of its hardware, and charges what they
cost.
"""

import random
import socket
import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import BinaryIO

from .board import ops
from .camera import CameraModel, MicrophoneModel
from .chips.i2c import I2CBus
from .disk import BlockDisk, DiskFault
from .gnss import GnssModel
from .hardware import Hardware
from .hosttime import host_ms
from .link import LinkProxy
from .panel import ButtonModel, IndicatorModel
from .power import Power
from .sectors import SectorFlash

_WORK = {
    ops.WORK_SEAL: "seal",
    ops.WORK_RATCHET: "ratchet",
    ops.WORK_WRAP: "wrap",
    ops.WORK_HANDSHAKE: "handshake",
    ops.WORK_TLS: "tls",
}
_EIO = 5
_MAX_PAYLOAD = 1 << 20

Answer = tuple[int, int, bytes]  # result, extra, payload
_NOTHING: Answer = (0, 0, b"")


@dataclass(frozen=True)
class Request:
    op: int
    index: int
    a: int
    b: int
    room: int
    payload: bytes


@dataclass
class BatteryModel:
    """What the fuel gauge says; a scenario sets it."""

    percent: int = 90
    minutes_left: int = 600


@dataclass
class Bench:
    """Everything a device is wired to."""

    hardware: Hardware
    power: Power
    buttons: ButtonModel
    indicator: IndicatorModel
    camera: CameraModel
    microphone: MicrophoneModel
    battery: BatteryModel
    i2c: I2CBus
    gnss: GnssModel
    sectors: SectorFlash
    disk: BlockDisk
    link: LinkProxy
    cost_scale: float
    entropy: random.Random | None  # None: the device uses its own system's entropy
    note: Callable[..., None]
    broker: tuple[str, int] | None  # where every connection leads, whatever the device was provisioned with
    feed: Callable[[], bool]  # the watchdog is fed; True = report the heap
    reset: Callable[[], None]
    card_removed: bool = False
    charged_ms: dict[str, float] = field(default_factory=dict)  # what the board's slowness took so far, by its work


def _without_result(act: Callable[[Request], None]) -> Callable[[Request], Answer]:
    """A handler of a request that is answered with success alone."""

    def handle(request: Request) -> Answer:
        act(request)
        return _NOTHING

    return handle


def _receive(requests: BinaryIO) -> Request | None:
    """The next request; None when the device is gone."""
    try:
        head = requests.read(ops.REQUEST_BYTES)
        if len(head) != ops.REQUEST_BYTES:
            return None
        op, index, _, a, b, room, length = struct.unpack(ops.REQUEST_LAYOUT, head)
        if length > _MAX_PAYLOAD:
            raise ValueError(f"request {op} announces {length} bytes")
        payload = requests.read(length) if length else b""
    except ConnectionResetError:
        return None
    return Request(op, index, a, b, room, payload) if len(payload) == length else None


class RequestServer:
    """Serves one boot of one device. `run()` returns when the device is gone; PowerLost ends it from inside."""

    def __init__(self, bench: Bench, options: bytes, files: "FileTasks | None" = None) -> None:
        self._bench = bench
        self._options = options
        self._files = files
        self._handlers: dict[int, Callable[[Request], Answer]] = {
            ops.HELLO: lambda _: (0, 0, self._options),
            ops.BUTTONS: self._buttons,
            ops.INDICATOR: self._indicator,
            ops.CAMERA_START: self._camera_start,
            ops.CAMERA_STOP: _without_result(lambda _: bench.camera.stop()),
            ops.CAMERA_WAIT: lambda _: (
                bench.camera.wait_ms(bench.hardware.costs.camera_ms * bench.cost_scale),
                0,
                b"",
            ),
            ops.CAMERA_FETCH: self._camera_fetch,
            ops.MICROPHONE_START: _without_result(lambda request: bench.microphone.start(request.a)),
            ops.MICROPHONE_STOP: _without_result(lambda _: bench.microphone.stop()),
            ops.MICROPHONE_READ: self._microphone_read,
            ops.BATTERY: lambda _: (bench.battery.percent, bench.battery.minutes_left, b""),
            ops.I2C_READ: self._i2c_read,
            ops.I2C_WRITE: _without_result(
                lambda request: bench.i2c.writeto_mem(request.index, request.a, request.payload)
            ),
            ops.GNSS_POWER: _without_result(lambda request: bench.gnss.power(bool(request.index), host_ms())),
            ops.GNSS_READ: self._gnss_read,
            ops.SECTOR_READ: lambda request: (0, 0, bench.sectors.read(request.index, request.a, request.room)),
            ops.SECTOR_ERASE: self._sector_erase,
            ops.SECTOR_PROGRAM: self._sector_program,
            ops.BLOCK_READ: self._block_read,
            ops.BLOCK_WRITE: self._block_write,
            ops.BLOCK_ERASE: self._block_erase,
            ops.BLOCK_SYNC: self._block_sync,
            ops.ENTROPY: self._entropy,
            ops.NETWORK_UP: lambda _: (1 if bench.link.radio_up else 0, 0, b""),
            ops.ROUTE: self._route,
            ops.FEED: lambda _: (1 if bench.feed() else 0, 0, b""),
            ops.CHARGED: _without_result(lambda request: self._charged(_WORK[request.index], request.a / 1000)),
            ops.RESET: _without_result(lambda _: bench.reset()),
        }
        if files is not None:
            self._handlers.update(files.handlers())

    def run(self, connection: socket.socket) -> None:
        """Answer until the device closes its end. Raises PowerLost when a step hit a power cut."""
        with connection, connection.makefile("rb") as requests:
            while (request := _receive(requests)) is not None:
                result, extra, answer = self._answer(request)
                try:
                    connection.sendall(struct.pack(ops.ANSWER_LAYOUT, result, extra, len(answer)) + answer)
                except OSError:
                    return  # the device was killed while it waited

    def _answer(self, request: Request) -> Answer:
        handler = self._handlers.get(request.op)
        try:
            if handler is None:
                raise OSError(_EIO, f"request {request.op} is not known")
            answer = handler(request)
            if len(answer[2]) > request.room:
                raise OSError(_EIO, f"request {request.op}: {len(answer[2])} bytes for a room of {request.room}")
            return answer
        except (DiskFault, ValueError) as error:
            self._bench.note("fault", op=request.op, error=str(error))
            return -_EIO, 0, b""
        except OSError as error:
            return -(error.errno or _EIO), 0, b""

    def _cost(self, work: str, ms: float) -> float:
        """Seconds to charge for something that takes the device `ms`."""
        charged_ms = ms * self._bench.cost_scale
        self._charged(work, charged_ms)
        return charged_ms / 1000

    def _charged(self, work: str, ms: float) -> None:
        if ms:
            self._bench.charged_ms[work] = self._bench.charged_ms.get(work, 0.0) + ms

    # -- peripherals --

    def _buttons(self, _request: Request) -> Answer:
        missed, mask, ticks = self._bench.buttons.look(host_ms())
        return mask | (ops.MISSED if missed else 0), ticks, b""

    def _indicator(self, request: Request) -> Answer:
        self._bench.indicator.set(request.a, bool(request.index), request.b, host_ms())
        return _NOTHING

    def _camera_start(self, request: Request) -> Answer:
        self._bench.camera.start(request.a, request.b)
        return _NOTHING

    def _camera_fetch(self, request: Request) -> Answer:
        answer: Answer = self._bench.camera.fetch(request.room)
        self._bench.power.spend(
            self._cost("camera", len(answer[2]) / self._bench.hardware.costs.camera_bytes_per_s * 1000)
        )
        return answer

    def _microphone_read(self, request: Request) -> Answer:
        samples = self._bench.microphone.read(request.room)
        return len(samples), 0, samples

    def _gnss_read(self, request: Request) -> Answer:
        sentences = self._bench.gnss.read(request.room, host_ms())
        return len(sentences), 0, sentences

    def _i2c_read(self, request: Request) -> Answer:
        found = bytearray(request.room)
        self._bench.i2c.readfrom_mem_into(request.index, request.a, found)
        return len(found), 0, bytes(found)

    def _entropy(self, request: Request) -> Answer:
        source = self._bench.entropy
        if source is None:
            raise OSError(_EIO, "this world gives no entropy")
        return 0, 0, source.randbytes(request.room)

    def _route(self, request: Request) -> Answer:
        host, port = self._bench.broker or (request.payload.decode(), request.a)
        return self._bench.link.route(host, port), 0, b""

    # -- storage --

    def _sector_erase(self, request: Request) -> Answer:
        sectors, index = self._bench.sectors, request.index
        cost = self._cost("flash", self._bench.hardware.costs.sector_erase_ms)
        self._bench.power.perform(
            "sector_erase", cost, lambda: sectors.erase(index), lambda rng: sectors.tear_erase(index, rng)
        )
        self._bench.note("sector_erase", sector=index)
        return _NOTHING

    def _sector_program(self, request: Request) -> Answer:
        sectors, index, offset, data = self._bench.sectors, request.index, request.a, request.payload
        self._bench.power.perform(
            "sector_program",
            self._cost("flash", self._bench.hardware.costs.sector_program_ms),
            lambda: sectors.program(index, offset, data),
            lambda rng: sectors.tear_program(index, offset, data, rng),
        )
        return _NOTHING

    def _card(self) -> BlockDisk:
        if self._bench.card_removed:
            raise OSError(_EIO, "the card was removed")
        return self._bench.disk

    def _block_read(self, request: Request) -> Answer:
        return 0, 0, self._card().read(request.a, request.b, request.room)

    def _block_write(self, request: Request) -> Answer:
        disk, block, offset, data = self._card(), request.a, request.b, request.payload
        self._bench.power.perform(
            "block_write",
            self._cost("storage", len(data) / self._bench.hardware.costs.disk_bytes_per_s * 1000),
            lambda: disk.write(block, offset, data),
            lambda rng: disk.tear_write(block, offset, data, rng),
        )
        return _NOTHING

    def _block_erase(self, request: Request) -> Answer:
        disk, block = self._card(), request.a
        cost = 0.0 if disk.write_cache else self._cost("storage", self._bench.hardware.costs.sector_erase_ms)
        self._bench.power.perform(
            "block_erase", cost, lambda: disk.erase(block), lambda rng: disk.tear_erase(block, rng)
        )
        return _NOTHING

    def _block_sync(self, _: Request) -> Answer:
        disk = self._card()
        cost = self._cost("storage", self._bench.hardware.costs.disk_sync_ms)
        self._bench.power.perform("block_sync", cost, disk.sync, lambda _: None)
        return _NOTHING


class FileTasks:
    """Work for lapel_sim.board.run_files: format, write, read, list, fill and remove files of the real file system."""

    def __init__(self) -> None:
        self._tasks: list[tuple[int, str, bytes, int]] = []
        self._content = b""
        self._given: dict[str, bytearray] = {}
        self._current = ""

    def format(self) -> None:
        self._tasks.append((ops.FILE_FORMAT, "", b"", 0))

    def write(self, path: str, content: bytes) -> None:
        self._tasks.append((ops.FILE_WRITE, path, content, len(content)))

    def read(self, path: str) -> None:
        self._tasks.append((ops.FILE_DUMP, path, b"", 0))

    def list(self) -> None:
        """Ask for every file's path; the answer is the result named ""."""
        self._tasks.append((ops.FILE_LIST, "", b"", 0))

    def fill(self, path: str, leave_bytes: int) -> None:
        """Write filler until only about `leave_bytes` are free."""
        self._tasks.append((ops.FILE_FILL, path, b"", leave_bytes))

    def remove(self, path: str) -> None:
        self._tasks.append((ops.FILE_REMOVE, path, b"", 0))

    @property
    def results(self) -> dict[str, bytes]:
        """Content by path, of what was read; "" has the listing, a path a line."""
        return {path: bytes(content) for path, content in self._given.items()}

    def handlers(self) -> dict[int, Callable[[Request], Answer]]:
        return {ops.FILE_NEXT: self._next, ops.FILE_READ: self._piece, ops.FILE_GIVE: self._take}

    def _next(self, _: Request) -> Answer:
        if not self._tasks:
            return ops.FILE_DONE, 0, b""
        kind, path, self._content, size = self._tasks.pop(0)
        self._current = path
        if kind in (ops.FILE_DUMP, ops.FILE_LIST):
            self._given[path] = bytearray()
        return kind, size, path.encode()

    def _piece(self, request: Request) -> Answer:
        piece, self._content = self._content[: request.room], self._content[request.room :]
        return len(piece), 0, piece

    def _take(self, request: Request) -> Answer:
        self._given[self._current] += request.payload
        return _NOTHING
