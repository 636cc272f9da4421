"""After a kill or a restored backup: the vault's bytes and the ledger's claims are made to agree again.

Rules that hold here
- Bytes in the vault that the ledger does not claim are not trusted: they are verified as if they had just arrived.
- What the ledger claims must be in the vault. The end of each unfinished clip is verified anew, of a finished one the
  length; where that fails the clip is checked from its start, taken back to what is authentic, and wanted again.
- Nothing in the vault is deleted here.
"""

from __future__ import annotations

from collections.abc import Iterator

from lapel_gateway.custody.tracks import ClipTrack
from lapel_gateway.custody.vault import Vault
from lapel_gateway.verify import ClipTrust, SegmentMac, Trust, Verifier, check_segment, split_records
from lapel_protocol.clip import head_of
from lapel_protocol.errors import ProtocolError
from lapel_protocol.limits import CLIP_HEADER_BYTES, MAX_MESSAGE_BYTES, MAX_SEGMENT_RECORD_BYTES
from lapel_protocol.stream import segment_offset

TAIL_SEGMENTS = 256
"""Segments of an unfinished clip that are verified anew at the start: a mebibyte, more than a kill leaves undecided."""


def tail_is_sound(vault: Vault, track: ClipTrack) -> bool:
    """Whether the vault holds what the ledger claims of an armed, unfinished clip, judged by its end."""
    if track.trust is None or vault.size(track.name, track.clip) < track.sealed_bytes:
        return False
    indices = list(range(max(0, track.contiguous - TAIL_SEGMENTS), track.contiguous))
    for first, count in track.extents:
        indices += range(max(first, first + count - TAIL_SEGMENTS), first + count)
    return all(_segment(vault, track, track.trust, index) is not None for index in indices)


def rebuild(vault: Vault, verifier: Verifier, trust: Trust, track: ClipTrack) -> None:
    """Check a clip from its start and take its track back to what the vault holds without a gap."""
    if not track.unfinished:
        track.take_back()
    record = vault.read(track.name, track.clip, 0, CLIP_HEADER_BYTES)
    try:
        header = verifier.clip_header(trust, track.device, memoryview(record), 0)
    except ProtocolError:
        track.forget_header()
        return
    clip_trust = ClipTrust(track.device, track.clip, header.prefix, SegmentMac(header.mac_key))
    track.header, track.trust = header, clip_trust
    head, end = head_of(record), CLIP_HEADER_BYTES
    while (found := _segment(vault, track, clip_trust, head.count)) is not None:
        tag, end = found
        head.update(tag)
    track.restart(head, end)


def stored_payloads(vault: Vault, name: str, clip: int, offset: int) -> Iterator[bytes]:
    """The records of a clip's file from `offset`, as messages of the clip lane; ends where no whole record begins."""
    while True:
        data = vault.read(name, clip, offset, MAX_MESSAGE_BYTES)
        size = 0
        try:
            for record in split_records(data):
                size += len(record.view)
        except ProtocolError:
            # The last record of a full read is usually cut; it begins the next one.
            if not size:
                return
        yield data[:size]
        offset += size


def _segment(vault: Vault, track: ClipTrack, trust: ClipTrust, index: int) -> tuple[bytes, int] | None:
    """(tag, end offset) of an authentic segment in the vault, or None."""
    offset = segment_offset(index)
    data = vault.read(track.name, track.clip, offset, MAX_SEGMENT_RECORD_BYTES)
    try:
        record = next(split_records(data))
        if record.segment is None or record.segment.index != index:
            return None
        tag = check_segment(trust, record.segment, record.view)
    except (ProtocolError, StopIteration):
        return None
    return tag, offset + len(record.view)
