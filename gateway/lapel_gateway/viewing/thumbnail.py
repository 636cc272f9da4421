"""A clip's picture in small, as lists show it: a sharp one, and one on which nobody can be recognised.

Rules that hold here
- The picture is the one of a few, spread over the clip's beginning, that shows most: a first one is often black.
- The blurred one is made of so few pixels that no sharpening brings a face back. It is for those who may play the clip
  and have not said why they look: it tells clips apart and shows nobody.
- They are helps for finding clips, made anew by every assembly; neither is evidence, and none is forwarded or exported.
"""

from __future__ import annotations

import statistics
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

import av
import av.error
from av.video.codeccontext import VideoCodecContext
from av.video.reformatter import ColorRange, Interpolation

from lapel_gateway.viewing.media import Survey, opened, picture_decoder

if TYPE_CHECKING:
    from av.packet import Packet
    from av.stream import Stream
    from av.video.frame import VideoFrame

THUMBNAIL = "thumbnail.jpg"
BLURRED = "blurred.jpg"

WIDTH = 320
BLURRED_WIDTH = 16
"""Pixels across the whole picture: a face, where it fills a third of it, is five of them wide."""

LOOKED_AT = 6
"""Pictures that are compared; each is one decoded JPEG."""

BEGINNING_MS = 15_000


def write_thumbnails(matroska: Path, survey: Survey, folder: Path) -> None:
    """Write both pictures of a surveyed clip into ``folder``, or none where none can be made. Raises OSError."""
    best = _best_picture(matroska, survey)
    if best is None:
        return
    try:
        made = {THUMBNAIL: _jpeg(best, WIDTH), BLURRED: _jpeg(_shrunk(best, BLURRED_WIDTH), WIDTH)}
    except (av.error.FFmpegError, ValueError, MemoryError):
        return  # a picture of a shape that nothing makes smaller: the clip itself is none the worse
    for name, content in made.items():
        (folder / name).write_bytes(content)


def _best_picture(matroska: Path, survey: Survey) -> VideoFrame | None:
    times = list(survey.frames_ms)
    if not times:
        return None
    early = [number for number, at_ms in enumerate(times) if at_ms <= times[0] + BEGINNING_MS]
    step = max(1, len(early) // LOOKED_AT)
    wanted = set(early[::step])
    best: tuple[float, VideoFrame] | None = None
    number = -1
    with matroska.open("rb") as file, opened(file) as tracks:
        if tracks is None or tracks.video is None:
            return None
        decoder = picture_decoder(tracks.video)
        for packet, _ in tracks.packets():
            if packet.stream is not tracks.video:
                continue
            number += 1
            # After the beginning, any picture is better than none.
            if number not in wanted and (number <= early[-1] or best is not None):
                if best is not None and number > early[-1]:
                    break
                continue
            picture = _decoded(decoder, packet)
            if picture is not None and (best is None or _shown(picture) > best[0]):
                best = (_shown(picture), picture)
    return best[1] if best else None


def _decoded(decoder: VideoCodecContext, packet: Packet[Stream]) -> VideoFrame | None:
    try:
        pictures = decoder.decode(packet)
    except (av.error.FFmpegError, MemoryError):
        return None
    return pictures[0] if pictures else None


def _shown(picture: VideoFrame) -> float:
    """How much a picture shows: how far its brightness is spread."""
    small = picture.reformat(32, 18, "gray", interpolation=Interpolation.AREA)
    plane = small.planes[0]
    lines = bytes(plane)
    return statistics.pstdev(
        value for line in range(18) for value in lines[line * plane.line_size : line * plane.line_size + 32]
    )


def _shrunk(picture: VideoFrame, width: int) -> VideoFrame:
    height = max(2, round(picture.height * width / picture.width))
    return picture.reformat(width, height, "yuvj420p", interpolation=Interpolation.AREA)


def _jpeg(picture: VideoFrame, width: int) -> bytes:
    height = max(2, round(picture.height * width / picture.width)) & ~1
    encoder = av.CodecContext.create("mjpeg", "w")
    if not isinstance(encoder, VideoCodecContext):
        raise TypeError("mjpeg is not a video codec")
    encoder.width, encoder.height = width, height
    encoder.pix_fmt = "yuvj420p"
    encoder.color_range = ColorRange.JPEG
    encoder.time_base = Fraction(1, 1000)
    encoder.thread_count = 1
    encoder.options = {"qmin": "3", "qmax": "6"}
    frame = picture.reformat(
        width, height, "yuvj420p", dst_color_range=ColorRange.JPEG, interpolation=Interpolation.BICUBIC
    )
    frame.pts, frame.time_base, frame.pict_type = 0, encoder.time_base, 0
    return b"".join(bytes(packet) for packet in [*encoder.encode(frame), *encoder.encode(None)])
