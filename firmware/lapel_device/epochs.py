"""The epoch ledger: what became of every epoch, told in each hello until it is receipted (SPEC section 7.2).

With it every clip ever started is accounted for: an epoch burned by a power cut and a clip whose storage was taken away
look different. Two files are written alternately, so that a cut write costs the newest entry only; that one the key
store's mark gives back, which no loss of storage takes away.
"""

import struct

from lapel_protocol.crypto import crc32
from lapel_protocol.limits import MAX_LEDGER_ENTRIES
from lapel_protocol.reports import EPOCH_BOOT, EPOCH_BURNED, EPOCH_CLIP, EPOCH_LOST

from .keystore import MARK_BOOT, MARK_CLIP

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from .boards.contract import Storage
    from .keystore import KeyStore

MAX_HELD = 2048  # a byte of heap each; more boots and clips than that without contact are told by their records alone
_PATHS = ("/epochs.0", "/epochs.1")
# turn, first epoch, number of epochs | one byte an epoch (EPOCH_*, 0 = not known) | CRC-32
_LAYOUT = ">III"
_HEADER_BYTES = 12


class EpochLedger:
    """The epochs from `first` on that the gateway has not receipted."""

    def __init__(self, storage: "Storage") -> None:
        self._storage = storage
        self._whats = bytearray()
        self._turn = 0
        self.first = 0

    def load(self, keys: "KeyStore", has_clip: "Callable[[int], bool]") -> None:
        """Read the ledger at boot, before this boot consumes its epoch, and add what the key store knows.

        `has_clip(clip)` says whether a clip is on storage. A clip that was begun and is not there is LOST; one that was
        not begun is BURNED.
        """
        last = keys.epoch - 1
        self.first = max(0, last)
        for which in range(2):
            self._read(which)
        if self.first + len(self._whats) > keys.epoch:  # the files are those of an earlier provisioning
            self.first = max(0, last)
            self._whats = bytearray()
        at = last - self.first
        if at < 0 or last < 0 or (at < len(self._whats) and self._whats[at]):
            return
        if keys.last_mark == MARK_BOOT:
            self.add(last, EPOCH_BOOT)
        elif keys.last_mark == MARK_CLIP:
            if has_clip(last):
                self.add(last, EPOCH_CLIP)
            else:
                self.add(last, EPOCH_LOST if keys.last_started else EPOCH_BURNED)

    def add(self, epoch: int, what: int) -> bool:
        """Note what an epoch was consumed for (reports.EPOCH_*); False when that is not durable."""
        at = epoch - self.first
        if not 0 <= at < MAX_HELD:
            return False
        if at >= len(self._whats):
            self._whats.extend(bytes(at + 1 - len(self._whats)))
        self._whats[at] = what
        return self._write()

    def entries(self) -> "list[tuple[int, int]]":
        """(epoch, EPOCH_*) of unreceipted epochs, ascending: the oldest, at most MAX_LEDGER_ENTRIES."""
        found: list[tuple[int, int]] = []
        for at in range(len(self._whats)):
            if self._whats[at] and len(found) < MAX_LEDGER_ENTRIES:
                found.append((self.first + at, self._whats[at]))
        return found

    def receipted_to(self, epoch: int) -> None:
        """The gateway holds every entry below `epoch`, durably: forget them. An epoch beyond the newest is no news."""
        gone = epoch - self.first
        if not 0 < gone <= len(self._whats):
            return
        self._whats = self._whats[gone:]
        self.first = epoch
        self._write()

    def _read(self, which: int) -> None:
        """Take one of the two files, if it is whole and newer than what is held."""
        try:
            file = self._storage.open(_PATHS[which], "rb")
            try:
                data = file.read(_HEADER_BYTES + MAX_HELD + 4)
            finally:
                file.close()
        except OSError:
            return
        if len(data) < _HEADER_BYTES + 4:
            return
        turn, first, count = struct.unpack_from(_LAYOUT, data, 0)
        end = _HEADER_BYTES + count
        if len(data) != end + 4 or struct.unpack_from(">I", data, end)[0] != crc32(data[:end]) or turn < self._turn:
            return
        # A CRC proves nothing: what no device writes would make its hellos unreadable, or its next turn impossible.
        if turn >> 31 or max(data[_HEADER_BYTES:end], default=0) > EPOCH_LOST:
            return
        self._turn = turn
        self.first = first
        self._whats = bytearray(data[_HEADER_BYTES:end])

    def _write(self) -> bool:
        self._turn += 1
        data = struct.pack(_LAYOUT, self._turn, self.first, len(self._whats)) + bytes(self._whats)
        try:
            file = self._storage.open(_PATHS[self._turn & 1], "wb")
            try:
                file.write(data + struct.pack(">I", crc32(data)))
                file.flush()
            finally:
                file.close()
        except OSError:
            return False
        return True
