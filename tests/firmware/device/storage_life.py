"""A device's storage through its life: the firmware's own modules at work, and a ledger of everything they promised.

Runs on CPython and on MicroPython, over whatever `Storage` and `Sectors` it is given, both of which may raise anything
that is no Exception in the middle of an operation: that is the power cut. After it, `boot` on the remounted storage
checks each promise and raises Broken for the first that was not kept:

- what was synced of a clip is there, byte for byte, and counted; after it come whole segments as they were written;
- an ended clip is ended; a receipted one never comes up for sending again; a deleted one stays away;
- an event that was taken is in the journal, and nothing is that was not handed in;
- every epoch is accounted for as what it was, none is handed out twice;
- settings and alarm latch are the last that were kept, or the ones being kept when the power went.
"""

import struct
from hashlib import sha256

from lapel_device.alarm_control import AlarmControl
from lapel_device.epochs import EpochLedger
from lapel_device.journal import Journal
from lapel_device.keystore import KeyStore, provision_sectors
from lapel_device.settings import Settings
from lapel_device.spool import Spool
from lapel_protocol.clip import ClipEnd, ClipHeader, head_of, seal_clip_end, seal_clip_header
from lapel_protocol.crypto import segment_check
from lapel_protocol.event import Event, seal_event
from lapel_protocol.keys import EpochKeys
from lapel_protocol.orders import SettingsChange
from lapel_protocol.stream import full_body_bytes, tink_header

TYPE_CHECKING = False
if TYPE_CHECKING:
    from lapel_device.boards.contract import Sectors, Storage
    from lapel_device.clip_writer import ClipWriter, SpoolClip

DEVICE = b"\x01\x23\x45\x67\x89\xab\xcd\xef"
# A board's code has its constants folded in; there they cannot be looked up by name.
_MARK_BOOT, _MARK_CLIP = 1, 2
_EPOCH_BOOT, _EPOCH_CLIP, _EPOCH_BURNED = 1, 2, 3
_RECEIPT, _ACKNOWLEDGE, _RESOLVE = 2, 4, 5
_RAISED, _RECEIVED = 1, 3
_NO_SPACE = 28
_NOTE = 7  # an event kind that is no alarm's
_SYNC_SEGMENTS = 2
_MOST_EVENTS = 40  # they all fit the journal's window
_MOST_CLIPS = 4  # unreceipted
_TAIL_BYTES = 200


class Broken(BaseException):
    """A promise was not kept. Not an Exception: firmware must not be able to catch it."""


class Dice:
    """The same numbers on either Python (MINSTD)."""

    def __init__(self, seed: int) -> None:
        self._state = (seed * 2654435761 + 12345) % 2147483647 or 1
        for _ in range(5):
            self.below(2)

    def below(self, limit: int) -> int:
        """A number from 0 to limit - 1."""
        self._state = self._state * 48271 % 2147483647
        return self._state % limit


class Recorded:
    """A clip as it was written: `content` all of it, of which `durable` segments were said to be so."""

    def __init__(self, content: bytes) -> None:
        self.content = content
        self.lengths: list[int] = []  # of the segments
        self.begun = False  # its header is durable
        self.durable = 0
        self.ended = False
        self.ending = False
        self.receipting = False
        self.receipted = False
        self.deleting = False


class _Display:
    """A feedback that shows nothing."""

    def show(self, pattern: int, now_ms: int) -> None:
        pass

    def switch(self, pattern: int, on: bool, now_ms: int) -> None:
        pass


