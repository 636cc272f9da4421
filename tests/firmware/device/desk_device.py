"""Runs on the real MicroPython: the whole firmware on a board whose storage is a folder and whose clock runs fast.

`test_on_micropython.py` starts it, reads what it prints (one JSON object a line), and opens the clips that it left.
"""

import gc
import hashlib
import json
import sys
import time

from lapel_device.application import Application
from lapel_device.boards.vfs import VfsStorage
from lapel_device.keystore import provision_sectors
from lapel_device.matroska import MatroskaWriter
from lapel_device.runtime import Runtime
from lapel_protocol.orders import VisitState

FRAME_BYTES = 16384
SPEED = 8
"""Device milliseconds in one of the host's."""

_RECORD = 1
_ALARM = 2
_VISIT_STATE = 12  # a board's code has no names of numbers
_PLANNED = 1
_OVERDUE = 4
_WAITS_MS = (1000, 0, 2500, 0, 700, 0)  # at least so long before, beginning, in, ending, and after the clip
_GIVE_UP_MS = 120000

PIECE_BYTES = 512
"""More than an alarm needs at a time, less than wrapping a seed does."""

WHOLE_BYTES = 5120
"""What is free again later: the steps of wrapping a seed, and a clip."""


def tell(**fields: object) -> None:
    """Print one line for the test."""
    print(json.dumps(fields))  # noqa: T201 - the console is how this device talks to its test


def fill_frame(view: memoryview, number: int, size: int) -> None:
    """The bytes of frame `number`, which the test makes again by itself."""
    block = hashlib.sha256(b"frame %d" % number).digest()
    at = 0
    while at < size:
        piece = min(32, size - at)
        view[at : at + piece] = block[:piece]
        at += piece


def frame_size(number: int) -> int:
    """How large frame `number` is: from small to as large as the buffer."""
    return 500 + number * 1201 % (FRAME_BYTES - 500)


class Profile:
    name = "desk"
    hardware_id = "desk-device"
    max_frame_bytes = FRAME_BYTES
    frame_width = 320
    frame_height = 240
    frame_interval_ms = 100
    audio_rate_hz = 16000
    audio_block_bytes = 3200
    chunk_segments = 4
    window_bytes = 65536
    storage_reserve_bytes = 262144
    sync_segments = 4


class Clock:
    def ticks_ms(self) -> int:
        return int(time.ticks_ms() * SPEED) & 0x3FFFFFFF  # type: ignore[attr-defined,unused-ignore]

    def rtc_ms(self) -> int:
        return 0

    def set_rtc_ms(self, unix_ms: int) -> None:
        """TLS is not used here."""


class Buttons:
    """Holds RECORD until a clip begins, lets it go on for a while, holds it until the clip ends, then ends the run.

    By what the device does and not by its clock: on a busy machine a push of so many milliseconds may go unseen.
    """

    def __init__(self, camera: "Camera", clock: Clock) -> None:
        self.runtime: Runtime | None = None
        self.mask = 0
        self.ticks = 0
        self._clock = clock
        self._camera = camera
        self._step = 0
        self._since_ms = 0

    def look(self) -> bool:
        self.ticks = self._clock.ticks_ms()
        runtime = self.runtime
        if runtime is None:
            return False
        now_ms = runtime.now()
        waited = now_ms - self._since_ms > _WAITS_MS[self._step] and (self._step != 2 or self._camera.given > 5)
        on = runtime.application.wants_camera
        if waited and (self._step in (0, 4) or on == (self._step in (1, 2))):
            self._step += 1
            self._since_ms = now_ms
        runtime.stopped = self._step > 4 or now_ms > _GIVE_UP_MS
        self.mask = _RECORD if self._step in (1, 3) else 0
        return False


class Indicator:
    def set(self, rgb: int, vibrate: bool, buzzer_hz: int) -> None:
        """Nobody looks."""


class Camera:
    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._view = memoryview(bytearray(FRAME_BYTES))
        self.given = 0

    def start(self, width: int, height: int) -> None:
        """Always on."""

    def stop(self) -> None:
        """Always on."""

    def take(self) -> memoryview:
        size = frame_size(self.given)
        fill_frame(self._view, self.given, size)
        self.given += 1
        return self._view[:size]

    async def capture(self) -> "tuple[memoryview, int, int, int]":
        return self.take(), self._clock.ticks_ms(), 320, 240


