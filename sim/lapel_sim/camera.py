"""A camera and a microphone that show and play footage in the device's own time, dropping what is not fetched as the
real ones do.
"""

import hashlib
from collections.abc import Callable
from pathlib import Path

from .footage import jpeg_frames, pcm, with_comment
from .hosttime import DeviceTicks, host_ms

_BYTES_PER_SAMPLE = 2
# I2S drivers hold this much: what is not read in time is overwritten.
_AUDIO_FIFO_MS = 400

Note = Callable[..., None]


class CameraModel:
    """Exposes a frame every interval from its start; the device gets the next one due after it asks."""

    def __init__(self, footage: Path, label: str, interval_ms: int, max_frame_bytes: int, note: Note) -> None:
        """`note(kind, **fields)` writes to the journal. `label` goes into each frame's JPEG comment."""
        self._footage = footage
        self._label = label
        self._interval_ms = interval_ms
        self._max_frame_bytes = max_frame_bytes
        self._note = note
        self._ticks = DeviceTicks(0)
        self._frames: tuple[bytes, ...] = ()
        self._size = (0, 0)
        self._started_ms: int | None = None
        self._wanted: int | None = None
        self._given = -1
        self._oversized = 0
        self.broken = False

    def load(self, width: int, height: int) -> None:
        """Read the footage ahead of its use: a camera starts in milliseconds, decoding a file does not."""
        self._frames = jpeg_frames(self._footage, width, height, self._interval_ms, self._max_frame_bytes)
        self._size = (width, height)

    def power_on(self, ticks: DeviceTicks) -> None:
        """A new boot: the camera is off and counts from the device's new ticks."""
        self._ticks = ticks
        self._started_ms = None
        self._wanted = None

    def make_oversized(self, count: int) -> None:
        """Make the next `count` frames larger than the board's frame buffer."""
        self._oversized = count

    def start(self, width: int, height: int) -> None:
        """Raises OSError when the camera is broken."""
        if self.broken:
            raise OSError(19, "the camera does not answer")
        if (width, height) != self._size:
            self.load(width, height)
        self._started_ms = host_ms()
        self._wanted = None
        self._given = -1
        self._note("camera", on=True, width=width, height=height, interval_ms=self._interval_ms)

    def stop(self) -> None:
        if self._started_ms is not None:
            self._started_ms = None
            self._note("camera", on=False)

    def wait_ms(self, readout_ms: float) -> int:
        """Milliseconds until the frame that this request gets can be read out; the first call chooses the frame.

        `readout_ms`: from the exposure until the JPEG is ready.
        """
        started = self._running()
        if self._wanted is None:
            elapsed = host_ms() - started
            self._wanted = max(self._given + 1, -(-elapsed // self._interval_ms))
        ready = started + self._wanted * self._interval_ms + int(readout_ms)
        return max(0, ready - host_ms())

    def fetch(self, room: int) -> tuple[int, int, bytes]:
        """(size or 0 when it does not fit, ticks of the exposure, JPEG) of the frame that wait_ms chose."""
        started = self._running()
        if self._wanted is None:
            raise OSError(11, "no frame was asked for")
        number, self._wanted = self._wanted, None
        skipped, self._given = number - self._given - 1, number
        ticks = self._ticks.at(started + number * self._interval_ms)
        jpeg = with_comment(self._frames[number % len(self._frames)], f"{self._label} {number} {ticks}")
        if self._oversized:
            self._oversized -= 1
            jpeg += bytes(max(0, room + 1 - len(jpeg)))
        fits = len(jpeg) <= room
        self._note(
            "frame",
            frame=number,
            ticks_of_frame=ticks,
            size=len(jpeg),
            sha256=hashlib.sha256(jpeg).hexdigest(),
            fits=fits,
            skipped=skipped,
        )
        return (len(jpeg), ticks, jpeg) if fits else (0, ticks, b"")

    def _running(self) -> int:
        if self.broken or self._started_ms is None:
            raise OSError(19, "the camera is off or does not answer")
        return self._started_ms


class MicrophoneModel:
    """Samples of the footage's sound at the device's own pace, through a buffer of 400 ms."""

    def __init__(self, footage: Path, note: Note) -> None:
        self._footage = footage
        self._note = note
        self._sound = b""
        self._rate_hz = 0
        self._started_ms: int | None = None
        self._given = 0
        self._overrun = 0
        self._digest = hashlib.sha256()

    def load(self, rate_hz: int) -> None:
        self._sound = pcm(self._footage, rate_hz)
        self._rate_hz = rate_hz

    def power_on(self) -> None:
        self._started_ms = None

    def start(self, rate_hz: int) -> None:
        if rate_hz != self._rate_hz:
            self.load(rate_hz)
        self._started_ms = host_ms()
        self._given = self._overrun = 0
        self._digest = hashlib.sha256()
        self._note("microphone", on=True, rate_hz=rate_hz)

    def stop(self) -> None:
        """Journals what was given since the start: bytes, their SHA-256, and how many bytes were overwritten unread."""
        if self._started_ms is not None:
            self._started_ms = None
            self._note(
                "microphone",
                on=False,
                given_bytes=self._given - self._overrun,
                overrun_bytes=self._overrun,
                sha256=self._digest.hexdigest(),
            )

    def backdate(self, ms: int) -> None:
        """Pretend to have been started `ms` earlier: what was due since then waits, as far as the buffer holds it."""
        if self._started_ms is not None:
            self._started_ms -= ms

    def read(self, room: int) -> bytes:
        """The oldest samples not given yet, at most `room` bytes; never waits."""
        if self._started_ms is None:
            raise OSError(19, "the microphone is off")
        there = (host_ms() - self._started_ms) * self._rate_hz // 1000 * _BYTES_PER_SAMPLE
        oldest = there - _AUDIO_FIFO_MS * self._rate_hz // 1000 * _BYTES_PER_SAMPLE
        if oldest > self._given:
            self._note("audio_overrun", lost_bytes=oldest - self._given)
            self._overrun += oldest - self._given
            self._given = oldest
        size = min(there - self._given, room) // _BYTES_PER_SAMPLE * _BYTES_PER_SAMPLE
        samples = self._piece(self._given, size)
        self._given += size
        self._digest.update(samples)
        return samples

    def _piece(self, start: int, size: int) -> bytes:
        pieces = []
        while size:
            at = start % len(self._sound)
            piece = self._sound[at : at + size]
            pieces.append(piece)
            start += len(piece)
            size -= len(piece)
        return b"".join(pieces)
