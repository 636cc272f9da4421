"""Trust: which bytes from a broker are a device's own word. Touches neither files nor network, and reads no clock.

Invariants
1. The broker is untrusted: nothing is believed because of the topic, the connection or the order it came in.
2. Checks go from cheap to costly and from outside to inside: size, registry, MAC, fields. A topic's device must equal
   the record's own.
3. Every record is verified with the keys of its own epoch (an event's boot, a clip's own epoch), never a later one.
4. The chain is walked forward from the newest epoch that a genuine record proved, at most MAX_CHAIN_STEPS; older epochs
   are derived again from checkpoints. An unauthenticated record leaves no progress behind.
5. Failed walks are paid from a budget of each device, so that forged epochs cannot occupy the gateway; a walk of a few
   steps, which is what a genuine new boot or clip needs, is always made.
6. Nothing below the device's pinned minimum suite is accepted.
7. A segment is checked under the MAC key that its clip's verified header carried, for that device and clip alone.
"""

from __future__ import annotations

import hashlib
import hmac
import struct
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from lapel_protocol import PROTOCOL_VERSION, labels
from lapel_protocol.clip import RECORD_CLIP_END, RECORD_CLIP_HEADER, ClipEnd, ClipHeader, peek_clip
from lapel_protocol.crypto import Mac, segment_check
from lapel_protocol.errors import (
    BadMac,
    EpochTooFar,
    Malformed,
    Oversized,
    ProtocolError,
    UnknownDevice,
    UnsupportedVersion,
    WrongDevice,
)
from lapel_protocol.event import Event, peek_event
from lapel_protocol.keys import EpochKeys, chain_start
from lapel_protocol.limits import (
    CLIP_END_BYTES,
    CLIP_HEADER_BYTES,
    FIRST_BODY_BYTES,
    MAX_CHAIN_STEPS,
    MAX_EVENT_RECORD_BYTES,
    MAX_MESSAGE_BYTES,
    MAX_SEGMENTS,
    SEGMENT_BYTES,
    SEGMENT_HEADER_BYTES,
    TAG_BYTES,
)
from lapel_protocol.opening import open_clip_end, open_clip_header, open_event, verify_segment
from lapel_protocol.stream import RECORD_SEGMENT, SegmentHeader, decode_segment_header, segment_body

CHECKPOINT_STEPS = 1024
"""Authenticated epochs between two remembered chain keys: deriving any older epoch again takes about a millisecond."""

FREE_STEPS = 64
"""A walk that is never refused: the epochs that a device can plausibly burn or use between two records."""

BUDGET_STEPS = 4 * MAX_CHAIN_STEPS
"""Steps of failed walks that one device may cost in BUDGET_WINDOW_MS: under half a second of one processor."""

BUDGET_WINDOW_MS = 60_000

_CLIP_AT = 12  # every record of a clip names it at this offset
_SEGMENT = struct.Struct(">BBBB8sIIII")
_NONCE_END = struct.Struct(">IBI")

CACHED_EPOCHS = 16_384
"""Epoch keys kept ready: one boot and one clip for each of eight thousand active devices, under 16 MiB."""


class WalkRefused(ProtocolError):
    """Too many failed walks of this device's chain lately; a true record is repeated by its device and passes later."""

    reason = "walk_refused"


@dataclass(slots=True)
class Trust:
    """What the registry says about one device. `authenticated_epoch` grows as genuine records prove newer epochs."""

    device: bytes
    name: str
    state: str
    person: str
    minimum_suite: int
    authenticated_epoch: int
    boot_floor: int
    boot: int
    """The newest boot known, -1 = none: commands are sealed for it."""
    k_dev: bytes

    def __repr__(self) -> str:
        return f"Trust({self.name})"


