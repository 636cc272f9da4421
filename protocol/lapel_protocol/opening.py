"""Verifying and opening what a device sealed: events, clip headers, segments, clip ends (SPEC sections 5 to 7).

The gateway's and the auditor's half; a device never imports it. Invariants:
- a record is verified under the keys of its own epoch, and before any field of it is believed;
- only one encoding of a record is accepted;
- verifying a clip needs its MAC key K_h, opening it needs both E (from K_dev) and the seed (from the private key);
- segments are taken in any order, and from streams that were cut, which Tink's own reader does not do.
"""

import struct

from . import PROTOCOL_VERSION, SUITE_TINK_4KB, labels
from .clip import (
    ASSOCIATED_BYTES,
    CODEC_MATROSKA_MJPEG_PCM,
    CODEC_MATROSKA_PCM,
    END_LAYOUT,
    END_MAC_AT,
    END_RESTART,
    FIELDS_BYTES,
    FIELDS_LAYOUT,
    FLAG_ALARM,
    HEADER_MAC_AT,
    NOTICE_CONTINUED,
    PREV_NONE,
    RECORD_CLIP_END,
    RECORD_CLIP_HEADER,
    TRUST_GATEWAY,
    ClipEnd,
    ClipHeader,
    xor32,
)
from .crypto import AesCtr, Mac, equal
from .errors import BadMac, Malformed, Unopenable, UnsupportedVersion
from .event import ALARM_SENDING, EVENT_LAYOUT, Event, event_iv, peek_event
from .keys import EpochKeys
from .limits import (
    CLIP_END_BYTES,
    CLIP_HEADER_BYTES,
    EVENT_HEADER_BYTES,
    KEY_BYTES,
    MAX_SEGMENTS,
    TAG_BYTES,
    TINK_HEADER_BYTES,
)
from .stream import SegmentHeader, StreamKeys, clip_ikm, segment_nonce, split_tink_header


def verify_segment(mac: Mac, prefix: bytes, header: SegmentHeader, body: memoryview) -> bytes:
    """Check a segment's tag under the clip's MAC key K_h and return the tag (32 bytes); raises BadMac."""
    tag = bytes(body[-TAG_BYTES:])
    if not equal(mac.digest(segment_nonce(prefix, header.index, header.last), body[:-TAG_BYTES]), tag):
        raise BadMac("segment tag")
    return tag


class SegmentOpener:
    """Opens verified segments of one clip in any order."""

    def __init__(self, keys: StreamKeys, prefix: bytes) -> None:
        self._cipher = AesCtr(keys.aes_key)
        self._mac = Mac(keys.mac_key)
        self._prefix = prefix

    def open(self, header: SegmentHeader, body: memoryview) -> bytearray:
        """Verify, then decrypt: the segment's plaintext, at most 4,064 bytes; raises BadMac."""
        verify_segment(self._mac, self._prefix, header, body)
        plain = bytearray(body[:-TAG_BYTES])
        self._cipher.apply(segment_nonce(self._prefix, header.index, header.last), memoryview(plain))
        return plain


def decode_clip_header(record: "bytes | bytearray | memoryview") -> ClipHeader:
    """The fields of a header record, its MAC not checked (`open_clip_header` does); raises ProtocolError."""
    if len(record) != CLIP_HEADER_BYTES or record[0] != RECORD_CLIP_HEADER:
        raise Malformed("not a clip header")
    header = ClipHeader()
    (
        _,
        version,
        suite,
        header.flags,
        header.device,
        header.clip,
        header.boot,
        header.wall_ms,
        header.mono_ms,
        header.trust,
        header.notice,
        header.codec,
        zero,
        header.prompted_ms,
        header.confirmed_ms,
        header.key_id,
        header.previous_clip,
        header.previous_head,
        header.alarm_boot,
        header.alarm_counter,
    ) = struct.unpack_from(FIELDS_LAYOUT, record, 0)
    if version != PROTOCOL_VERSION or suite != SUITE_TINK_4KB:
        raise UnsupportedVersion("clip header version %d suite %d" % (version, suite))
    if (
        zero
        or header.flags & ~FLAG_ALARM
        or header.trust > TRUST_GATEWAY
        or not 0 < header.notice <= NOTICE_CONTINUED
        or header.codec not in (CODEC_MATROSKA_MJPEG_PCM, CODEC_MATROSKA_PCM)
        or header.boot >= header.clip
        or header.previous_clip >= header.clip
        or (header.previous_clip == PREV_NONE and header.previous_head != bytes(32))
    ):
        raise Malformed("clip header field out of range")
    header.wrapped_seed = bytes(record[FIELDS_BYTES:ASSOCIATED_BYTES])
    header.tink_header = bytes(record[ASSOCIATED_BYTES : ASSOCIATED_BYTES + TINK_HEADER_BYTES])
    split_tink_header(header.tink_header)
    return header


