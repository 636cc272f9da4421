"""Taking custody of clips: records checked and placed, heads followed, clips settled and completed, losses wanted.

Rules that hold here
- Nothing enters a track or the vault before it is authentic.
- The gateway's claim on a clip (its track) never runs ahead of what `place` and `finish` put into the vault.
- A segment before its header cannot be checked: it is dropped, and header and segments are wanted.
- With the organisation's private key at hand, a clip's opening is proved when its header arrives, not years later.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable

import sqlalchemy as sa
import structlog

from lapel_gateway.custody.batch import Batch, ClipKey, Notice
from lapel_gateway.custody.downlink import Order
from lapel_gateway.custody.tracks import ClipTrack
from lapel_gateway.custody.vault import Vault, VaultFull
from lapel_gateway.keystore import OrganisationKey
from lapel_gateway.ledger.clips import load_tracks
from lapel_gateway.ledger.schema import (
    EPOCH_BOOT,
    EPOCH_CLIP,
    OPENING_PROVED,
    OPENING_UNOPENABLE,
    SETTLED_BY_END,
    SETTLED_BY_LOST,
)
from lapel_gateway.verify import (
    ClipRecord,
    ClipTrust,
    SegmentMac,
    Stretch,
    Trust,
    Verifier,
    authentic_tags,
    check_segment,
    split_records,
)
from lapel_protocol import custody as protocol_custody
from lapel_protocol.clip import (
    RECORD_CLIP_HEADER,
    ClipHeader,
    Head,
    head_of,
    peek_clip,
)
from lapel_protocol.command import UNOPENABLE, WANT
from lapel_protocol.errors import BadMac, HeaderMissing, Malformed, ProtocolError, Unopenable, WrongDevice
from lapel_protocol.event import Event
from lapel_protocol.limits import CLIP_HEADER_BYTES, MAX_SEGMENTS, SEGMENT_HEADER_BYTES, TAG_BYTES
from lapel_protocol.machine import Machine
from lapel_protocol.opening import prove_opening
from lapel_protocol.orders import WANT_END, WANT_HEADER, WANT_SEGMENTS, UnopenableNotice, Want
from lapel_protocol.reports import HEART_RECORDING, ClipCut, Heartbeat
from lapel_protocol.stream import SegmentHeader, decode_segment_header, segment_offset

CACHED_TRACKS = 4096
"""Clips kept in memory: above the number that arrive at one time."""

WANT_AGAIN_MS = 5_000
"""Wait before the same part of a clip is wanted a second time; doubles each time without progress."""

WANT_AGAIN_MAX_MS = 3_600_000

WANT_IDLE_MS = 15_000
"""A clip that got nothing for so long, while its device is in contact, is asked for again."""

WANT_UNSEEN_MS = 600_000
"""A clip that is known by number only is asked for after this time; until then its device's own order may bring it."""

HEADERLESS_WANTS = 4
"""Headers wanted in one batch for segments that cannot be checked: forged ones must not make the gateway talk."""

_log = structlog.get_logger("lapel.ingest")


class VaultDamaged(Exception):
    """The vault does not hold what the ledger claims of this clip: the clip has to be checked again from its start."""

    def __init__(self, key: ClipKey) -> None:
        super().__init__(f"the vault does not hold what the ledger claims of clip {key[0]}-{key[1]}")
        self.key = key


