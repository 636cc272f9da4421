"""Clip header, clip end and the head that chains them (SPEC sections 5 and 6).

A clip file (the device's spool, the gateway's vault, `original.lapel`) is: header record, segment records in order,
end record. Both ends verify with the key of the clip's own epoch, never with a later one.
"""

import struct

from . import PROTOCOL_VERSION, SUITE_TINK_4KB, labels
from .crypto import Mac, sha256
from .errors import Malformed, UnsupportedVersion
from .keys import EpochKeys
from .limits import (
    CLIP_END_BYTES,
    CLIP_HEADER_BYTES,
    DEVICE_ID_BYTES,
    KEY_BYTES,
    KEY_ID_BYTES,
    RSA_BYTES,
    TAG_BYTES,
    TINK_HEADER_BYTES,
)
from .stream import StreamKeys, clip_ikm, split_tink_header

RECORD_CLIP_HEADER = 0x01
RECORD_CLIP_END = 0x03

FLAG_ALARM = 1  # the clip was started by an alarm

# how far the device's wall clock can be believed
TRUST_NONE = 0  # never set since power was lost
TRUST_RTC = 1  # kept by a clock or file across a restart
TRUST_NTP = 2  # from an unauthenticated network source
TRUST_GATEWAY = 3  # from the gateway, authenticated, within this boot

# what the person being filmed was told, and how we know
NOTICE_CONFIRMED = 1  # prompted; the wearer confirmed having told them
NOTICE_PROMPTED = 2  # prompted; started by policy when the prompt timed out
NOTICE_NO_TIME = 3  # skipped by the wearer: no time to warn
NOTICE_ALARM = 4  # skipped: an alarm started the clip
NOTICE_CONTINUED = 5  # continues a clip that had to be replaced while recording

CODEC_MATROSKA_MJPEG_PCM = 1
CODEC_MATROSKA_PCM = 2  # no camera

END_WEARER = 1
END_REMOTE = 2
END_STORAGE = 3
END_BATTERY = 4
END_LIMIT = 5
END_UNOPENABLE = 6
END_RESTART = 7

PREV_NONE = 0  # no clip before this one since provisioning
PREV_UNSETTLED_HEAD = b"\xff" * 32  # the previous clip's head is not known yet; a CUT event settles it

# type, version, suite, flags, device, clip, boot, wall, mono, trust, notice, codec, zero, notice times, key id,
# previous clip and head, alarm boot and counter
FIELDS_LAYOUT = ">BBBB8sIIQQBBBBII8sI32sII"
FIELDS_BYTES = 100
ASSOCIATED_BYTES = FIELDS_BYTES + RSA_BYTES  # 484: what the stream's key derivation binds
HEADER_MAC_AT = ASSOCIATED_BYTES + TINK_HEADER_BYTES + KEY_BYTES
END_LAYOUT = ">BBBB8sIIIQIIQQ32s"
END_MAC_AT = CLIP_END_BYTES - TAG_BYTES


def xor32(a: bytes, b: bytes) -> bytes:
    """XOR of two 32-byte strings."""
    return bytes([x ^ y for x, y in zip(a, b)])


class ClipHeader:
    """Everything that is fixed when a clip starts. Times are milliseconds: `wall_ms` Unix, `mono_ms` since boot.

    `prompted_ms` is how long before the start the notice prompt began, `confirmed_ms` how long before the start the
    wearer confirmed (0 where it did not happen). `alarm_boot`/`alarm_counter` name the alarm that started it, or 0, 0.
    `mac_key` (K_h) is set by `open_clip_header`.
    """

    def __init__(self) -> None:
        self.device = b""
        self.clip = 0
        self.boot = 0
        self.flags = 0
        self.wall_ms = 0
        self.mono_ms = 0
        self.trust = TRUST_NONE
        self.notice = NOTICE_CONFIRMED
        self.codec = CODEC_MATROSKA_MJPEG_PCM
        self.prompted_ms = 0
        self.confirmed_ms = 0
        self.key_id = bytes(8)
        self.previous_clip = PREV_NONE
        self.previous_head = bytes(32)
        self.alarm_boot = 0
        self.alarm_counter = 0
        self.wrapped_seed = b""
        self.tink_header = b""
        self.mac_key = b""

    @property
    def prefix(self) -> bytes:
        """The 7-byte nonce prefix of the stream."""
        return split_tink_header(self.tink_header)[1]

    def associated_data(self) -> bytes:
        """The 484 bytes that precede the Tink header; they are the stream's associated data."""
        return self.fields() + self.wrapped_seed

    def fields(self) -> bytes:
        """The 100 bytes that precede the wrapped seed."""
        if len(self.wrapped_seed) != RSA_BYTES or len(self.previous_head) != 32:
            raise ValueError("clip header field of the wrong length")
        if len(self.device) != DEVICE_ID_BYTES or len(self.key_id) != KEY_ID_BYTES:
            raise ValueError("clip header field of the wrong length")
        return struct.pack(
            FIELDS_LAYOUT,
            RECORD_CLIP_HEADER,
            PROTOCOL_VERSION,
            SUITE_TINK_4KB,
            self.flags,
            self.device,
            self.clip,
            self.boot,
            self.wall_ms,
            self.mono_ms,
            self.trust,
            self.notice,
            self.codec,
            0,
            self.prompted_ms,
            self.confirmed_ms,
            self.key_id,
            self.previous_clip,
            self.previous_head,
            self.alarm_boot,
            self.alarm_counter,
        )