def open_clip_header(keys: EpochKeys, record: "bytes | bytearray | memoryview") -> ClipHeader:
    """Verify a header record under its epoch's keys and recover K_h as `mac_key`; raises ProtocolError."""
    if len(record) != CLIP_HEADER_BYTES or record[0] != RECORD_CLIP_HEADER:
        raise Malformed("not a clip header")
    data = bytes(record)
    if data[1] != PROTOCOL_VERSION or data[2] != SUITE_TINK_4KB:
        raise UnsupportedVersion("clip header version %d suite %d" % (data[1], data[2]))
    auth = Mac(keys.clip_auth)
    if not equal(auth.digest(data[:HEADER_MAC_AT]), data[HEADER_MAC_AT:]):
        raise BadMac("clip header MAC")
    header = decode_clip_header(data)
    sealed = data[HEADER_MAC_AT - KEY_BYTES : HEADER_MAC_AT]
    header.mac_key = xor32(sealed, auth.digest(labels.SEAL_MAC_KEY, header.tink_header))
    return header


def prove_opening(header: ClipHeader, keys: EpochKeys, seed: bytes) -> StreamKeys:
    """The stream's keys from an unwrapped seed, proved against K_h in constant time; raises Unopenable.

    Equality proves the wrapped seed, the seed, the salt and the header together (SPEC 6.4).
    """
    salt, _ = split_tink_header(header.tink_header)
    stream = StreamKeys(clip_ikm(keys.clip_enc, seed), salt, header.associated_data())
    if not equal(stream.mac_key, header.mac_key):
        raise Unopenable("the wrapped seed does not give this clip's key")
    return stream


def open_clip_end(keys: EpochKeys, record: "bytes | bytearray | memoryview") -> ClipEnd:
    """Verify an end record under its epoch's keys; raises ProtocolError."""
    if len(record) != CLIP_END_BYTES or record[0] != RECORD_CLIP_END:
        raise Malformed("not a clip end")
    data = bytes(record)
    if data[1] != PROTOCOL_VERSION:
        raise UnsupportedVersion("clip end version %d" % data[1])
    if not equal(Mac(keys.clip_auth).digest(data[:END_MAC_AT]), data[END_MAC_AT:]):
        raise BadMac("clip end MAC")
    end = ClipEnd()
    (
        _,
        _,
        end.reason,
        zero,
        end.device,
        end.clip,
        end.segments,
        end.duration_ms,
        end.size_bytes,
        end.frames,
        end.dropped,
        end.wall_ms,
        end.mono_ms,
        end.head,
    ) = struct.unpack(END_LAYOUT, data[:END_MAC_AT])
    if zero or not 0 < end.reason <= END_RESTART or not 0 < end.segments <= MAX_SEGMENTS:
        raise Malformed("clip end field out of range")
    return end


def open_event(keys: EpochKeys, record: "bytes | bytearray | memoryview") -> Event:
    """Verify, check and decrypt an event under the keys of its boot; raises ProtocolError."""
    peek_event(record)
    data = bytearray(record)
    view = memoryview(data)
    end = len(data) - TAG_BYTES
    if not equal(Mac(keys.event_auth).digest(view[:end]), view[end:]):
        raise BadMac("event MAC")
    _, _, kind, flags, device, boot, counter, wall, mono, trust, zero, size = struct.unpack_from(EVENT_LAYOUT, data, 0)
    if size != end - EVENT_HEADER_BYTES:
        raise Malformed("event length")
    if flags or zero or not 0 < kind <= ALARM_SENDING or trust > TRUST_GATEWAY:
        raise Malformed("event field out of range")
    if size:
        AesCtr(keys.event_enc).apply(event_iv(counter), view[EVENT_HEADER_BYTES:end])
    return Event(kind, device, boot, counter, wall, mono, trust, bytes(view[EVENT_HEADER_BYTES:end]))