class SegmentMac(Mac):
    """The same MAC with its two key blocks hashed once, for the many segments of a clip.

    `authentic_tags` goes on from copies of them. That work is OpenSSL's, which lets other threads run meanwhile.
    """

    def __init__(self, key: bytes) -> None:
        super().__init__(key)
        self.begun_inner = hashlib.sha256(self._inner)
        self.begun_outer = hashlib.sha256(self._outer)


@dataclass(slots=True)
class ClipTrust:
    """What a verified clip header lets segments be checked with."""

    device: bytes
    clip: int
    prefix: bytes
    mac: SegmentMac


class ClipRecord(NamedTuple):
    """One whole record of a clip message, nothing verified. `segment` is its header if it is a segment."""

    view: memoryview
    clip: int
    segment: SegmentHeader | None


@dataclass(slots=True)
class Stretch:
    """Full segments of one clip that follow each other, nothing verified but their lengths."""

    view: memoryview
    device: bytes
    clip: int
    first: int
    """Index of the first."""
    crcs: list[int]
    """As each claims."""
    checked: tuple[ClipTrust, list[bytes]] | None = None
    """What `authentic_tags` said of it, and with what."""


class _Chain:
    """Chain keys of one device: checkpoints up to the newest authenticated epoch, and what failed walks have cost."""

    def __init__(self, trust: Trust) -> None:
        self.k_dev = trust.k_dev
        self.keys = {0: chain_start(trust.k_dev, trust.device)}
        self.newest = 0  # the highest key of `keys`
        self.spent_steps = 0
        self.spent_since_ms = 0

    def walk(self, to: int) -> bytes:
        """CK of epoch `to` from the nearest remembered one below; remembers nothing."""
        start = self.newest if to >= self.newest else to // CHECKPOINT_STEPS * CHECKPOINT_STEPS
        key = self.keys[start]
        for _ in range(to - start):
            key = _chain_next(key)
        return key

    def prove(self, to: int) -> None:
        """Epoch `to` is authenticated: remember it and the checkpoints below it."""
        if to <= self.newest:
            return
        epoch, key = self.newest, self.keys[self.newest]
        if epoch % CHECKPOINT_STEPS:
            del self.keys[epoch]
        while epoch < to:
            key = _chain_next(key)
            epoch += 1
            if epoch % CHECKPOINT_STEPS == 0:
                self.keys[epoch] = key
        self.keys[to] = key
        self.newest = to


def _chain_next(key: bytes) -> bytes:
    """`lapel_protocol.keys.chain_next` at the speed of C: a walk may take 65,536 of these."""
    return hmac.digest(key, labels.CHAIN_NEXT, "sha256")


