"""A device and a gateway that share one K_dev, joined by nothing but records: the helper of the protocol's tests."""

from __future__ import annotations

import io
import struct
from dataclasses import dataclass, field

from lapel_protocol.clip import (
    FLAG_ALARM,
    NOTICE_ALARM,
    NOTICE_CONFIRMED,
    TRUST_GATEWAY,
    ClipEnd,
    ClipHeader,
    Head,
    head_of,
    seal_clip_end,
    seal_clip_header,
)
from lapel_protocol.command import Command, open_command
from lapel_protocol.commanding import seal_command
from lapel_protocol.crypto import Mac, sha256
from lapel_protocol.errors import EpochTooFar, Malformed, WrongDevice
from lapel_protocol.event import Event, peek_event, seal_event
from lapel_protocol.keys import EpochKeys, chain_next, chain_start
from lapel_protocol.limits import RSA_BYTES, SEGMENT_HEADER_BYTES, TAG_BYTES
from lapel_protocol.opening import SegmentOpener, open_clip_end, open_clip_header, open_event, verify_segment
from lapel_protocol.stream import (
    SegmentHeader,
    SegmentSealer,
    StreamKeys,
    clip_ikm,
    decode_segment_header,
    segment_body,
    tink_header,
)
from tests.protocol import tink_judge
from tests.support.segments import with_check

DEVICE = bytes.fromhex("a1b2c3d4e5f60718")
K_DEV = sha256(b"K_dev of the tests")
BOOT = 3
CLIP = 5
WALL_MS = 1_760_000_000_000
REACH = 64  # epochs that this gateway walks; a real one walks MAX_CHAIN_STEPS


def key_of(epoch: int, k_dev: bytes = K_DEV, device: bytes = DEVICE) -> bytes:
    """CK of an epoch, as the gateway finds it."""
    key = chain_start(k_dev, device)
    for _ in range(epoch):
        key = chain_next(key)
    return key


@dataclass
class SealedClip:
    """A clip as it leaves a device, with the secrets that its maker knew."""

    header: bytes
    segments: list[bytes]
    end: bytes
    plain: bytes
    seed: bytes
    stream: StreamKeys
    fields: ClipHeader
    heads: list[bytes] = field(default_factory=list)

    def fields_as_opened(self) -> ClipHeader:
        """The header's fields with K_h, as a gateway has them once the header is verified."""
        self.fields.mac_key = self.stream.mac_key
        return self.fields

    @property
    def tink_stream(self) -> bytes:
        """What the export hands to public Tink: its header, then the bodies."""
        return self.fields.tink_header + b"".join(record[SEGMENT_HEADER_BYTES:] for record in self.segments)


