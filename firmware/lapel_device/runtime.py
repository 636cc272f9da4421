"""Runs the application on a board: the only module that knows asyncio (the subset that both Pythons have).

Rules that hold here:

- The application is synchronous; these loops only carry time, levels, frames and samples to it.
- Ticks wrap at 2^30; from here on time is monotonic milliseconds since boot and never wraps.
- The watchdog is fed only while every loop makes progress: one that hangs restarts the device, which then settles
  its clip and repeats its alarm.
- What goes wrong unexpectedly is logged by its type and place, never with a value, and ends in a restart.
"""

import asyncio
import gc
import sys

from lapel_protocol.limits import TICKS_PERIOD

from .application import Application

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from typing import Any

    from .boards.contract import Board
    from .slots import Running

POLL_MS = 10
"""Buttons, timers and the link: presses are debounced over three of these."""

CAMERA_IDLE_MS = 50
AUDIO_MS = 20
AUDIO_BLOCKS = 8
"""Blocks taken in one turn at most: a loop that another held up for a while catches up before samples are lost."""

STALL_MS = 8000
"""A loop that has not come round for this long has hung: the longest honest step is a frame over a slow bus."""

RETRY_MS = 1000
"""Between attempts to start a camera or microphone that does not answer; the other goes on meanwhile."""

_LOOPS = 3
_POLLING = 0
_CAMERA = 1
_AUDIO = 2


class Monotonic:
    """Milliseconds since boot from ticks that wrap at 2^30. Ask at least once in 12 days."""

    def __init__(self, ticks: int) -> None:
        self._last = ticks
        self._now_ms = 0

    def now(self, ticks: int) -> int:
        """The time of a reading that is not older than the one before."""
        self._now_ms += (ticks - self._last) & (TICKS_PERIOD - 1)
        self._last = ticks
        return self._now_ms

    def at(self, ticks: int) -> int:
        """The time of a reading from the recent past (up to 6 days before the latest `now`)."""
        return self._now_ms - ((self._last - ticks) & (TICKS_PERIOD - 1))


class Runtime:
    """The loops of one board."""

    def __init__(self, board: "Board", application: Application) -> None:
        self._board = board
        self.application = application
        self._time = Monotonic(board.clock.ticks_ms())
        self._progress_ms = [0] * _LOOPS
        self._failure: Exception | None = None
        self.stopped = False

    def now(self) -> int:
        """Monotonic milliseconds since boot."""
        return self._time.now(self._board.clock.ticks_ms())

    async def run(self) -> None:
        """Boot, then run until `stopped` is set, or until something unexpected happens, which is raised."""
        self.application.boot(self.now())
        # As asyncio.gather does it, whose module would take another KB of heap.
        others = [asyncio.create_task(self._watched(loop)) for loop in (self.camera_loop(), self.audio_loop())]
        await self.poll_loop()
        for task in others:
            await task
        if self._failure is not None:
            raise self._failure

    async def _watched(self, loop: "Coroutine[Any, Any, None]") -> None:
        """A loop whose failure ends the polling."""
        try:
            await loop
        except Exception as error:  # noqa: BLE001 - it is raised again where somebody waits for it
            self._failure = error

    async def poll_loop(self) -> None:
        """Buttons, timers, link, watchdog."""
        board = self._board
        buttons = board.buttons
        application = self.application
        while not self.stopped:
            if self._failure is not None:
                raise self._failure
            missed = True
            while missed:
                missed = buttons.look()
                now_ms = self._alive(_POLLING)
                application.sample_buttons(buttons.mask, self._time.at(buttons.ticks), now_ms)
            application.poll(now_ms)
            if self._all_alive(now_ms):
                board.watchdog.feed()
            await asyncio.sleep(POLL_MS / 1000)

    async def camera_loop(self) -> None:
        """Start the camera when it is wanted, pass frames on, stop it when it is not."""
        board = self._board
        profile = board.profile
        camera = board.camera
        application = self.application
        on = False
        next_ms = 0
        while not self.stopped:
            now_ms = self._alive(_CAMERA)
            if not application.wants_camera:
                if on:
                    camera.stop()
                    on = False
                await asyncio.sleep(CAMERA_IDLE_MS / 1000)
                continue
            if now_ms < next_ms:
                await asyncio.sleep(min(next_ms - now_ms, CAMERA_IDLE_MS) / 1000)
                continue
            try:
                if not on:
                    camera.start(profile.frame_width, profile.frame_height)
                    on = True
                next_ms = now_ms + application.frame_interval_ms
                frame, ticks, width, height = await camera.capture()
                now_ms = self._alive(_CAMERA)
                application.frame(frame, self._time.at(ticks), width, height, now_ms)
            except OSError as error:
                application.source_failed("camera", error, self._alive(_CAMERA))
                camera.stop()
                on = False
                next_ms = now_ms + RETRY_MS
            # Also when a capture is late: the other loops get their turn between two frames.
            await asyncio.sleep(0)

    async def audio_loop(self) -> None:
        """Start the microphone when it is wanted, pass samples on, stop it when it is not."""
        board = self._board
        microphone = board.microphone
        application = self.application
        block = memoryview(bytearray(board.profile.audio_block_bytes))
        on = False
        next_ms = 0
        while not self.stopped:
            now_ms = self._alive(_AUDIO)
            try:
                if on and not application.wants_audio:
                    microphone.stop()
                    on = False
                elif not on and application.wants_audio and now_ms >= next_ms:
                    microphone.start(board.profile.audio_rate_hz)
                    on = True
                for _ in range(AUDIO_BLOCKS if on else 0):
                    size = microphone.readinto(block)
                    if size:
                        application.audio(block[:size], now_ms)
                    if size < len(block):
                        break
            except OSError as error:
                application.source_failed("microphone", error, now_ms)
                on = False
                next_ms = now_ms + RETRY_MS
            await asyncio.sleep(AUDIO_MS / 1000)

    def _alive(self, loop: int) -> int:
        now_ms = self.now()
        self._progress_ms[loop] = now_ms
        return now_ms

    def _all_alive(self, now_ms: int) -> bool:
        return now_ms - min(self._progress_ms) <= STALL_MS


def run(board: "Board", running: "Running | None" = None) -> None:
    """Run the firmware on a board until it fails, log why, and restart the board. Does not return on hardware.

    `running`: what the loader chose, None where firmware is not in slots.
    """
    try:
        asyncio.run(Runtime(board, Application(board, running)).run())
    except Exception as error:  # noqa: BLE001 - the outermost boundary: whatever it is, the device must come back
        gc.collect()
        try:
            log_failure(error, board.log)
        except MemoryError:
            pass  # nobody hears why, but the device comes back
    board.reset()


def log_failure(error: Exception, log: "Callable[[str], None]") -> None:
    """Log the type of an unexpected error and where it was raised; its text could hold what must not be printed."""
    log("stopped by %s" % type(error).__name__)
    if isinstance(error, OSError):
        log("it said: %s" % error)
    print_exception = getattr(sys, "print_exception", None)
    if print_exception is None:
        trace = error.__traceback__
        while trace is not None:
            log("at %s:%d" % (trace.tb_frame.f_code.co_filename, trace.tb_lineno))
            trace = trace.tb_next
        return
    from io import StringIO

    text = StringIO()
    print_exception(error, text)
    for line in text.getvalue().split("\n"):
        # MicroPython's traceback lines: `  File "lapel_device/x.py", line 3, in f`; the last line is the text.
        if line.startswith("  File "):
            log(line.strip())
