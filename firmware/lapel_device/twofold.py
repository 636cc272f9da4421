"""A small record in two files, so that a power cut at any moment leaves one of them whole.

No rename: FAT has none that replaces, and a cut one there leaves two names for the same clusters, of which removing
either later frees what the other, or by then a clip, still uses. The files are written one after the other, first the
one that is not known to be whole; what is read back is either what was kept last or what was being kept. A device's
loader carries a copy of this module.
"""

import struct
from binascii import crc32

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .boards.contract import Storage

_MOST_BYTES = 256
_CRC_BYTES = 4


class TwofoldFile:
    """A record of 1 to 252 bytes under `path` + "0" and "1", each with its CRC-32 behind it."""

    def __init__(self, storage: "Storage", path: str) -> None:
        self._storage = storage
        self._path = path  # the names are made when they are needed: two of these would stay on the heap
        self._whole = 0

    def read(self) -> bytes:
        """The record, empty when there is none or neither file is whole. Raises OSError when storage fails for both."""
        failed = None
        for which in range(2):
            path = self._path + "01"[which]
            try:
                if self._storage.size(path) <= _CRC_BYTES:
                    continue
                file = self._storage.open(path, "rb")
                try:
                    data = file.read(_MOST_BYTES)
                finally:
                    file.close()
            except OSError as error:
                failed = error
                continue
            end = len(data) - _CRC_BYTES
            if end > 0 and struct.unpack_from(">I", data, end)[0] == crc32(data[:end]):
                self._whole = which
                return data[:end]
        if failed is not None:
            raise failed
        return b""

    def write(self, record: bytes) -> None:
        """Keep the record; raises OSError when it is not kept twice."""
        data = record + struct.pack(">I", crc32(record))
        for _ in range(2):
            which = 1 - self._whole
            file = self._storage.open(self._path + "01"[which], "wb")
            try:
                file.write(data)
                file.flush()
            finally:
                file.close()
            self._whole = which

    def remove(self) -> None:
        """Keep nothing any more. Raises OSError."""
        for which in "01":
            if self._storage.size(self._path + which) >= 0:
                self._storage.remove(self._path + which)