class Microphone:
    def start(self, rate_hz: int) -> None:
        """Always on."""

    def stop(self) -> None:
        """Always on."""

    def readinto(self, buffer: memoryview) -> int:
        return 0


class Battery:
    def read(self) -> "tuple[int, int]":
        return 80, 300


class Sectors:
    count = 2
    size_bytes = 4096

    def __init__(self) -> None:
        self._data = [bytearray(b"\xff" * 128), bytearray(b"\xff" * 128)]  # the store uses no more

    def read(self, index: int, offset: int, buffer: memoryview) -> None:
        buffer[:] = self._data[index][offset : offset + len(buffer)]

    def erase(self, index: int) -> None:
        self._data[index][:] = b"\xff" * 128

    def program(self, index: int, offset: int, data: bytes) -> None:
        for at in range(len(data)):
            self._data[index][offset + at] &= data[at]


class Receiver:
    """Says the same fix once a second."""

    FIX = b"$GNGGA,092725.00,5128.67400,N,00000.09000,W,1,08,1.01,50.0,M,48.0,M,,*68\r\n"
    started = 0
    reads = 0

    def start(self) -> None:
        self.started += 1

    def stop(self) -> None:
        """Nobody looks."""

    def readinto(self, buffer: memoryview) -> int:
        self.reads += 1
        if self.reads % 20:
            return 0
        buffer[: len(self.FIX)] = self.FIX
        return len(self.FIX)


class Network:
    def is_up(self) -> bool:
        return False

    def open(self, host: str, port: int, tls: object) -> None:
        raise OSError(113)


class Watchdog:
    fed = 0

    def feed(self) -> None:
        self.fed += 1


class Board:
    def __init__(self, root: str) -> None:
        self.profile = Profile()
        self.clock = Clock()
        self.indicator = Indicator()
        self.camera = Camera(self.clock)
        self.buttons = Buttons(self.camera, self.clock)
        self.microphone = Microphone()
        self.battery = Battery()
        self.sectors = Sectors()
        self.storage = VfsStorage(root)
        self.network = Network()
        self.watchdog = Watchdog()
        self.receiver = Receiver()
        self._drawn = 0

    def accelerometer(self) -> None:
        """None is fitted."""

    def gnss(self) -> Receiver:
        return self.receiver

    def entropy(self, size: int) -> bytes:
        self._drawn += 1
        return (hashlib.sha256(b"entropy %d" % self._drawn).digest() * 2)[:size]

    def log(self, line: str) -> None:
        tell(log=line)

    def reset(self) -> None:
        tell(reset=True)


def heap(phase: str) -> None:
    """Live and free bytes after a collection."""
    gc.collect()
    tell(phase=phase, live=gc.mem_alloc(), free=gc.mem_free())  # type: ignore[attr-defined,unused-ignore]


def record(board: Board, application: Application) -> None:
    """One clip of 60 frames with audio, by hand, in invented time."""
    samples = memoryview(bytearray(3200))
    push(board, application, samples, _RECORD, 0, 6000)
    heap("recording")
    push(board, application, samples, 0, 6000, 9000)
    push(board, application, samples, _RECORD, 9000, 12000)


def push(board: Board, application: Application, samples: memoryview, button: int, now_ms: int, until_ms: int) -> None:
    """Let time pass; after its first second a button is held for 1.8 s or, to raise an alarm, for 2.8 s."""
    down_ms = now_ms + 1000
    up_ms = now_ms + (3800 if button == _ALARM else 2800)
    while now_ms < until_ms:
        now_ms += 20
        application.sample_buttons(button if down_ms < now_ms < up_ms else 0, now_ms, now_ms)
        if application.wants_camera and now_ms % 100 == 0:
            application.frame(board.camera.take(), now_ms, 320, 240, now_ms)
        if application.wants_audio and now_ms % 100 == 0:
            application.audio(samples, now_ms)
        application.poll(now_ms)


