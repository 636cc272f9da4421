"""Live Matroska (RFC 9559): MJPEG video, PCM audio and a text track of events, written front to back.

Rules that hold here:

- Nothing already written is ever revised: Segment and Clusters have unknown size (RFC 8794 section 6.2), so a
  file cut at any byte still plays up to the last whole block.
- The payload is handed to the sink as it is, never copied; headers are packed into one small buffer that is
  reused, so a block costs no memory.
- Every size field of a block is four bytes wide, which makes every block header one of three fixed lengths.
- All times are whole milliseconds since the clip began (TimestampScale is 1,000,000 ns).
"""

import struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Protocol

    class Sink(Protocol):
        """Takes everything it is given before it returns, or raises OSError."""

        def write(self, data: "bytes | bytearray | memoryview") -> None: ...


VIDEO_TRACK = 1
AUDIO_TRACK = 2
TEXT_TRACK = 3

CLUSTER_MS = 2000
"""A new Cluster at least this often: what a player has to step over to seek."""

MAX_BLOCK_BYTES = 0x0FFFFFFE - 24
"""Largest payload a four-byte EBML size can hold with its block header."""

MAX_TIME_MS = 0xFFFFFFFF
"""Cluster timestamps are written in four bytes: 49 days."""

MATROSKA_EPOCH_MS = 978307200000
"""2001-01-01T00:00:00Z in Unix milliseconds, where DateUTC counts from (RFC 9559 section 5.1.2.11)."""

_APPLICATION = b"lapel"
_UNKNOWN_SIZE = b"\x01\xff\xff\xff\xff\xff\xff\xff"
_KEYFRAME = 0x80
_SIZE_4 = 0x10000000
_ZEROS = bytes(64)

_TYPE_VIDEO = 1
_TYPE_AUDIO = 2
_TYPE_SUBTITLE = 17


def _element(identifier: int, payload: bytes) -> bytes:
    return struct.pack(">I", identifier).lstrip(b"\0") + struct.pack(">I", _SIZE_4 | len(payload)) + payload


def _number(identifier: int, value: int) -> bytes:
    return _element(identifier, struct.pack(">I", value))


def _track(number: int, kind: int, codec: bytes, details: bytes) -> bytes:
    return _element(
        0xAE,
        _number(0xD7, number)
        + _number(0x73C5, number)
        + _number(0x83, kind)
        + _number(0x9C, 0)
        + _element(0x22B59C, b"und")
        + _element(0x86, codec)
        + details,
    )


def write_file_header(sink: "Sink", width: int, height: int, audio_rate_hz: int, date_ms: int) -> None:
    """EBML header, Segment start, Info and Tracks: everything before the first Cluster.

    `width` and `height` in pixels (0 = no video track), `audio_rate_hz` samples a second of mono s16le
    (0 = no audio track), `date_ms` Unix milliseconds of time 0 of the clip (0 = unknown, DateUTC left out).
    """
    ebml = (
        _number(0x4286, 1)
        + _number(0x42F7, 1)
        + _number(0x42F2, 4)
        + _number(0x42F3, 8)
        + _element(0x4282, b"matroska")
        + _number(0x4287, 4)
        + _number(0x4285, 2)
    )
    sink.write(_element(0x1A45DFA3, ebml) + b"\x18\x53\x80\x67" + _UNKNOWN_SIZE)
    info = _number(0x2AD7B1, 1000000) + _element(0x4D80, _APPLICATION) + _element(0x5741, _APPLICATION)
    if date_ms:
        info += _element(0x4461, struct.pack(">q", (date_ms - MATROSKA_EPOCH_MS) * 1000000))
    sink.write(_element(0x1549A966, info))
    tracks = b""
    if width and height:
        video = _number(0xB0, width) + _number(0xBA, height)
        tracks += _track(VIDEO_TRACK, _TYPE_VIDEO, b"V_MJPEG", _element(0xE0, video))
    if audio_rate_hz:
        audio = _element(0xB5, struct.pack(">d", audio_rate_hz)) + _number(0x9F, 1) + _number(0x6264, 16)
        tracks += _track(AUDIO_TRACK, _TYPE_AUDIO, b"A_PCM/INT/LIT", _element(0xE1, audio))
    tracks += _track(TEXT_TRACK, _TYPE_SUBTITLE, b"S_TEXT/UTF8", b"")
    sink.write(_element(0x1654AE6B, tracks))