class Verifier:
    """Turns bytes into checked records. Times are Unix milliseconds and used only for the budget of failed walks."""

    def __init__(self) -> None:
        self._chains: dict[bytes, _Chain] = {}
        self._epochs: OrderedDict[tuple[bytes, int], EpochKeys] = OrderedDict()

    def keys(self, trust: Trust, epoch: int) -> EpochKeys:
        """Keys of an epoch that is already authenticated, for sealing commands and opening clips."""
        found = self._epochs.get((trust.device, epoch))
        if found is not None:
            self._epochs.move_to_end((trust.device, epoch))
            return found
        keys = EpochKeys(self._chain(trust).walk(epoch))
        self._remember(trust, epoch, keys)
        return keys

    def event(self, trust: Trust | None, device: bytes, record: bytes, now_ms: int) -> Event:
        """The event in `record`, which came on a topic of `device`. Raises ProtocolError."""
        if len(record) > MAX_EVENT_RECORD_BYTES:
            raise Oversized(f"event of {len(record)} bytes")
        _, named, boot, _ = peek_event(record)
        known = _known(trust, device, named)
        keys = self._try_epoch(known, boot, now_ms)
        try:
            event = open_event(keys, record)
        except BadMac:
            self._failed(known, boot, now_ms)
            raise
        self._proved(known, boot, keys)
        return event

    def clip_header(self, trust: Trust | None, device: bytes, record: memoryview, now_ms: int) -> ClipHeader:
        """The verified header in `record`, with its MAC key. Raises ProtocolError."""
        named, clip = peek_clip(record)
        known = _known(trust, device, named)
        if record[2] < known.minimum_suite:
            raise UnsupportedVersion(f"suite {record[2]} is below the device's minimum {known.minimum_suite}")
        keys = self._try_epoch(known, clip, now_ms)
        try:
            header = open_clip_header(keys, record)
        except BadMac:
            self._failed(known, clip, now_ms)
            raise
        self._proved(known, clip, keys)
        return header

    def clip_end(self, trust: Trust | None, device: bytes, record: memoryview, now_ms: int) -> ClipEnd:
        """The verified end in `record`. Raises ProtocolError."""
        named, clip = peek_clip(record)
        known = _known(trust, device, named)
        keys = self._try_epoch(known, clip, now_ms)
        try:
            end = open_clip_end(keys, record)
        except BadMac:
            self._failed(known, clip, now_ms)
            raise
        self._proved(known, clip, keys)
        return end

    def _chain(self, trust: Trust) -> _Chain:
        chain = self._chains.get(trust.device)
        if chain is None or chain.k_dev != trust.k_dev:
            chain = self._chains[trust.device] = _Chain(trust)
        chain.prove(trust.authenticated_epoch)
        # What was proved once stays proved, even when the ledger's transaction was rolled back afterwards.
        trust.authenticated_epoch = chain.newest
        return chain

    def _try_epoch(self, trust: Trust, epoch: int, now_ms: int) -> EpochKeys:
        """Keys of an epoch that a record merely names; nothing is remembered of an epoch not yet authenticated."""
        chain = self._chain(trust)
        steps = epoch - chain.newest
        if steps <= 0:
            return self.keys(trust, epoch)
        if steps > MAX_CHAIN_STEPS:
            raise EpochTooFar(f"epoch {epoch} is {steps} beyond the last authenticated one")
        if not 0 <= now_ms - chain.spent_since_ms < BUDGET_WINDOW_MS:
            chain.spent_steps, chain.spent_since_ms = 0, now_ms
        if steps > FREE_STEPS and chain.spent_steps + steps > BUDGET_STEPS:
            raise WalkRefused("too many failed walks of this device's chain")
        return EpochKeys(chain.walk(epoch))

    def _failed(self, trust: Trust, epoch: int, now_ms: int) -> None:
        chain = self._chain(trust)
        chain.spent_steps += max(0, epoch - chain.newest)

    def _proved(self, trust: Trust, epoch: int, keys: EpochKeys) -> None:
        trust.authenticated_epoch = max(trust.authenticated_epoch, epoch)
        self._chain(trust)
        self._remember(trust, epoch, keys)

    def _remember(self, trust: Trust, epoch: int, keys: EpochKeys) -> None:
        self._epochs[trust.device, epoch] = keys
        if len(self._epochs) > CACHED_EPOCHS:
            self._epochs.popitem(last=False)


def split_records(payload: bytes | memoryview) -> Iterator[ClipRecord]:
    """The whole records of a clip message, in order, nothing verified but their lengths.

    Raises Oversized before looking at a payload that is too long, and Malformed at the first byte that starts no whole
    record: what came before it stands on its own and has been given out.
    """
    if len(payload) > MAX_MESSAGE_BYTES:
        raise Oversized(f"message of {len(payload)} bytes")
    view = memoryview(payload)
    at, end = 0, len(view)
    if not end:
        raise Malformed("empty message")
    while at < end:
        record = _record_at(view, at, end)
        yield record
        at += len(record.view)


