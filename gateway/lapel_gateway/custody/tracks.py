"""One clip on its way in: which segments are authentic, what its head is, what settles it. No files, no network.

Rules that hold here
- The head advances only over segments without a gap; a segment beyond a gap is remembered as an extent.
- A clip is complete when it is settled (by its end record or a CUT event) and the head at the settled length equals the
  one that settled it. Segments beyond the settled length are kept.
- A clip that its device has lost is settled at what is here, until the device finds it again.
- The latest CUT event replaces an earlier one: what the device still holds can only shrink.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Callable
from dataclasses import dataclass, field

from lapel_gateway.ledger.schema import CHAIN_UNKNOWN, OPENING_UNTRIED, SETTLED_BY_CUT, SETTLED_BY_END, SETTLED_BY_LOST
from lapel_gateway.verify import ClipTrust
from lapel_protocol import custody
from lapel_protocol.clip import TRUST_NONE, ClipEnd, ClipHeader, Head, head_of
from lapel_protocol.errors import Malformed
from lapel_protocol.limits import CLIP_HEADER_BYTES
from lapel_protocol.machine import Machine
from lapel_protocol.reports import ClipCut
from lapel_protocol.stream import segment_offset

FRONTIER_REFUSALS = 3
"""How often the next segment of a settled clip may come unauthentic before the receipt names the shorter prefix."""

CLOCK_AHEAD_MS = 3_600_000
"""A clip that began later than this after it came was dated by a clock that cannot be believed."""

StoredSegment = Callable[["ClipTrack", int], tuple[bytes, int]]
"""Gives (tag, end offset in the clip file) of a segment of a clip that the vault already holds."""


@dataclass(slots=True)
class ClipTrack:
    """A clip's row in memory, with what is needed to take more of it. Times are Unix milliseconds."""

    device: bytes
    name: str
    clip: int
    person: str
    first_ms: int
    machine: Machine
    trust: ClipTrust | None = None
    header: ClipHeader | None = None
    header_ms: int | None = None
    device_state: str = ""
    chain: str = CHAIN_UNKNOWN
    opening: str = OPENING_UNTRIED
    head: Head | None = None
    extents: list[tuple[int, int]] = field(default_factory=list)
    sealed_bytes: int = 0
    settled_by: str | None = None
    settled_segments: int | None = None
    settled_head: bytes | None = None
    cut: tuple[int, int] | None = None
    cut_why: int | None = None
    end: ClipEnd | None = None
    end_record: bytes | None = None
    receipt_segments: int | None = None
    receipt_ms: int | None = None
    verified_ms: int | None = None
    missing_ms: int | None = None
    # not in the ledger
    moving: bool = True  # ingest still decides the state: it was not held yet when it was loaded
    new: bool = False
    changed: bool = False
    grown: bool = False  # nothing changed but how much of it is here
    wants: int = 0
    wanted_ms: int = 0
    touched_ms: int = 0
    refusals: int = 0
    _ahead: dict[int, tuple[bytes, int]] = field(default_factory=dict)

    @property
    def readable(self) -> str:
        """The clip's one id in logs, from press to delivery."""
        return f"{self.name}-{self.clip}"

    @property
    def contiguous(self) -> int:
        """Authentic segments from the first, without a gap."""
        return self.head.count if self.head else 0

    @property
    def reach(self) -> int:
        """One more than the highest segment that is here."""
        return sum(self.extents[-1]) if self.extents else self.contiguous

    @property
    def alarm_id(self) -> str | None:
        """The alarm that started the clip, as alarms are named; None = none did, or its header is not here yet."""
        if self.header is None or not self.header.alarm_counter:
            return None
        return f"{self.name}-{self.header.alarm_boot}-{self.header.alarm_counter}"

    @property
    def alarm(self) -> bool:
        """Whether an alarm started the clip; False until its header is here."""
        return bool(self.header and self.header.flags)

    @property
    def dated(self) -> bool:
        """Whether its device's clock can be believed on when it began."""
        header = self.header
        return header is not None and header.trust != TRUST_NONE and header.wall_ms <= self.first_ms + CLOCK_AHEAD_MS

    @property
    def start_ms(self) -> int:
        """When it began: by its device's clock where that can be believed, else when something of it came first."""
        return self.header.wall_ms if self.header is not None and self.dated else self.first_ms

    @property
    def unfinished(self) -> bool:
        """Whether the gateway does not hold all of it yet."""
        return self.machine.state in (custody.OPEN, custody.ENDED, custody.CUT)

    def holds(self, index: int) -> bool:
        """Whether the segment is already known to be authentic."""
        return index < self.contiguous or any(first <= index < first + count for first, count in self.extents)

    def take_header(self, header: ClipHeader, record: bytes, trust: ClipTrust, now_ms: int) -> None:
        """The verified header is here."""
        self.header, self.trust, self.header_ms, self.missing_ms = header, trust, now_ms, None
        self.head = head_of(record)
        self.sealed_bytes = CLIP_HEADER_BYTES
        self.changed = True

    def take_segment(self, index: int, tag: bytes, size_bytes: int, stored: StoredSegment) -> bool:
        """An authentic segment record of `size_bytes`; returns False when it was here already.

        Raises Malformed when the clip's end record says that there is no such segment.
        """
        head = self.head
        if head is None:
            raise ValueError("a segment needs its clip's header first")
        if index < head.count or (self.extents and self.holds(index)):
            return False
        if self.settled_by == SETTLED_BY_END and index >= (self.settled_segments or 0):
            raise Malformed("segment after the clip's end")
        end = segment_offset(index) + size_bytes
        if index == head.count:
            self._advance(tag, end)
            if self.extents:
                self._absorb(stored)
        else:
            self._ahead[index] = (tag, end)
            self._add_extent(index)
        self.refusals = self.wants = 0
        self.grown = True
        return True

    def follows(self, index: int) -> bool:
        """Whether the segment is the next one of a clip that nothing is known of but that it goes on."""
        head = self.head
        return (
            head is not None
            and head.count == index
            and self.settled_by is None
            and not self.extents
            and self.machine.state == custody.OPEN
        )

    def take_stretch(self, tags: list[bytes]) -> None:
        """Authentic full segments, the first of which `follows`: `take_segment` for each."""
        head = self.head
        if head is None or not tags:
            raise ValueError("a segment needs its clip's header first")
        value, sha256 = head.value, hashlib.sha256
        for tag in tags:
            value = sha256(value + tag).digest()
        head.value = value
        head.count += len(tags)
        self.sealed_bytes = segment_offset(head.count)
        self.refusals = self.wants = 0
        self.grown = True

    def refuse_segment(self, index: int) -> None:
        """An unauthentic segment came; it counts when nothing else stands between this clip and its settled end."""
        if self.settled_by is not None and index == self.contiguous:
            self.refusals += 1

    def take_end(self, end: ClipEnd, record: bytes) -> bool:
        """A verified end record; returns False when the clip was already settled by it.

        Raises Malformed when it contradicts what is authentic already. After a CUT event it is kept only if every
        segment that it names is here: the device has lost it together with the rest.
        """
        if self.end_record is not None:
            if self.end_record != record:
                raise Malformed("a second, different end of the clip")
            return False
        if self.settled_by == SETTLED_BY_CUT and end.segments != self.contiguous:
            return False
        if self.settled_by == SETTLED_BY_CUT:
            # Kept as evidence; what the device still has settles the clip, or it would refuse every receipt.
            self.end, self.end_record = end, record
            self.changed = True
            return True
        if end.segments < self.reach:
            raise Malformed("end before segments that are authentic")
        self.end, self.end_record = end, record
        if self.machine.allows(custody.END):
            self.machine.handle(custody.END)
        self.settled_by, self.settled_segments, self.settled_head = SETTLED_BY_END, end.segments, end.head
        self.changed = True
        return True

    def take_cut(self, boot: int, counter: int, cut: ClipCut) -> bool:
        """A verified CUT event (its boot and counter); returns False for one that is not newer than the last."""
        if self.cut is not None and (boot, counter) <= self.cut:
            return False
        self.cut, self.cut_why = (boot, counter), cut.why
        self.changed = True
        if self.machine.allows(custody.SETTLE) and self.unfinished:
            self.machine.handle(custody.SETTLE)
            self.settled_by, self.settled_segments, self.settled_head = SETTLED_BY_CUT, cut.segments, cut.head
            self.refusals = 0
        return True

    def take_lost(self) -> bool:
        """Its device has lost the clip: what is here is all of it; False when nothing is, or it was settled before."""
        if not self.unfinished or self.head is None or self.settled_by is not None:
            return False
        self.machine.handle(custody.SETTLE)
        self.settled_by, self.settled_segments, self.settled_head = SETTLED_BY_LOST, self.contiguous, self.head.value
        self.changed = True
        return True

    def reopen(self) -> None:
        """Its device has found the clip again, and more of it than is here."""
        self.machine = Machine(custody.TRANSITIONS, custody.OPEN)
        self.moving = self.changed = True
        self.settled_by = self.settled_segments = self.settled_head = self.verified_ms = self.receipt_segments = None

    def take_back(self) -> None:
        """What was held is not all of it, or no longer: the clip goes on from where it was settled."""
        states = {None: custody.OPEN, SETTLED_BY_END: custody.ENDED}
        self.machine = Machine(custody.TRANSITIONS, states.get(self.settled_by, custody.CUT))
        self.moving = self.changed = True
        self.verified_ms = self.receipt_segments = self.receipt_ms = None
        self.refusals = 0

    def lacks(self, index: int) -> bool:
        """Whether a clip that was receipted as a shorter prefix is still without this segment.

        Whoever is on the way can make the prefix short with forged segments, but must not be able to keep it so.
        """
        return (self.receipt_segments or 0) <= index < (self.settled_segments or 0)

    def gap(self) -> tuple[int, int] | None:
        """(first, count) of the segments missing before the next held or settled one; None when none is known to be."""
        first = self.contiguous
        if self.extents:
            return first, self.extents[0][0] - first
        if self.settled_segments is not None and self.settled_segments > first:
            return first, self.settled_segments - first
        return None

    def whole(self) -> bool:
        """Whether the header and every segment up to the settled length are here; the head is still to be compared."""
        return (
            self.header is not None and self.settled_segments is not None and self.contiguous >= self.settled_segments
        )

    def exhausted(self) -> bool:
        """Whether the device has sent the next segment often enough, and it is not authentic."""
        return self.header is not None and self.settled_segments is not None and self.refusals >= FRONTIER_REFUSALS

    def restart(self, head: Head, sealed_bytes: int) -> None:
        """Take the clip back to what the vault is proved to hold."""
        self.head, self.sealed_bytes, self.extents = head, sealed_bytes, []
        self._ahead.clear()
        self.changed = True

    def forget_header(self) -> None:
        """Take the clip back to one that is known by name only."""
        self.header = self.trust = self.head = self.header_ms = None
        self.sealed_bytes, self.extents = 0, []
        self._ahead.clear()
        self.changed = True

    def encode_extents(self) -> bytes:
        """The extents as the ledger holds them."""
        return b"".join(struct.pack(">II", first, count) for first, count in self.extents)

    def _advance(self, tag: bytes, end: int) -> None:
        if self.head is None:
            raise ValueError("a segment needs its clip's header first")
        self.head.value = hashlib.sha256(self.head.value + tag).digest()
        self.head.count += 1
        self.sealed_bytes = end

    def _absorb(self, stored: StoredSegment) -> None:
        """Take in the extent that the head has reached."""
        while self.extents and self.extents[0][0] == self.contiguous:
            first, count = self.extents.pop(0)
            for index in range(first, first + count):
                self._advance(*(self._ahead.pop(index, None) or stored(self, index)))

    def _add_extent(self, index: int) -> None:
        merged: list[tuple[int, int]] = []
        for first, count in sorted([*self.extents, (index, 1)]):
            if merged and merged[-1][0] + merged[-1][1] == first:
                merged[-1] = (merged[-1][0], merged[-1][1] + count)
            else:
                merged.append((first, count))
        self.extents = merged


def decode_extents(data: bytes) -> list[tuple[int, int]]:
    """The extents from the ledger's form."""
    return [(first, count) for first, count in struct.iter_unpack(">II", data)]