class DevicePair:
    """One device in one boot, and the gateway's view of it."""

    def __init__(self, device: bytes = DEVICE, k_dev: bytes = K_DEV, boot: int = BOOT) -> None:
        self.device = device
        self.k_dev = k_dev
        self.boot = boot
        self.counter = 0

    def keys(self, epoch: int) -> EpochKeys:
        """Keys of an epoch; both ends come to the same. Raises EpochTooFar as a gateway does."""
        if epoch > REACH:
            raise EpochTooFar(f"epoch {epoch}")
        return EpochKeys(key_of(epoch, self.k_dev, self.device))

    # -- device to gateway ------------------------------------------------------------------------------------------

    def event(self, kind: int, payload: bytes) -> bytes:
        """The next event of this boot, sealed by the device."""
        self.counter += 1
        event = Event(kind, self.device, self.boot, self.counter, WALL_MS, 60_000, TRUST_GATEWAY, payload)
        return seal_event(self.keys(self.boot), event)

    def open_event(self, record: bytes) -> Event:
        """The gateway opens an event with the keys of the boot that it names."""
        _, _, boot, _ = peek_event(record)
        return open_event(self.keys(boot), record)

    def clip(
        self, plain: bytes, clip: int = CLIP, *, alarm: bool = False, previous_head: bytes = bytes(32)
    ) -> SealedClip:
        """A whole clip with this plaintext, sealed by the device; its secrets follow from its number."""
        header = ClipHeader()
        header.device, header.clip, header.boot = self.device, clip, self.boot
        header.wall_ms, header.mono_ms, header.trust = WALL_MS, 60_000, TRUST_GATEWAY
        header.notice = NOTICE_ALARM if alarm else NOTICE_CONFIRMED
        header.flags = FLAG_ALARM if alarm else 0
        header.previous_clip = clip - 1 if any(previous_head) else 0
        header.previous_head = previous_head
        secret = Mac(self.k_dev + bytes(4))
        seed = secret.digest(b"seed", struct.pack(">I", clip))
        header.wrapped_seed = (secret.digest(b"wrap", struct.pack(">I", clip)) * 12)[:RSA_BYTES]
        salt = secret.digest(b"salt", struct.pack(">I", clip))
        header.tink_header = tink_header(salt, secret.digest(b"prefix", struct.pack(">I", clip))[:7])
        keys = self.keys(clip)
        record, stream = seal_clip_header(header, keys, seed)
        sealer = SegmentSealer()
        sealer.begin(self.device, clip, stream, header.prefix)
        head = head_of(record)
        segments, heads = [], [head.value]
        reader = io.BytesIO(plain)
        while True:
            sealer.write(reader.read(sealer.room))
            last = reader.tell() == len(plain)
            sealed = bytes(sealer.seal(last))
            segments.append(sealed)
            head.update(sealed[-TAG_BYTES:])
            heads.append(head.value)
            if last:
                break
        end = self.end(clip, head, len(plain))
        return SealedClip(record, segments, end, plain, seed, stream, header, heads)

    def end(self, clip: int, head: Head, size_bytes: int) -> bytes:
        """The end record of a clip with this head."""
        end = ClipEnd()
        end.device, end.clip, end.segments, end.size_bytes = self.device, clip, head.count, size_bytes
        end.wall_ms, end.mono_ms, end.duration_ms, end.head = WALL_MS + 9_000, 69_000, 9_000, head.value
        return seal_clip_end(end, self.keys(clip))

    def open_header(self, record: bytes) -> ClipHeader:
        """The gateway opens a header with the keys of the epoch that it names."""
        (clip,) = struct.unpack_from(">I", record, 12)
        return open_clip_header(self.keys(clip), record)

    def open_end(self, record: bytes) -> ClipEnd:
        """The gateway opens an end with the keys of the epoch that it names."""
        (clip,) = struct.unpack_from(">I", record, 12)
        return open_clip_end(self.keys(clip), record)

    # -- gateway to device ------------------------------------------------------------------------------------------

    def command(
        self, kind: int, payload: bytes, nonce: bytes = bytes(8), counter: int = 0, expires_ms: int = 0
    ) -> bytes:
        """A command sealed by the gateway for this boot."""
        command = Command(kind, self.device, self.boot, payload, nonce, counter, WALL_MS, expires_ms)
        return seal_command(self.keys(self.boot), command)

    def open_command(self, record: bytes) -> Command:
        """The device opens a command with the keys of its running boot."""
        return open_command(self.keys(self.boot), record, self.device, self.boot)


def verify(header: ClipHeader, record: bytes) -> SegmentHeader:
    """Check a segment as a gateway without the private key does (SPEC 5.4)."""
    segment = decode_segment_header(record)
    if segment.device != header.device:
        raise WrongDevice("segment of another device")
    if segment.clip != header.clip:
        raise Malformed("segment of another clip")
    verify_segment(Mac(header.mac_key), header.prefix, segment, segment_body(segment, record))
    return segment


def open_segment(clip: SealedClip, record: bytes) -> bytes:
    """Open one segment record under the keys of a clip."""
    segment = decode_segment_header(record)
    return bytes(SegmentOpener(clip.stream, clip.fields.prefix).open(segment, segment_body(segment, record)))


def relabelled(record: bytes, **change: int) -> bytes:
    """A segment record with other header fields and a check that fits them, as an attacker would send it."""
    kind, version, flags, zero, device, clip, index, size = struct.unpack_from(">BBBB8sIII", record, 0)
    fields = {"flags": flags, "clip": clip, "index": index, "size": size, **change}
    body = record[SEGMENT_HEADER_BYTES:]
    head = struct.pack(
        ">BBBB8sIII", kind, version, fields["flags"], zero, device, fields["clip"], fields["index"], fields["size"]
    )
    return with_check(head + bytes(4) + body)


def flip(record: bytes, bit: int) -> bytes:
    """The record with one bit the other way."""
    data = bytearray(record)
    data[bit >> 3] ^= 1 << (bit & 7)
    return bytes(data)


def open_with_tink(pair: DevicePair, clip: SealedClip) -> bytes:
    """The plaintext of a clip by public Tink, from its keyset; raises tink.TinkError."""
    ikm = clip_ikm(pair.keys(clip.fields.clip).clip_enc, clip.seed)
    return tink_judge.decrypt(ikm, clip.fields.associated_data(), clip.tink_stream)
