"""Clips on the device's storage until the gateway has taken custody of them (SPEC sections 5, 6 and 10.3).

A clip is one file: header record, segment records, end record, exactly as it is sent and as the gateway keeps it. Then
follow notes, 52 bytes each, which are the device's own and never sent; the last whole note says what is known of the
clip, so that a restart need not read it through. Rules that hold here:

- a clip is deleted only after `mark_receipted`, oldest first, when room is needed; the newest clip never, because the
  next one commits to its head;
- only segments that are durable are offered for sending, so that what the gateway holds survives a power cut here;
- a clip without a trustworthy note is read through from its start: segments count up to the first torn one (SPEC 5.2);
- file names are 8.3. A long name takes several entries of a FAT folder: where a power cut tore the folder's growth they
  land behind its end, and the clip would be there and never be found.

Heap: the state of MAX_LOADED unreceipted clips, oldest first, alarms' before them; of all others only the number.
"""

import struct

from lapel_protocol.clip import FLAG_ALARM, RECORD_CLIP_HEADER, peek_clip
from lapel_protocol.errors import ProtocolError
from lapel_protocol.limits import CLIP_END_BYTES, CLIP_HEADER_BYTES
from lapel_protocol.orders import LEVEL_VERIFIED

from .clip_writer import NOTE_BYTES, NOTE_ENDED, NOTE_RECEIPTED, ClipWriter, SpoolClip, decode_note, encode_note
from .settling import CUT, ENDED, Walk, read_full

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .boards.contract import Bytes, File, Storage

__all__ = ["ClipWriter", "Spool", "SpoolClip"]

MAX_LOADED = 8  # about 0.5 KiB of heap each
MAX_CLIPS = 512  # receipted ones make place; an unreceipted clip beyond it is refused like full storage
_SCRATCH_BYTES = 1152  # takes the largest event too
_INSPECT_BURST = 8
_NO_SPACE = 28  # ENOSPC
_FOLDER = "/spool"


def _path(clip: int) -> str:
    return _FOLDER + "/%08x.clp" % clip


def _alarm_path(clip: int) -> str:
    return _FOLDER + "/%08x.alm" % clip