class MatroskaWriter:
    """Writes one clip after another into `sink`; `begin` starts the next. Errors of the sink pass through."""

    def __init__(self, sink: "Sink") -> None:
        self._sink = sink
        self._cluster_ms = -1
        self._block = bytearray(9)
        self._group = bytearray(20)
        self._cluster = bytearray(b"\x1f\x43\xb6\x75" + _UNKNOWN_SIZE + b"\xe7\x84\x00\x00\x00\x00")

    def begin(self, width: int, height: int, audio_rate_hz: int, date_ms: int) -> None:
        """Write the file header (arguments as for `write_file_header`) and forget the clip before."""
        self._cluster_ms = -1
        write_file_header(self._sink, width, height, audio_rate_hz, date_ms)

    def frame(self, jpeg: "bytes | memoryview", at_ms: int) -> None:
        """One whole JPEG, captured `at_ms` milliseconds into the clip. Raises ValueError if out of range."""
        self._simple_block(VIDEO_TRACK, jpeg, at_ms)

    def audio(self, pcm: "bytes | memoryview", at_ms: int) -> None:
        """Mono s16le samples whose first was captured `at_ms` into the clip. Raises ValueError if out of range."""
        self._simple_block(AUDIO_TRACK, pcm, at_ms)

    def text(self, line: bytes, at_ms: int, duration_ms: int) -> None:
        """One event, as UTF-8, shown from `at_ms` for `duration_ms`. Raises ValueError if out of range."""
        size = len(line)
        relative_ms = self._enter_cluster(size, at_ms)
        # BlockDuration stands before the Block so that the whole header is one write.
        struct.pack_into(
            ">BIBBIBIBhB",
            self._group,
            0,
            0xA0,
            _SIZE_4 | (size + 15),
            0x9B,
            0x84,
            duration_ms,
            0xA1,
            _SIZE_4 | (size + 4),
            0x80 | TEXT_TRACK,
            relative_ms,
            0,
        )
        self._sink.write(self._group)
        self._sink.write(line)

    def void(self, size: int) -> None:
        """Write exactly `size` bytes (2 to 16,385) that players skip (RFC 8794 section 11.3.2)."""
        if size < 2 or size > 16385:
            raise ValueError("void of %d bytes" % size)
        if size <= 128:
            self._sink.write(bytes((0xEC, 0x80 | (size - 2))))
            left = size - 2
        else:
            left = size - 3
            self._sink.write(bytes((0xEC, 0x40 | (left >> 8), left & 0xFF)))
        while left:
            step = min(left, len(_ZEROS))
            self._sink.write(_ZEROS if step == len(_ZEROS) else _ZEROS[:step])
            left -= step

    def _simple_block(self, track: int, payload: "bytes | memoryview", at_ms: int) -> None:
        size = len(payload)
        relative_ms = self._enter_cluster(size, at_ms)
        struct.pack_into(">BIBhB", self._block, 0, 0xA3, _SIZE_4 | (size + 4), 0x80 | track, relative_ms, _KEYFRAME)
        self._sink.write(self._block)
        self._sink.write(payload)

    def _enter_cluster(self, size: int, at_ms: int) -> int:
        """Open a new Cluster if this block needs one; returns the block's time relative to its Cluster."""
        if size > MAX_BLOCK_BYTES or at_ms < 0 or at_ms > MAX_TIME_MS:
            raise ValueError("block of %d bytes at %d ms" % (size, at_ms))
        relative_ms = at_ms - self._cluster_ms
        # A block may be older than its Cluster (audio is delivered after a frame taken later), within int16.
        if self._cluster_ms < 0 or relative_ms >= CLUSTER_MS or relative_ms < -32768:
            struct.pack_into(">I", self._cluster, 14, at_ms)
            self._sink.write(self._cluster)
            self._cluster_ms = at_ms
            return 0
        return relative_ms
