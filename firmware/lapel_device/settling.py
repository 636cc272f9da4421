"""Reading a clip through from its start, to learn where it ends (SPEC 6.3).

Used for a clip that power or storage cut off while it was recorded: the keys died with its boot, so whole segments are
told from torn ones by their check. A segment at a time, so that a boot does not wait for a long clip.
"""

import struct
from binascii import crc32

from lapel_protocol.clip import RECORD_CLIP_END, Head, head_of, peek_clip
from lapel_protocol.crypto import sampled
from lapel_protocol.errors import ProtocolError
from lapel_protocol.limits import CHECK_STRIDE_BYTES, CLIP_END_BYTES, CLIP_HEADER_BYTES, SEGMENT_HEADER_BYTES, TAG_BYTES
from lapel_protocol.stream import decode_segment_header

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .boards.contract import File
    from .clip_writer import SpoolClip

GOING_ON = 0
ENDED = 1  # the end record is there and repeats the head
CUT = 2

_CHECK_AT = 24
_IO_ERROR = 5
# Clip end, SPEC 6.2: the number of segments and the head.
_END_SEGMENTS_AT = 16
_END_HEAD_AT = 56


def read_full(file: "File", buffer: memoryview) -> bool:
    """Fill the buffer; False when the file ends before. Raises OSError."""
    got = 0
    while got < len(buffer):
        more = file.readinto(buffer[got:])
        if not more:
            return False
        got += more
    return True


class Walk:
    """Reads one clip of `device` through `scratch` (at least CLIP_HEADER_BYTES); may be used again for the next."""

    def __init__(self, device: bytes, scratch: memoryview) -> None:
        self._device = device
        self._scratch = scratch
        self._file: File | None = None
        self._head = Head(b"", 0)
        self._bytes = 0
        self.entry: SpoolClip | None = None

    def begin(self, entry: "SpoolClip", file: "File") -> None:
        """Start with an open file, which is closed at the end. Raises OSError when the header cannot be read."""
        self.entry = entry
        self._file = file
        header = self._scratch[:CLIP_HEADER_BYTES]
        if not read_full(file, header):
            raise OSError(_IO_ERROR)
        self._head = head_of(header)
        self._bytes = CLIP_HEADER_BYTES

    def step(self) -> int:
        """Take in one more segment; GOING_ON, or ENDED or CUT with the entry's segments, length and head set."""
        entry = self.entry
        file = self._file
        if entry is None or file is None:
            return CUT
        if self._segment(entry, file):
            return GOING_ON
        ended = self._end(entry, file)
        entry.segments = self._head.count
        entry.content_bytes = self._bytes
        entry.head = self._head.value
        self.stop()
        return ENDED if ended else CUT

    def stop(self) -> None:
        """Let the clip go, wherever the reading is."""
        if self._file is not None:
            self._file.close()
        self._file = None
        self.entry = None

    def _segment(self, entry: "SpoolClip", file: "File") -> bool:
        """Whether a whole segment of this clip comes next; it is then taken in."""
        start = self._scratch[:SEGMENT_HEADER_BYTES]
        if not read_full(file, start):
            return False
        try:
            header = decode_segment_header(start)
        except ProtocolError:
            return False
        if header.device != self._device or header.clip != entry.clip or header.index != self._head.count:
            return False
        check = crc32(start[:_CHECK_AT])
        whole = len(self._scratch) // CHECK_STRIDE_BYTES * CHECK_STRIDE_BYTES
        left = header.size_bytes
        while left:
            # The tag is read by itself, so that it stands whole in the scratch buffer at the end.
            last = left == TAG_BYTES
            piece = self._scratch[: left if last else min(whole, left - TAG_BYTES)]
            if not read_full(file, piece):
                return False
            check = crc32(piece if last else sampled(piece), check)
            left -= len(piece)
        if check != header.check:
            return False
        self._head.update(self._scratch[:TAG_BYTES])
        self._bytes += SEGMENT_HEADER_BYTES + header.size_bytes
        return True

    def _end(self, entry: "SpoolClip", file: "File") -> bool:
        """Whether the clip's end record comes next: it repeats the head, which nothing else does."""
        end = self._scratch[:CLIP_END_BYTES]
        file.seek(self._bytes)
        if not read_full(file, end) or end[0] != RECORD_CLIP_END:
            return False
        try:
            if peek_clip(end) != (self._device, entry.clip):
                return False
        except ProtocolError:
            return False
        (segments,) = struct.unpack_from(">I", end, _END_SEGMENTS_AT)
        return bool(segments == self._head.count and end[_END_HEAD_AT : _END_HEAD_AT + 32] == self._head.value)
