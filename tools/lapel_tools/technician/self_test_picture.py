"""Whether what a camera gave is a picture: it decodes, has the size that was asked for, and shows something."""

from __future__ import annotations

from dataclasses import dataclass

import av
from av.error import FFmpegError

_STEP = 97
"""Every so many-th point tells, on every row another."""
_LEAST_SPREAD = 12
"""Of 255, between the darkest and the brightest twentieth: a covered lens gives noise of less."""


@dataclass(frozen=True)
class Picture:
    """A picture's size in points, its mean brightness and how far dark and bright are apart, of 255."""

    width: int
    height: int
    brightness: int
    spread: int

    @property
    def uniform(self) -> bool:
        """Whether it shows nothing, black or otherwise."""
        return self.spread < _LEAST_SPREAD


def judge_picture(jpeg: bytes) -> Picture | None:
    """What a JPEG shows, None when it cannot be decoded."""
    try:
        decoder = av.CodecContext.create("mjpeg", "r")
        frames = decoder.decode(av.Packet(jpeg))
    except (FFmpegError, ValueError):
        return None
    if len(frames) != 1 or not isinstance(frames[0], av.VideoFrame):
        return None
    frame = frames[0]
    grey = frame.reformat(format="gray")
    plane = grey.planes[0]
    content, stride = bytes(plane), plane.line_size
    points = sorted(
        content[row * stride + column] for row in range(grey.height) for column in range(row % _STEP, grey.width, _STEP)
    )
    if not points:
        return None
    edge = len(points) // 20
    return Picture(grey.width, grey.height, sum(points) // len(points), points[-1 - edge] - points[edge])
