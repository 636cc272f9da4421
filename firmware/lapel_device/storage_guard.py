"""How much may still be recorded: the storage reserve and what is left above it.

Rules that hold here:

- Ordinary clips leave `reserve_bytes` free: room for the journal and one alarm's clip. An alarm's clip may use the
  reserve down to a floor that stays with the journal.
- Room is made by deleting receipted clips only, oldest first, and only when it is needed.
- The file system itself is asked when a clip is about to start; while it runs, the spool's own count is enough
  (asking littlefs how much is free can take as long as reading all of it).
"""

from lapel_protocol.limits import MAX_SEGMENT_RECORD_BYTES
from lapel_protocol.reports import WHY_NONE, WHY_STORAGE_ERROR, WHY_STORAGE_FULL

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .boards.contract import Profile, Storage
    from .spool import Spool

JOURNAL_FLOOR_BYTES = 65536
"""Never used by clips: about 300 journalled events, and what a file system needs to move blocks about."""

STOP_MARGIN_SEGMENTS = 4
"""With the largest frame, what is kept above the limit while recording: the last segments, the end, and rounding."""

BEGIN_MARGIN_STOPS = 4
"""An ordinary clip starts with four times that above its limit: a few seconds at least, or it is not worth starting.
An alarm's clip starts while anything at all fits."""

_NEARLY_FULL_FRACTION = 10


class StorageGuard:
    """Says whether a clip may start or go on."""

    def __init__(self, storage: "Storage", spool: "Spool", profile: "Profile") -> None:
        self._storage = storage
        self._spool = spool
        self._reserve_bytes = profile.storage_reserve_bytes
        self._floor_bytes = min(JOURNAL_FLOOR_BYTES, self._reserve_bytes // 4)
        self._stop_margin_bytes = profile.max_frame_bytes + STOP_MARGIN_SEGMENTS * MAX_SEGMENT_RECORD_BYTES
        self._begin_margin_bytes = BEGIN_MARGIN_STOPS * self._stop_margin_bytes

    def nearly_full(self) -> bool:
        """Whether less than a tenth is left for ordinary clips, receipted ones already deleted."""
        try:
            return not self._make_room()
        except OSError:
            return True

    @property
    def full(self) -> bool:
        """Whether an ordinary clip would be refused."""
        return self._spool.free_bytes - self._reserve_bytes < self._begin_margin_bytes

    def refusal(self, alarm: bool) -> int:
        """Why a clip must not start now: WHY_STORAGE_FULL or _ERROR, WHY_NONE when it may."""
        return self._renewed(alarm, self._stop_margin_bytes if alarm else self._begin_margin_bytes)

    def stop_reason(self, alarm: bool) -> int:
        """Why the running clip must end now: WHY_STORAGE_FULL or _ERROR, WHY_NONE when it may go on."""
        if self._above(alarm) >= self._stop_margin_bytes:
            return WHY_NONE
        return self._renewed(alarm, self._stop_margin_bytes)

    def _renewed(self, alarm: bool, margin_bytes: int) -> int:
        try:
            self._spool.free_bytes = self._storage.free_bytes()
            self._make_room()
        except OSError:
            return WHY_STORAGE_ERROR
        return WHY_STORAGE_FULL if self._above(alarm) < margin_bytes else WHY_NONE

    def _above(self, alarm: bool) -> int:
        return self._spool.free_bytes - (self._floor_bytes if alarm else self._reserve_bytes)

    def _make_room(self) -> bool:
        """Delete receipted clips while less than a tenth is left; False when they were not enough. Raises OSError."""
        tenth = max(0, self._spool.total_bytes - self._reserve_bytes) // _NEARLY_FULL_FRACTION
        return self._spool.make_room(self._reserve_bytes + max(tenth, self._begin_margin_bytes))