class Spool:
    """The clips of one device (8-byte id).

    `delete_level` is the receipt level (orders.LEVEL_*) that permits deletion. `free_bytes` is an estimate, renewed
    when a clip ends or goes. `foreign` counts files that are no clip of this device: kept, and left alone; `errors`
    counts storage failures in `work`, whose clips wait for the next boot. `scratch` holds nothing between
    calls.
    """

    def __init__(self, storage: "Storage", device: bytes, sync_segments: int) -> None:
        self._storage = storage
        self._device = device
        self._sync_segments = max(1, sync_segments)
        self.scratch = memoryview(bytearray(_SCRATCH_BYTES))
        self._new: list[int] = []  # ascending; not looked at since boot
        self._later: list[int] = []  # ascending; unreceipted, no room in `_loaded`
        self._alarms: list[int] = []
        self._loaded: list[SpoolClip] = []
        self._receipted: list[int] = []  # ascending
        self._levels: list[int] = []  # of `_receipted`
        self._unsettled: list[SpoolClip] = []
        self._newest = 0
        self._newest_head = b""
        self._reader: File | None = None
        self._reader_clip = 0
        self._reader_bytes = 0
        self._walk = Walk(device, self.scratch)
        self.delete_level = LEVEL_VERIFIED
        self.foreign = 0
        self.errors = 0
        self.free_bytes = 0
        self.total_bytes = 0

    @property
    def count(self) -> int:
        """How many clips are here that the gateway has not receipted."""
        return len(self._new) + len(self._later) + len(self._loaded)

    def scan(self) -> None:
        """List the spool at boot; `work` then looks at the clips one by one. Raises OSError when storage fails."""
        self._storage.mkdir(_FOLDER)
        for name in self._storage.listdir(_FOLDER):
            try:
                clip = int(name[:8], 16)
            except ValueError:
                continue
            if name == "%08x.clp" % clip:
                self._new.append(clip)
            elif name == "%08x.alm" % clip:
                self._alarms.append(clip)
        self._new.sort()
        self.total_bytes = self._storage.total_bytes()
        self.free_bytes = self._storage.free_bytes()
        while self._new and not self._newest:
            clip = self._new.pop()
            if self._inspect(clip):
                self._newest = clip

    def work(self) -> "SpoolClip | None":
        """Do one bounded piece of background work: look at one clip, or read one segment of a clip being settled.

        Returns a clip that turned out to be cut, with `segments`, `head` and `why` final: report it, then `settled` it.
        One that is not settled then, because the report could not be journalled, comes up again at the next boot.
        """
        try:
            if self._walk.entry is not None:
                return self._walk_on(self._walk.entry)
            if self._unsettled:
                entry = self._unsettled.pop(0)
                self._walk.begin(entry, self._storage.open(_path(entry.clip), "rb"))
            elif self._new:
                self._inspect(self._new.pop(0))
            elif self._later and len(self._loaded) < MAX_LOADED:
                self._inspect(self._take_later())
        except OSError:
            self.errors += 1
            self._walk.stop()
        return None

    def clips(self) -> "list[SpoolClip]":
        """The loaded unreceipted clips in the order of sending: alarms' clips first, then oldest first."""
        return self._loaded

    def find(self, clip: int) -> "SpoolClip | None":
        """A clip by number, receipted or not; None when it is not here. Reads storage for one that is not loaded."""
        for loaded in self._loaded:
            if loaded.clip == clip:
                return loaded
        if clip not in self._receipted and clip not in self._later and clip not in self._new:
            return None
        try:
            return self._load(clip)
        except OSError:
            return None

    def has(self, clip: int) -> bool:
        """Whether a file of this clip is here."""
        return self._storage.size(_path(clip)) >= CLIP_HEADER_BYTES

    def last(self) -> "tuple[int, bytes | None]":
        """(number, head) of the newest clip: head None while it is unsettled, number 0 when there is no clip."""
        return self._newest, self._newest_head or None

    def create(self, clip: int, boot: int, alarm: bool, header: "Bytes") -> ClipWriter:
        """Begin a clip; its header record is durable on return. Raises OSError; nothing of the clip is left then."""
        if self.count + len(self._receipted) >= MAX_CLIPS and not self._delete_oldest():
            raise OSError(_NO_SPACE)
        entry = SpoolClip(clip, boot, alarm)
        entry.live = True
        file = self._storage.open(_path(clip), "wb")
        try:
            writer = ClipWriter(self, file, entry, header, self._sync_segments)
        except (OSError, MemoryError):
            file.close()
            self._remove(clip)
            raise
        self._newest = clip
        self._newest_head = b""
        self._place(entry)
        if alarm:
            self._mark(clip)
        return writer

    def mark_alarm(self, clip: int) -> None:
        """The clip, which may be live, belongs to an alarm now and goes first. A storage error is forgiven."""
        for entry in self._loaded:
            if entry.clip == clip and not entry.alarm:
                entry.alarm = True
                self._loaded.remove(entry)
                self._place(entry)
                self._mark(clip)

    def closed(self, entry: SpoolClip, head: bytes) -> None:
        """The writer's word that a clip is no longer live: ended with this head, or to be settled (head empty)."""
        entry.live = False
        if not head:
            self._unsettled.append(entry)
        elif entry.clip == self._newest:
            self._newest_head = head
        try:
            self.free_bytes = self._storage.free_bytes()
        except OSError:
            return  # the estimate stays

    def settled(self, entry: SpoolClip) -> None:
        """A cut clip's segments and head are in the journal, durably: note it, so that it is not read through again."""
        entry.settled = True
        if entry.clip == self._newest:
            self._newest_head = entry.head
        self._note(entry)

    def mark_receipted(self, entry: SpoolClip, level: int) -> None:
        """An authenticated receipt with the clip's own head arrived: it may be deleted at `level` (orders.LEVEL_*)."""
        entry.level = max(entry.level, level)
        self._note(entry)
        if entry.clip in self._receipted:
            self._levels[self._receipted.index(entry.clip)] = entry.level
            return
        for numbers in (self._new, self._later, self._alarms):
            if entry.clip in numbers:
                numbers.remove(entry.clip)
        self._loaded = [loaded for loaded in self._loaded if loaded.clip != entry.clip]
        self._add_receipted(entry.clip, entry.level)

    def make_room(self, size_bytes: int) -> bool:
        """Delete receipted clips, oldest first, until `size_bytes` are free; False when that is not enough."""
        while self.free_bytes < size_bytes:
            burst = _INSPECT_BURST
            while burst and self._new:  # some of these may be receipted
                burst -= 1
                try:
                    self._inspect(self._new.pop(0))
                except OSError:
                    return False
            if not self._delete_oldest() and not self._new:
                return False
        return True

    def read(self, entry: SpoolClip, start: int, size: int, buffer: memoryview) -> int:
        """Fill `buffer` with `size` bytes of the clip file from `start`; returns `size`, or 0 when storage fails."""
        try:
            if self._reader is None or self._reader_clip != entry.clip or start + size > self._reader_bytes:
                self._close_reader()
                self._reader = self._storage.open(_path(entry.clip), "rb")
                self._reader_clip = entry.clip
                # A reader sees the file as it was durable when it was opened.
                self._reader_bytes = entry.content_bytes + (CLIP_END_BYTES if entry.ended else 0)
            self._reader.seek(start)
            if read_full(self._reader, buffer[:size]):
                return size
        except OSError:
            pass
        self._close_reader()
        return 0

    # -- looking at clips -------------------------------------------------------------------------------------------

    def _load(self, clip: int) -> "SpoolClip | None":
        """Read a clip's header and last note; None for a file that is no clip of this device."""
        size = self._storage.size(_path(clip))
        if size < CLIP_HEADER_BYTES:
            return None
        view = self.scratch
        file = self._storage.open(_path(clip), "rb")
        try:
            if not read_full(file, view[:CLIP_HEADER_BYTES]) or view[0] != RECORD_CLIP_HEADER:
                return None
            try:
                if peek_clip(view[:CLIP_HEADER_BYTES]) != (self._device, clip):
                    return None
            except ProtocolError:
                return None
            (boot,) = struct.unpack_from(">I", view, 16)
            entry = SpoolClip(clip, boot, bool(view[3] & FLAG_ALARM) or clip in self._alarms)
            if size >= CLIP_HEADER_BYTES + NOTE_BYTES:
                file.seek(size - NOTE_BYTES)
                if read_full(file, view[:NOTE_BYTES]):
                    decode_note(view[:NOTE_BYTES], entry)
        finally:
            file.close()
        return entry

    def _inspect(self, clip: int) -> bool:
        """Sort a clip into the lists; False when the file is none of this device's clips."""
        entry = self._load(clip)
        if entry is None:
            if self._storage.size(_path(clip)) < CLIP_HEADER_BYTES:
                self._remove(clip)  # cut before its header was durable: nothing was recorded
            else:
                self.foreign += 1
            return False
        if clip == self._newest or not self._newest:
            self._newest_head = entry.head
        if entry.level:
            self._add_receipted(clip, entry.level)
        else:
            self._place(entry)
            if not entry.settled:
                self._unsettled.append(entry)
        return True

    def _place(self, entry: SpoolClip) -> None:
        """Put a clip where it belongs in the order of sending; the last of too many goes back to `_later`."""
        at = 0
        for loaded in self._loaded:
            if (not loaded.alarm, loaded.clip) > (not entry.alarm, entry.clip):
                break
            at += 1
        self._loaded.insert(at, entry)
        if len(self._loaded) <= MAX_LOADED:
            return
        at = len(self._loaded) - 1
        while at and (self._loaded[at].live or not self._loaded[at].settled):
            at -= 1
        gone = self._loaded[at]
        if gone.settled:
            self._loaded.pop(at)
            self._later.append(gone.clip)
            self._later.sort()

    def _take_later(self) -> int:
        for clip in self._later:
            if clip in self._alarms:
                self._later.remove(clip)
                return clip
        return self._later.pop(0)

    def _add_receipted(self, clip: int, level: int) -> None:
        at = 0
        while at < len(self._receipted) and self._receipted[at] < clip:
            at += 1
        self._receipted.insert(at, clip)
        self._levels.insert(at, level)

    def _walk_on(self, entry: SpoolClip) -> "SpoolClip | None":
        outcome = self._walk.step()
        if outcome == ENDED:
            entry.ended = True
            self.settled(entry)
        return entry if outcome == CUT else None

    # -- files ------------------------------------------------------------------------------------------------------

    def _mark(self, clip: int) -> None:
        """Say by a file's name that the clip is an alarm's; an error is no reason to be without the clip."""
        try:
            self._storage.open(_alarm_path(clip), "wb").close()
        except (OSError, MemoryError):
            return

    def _note(self, entry: SpoolClip) -> None:
        flags = (NOTE_ENDED if entry.ended else 0) | (NOTE_RECEIPTED if entry.level else 0)
        self._close_reader()
        try:
            file = self._storage.open(_path(entry.clip), "ab")
            try:
                file.write(encode_note(entry, flags))
            finally:
                file.close()
        except OSError:
            return  # what the note says is found again: by reading the clip, or from the next receipt

    def _delete_oldest(self) -> bool:
        for i in range(len(self._receipted)):
            clip = self._receipted[i]
            if clip != self._newest and self._levels[i] >= self.delete_level:
                self._receipted.pop(i)
                self._levels.pop(i)
                self._remove(clip)
                self.free_bytes = self._storage.free_bytes()
                return True
        return False

    def _remove(self, clip: int) -> None:
        if self._reader_clip == clip:
            self._close_reader()
        for path in (_path(clip), _alarm_path(clip)):
            try:
                self._storage.remove(path)
            except OSError:
                continue  # most clips have no alarm mark

    def _close_reader(self) -> None:
        if self._reader is not None:
            try:
                self._reader.close()
            except OSError:
                pass
        self._reader = None
        self._reader_clip = 0