def split_stretches(payload: bytes | memoryview) -> Iterator[ClipRecord | Stretch]:
    """The same as `split_records`, but full segments that follow each other are given out together."""
    if len(payload) > MAX_MESSAGE_BYTES:
        raise Oversized(f"message of {len(payload)} bytes")
    view = memoryview(payload)
    at, end = 0, len(view)
    if not end:
        raise Malformed("empty message")
    unpack = _SEGMENT.unpack_from
    while at < end:
        start, crcs = at, list[int]()
        following = (b"", 0, 0)
        while end - at > SEGMENT_HEADER_BYTES:
            kind, version, flags, zero, device, clip, index, size, crc = unpack(view, at)
            stop = at + SEGMENT_HEADER_BYTES + size
            if kind != RECORD_SEGMENT or version != PROTOCOL_VERSION or flags or zero or stop > end:
                break
            if size != (SEGMENT_BYTES if index else FIRST_BODY_BYTES) or index >= MAX_SEGMENTS:
                break
            # Device, clip and index, as they stand in the record.
            if crcs and following != (device, clip, index):
                break
            following = (device, clip, index + 1)
            crcs.append(crc)
            at = stop
        if crcs:
            device, clip, index = following
            yield Stretch(view[start:at], device, clip, index - len(crcs), crcs)
        else:
            record = _record_at(view, at, end)
            yield record
            at += len(record.view)


def authentic_tags(trust: ClipTrust, stretch: Stretch) -> list[bytes]:
    """The tags of a stretch's segments from the first, as far as they are authentic for this clip.

    What `check_segment` says of them one by one, without its words; whoever wants to know what is wrong with the next
    one asks it.
    """
    tags: list[bytes] = []
    mac, view = trust.mac, stretch.view
    if stretch.device != trust.device or stretch.clip != trust.clip:
        return tags
    inner_copy, outer_copy = mac.begun_inner.copy, mac.begun_outer.copy
    at, index, prefix = 0, stretch.first, trust.prefix
    for crc in stretch.crcs:
        begin = at + SEGMENT_HEADER_BYTES
        end = begin + (SEGMENT_BYTES if index else FIRST_BODY_BYTES)
        if segment_check(view[at:end]) != crc:
            break
        inner = inner_copy()
        inner.update(prefix + _NONCE_END.pack(index, 0, 0))
        inner.update(view[begin : end - TAG_BYTES])
        outer = outer_copy()
        outer.update(inner.digest())
        tag = bytes(view[end - TAG_BYTES : end])
        if not hmac.compare_digest(outer.digest(), tag):
            break
        tags.append(tag)
        at = end
        index += 1
    return tags


def _record_at(view: memoryview, at: int, end: int) -> ClipRecord:
    """The record that begins at `at`. Raises Malformed."""
    kind = view[at]
    segment = None
    if kind == RECORD_SEGMENT:
        segment = decode_segment_header(view[at : at + SEGMENT_HEADER_BYTES])
        size = SEGMENT_HEADER_BYTES + segment.size_bytes
    elif kind == RECORD_CLIP_HEADER:
        size = CLIP_HEADER_BYTES
    elif kind == RECORD_CLIP_END:
        size = CLIP_END_BYTES
    else:
        raise Malformed(f"no record begins with {kind}")
    if size > end - at:
        raise Malformed("record cut")
    return ClipRecord(view[at : at + size], int.from_bytes(view[at + _CLIP_AT : at + _CLIP_AT + 4], "big"), segment)


def check_segment(trust: ClipTrust, header: SegmentHeader, record: memoryview) -> bytes:
    """The tag of a segment record, which has this header, if it is authentic for this clip. Raises ProtocolError."""
    if header.device != trust.device:
        raise WrongDevice("segment of another device")
    if header.clip != trust.clip:
        raise Malformed("segment of another clip")
    return verify_segment(trust.mac, trust.prefix, header, segment_body(header, record))


def _known(trust: Trust | None, device: bytes, named: bytes) -> Trust:
    """The registry's word on the device that both topic and record name."""
    if trust is None:
        raise UnknownDevice("device is not in the registry")
    if named != device or trust.device != device:
        raise WrongDevice("record names another device than its topic")
    return trust
