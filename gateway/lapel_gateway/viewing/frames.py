"""The newest whole picture in a clip's Matroska, found while its bytes come in, and whether it can be decoded.

Rules that hold here
- The Matroska comes from a device and is distrusted: no claim of a length makes room for anything, and what is no
  picture, or a larger one than any camera makes, is passed over.
- At most one picture is kept beside the one that is coming in.
"""

from __future__ import annotations

import av
import av.error
from av.video.codeccontext import VideoCodecContext

from lapel_gateway.viewing.media import MAX_PICTURE_PIXELS

MAX_FRAME_BYTES = 1 << 20
"""Ten times what a camera here makes of 1280 by 720."""

_SEGMENT = bytes.fromhex("18538067")
_CLUSTER = bytes.fromhex("1f43b675")
_SIMPLE_BLOCK = b"\xa3"
_ENTERED = (_SEGMENT, _CLUSTER)
"""A live file does not say how long they are: they are read into."""

_CLUSTER_START = _CLUSTER + b"\x01\xff\xff\xff\xff\xff\xff\xff"
"""How devices begin a Cluster: whoever has missed something goes on reading from the next one."""

_HEAD_BYTES = 12
_BLOCK_HEAD_BYTES = 4
"""Track (a number of one byte), time, flags (RFC 9559, 10.2)."""

_JPEG = b"\xff\xd8"


class FrameFinder:
    """Finds pictures in a Matroska that is handed over piece by piece."""

    def __init__(self) -> None:
        self.frame = b""
        """The newest whole picture, "" before the first."""
        self._waiting = bytearray()
        self._skip = 0
        self._block: int | None = None
        self._lost = False

    def resume(self) -> None:
        """What follows does not continue what was handed over: look for where a Cluster begins."""
        self._waiting.clear()
        self._skip, self._block, self._lost = 0, None, True

    def write(self, piece: bytes | bytearray) -> None:
        """Take the next bytes."""
        if self._skip >= len(piece):
            self._skip -= len(piece)
            return
        self._waiting += memoryview(piece)[self._skip :]
        self._skip = 0
        while self._step():
            pass

    def _step(self) -> bool:
        """Read one element, or the block that is coming in; False when more bytes are needed."""
        waiting = self._waiting
        if self._lost:
            at = waiting.find(_CLUSTER_START)
            if at < 0:
                del waiting[: -len(_CLUSTER_START)]
                return False
            del waiting[:at]
            self._lost = False
        if self._block is not None:
            if len(waiting) < self._block:
                return False
            if waiting[_BLOCK_HEAD_BYTES : _BLOCK_HEAD_BYTES + 2] == _JPEG:
                self.frame = bytes(waiting[_BLOCK_HEAD_BYTES : self._block])
            del waiting[: self._block]
            self._block = None
            return True
        return self._enter()

    def _enter(self) -> bool:
        waiting = self._waiting
        name_bytes = _length(waiting[:1])
        size_bytes = _length(waiting[name_bytes : name_bytes + 1]) if name_bytes else 0
        if len(waiting) > name_bytes and not size_bytes:
            self._lost = True  # no Matroska: what follows may be some again
            del waiting[:1]
            return True
        head = name_bytes + size_bytes
        if not size_bytes or len(waiting) < head:
            return False
        name = bytes(waiting[:name_bytes])
        size = int.from_bytes(waiting[name_bytes:head], "big") & ((1 << 7 * size_bytes) - 1)
        del waiting[:head]
        if name in _ENTERED:
            return True
        if name == _SIMPLE_BLOCK and _BLOCK_HEAD_BYTES < size <= MAX_FRAME_BYTES:
            self._block = size
            return True
        gone = min(size, len(waiting))
        del waiting[:gone]
        self._skip = size - gone
        return self._skip == 0 and bool(waiting)


def decodes(jpeg: bytes) -> bool:
    """Whether a picture can be decoded, whole and of bounded size."""
    decoder = av.CodecContext.create("mjpeg", "r")
    if not isinstance(decoder, VideoCodecContext):
        raise TypeError("mjpeg is not a video codec")
    decoder.thread_count = 1
    decoder.options = {"err_detect": "explode", "max_pixels": str(MAX_PICTURE_PIXELS)}
    try:
        return bool(decoder.decode(av.Packet(jpeg)))
    except av.error.FFmpegError:
        return False


def _length(first: bytearray) -> int:
    """Length in bytes (1-8) of the EBML number that starts with this byte (RFC 8794, 4); 0 when there is none."""
    return 9 - first[0].bit_length() if first and first[0] else 0