class Custody:
    """The clips that are on their way in."""

    def __init__(self, vault: Vault, verifier: Verifier, organisation: OrganisationKey | None) -> None:
        self._vault = vault
        self._verifier = verifier
        self._organisation = organisation
        self._tracks: OrderedDict[ClipKey, ClipTrack] = OrderedDict()
        self._headerless: OrderedDict[ClipKey, int] = OrderedDict()

    def forget(self) -> None:
        """Drop everything that is remembered: a commit failed, and the ledger alone is right."""
        self._tracks.clear()

    def load(self, connection: sa.Connection, trusts: dict[bytes, Trust], keys: Iterable[ClipKey]) -> None:
        """Bring the tracks of these clips, of these devices, into memory. Raises VaultDamaged."""
        missing = [key for key in keys if key not in self._tracks]
        for track in load_tracks(connection, missing):
            trust = trusts.get(track.device)
            if trust is not None and track.end_record is not None:
                track.end = self._verifier.clip_end(trust, track.device, memoryview(track.end_record), 0)
            if trust is not None and track.header_ms is not None:
                self.arm(trust, track)
            self._tracks[track.name, track.clip] = track
        while len(self._tracks) > CACHED_TRACKS:
            self._tracks.popitem(last=False)

    def arm(self, trust: Trust, track: ClipTrack) -> None:
        """Read the clip's header back from the vault, so that its segments can be checked. Raises VaultDamaged."""
        record = self._vault.read(track.name, track.clip, 0, CLIP_HEADER_BYTES)
        try:
            header = self._verifier.clip_header(trust, track.device, memoryview(record), 0)
        except ProtocolError:
            raise VaultDamaged((track.name, track.clip)) from None
        track.header = header
        track.trust = ClipTrust(track.device, track.clip, header.prefix, SegmentMac(header.mac_key))

    def track(self, trust: Trust, clip: int, now_ms: int) -> ClipTrack:
        """The track of a clip that is authentic by name, new where the ledger knows none."""
        key = (trust.name, clip)
        track = self._tracks.get(key)
        if track is None:
            machine = Machine(protocol_custody.TRANSITIONS, protocol_custody.OPEN)
            track = ClipTrack(trust.device, trust.name, clip, trust.person, now_ms, machine, device_state=trust.state)
            track.new = track.changed = True
            self._tracks[key] = track
        self._tracks.move_to_end(key)
        return track

    def believes(self, name: str, clip: int, index: int) -> ClipTrust | None:
        """What segments from `index` on of a clip can be checked with before their batch; None for repeats, or unknown.

        May be called while a batch is under way, by another thread too.
        """
        track = self._tracks.get((name, clip))
        return track.trust if track is not None and index >= track.contiguous else None

    def take_records(self, batch: Batch, trust: Trust, records: Iterable[ClipRecord | Stretch]) -> None:
        """Take the records of a message; what is not acceptable is counted and leaves the rest alone."""
        for record in records:
            if isinstance(record, Stretch):
                self._take_stretch(batch, trust, record)
                continue
            try:
                if record.segment is not None:
                    self._take_segment(batch, trust, record.segment, record.view)
                elif record.view[0] == RECORD_CLIP_HEADER:
                    self._take_header(batch, trust, record.view)
                else:
                    self._take_end(batch, trust, record.view)
            except ProtocolError as error:
                batch.refuse(trust.device, error, "clip record")

    def take_cut(self, batch: Batch, trust: Trust, event: Event, cut: ClipCut) -> None:
        """A verified CUT event says how much of a clip its device has."""
        track = self.track(trust, cut.clip, batch.now_ms)
        if not track.unfinished and track.settled_by == SETTLED_BY_LOST and cut.segments > track.contiguous:
            track.reopen()
        if not track.take_cut(event.boot, event.counter, cut):
            return
        if not track.unfinished and cut.segments <= track.contiguous:
            # Held already, with an end that the device has lost since: the receipt must name what it still has.
            if self.head_at(track, cut.segments).value == cut.head:
                track.settled_segments, track.settled_head = cut.segments, cut.head
                track.receipt_segments = cut.segments
            batch.repeated.add((track.name, track.clip))
        batch.touch(track)

    def take_lost(self, batch: Batch, trust: Trust, clip: int) -> None:
        """A hello says that the device has lost a clip that it had begun."""
        track = self._tracks.get((trust.name, clip))
        if track is not None and track.take_lost():
            batch.touch(track)

    def place(self, batch: Batch) -> None:
        """Write the batch's records to the vault. Raises VaultFull, OSError."""
        if batch.runs:
            self._vault.check_room(batch.run_bytes)
        for run in batch.runs:
            self._vault.place(*run.key, run.offset, *run.parts)

    def keep_cuts(self, batch: Batch) -> None:
        """Put the events that settled cut clips beside these in the vault. Raises VaultFull, OSError.

        Once it has its receipts a device forgets event and clip, and nobody else could tell an older ledger how the
        clip was settled. Where there is no room even for that, events are taken all the same: the ledger has them.
        """
        if not batch.cuts:
            return
        records = {(trust.name, event.boot, event.counter): record for trust, event, record in batch.events}
        for trust, event, cut in batch.cuts:
            track = self._tracks.get((trust.name, cut.clip))
            if track is None or track.cut != (event.boot, event.counter):
                continue
            try:
                self._vault.keep_cut(trust.name, cut.clip, records[trust.name, event.boot, event.counter])
            except VaultFull as full:
                if batch.runs:
                    raise  # clips wait for room, and what is not theirs comes again at once
                _log.error("no room to keep what settled a clip beside it", id=track.readable, reason=str(full))

    def finish(self, batch: Batch) -> None:
        """Complete the touched clips that are whole now. Needs their records in the vault, synced afterwards."""
        for track in batch.touched.values():
            if not track.unfinished:
                continue
            if track.whole():
                settled = track.settled_segments or 0
                if self.head_at(track, settled).value == track.settled_head:
                    self._complete(batch, track, settled)
                else:
                    detail = "the head over its authentic segments is not the one that its device settled it with"
                    batch.notices.append(_notice("head_mismatch", track, detail))
            elif track.exhausted():
                detail = f"its device sent segment {track.contiguous} again and again, and it is not authentic"
                batch.notices.append(_notice("shorter_prefix", track, detail))
                self._complete(batch, track, track.contiguous)

    def want(self, batch: Batch, track: ClipTrack) -> None:
        """Ask for what a touched clip lacks before what it has: something was lost on the way."""
        if track.header is None or not track.unfinished:
            return
        gap = track.gap()
        if gap is not None and (track.extents or track.settled_by == SETTLED_BY_END):
            self._order_want(batch, track, WANT_SEGMENTS, *gap)

    def look_after(self, batch: Batch, tracks: Iterable[ClipTrack], beat: Heartbeat) -> None:
        """Ask a device that is in contact for the rest of its clips that get nothing.

        A device that holds no unreceipted clip may still have one that is not whole here: the ledger is an older copy,
        or the vault lost it. A clip that is only known by number is left to the device's own order of sending first.
        """
        recording = bool(beat.flags & HEART_RECORDING)
        forgotten = not beat.clips_held and not recording
        for track in tracks:
            if not track.unfinished or _is_within(batch.now_ms, track.touched_ms, WANT_IDLE_MS):
                continue
            if forgotten:
                detail = "its device holds no unreceipted clip, and this one is not whole here: it is asked for again"
                batch.notices.append(_notice("clip_missing", track, detail))
            if forgotten or track.header is not None or batch.now_ms - track.first_ms >= WANT_UNSEEN_MS:
                self.want_rest(batch, track, recording)

    def want_rest(self, batch: Batch, track: ClipTrack, recording: bool) -> None:
        """Ask for everything that a clip lacks, as far as is known; `recording`: its end may not exist yet."""
        everything = MAX_SEGMENTS - track.contiguous if track.settled_segments is None else 0
        first, count = track.gap() or (track.contiguous, everything)
        parts = (0 if track.header else WANT_HEADER) | (WANT_SEGMENTS if count else 0)
        if track.settled_by is None and not recording:
            parts |= WANT_END
        if parts:
            self._order_want(batch, track, parts, first, count)

    def head_at(self, track: ClipTrack, segments: int) -> Head:
        """The head over the first `segments` of a clip, which are in the vault. Raises VaultDamaged."""
        if track.head is not None and segments == track.contiguous:
            return track.head
        head = head_of(self._read(track, 0, CLIP_HEADER_BYTES))
        for index in range(segments):
            head.update(self.stored(track, index)[0])
        return head

    def stored(self, track: ClipTrack, index: int) -> tuple[bytes, int]:
        """(tag, end offset) of a segment in the vault. Raises VaultDamaged."""
        offset = segment_offset(index)
        try:
            header = decode_segment_header(self._read(track, offset, SEGMENT_HEADER_BYTES))
        except ProtocolError:
            raise VaultDamaged((track.name, track.clip)) from None
        end = offset + SEGMENT_HEADER_BYTES + header.size_bytes
        return self._read(track, end - TAG_BYTES, TAG_BYTES), end

    def _read(self, track: ClipTrack, offset: int, size: int) -> bytes:
        data = self._vault.read(track.name, track.clip, offset, size)
        if len(data) != size:
            raise VaultDamaged((track.name, track.clip))
        return data

    def _take_header(self, batch: Batch, trust: Trust, record: memoryview) -> None:
        header = self._verifier.clip_header(trust, trust.device, record, batch.now_ms)
        batch.saw_boot(trust, header.boot)
        track = self.track(trust, header.clip, batch.now_ms)
        if track.header is not None:
            if bytes(record) != self._header_record(batch, track):
                raise Malformed("a second, different header of the clip")
            self._repeat(batch, track)
            return
        track.person, track.device_state = trust.person, trust.state
        clip_trust = ClipTrust(trust.device, header.clip, header.prefix, SegmentMac(header.mac_key))
        track.take_header(header, bytes(record), clip_trust, batch.now_ms)
        batch.stage((track.name, track.clip), 0, record)
        batch.epochs.add((trust.name, header.clip, EPOCH_CLIP, True))
        batch.epochs.add((trust.name, header.boot, EPOCH_BOOT, True))
        batch.touch(track)
        self._prove_opening(batch, trust, track, header)

    def _header_record(self, batch: Batch, track: ClipTrack) -> bytes:
        """The clip's header as it was accepted: from this batch, or from the vault."""
        for run in batch.runs:
            if run.key == (track.name, track.clip) and run.offset == 0:
                return bytes(run.parts[0])
        return self._read(track, 0, CLIP_HEADER_BYTES)

    def _prove_opening(self, batch: Batch, trust: Trust, track: ClipTrack, header: ClipHeader) -> None:
        organisation = self._organisation
        if organisation is None:
            return
        try:
            if header.key_id != organisation.key_id:
                raise Unopenable("sealed for another organisation key")
            if not organisation.can_open:
                return
            prove_opening(header, self._verifier.keys(trust, header.clip), organisation.unwrap(header.wrapped_seed))
        except Unopenable as error:
            track.opening = OPENING_UNOPENABLE
            batch.notices.append(_notice("unopenable", track, str(error)))
            batch.orders.append(Order(trust.device, UNOPENABLE, UnopenableNotice(header.clip).encode()))
            batch.tallies[trust.name, error.reason] += 1
        else:
            track.opening = OPENING_PROVED

    def _take_stretch(self, batch: Batch, trust: Trust, stretch: Stretch) -> None:
        """Segments that follow each other: together as long as nothing is unusual, and one by one from there on."""
        key = (trust.name, stretch.clip)
        track = self._tracks.get(key)
        taken = 0
        if track is not None and track.trust is not None and track.follows(stretch.first):
            if stretch.checked is not None and stretch.checked[0] is track.trust:
                tags = stretch.checked[1]
            else:
                tags = authentic_tags(track.trust, stretch)
            if tags:
                offset = track.sealed_bytes
                track.take_stretch(tags)
                taken = track.sealed_bytes - offset
                batch.stage(key, offset, stretch.view[:taken])
                batch.touch(track)
        if taken < len(stretch.view):
            self.take_records(batch, trust, split_records(stretch.view[taken:]))

    def _take_segment(self, batch: Batch, trust: Trust, header: SegmentHeader, record: memoryview) -> None:
        if header.device != trust.device:
            raise WrongDevice("segment names another device than its topic")
        key = (trust.name, header.clip)
        track = self._tracks.get(key)
        if track is None or track.trust is None:
            self._want_header(batch, trust, key, header.index)
            raise HeaderMissing(f"segment {header.index} of clip {header.clip} before its header")
        try:
            tag = check_segment(track.trust, header, record)
        except BadMac:
            track.refuse_segment(header.index)
            batch.touch(track)
            raise
        if not track.unfinished and track.lacks(header.index) and not track.holds(header.index):
            track.take_back()
        if not track.unfinished and not track.holds(header.index):
            batch.tallies[trust.name, "late_segment"] += 1
            self._repeat(batch, track)
        elif track.take_segment(header.index, tag, len(record), self.stored):
            batch.stage(key, segment_offset(header.index), record)
            batch.touch(track)
        else:
            self._repeat(batch, track)

    def _take_end(self, batch: Batch, trust: Trust, record: memoryview) -> None:
        clip = peek_clip(record)[1]
        if self._tracks.get((trust.name, clip)) is None:
            end = self._verifier.clip_end(trust, trust.device, record, batch.now_ms)
            self._want_header(batch, trust, (trust.name, clip), end.segments - 1)
            raise HeaderMissing(f"end of clip {clip} before its header")
        end = self._verifier.clip_end(trust, trust.device, record, batch.now_ms)
        track = self.track(trust, clip, batch.now_ms)
        if track.take_end(end, bytes(record)):
            batch.touch(track)
        else:
            self._repeat(batch, track)

    def _repeat(self, batch: Batch, track: ClipTrack) -> None:
        """Something authentic came again; a device that sends a clip which is held does not know that it is."""
        batch.tallies[track.name, "duplicate"] += 1
        track.touched_ms = batch.now_ms
        if not track.unfinished:
            batch.repeated.add((track.name, track.clip))

    def _complete(self, batch: Batch, track: ClipTrack, segments: int) -> None:
        track.machine.handle(protocol_custody.COMPLETE)
        track.receipt_segments, track.verified_ms = segments, batch.now_ms
        track.extents = []
        key = (track.name, track.clip)
        if track.end is not None and track.end_record is not None and track.contiguous == track.end.segments:
            self._vault.place(*key, track.sealed_bytes, track.end_record)
            track.sealed_bytes += len(track.end_record)
        if self._vault.size(*key) > track.sealed_bytes:
            self._vault.truncate(*key, track.sealed_bytes)
        track.changed = True
        batch.completed.append(track)

    def _want_header(self, batch: Batch, trust: Trust, key: ClipKey, index: int) -> None:
        wanted_ms = self._headerless.get(key)
        if wanted_ms is not None and _is_within(batch.now_ms, wanted_ms, WANT_AGAIN_MS):
            return
        if sum(order.kind == WANT and order.device == trust.device for order in batch.orders) >= HEADERLESS_WANTS:
            return
        self._headerless[key] = batch.now_ms
        self._headerless.move_to_end(key)
        if len(self._headerless) > CACHED_TRACKS:
            self._headerless.popitem(last=False)
        parts = WANT_HEADER | WANT_SEGMENTS
        batch.orders.append(Order(trust.device, WANT, Want(key[1], parts, 0, index + 1).encode()))

    def _order_want(self, batch: Batch, track: ClipTrack, parts: int, first: int, count: int) -> None:
        wait_ms = min(WANT_AGAIN_MS << min(track.wants, 16), WANT_AGAIN_MAX_MS)
        if track.wanted_ms and _is_within(batch.now_ms, track.wanted_ms, wait_ms):
            return
        track.wanted_ms = batch.now_ms
        track.wants += 1
        batch.orders.append(Order(track.device, WANT, Want(track.clip, parts, first, count).encode()))


def _is_within(now_ms: int, since_ms: int, wait_ms: int) -> bool:
    """Whether less than `wait_ms` has passed; a clock that was set back since makes nobody wait."""
    return 0 <= now_ms - since_ms < wait_ms


def _notice(kind: str, track: ClipTrack, detail: str) -> Notice:
    return Notice(kind, track.readable, track.name, track.readable, detail)
