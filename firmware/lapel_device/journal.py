"""Events on the device's storage until the gateway has receipted them (SPEC section 7).

Append-only files of entries: mark, whether a drill, length, CRC-32, the sealed event. A file goes when each of its
events is receipted; which of them are is not written down, because an event that is sent twice is the same event. A
file that was open at a power cut is never appended to again, so a torn entry is always the last of its file.

Heap: a window of MAX_PENDING entries, 20 bytes each, over the files in order; whatever lies beyond it is read as
receipts make room.
"""

import struct
from binascii import crc32

from lapel_protocol.errors import ProtocolError
from lapel_protocol.event import ALARM_KINDS, peek_event
from lapel_protocol.limits import MAX_EVENT_RECORD_BYTES

from .settling import read_full

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .boards.contract import File, Storage

MAX_PENDING = 48
FILE_BYTES = 8192  # a new file is begun beyond this
MAX_FILES = 32  # 256 KiB, some 1,500 events: the journal's share of the storage reserve
_FOLDER = "/journal"
_ENTRY = 0x4A
_HEADER = ">BBHI"
_HEADER_BYTES = 8
# boot, counter, file, offset of the record, its length, kind, sent
_ROW = ">IIIIHBB"
_ROW_BYTES = 20
_KIND_AT = 18
_SENT_AT = 19


def _path(number: int) -> str:
    return _FOLDER + "/%08x.log" % number