def segment(clip: int, index: int, last: bool) -> bytes:
    """A segment record as the spool wants it: the body is noise that only this segment has."""
    size = _TAIL_BYTES if last else full_body_bytes(index)
    seed = sha256(struct.pack(">II", clip, index)).digest()
    body = (seed * (size // 32 + 1))[:size]
    start = struct.pack(">BBBB8sIII", 2, 1, 1 if last else 0, 0, DEVICE, clip, index, size)
    return start + struct.pack(">I", segment_check(start + bytes(4) + body)) + body


class Life:
    """One device. `boot` after every power cut, `act` in between."""

    def __init__(self, sectors: "Sectors", dice: Dice) -> None:
        self._sectors = sectors
        self._dice = dice
        self._keys = EpochKeys(bytes(32))
        provision_sectors(sectors, bytes(32), bytes(32))
        self.checked = 0  # promises that were looked at
        self._clips: dict[int, Recorded] = {}
        self._used: list[int] = []  # epochs that were handed out
        self._whats: dict[int, int] = {}
        self._consuming = 0  # mark of the step that is under way
        self._told_to = 0
        self._events: dict[int, tuple[bytes, bool]] = {}  # counter -> (record, durable)
        self._forgotten: list[int] = []
        self._heartbeats = [30]  # the ones that may be in force after a restart
        self._version = 0
        self._latches: list[tuple[int, int]] = [(0, 0)]  # (counter, state) that may be latched after a restart
        self._counter = 0

    # -- booting and checking ---------------------------------------------------------------------------------------

    def boot(self, storage: "Storage") -> None:
        """Load everything as the application does, and check it."""
        self.storage = storage
        self.spool = Spool(storage, DEVICE, _SYNC_SEGMENTS)
        self.spool.scan()
        self.keys = KeyStore(self._sectors)
        self.keys.load()
        self.ledger = EpochLedger(storage)
        self._check_epochs()
        self.journal = Journal(storage)
        self.journal.load()
        self._check_events()
        self.settings = Settings(storage, SettingsChange())
        self.settings.load()
        self._check_settings()
        self.alarm = AlarmControl(_Display(), storage)  # type: ignore[arg-type]
        self.alarm.load(0)
        self._check_latch()
        self._check_clips()
        self._take_epoch(_MARK_BOOT, _EPOCH_BOOT)

    def _expect(self, held: bool, promise: str) -> None:
        self.checked += 1
        if not held:
            raise Broken(promise)

    def _check_epochs(self) -> None:
        if self._consuming:  # the step may have been done, though its keys were never handed out
            if self.keys.epoch == len(self._used) + 1:
                self._used.append(self.keys.epoch - 1)
                self._whats[self.keys.epoch - 1] = _EPOCH_BOOT if self._consuming == _MARK_BOOT else _EPOCH_BURNED
            self._consuming = 0
        self._expect(self.keys.epoch == len(self._used), "the next epoch is the one after those handed out")
        self.ledger.load(self.keys, self.spool.has)
        self._expect(self.ledger.first <= max(self._told_to, self.keys.epoch - 1), "no entry is forgotten untold")
        told = dict(self.ledger.entries())
        for epoch in range(self._told_to, self.keys.epoch):
            wanted = self._whats[epoch]
            clip = self._clips.get(epoch)
            if wanted == _EPOCH_CLIP and clip is not None and not clip.begun and not self.spool.has(epoch):
                self._whats[epoch] = wanted = _EPOCH_BURNED  # its header never became durable
            self._expect(told.get(epoch) == wanted, f"epoch {epoch} is {wanted}, told as {told.get(epoch)}")

    def _check_events(self) -> None:
        buffer = memoryview(bytearray(2048))
        found = []
        for row in range(self.journal.count):
            _, _, counter = self.journal.describe(row)
            size = self.journal.read(row, buffer)
            self._expect(
                counter in self._events and bytes(buffer[:size]) == self._events[counter][0],
                f"event {counter} is itself",
            )
            found.append(counter)
        for counter in list(self._events):
            if self._events[counter][1] and counter not in self._forgotten:
                self._expect(counter in found, f"event {counter} is in the journal")
            elif counter not in found:
                self._events.pop(counter)
        for counter in found:
            self._events[counter] = (self._events[counter][0], True)
            if counter in self._forgotten:
                self.journal.receipt(0, counter)

    def _check_settings(self) -> None:
        current = self.settings.current
        self._expect(current.heartbeat_s in self._heartbeats, "the settings are those that were kept")
        self._heartbeats = [current.heartbeat_s]

    def _check_latch(self) -> None:
        state = self.alarm.state if self.alarm.latched else 0
        latch = (self.alarm.counter if state else 0, state)
        self._expect(latch in self._latches, f"the latch {latch} is one of {self._latches}")
        self._latches = [latch]

    def _check_clips(self) -> None:
        for _ in range(400):
            cut = self.spool.work()
            if cut is not None:
                clip = self._clips.get(cut.clip)
                self._expect(clip is not None and not clip.ended, f"clip {cut.clip} is no ended one")
                self.spool.settled(cut)
        self._expect(not self.spool.errors, "every clip can be read through")
        self._expect(not self.spool.foreign, "no file is foreign")
        waiting = [entry.clip for entry in self.spool.clips()]
        for number in list(self._clips):
            clip = self._clips[number]
            if not self.spool.has(number):
                self._expect(clip.deleting or not clip.begun, f"clip {number} is there")
                self._clips.pop(number)
                continue
            clip.begun = True
            self._expect(not (clip.receipted and number in waiting), f"clip {number} is not sent again")
            entry = self.spool.find(number)
            self._expect(entry is not None and entry.settled, f"clip {number} is settled")
            if entry is not None:
                self._check_clip(entry, clip)
        for number in waiting:
            self._expect(number in self._clips, f"clip {number} was recorded")

    def _check_clip(self, entry: "SpoolClip", clip: Recorded) -> None:
        number = entry.clip
        self._expect(entry.segments >= clip.durable, f"clip {number} has its synced segments")
        self._expect(entry.segments <= len(clip.lengths), f"clip {number} has no more than was recorded")
        self._expect(entry.ended or not clip.ended, f"clip {number} is ended")
        self._expect(not entry.ended or clip.ending or clip.ended, f"clip {number} was ended")
        header = len(clip.content) - sum(clip.lengths)
        size = header + sum(clip.lengths[: entry.segments])
        self._expect(entry.content_bytes == size, f"clip {number} is whole segments")
        content = memoryview(bytearray(size))
        self._expect(self.spool.read(entry, 0, size, content) == size, f"clip {number} can be read")
        self._expect(bytes(content) == clip.content[:size], f"clip {number} is what was recorded")
        head = head_of(content[:header])
        at = header
        for length in clip.lengths[: entry.segments]:
            at += length
            head.update(content[at - 32 : at])
        self._expect(entry.head == head.value, f"clip {number} has the head of its segments")
        clip.durable = entry.segments
        clip.ended = entry.ended
        clip.lengths = clip.lengths[: entry.segments]
        clip.content = clip.content[:size]

    # -- acting -----------------------------------------------------------------------------------------------------

    def act(self) -> None:
        """Do one thing that a device does."""
        actions = (self._record, self._record, self._note, self._note, self._forget, self._set, self._alarm, self._tell)
        actions[self._dice.below(len(actions))]()
        while len(self.spool.clips()) > _MOST_CLIPS:
            self._hand_over()

    def _take_epoch(self, mark: int, what: int) -> int:
        self._consuming = mark
        epoch = self.keys.step(mark, bytes(32), 0).number
        self._expect(epoch == len(self._used), f"epoch {epoch} was handed out before")
        self._used.append(epoch)
        self._whats[epoch] = what
        self._consuming = 0
        if what == _EPOCH_BOOT:
            self.ledger.add(epoch, what)
        return epoch

    def _record(self) -> None:
        number = self._take_epoch(_MARK_CLIP, _EPOCH_CLIP)
        header = ClipHeader()
        header.device = DEVICE
        header.clip = number
        header.wrapped_seed = bytes(384)
        header.tink_header = tink_header(bytes(32), b"prefix7")
        encoded, _ = seal_clip_header(header, self._keys, bytes(32))
        clip = self._clips[number] = Recorded(encoded)
        try:
            writer = self.spool.create(number, 0, self._dice.below(3) == 0, encoded)
        except OSError as error:
            self._only_full(error)
            self._whats[number] = _EPOCH_BURNED
            self._clips.pop(number)
            self.ledger.add(number, _EPOCH_BURNED)
            return
        clip.begun = True
        self.keys.started()
        self.ledger.add(number, _EPOCH_CLIP)
        try:
            self._write(writer, clip, number)
        except OSError as error:
            self._only_full(error)
            writer.abandon()
            while self.spool.find(number) is not None and not self.spool.find(number).settled:  # type: ignore[union-attr]
                cut = self.spool.work()
                if cut is not None:
                    self.spool.settled(cut)

    def _write(self, writer: "ClipWriter", clip: Recorded, number: int) -> None:
        count = 1 + self._dice.below(5)
        for index in range(count):
            record = segment(number, index, index == count - 1)
            clip.content += record
            clip.lengths.append(len(record))
            writer.append(record)
            clip.durable = writer.synced_segments
        end = ClipEnd()
        end.device = DEVICE
        end.clip = number
        end.segments = count
        end.head = writer.head
        clip.ending = True
        writer.finish(seal_clip_end(end, self._keys))
        clip.durable = count
        clip.ended = True

    def _only_full(self, error: OSError) -> None:
        self._expect(error.errno == _NO_SPACE, f"storage fails with {error!r}")

    def _hand_over(self) -> None:
        entry = self.spool.clips()[0]
        clip = self._clips[entry.clip]
        clip.receipting = True
        self.spool.mark_receipted(entry, 1)
        clip.receipted = True
        for recorded in self._clips.values():
            recorded.deleting = recorded.receipting
        self.spool.make_room(self.spool.free_bytes + 1)  # as a device does that is short of it: the oldest goes
        for number in list(self._clips):
            recorded = self._clips[number]
            recorded.deleting = False
            if recorded.receipting and not self.spool.has(number):
                self._clips.pop(number)

    def _note(self) -> None:
        if len(self._events) >= _MOST_EVENTS:
            return
        self._counter += 1
        counter = self._counter
        payload = bytes(50 + self._dice.below(300))
        record = seal_event(self._keys, Event(_NOTE, DEVICE, 0, counter, 0, 0, 0, payload))
        self._events[counter] = (record, False)
        if self.journal.append(record):
            self._events[counter] = (record, True)

    def _forget(self) -> None:
        for _ in range(self._dice.below(12)):
            if self.journal.count:
                _, boot, counter = self.journal.describe(0)
                self._forgotten.append(counter)
                self.journal.receipt(boot, counter)
        kept = [number for number in self._events if number not in self._forgotten]
        if not kept:  # the files are gone, except those that a cut brings back
            self._forgotten = self._forgotten[-_MOST_EVENTS:]

    def _set(self) -> None:
        self._version += 1
        change = SettingsChange()
        change.version = self._version
        change.heartbeat_s = 10 + self._version
        self._heartbeats.append(change.heartbeat_s)
        self.settings.change(change)
        self._heartbeats = [change.heartbeat_s]

    def _alarm(self) -> None:
        if not self.alarm.latched:
            self._counter += 1
            self.alarm.raised(0, self._counter, 0)
        else:
            event = (_RECEIPT, _ACKNOWLEDGE, _RESOLVE)[self._dice.below(3)]
            if not self.alarm.answer(event, 0, self.alarm.counter, 0):
                return
        latch = (self.alarm.counter, self.alarm.state) if self.alarm.latched else (0, 0)
        self._latches.append(latch)
        self.alarm.keep()
        self._latches = [latch]

    def _tell(self) -> None:
        entries = self.ledger.entries()
        if entries:
            self._told_to = entries[-1][0] + 1
            self.ledger.receipted_to(self._told_to)