def cut_up() -> "list[bytearray | None]":
    """Fill the heap with pieces and let go of every other one: much is free, and nothing longer than a piece."""
    pieces: list[bytearray | None] = [None] * 256
    at = 0
    try:
        while True:
            pieces[at] = bytearray(PIECE_BYTES)
            at += 1
    except MemoryError:
        for i in range(0, at, 2):
            pieces[i] = None
    return pieces


def raise_alarm(board: Board, application: Application) -> None:
    """An alarm for whose clip no seed is wrapped ahead, on a heap that stays cut up until a while after it."""
    application.stage_ms = 60000
    samples = memoryview(bytearray(3200))
    whole = bytearray(WHOLE_BYTES)
    pieces = cut_up()
    push(board, application, samples, _ALARM, 0, 4000)
    status = application.status()
    tell(cut_up=True, alarm=status.alarm, recording=status.recording, events=status.events_held)
    del whole, pieces
    push(board, application, samples, 0, 4000, 12000)
    push(board, application, samples, _RECORD, 12000, 16000)
    tell(after=True, alarm=application.status().alarm, counter=application.status().alarm_counter)


def visit(board: Board, application: Application) -> None:
    """Everything that a visit brings, and a clip and an alarm within it."""
    samples = memoryview(bytearray(640))
    application.on_command(_VISIT_STATE, VisitState(12, _PLANNED, 900, 0, 0), 0)
    heap("planned")
    double_press(application, 1000)
    tell(events=application.status().events_held)
    push(board, application, samples, _RECORD, 2000, 6000)
    heap("visited")
    push(board, application, samples, _ALARM, 6000, 12000)
    status = application.status()
    tell(alarm=status.alarm, recording=status.recording, started=board.receiver.started, reads=board.receiver.reads)
    application.on_command(_VISIT_STATE, VisitState(12, _OVERDUE, 900, 0, 0), 12000)
    push(board, application, samples, _RECORD, 12000, 16000)


def double_press(application: Application, now_ms: int) -> None:
    """Two quick pushes of RECORD."""
    for step in range(50):
        at_ms = now_ms + 20 * step
        application.sample_buttons(_RECORD if step % 12 < 5 and step < 20 else 0, at_ms, at_ms)
        application.poll(now_ms + 20 * step)


class Nowhere:
    """A sink that keeps nothing."""

    def write(self, data: "bytes | bytearray | memoryview") -> None:
        """Forget it."""


def measure_writer(view: memoryview) -> None:
    """What the Matroska writer allocates for ten frames."""
    writer = MatroskaWriter(Nowhere())
    writer.begin(320, 240, 16000, 0)
    writer.frame(view, 0)
    gc.disable()
    before = gc.mem_alloc()  # type: ignore[attr-defined,unused-ignore]
    for at_ms in range(100, 1100, 100):
        writer.frame(view, at_ms)
    allocated = gc.mem_alloc() - before  # type: ignore[attr-defined,unused-ignore]
    gc.enable()
    tell(phase="ten frames", allocated=allocated)


def main() -> None:
    """Arguments: the storage folder, CK_0 and P_0 in hex, and "hand", "visit", "alarm" or "runtime"."""
    root, chain_key, pool, how = sys.argv[1:5]
    board = Board(root)
    provision_sectors(board.sectors, bytes.fromhex(chain_key), bytes.fromhex(pool))  # type: ignore[arg-type]
    heap("imported")
    measure_writer(board.camera.take())
    board.camera.given = 0
    application = Application(board)  # type: ignore[arg-type]
    if how == "hand":
        application.boot(0)
        heap("booted")
        record(board, application)
    elif how == "visit":
        application.boot(0)
        heap("booted")
        visit(board, application)
    elif how == "alarm":
        application.boot(0)
        raise_alarm(board, application)
    else:
        runtime = Runtime(board, application)  # type: ignore[arg-type]
        board.buttons.runtime = runtime
        import asyncio

        asyncio.run(runtime.run())
    heap("done")
    status = application.status()
    tell(fault=status.fault, clip=status.clip, frames=status.frames, given=board.camera.given, fed=board.watchdog.fed)