class Journal:
    """The events of one device that the gateway has not receipted, oldest first.

    `count` of them are in the window; `outstanding`, alarms aside, were sent; `receipts` have come in this boot.
    """

    def __init__(self, storage: "Storage", scratch: "memoryview | None" = None) -> None:
        """`scratch`: MAX_EVENT_RECORD_BYTES that others use too, between calls."""
        self._storage = storage
        self._rows = memoryview(bytearray(MAX_PENDING * _ROW_BYTES))  # a slice of it is no copy
        self._record = memoryview(bytearray(MAX_EVENT_RECORD_BYTES)) if scratch is None else scratch
        self._files: list[int] = []  # ascending
        self._reading = 0  # index in `_files` of the file that is read next
        self._offset = 0
        self._at_end = True  # everything in the files has been through the window
        self._writing = -1  # number of the file that takes appends, -1 = none yet in this boot
        self._written = 0
        self._marked = 0  # rows of the window that were sent
        self.count = 0
        self.outstanding = 0
        self.receipts = 0

    def load(self) -> None:
        """List the files at boot and fill the window. Raises OSError when storage fails."""
        self._storage.mkdir(_FOLDER)
        for name in self._storage.listdir(_FOLDER):
            try:
                number = int(name[:8], 16)
            except ValueError:
                continue
            # No device gets to half of all numbers, and after the last one there would be no next.
            if name == "%08x.log" % number and not number >> 31:
                self._files.append(number)
        self._files.sort()
        self._at_end = not self._files
        self._refill()

    def append(self, record: "bytes | memoryview", drill: bool = False) -> bool:
        """Keep an event; True when it is durable, False when storage fails or the journal is full.

        `drill`: after a restart only this says so, because the device cannot open what it sealed.
        """
        try:
            if self._writing < 0 or self._written + _HEADER_BYTES + len(record) > FILE_BYTES:
                if len(self._files) >= MAX_FILES:
                    return False
                number = self._files[-1] + 1 if self._files else 1
                file = self._storage.open(_path(number), "wb")
                self._files.append(number)
                self._writing = number
                self._written = 0
            else:
                file = self._storage.open(_path(self._writing), "ab")
        except OSError:
            return False
        try:
            try:
                file.write(struct.pack(_HEADER, _ENTRY, drill, len(record), crc32(record, drill)))
                file.write(record)
                file.flush()
            finally:
                file.close()
        except OSError:
            self._writing = -1  # what the file holds is not known: the next event begins a new one
            return False
        at = self._written + _HEADER_BYTES
        self._written = at + len(record)
        if self._at_end and self.count < MAX_PENDING:
            self._take(self._writing, at, record)
            self._reading = len(self._files) - 1
            self._offset = self._written
        else:
            self._at_end = False
        return True

    def next_unsent(self) -> int:
        """The row of the oldest event in the window that `mark_sent` was not called for; -1 when there is none."""
        if self._marked < self.count:
            for row in range(self.count):
                if not self._rows[row * _ROW_BYTES + _SENT_AT]:
                    return row
        return -1

    def mark_sent(self, row: int) -> None:
        """The event of this row is on its way."""
        if not self._rows[row * _ROW_BYTES + _SENT_AT]:
            self._rows[row * _ROW_BYTES + _SENT_AT] = 1
            self._marked += 1
            if self._rows[row * _ROW_BYTES + _KIND_AT] not in ALARM_KINDS:
                self.outstanding += 1

    def mark_unsent(self) -> None:
        """Everything that is not receipted is to be sent again."""
        for row in range(self.count):
            self._rows[row * _ROW_BYTES + _SENT_AT] = 0
        self._marked = self.outstanding = 0

    def describe(self, row: int) -> "tuple[int, int, int]":
        """(kind, boot, counter) of the event of a row."""
        boot, counter, _, _, _, kind, _ = struct.unpack_from(_ROW, self._rows, row * _ROW_BYTES)
        return kind, boot, counter

    def row_of(self, boot: int, counter: int) -> int:
        """The row of an event, -1 when it is not in the window."""
        for row in range(self.count):
            if struct.unpack_from(">II", self._rows, row * _ROW_BYTES) == (boot, counter):
                return row
        return -1

    def read(self, row: int, buffer: memoryview) -> int:
        """Copy the record of a row into `buffer` (MAX_EVENT_RECORD_BYTES); its length, or 0 when storage fails."""
        _, _, number, offset, size, _, _ = struct.unpack_from(_ROW, self._rows, row * _ROW_BYTES)
        try:
            file = self._storage.open(_path(number), "rb")
            try:
                file.seek(offset)
                return size if read_full(file, buffer[:size]) else 0
            finally:
                file.close()
        except OSError:
            return 0

    def is_drill(self, row: int) -> bool:
        """Whether the event of a row was appended as a drill's; False also when storage fails."""
        _, _, number, offset, _, _, _ = struct.unpack_from(_ROW, self._rows, row * _ROW_BYTES)
        head = self._record[:_HEADER_BYTES]
        try:
            file = self._storage.open(_path(number), "rb")
            try:
                file.seek(offset - _HEADER_BYTES)
                return read_full(file, head) and bool(head[1])
            finally:
                file.close()
        except OSError:
            return False

    def receipt(self, boot: int, counter: int) -> bool:
        """The gateway holds this event durably: forget it. False when it is not in the window."""
        row = self.row_of(boot, counter)
        if row < 0:
            return False
        self.receipts += 1
        at = row * _ROW_BYTES
        if self._rows[at + _SENT_AT]:
            self._marked -= 1
            if self._rows[at + _KIND_AT] not in ALARM_KINDS:
                self.outstanding -= 1
        end = self.count * _ROW_BYTES
        self._rows[at : end - _ROW_BYTES] = self._rows[at + _ROW_BYTES : end]
        self.count -= 1
        self._refill()
        self._drop_files()
        return True

    def _take(self, number: int, offset: int, record: "bytes | memoryview") -> None:
        kind, _, boot, counter = peek_event(record)
        struct.pack_into(_ROW, self._rows, self.count * _ROW_BYTES, boot, counter, number, offset, len(record), kind, 0)
        self.count += 1

    def _refill(self) -> None:
        """Read on in the files while the window has room."""
        while self.count < MAX_PENDING and not self._at_end:
            number = self._files[self._reading]
            try:
                file = self._storage.open(_path(number), "rb")
                try:
                    file.seek(self._offset)
                    self._read_entries(file, number)
                finally:
                    file.close()
            except OSError:
                return
            if self.count == MAX_PENDING:
                return
            if self._reading == len(self._files) - 1:
                self._at_end = True
            else:
                self._reading += 1
                self._offset = 0

    def _read_entries(self, file: "File", number: int) -> None:
        head = self._record[:_HEADER_BYTES]
        while self.count < MAX_PENDING and read_full(file, head):
            mark, drill, size, crc = struct.unpack_from(_HEADER, head, 0)
            if mark != _ENTRY or drill > 1 or size > MAX_EVENT_RECORD_BYTES:
                return
            record = self._record[:size]
            if not read_full(file, record) or crc32(record, drill) != crc:
                return
            try:
                self._take(number, self._offset + _HEADER_BYTES, record)
            except ProtocolError:
                return
            self._offset += _HEADER_BYTES + size

    def _drop_files(self) -> None:
        """Delete files that are read to their end and hold no event of the window."""
        while self._files:
            number = self._files[0]
            for row in range(self.count):
                if struct.unpack_from(">I", self._rows, row * _ROW_BYTES + 8)[0] == number:
                    return
            if self._reading == 0 and not self._at_end:
                return
            try:
                self._storage.remove(_path(number))
            except OSError:
                return
            self._files.pop(0)
            if self._reading:
                self._reading -= 1
            else:
                self._offset = 0
            if number == self._writing:
                self._writing = -1