def seal_clip_header(header: ClipHeader, keys: EpochKeys, seed: bytes) -> "tuple[bytes, StreamKeys]":
    """(588-byte header record, keys of the stream). `header.tink_header` and `wrapped_seed` are set by the caller."""
    record, stream = make_clip_header(header, keys, seed)
    return bytes(record), stream


def make_clip_header(header: ClipHeader, keys: EpochKeys, seed: bytes) -> "tuple[bytearray, StreamKeys]":
    """`seal_clip_header` for a device, whose heap may have room for the record once, and not for each step to it."""
    salt, _ = split_tink_header(header.tink_header)
    record = bytearray(CLIP_HEADER_BYTES)
    view = memoryview(record)
    record[:FIELDS_BYTES] = header.fields()
    record[FIELDS_BYTES:ASSOCIATED_BYTES] = header.wrapped_seed
    record[ASSOCIATED_BYTES : HEADER_MAC_AT - KEY_BYTES] = header.tink_header
    stream = StreamKeys(clip_ikm(keys.clip_enc, seed), salt, view[:ASSOCIATED_BYTES])
    auth = Mac(keys.clip_auth)
    sealed = xor32(stream.mac_key, auth.digest(labels.SEAL_MAC_KEY, header.tink_header))
    record[HEADER_MAC_AT - KEY_BYTES : HEADER_MAC_AT] = sealed
    record[HEADER_MAC_AT:] = auth.digest(view[:HEADER_MAC_AT])
    return record, stream


def peek_clip(record: "bytes | bytearray | memoryview") -> "tuple[bytes, int]":
    """(device, clip) that a header or end record names, nothing verified; raises Malformed or UnsupportedVersion."""
    if len(record) < 16 or record[0] not in (RECORD_CLIP_HEADER, RECORD_CLIP_END):
        raise Malformed("not a clip header or end, or cut")
    if record[1] != PROTOCOL_VERSION:
        raise UnsupportedVersion("clip record version %d" % record[1])
    device, clip = struct.unpack_from(">8sI", record, 4)
    return device, clip


class Head:
    """The running hash of a clip: h0 over the header record, then each segment's tag. Every prefix has a head."""

    def __init__(self, value: bytes, count: int) -> None:
        self.value = value
        self.count = count

    def update(self, tag: "bytes | bytearray | memoryview") -> None:
        """Take in the 32-byte tag of the next segment."""
        self.value = sha256(self.value, tag)
        self.count += 1


def head_of(header_record: "bytes | bytearray | memoryview") -> Head:
    """The head of a clip that has its header and no segment yet."""
    return Head(sha256(labels.HEAD, header_record), 0)


class ClipEnd:
    """What is known when a clip ends in order. Counts: segments, video frames written and dropped; `size_bytes` is the
    plaintext's; `duration_ms` from the clip's start; `mono_ms` since boot."""

    def __init__(self) -> None:
        self.device = b""
        self.clip = 0
        self.reason = END_WEARER
        self.segments = 0
        self.duration_ms = 0
        self.size_bytes = 0
        self.frames = 0
        self.dropped = 0
        self.wall_ms = 0
        self.mono_ms = 0
        self.head = b""


def seal_clip_end(end: ClipEnd, keys: EpochKeys) -> bytes:
    """The 120-byte end record under the keys of the clip's epoch."""
    body = struct.pack(
        END_LAYOUT,
        RECORD_CLIP_END,
        PROTOCOL_VERSION,
        end.reason,
        0,
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
    )
    return body + Mac(keys.clip_auth).digest(body)
