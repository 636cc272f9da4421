"""One clip in the spool: what is known of it, its notes, and its writing while it is recorded.

A note is 52 bytes after the end of what is sent: magic, flags, receipt level, zero, segments, bytes of header and
segments, head, CRC-32. It is trusted only whole.
"""

import struct

from lapel_protocol.clip import head_of
from lapel_protocol.crypto import crc32
from lapel_protocol.limits import CLIP_HEADER_BYTES, TAG_BYTES
from lapel_protocol.reports import WHY_POWER, WHY_STORAGE_ERROR

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .boards.contract import Bytes, File
    from .spool import Spool

NOTE_ENDED = 1  # an end record stands between the segments and the notes
NOTE_RECEIPTED = 2
NOTE_BYTES = 52
_MAGIC = b"LPSN"
_LAYOUT = ">4sBBHII32s"
_NO_SPACE = 28  # ENOSPC


class SpoolClip:
    """What is known of one clip. `segments` are whole and durable; `content_bytes` is header and segments.

    `head` (32 bytes) is that of those segments, empty until the clip is ended or read through. `settled`: the end is
    known and, for a cut clip, journalled. The upload keeps its progress in the second group.
    """

    def __init__(self, clip: int, boot: int, alarm: bool) -> None:
        self.clip = clip
        self.boot = boot
        self.alarm = alarm
        self.segments = 0
        self.content_bytes = CLIP_HEADER_BYTES
        self.head = b""
        self.live = False
        self.ended = False
        self.settled = False
        self.level = 0
        self.why = WHY_POWER

        self.held = 0  # segments that the gateway holds without a gap
        self.next = 0  # segment to be sent next
        self.high = 0  # segments sent at least once: what credit has been spent on
        self.header_sent = False
        self.end_sent = False
        self.parked = False  # the gateway cannot open it: kept here, not sent on this connection
        self.progress_ms = 0  # last time that something moved
        self.stalls = 0


def encode_note(entry: SpoolClip, flags: int) -> bytes:
    """The 52-byte note for what is known of the clip."""
    body = struct.pack(_LAYOUT, _MAGIC, flags, entry.level, 0, entry.segments, entry.content_bytes, entry.head)
    return body + struct.pack(">I", crc32(body))


def decode_note(data: memoryview, entry: SpoolClip) -> bool:
    """Take a note's word into `entry`; False, and nothing taken, when it is no whole note."""
    magic, flags, level, zero, segments, content, head = struct.unpack_from(_LAYOUT, data, 0)
    (crc,) = struct.unpack_from(">I", data, NOTE_BYTES - 4)
    if magic != _MAGIC or zero or crc != crc32(data[: NOTE_BYTES - 4]):
        return False
    entry.ended = bool(flags & NOTE_ENDED)
    entry.level = level if flags & NOTE_RECEIPTED else 0
    entry.segments = segments
    entry.content_bytes = content
    entry.head = head
    entry.settled = True
    return True


class ClipWriter:
    """Writes the clip that is being recorded. Made by `Spool.create`; every method raises OSError when storage fails.

    `segments` have been appended, `head` (32 bytes) is theirs; `synced_segments` of them are durable.
    """

    def __init__(self, spool: "Spool", file: "File", entry: SpoolClip, header: "Bytes", sync_segments: int) -> None:
        self._spool = spool
        self._file = file
        self._entry = entry
        self._sync_segments = sync_segments
        self._content_bytes = CLIP_HEADER_BYTES
        self._head = head_of(header)
        self._open = True
        self._write(header)
        self._file.flush()

    @property
    def clip(self) -> int:
        """The clip's number."""
        return self._entry.clip

    @property
    def segments(self) -> int:
        """Segments appended so far."""
        return self._head.count

    @property
    def head(self) -> bytes:
        """The head of the segments appended so far."""
        return self._head.value

    @property
    def synced_segments(self) -> int:
        """Segments that a power cut no longer takes away; only these are sent."""
        return self._entry.segments

    def append(self, record: "Bytes") -> None:
        """Write the next segment record; durable after every `sync_segments`-th, at the latest at `finish`."""
        self._write(record)
        self._head.update(memoryview(record)[len(record) - TAG_BYTES :])
        self._content_bytes += len(record)
        if self._head.count - self._entry.segments >= self._sync_segments:
            self.sync()

    def sync(self) -> None:
        """Make everything appended durable, and offer it for sending."""
        if self._head.count > self._entry.segments:
            self._file.flush()
            self._entry.segments = self._head.count
            self._entry.content_bytes = self._content_bytes

    def finish(self, end_record: "Bytes") -> None:
        """Write the end record; the clip is whole and durable on return."""
        self.sync()
        self._write(end_record)
        self._entry.head = self._head.value
        self._write(encode_note(self._entry, NOTE_ENDED))
        self._file.close()
        self._open = False
        self._entry.ended = True
        self._entry.settled = True
        self._spool.closed(self._entry, self._head.value)

    def abandon(self, why: int = WHY_STORAGE_ERROR) -> None:
        """Storage failed or the clip cannot go on: it is settled as cut, for the reason `why` (reports.WHY_*)."""
        if not self._open:
            return
        self._open = False
        try:
            self._file.close()
        except OSError:
            pass  # the walk finds out what storage kept
        self._entry.why = why
        self._spool.closed(self._entry, b"")

    def _write(self, data: "Bytes") -> None:
        written = self._file.write(data)
        if written is not None and written != len(data):
            raise OSError(_NO_SPACE)
        self._spool.free_bytes -= len(data)
