"""The clip cipher: Tink streaming AEAD AES256_CTR_HMAC_SHA256_4KB, segment by segment (SPEC section 5).

Rules that hold here:
- an index is sealed once; a segment is full unless it is the last;
- every segment carries what its nonce is made of, and a check that finds torn writes (it proves nothing).
"""

import struct
from binascii import crc32

from . import PROTOCOL_VERSION
from .crypto import AesCtr, Mac, hkdf, sampled, segment_check
from .errors import Malformed, UnsupportedVersion
from .layout import gateway_only
from .limits import (
    CLIP_HEADER_BYTES,
    FIRST_BODY_BYTES,
    FIRST_PLAIN_BYTES,
    FIRST_SEGMENT_RECORD_BYTES,
    KEY_BYTES,
    MAX_SEGMENT_RECORD_BYTES,
    MAX_SEGMENTS,
    NEXT_PLAIN_BYTES,
    PREFIX_BYTES,
    SALT_BYTES,
    SEGMENT_BYTES,
    SEGMENT_HEADER_BYTES,
    TAG_BYTES,
    TINK_HEADER_BYTES,
)

RECORD_SEGMENT = 0x02
_FLAG_LAST = 1
# type, version, flags, zero, device, clip, index, body length | check
_LAYOUT = ">BBBB8sIII"
_FLAGS_AT = 2
_INDEX_AT = 16
_NONCE_LAST_AT = 11
_CHECK_AT = 24


def segment_offset(index: int) -> int:
    """Where segment record `index` starts in a clip file (header record, then segment records in order)."""
    if index == 0:
        return CLIP_HEADER_BYTES
    return CLIP_HEADER_BYTES + FIRST_SEGMENT_RECORD_BYTES + (index - 1) * MAX_SEGMENT_RECORD_BYTES


def full_body_bytes(index: int) -> int:
    """The body length, tag included, of a segment that is not the last."""
    return FIRST_BODY_BYTES if index == 0 else SEGMENT_BYTES


def tink_header(salt: bytes, prefix: bytes) -> bytes:
    """The 40 bytes that open a Tink stream: their own length, salt, nonce prefix."""
    if len(salt) != SALT_BYTES or len(prefix) != PREFIX_BYTES:
        raise ValueError("salt has 32 bytes and prefix 7")
    return bytes([TINK_HEADER_BYTES]) + salt + prefix


def split_tink_header(header: bytes) -> "tuple[bytes, bytes]":
    """(salt, prefix) of a 40-byte Tink header; raises Malformed."""
    if len(header) != TINK_HEADER_BYTES or header[0] != TINK_HEADER_BYTES:
        raise Malformed("Tink header does not give its own length")
    return header[1 : 1 + SALT_BYTES], header[1 + SALT_BYTES :]


def clip_ikm(clip_enc: bytes, seed: bytes) -> bytes:
    """The Tink key of a clip: needs the epoch's E (from K_dev) and the seed (from the organisation's private key)."""
    return Mac(clip_enc).digest(seed)


class StreamKeys:
    """AES key and MAC key of one stream (HKDF-SHA256, Tink's order): `aes_key` and `mac_key`, 32 bytes each."""

    def __init__(self, ikm: bytes, salt: bytes, associated_data: "bytes | bytearray | memoryview") -> None:
        both = hkdf(ikm, salt, associated_data, 2 * KEY_BYTES)
        self.aes_key = both[:KEY_BYTES]
        self.mac_key = both[KEY_BYTES:]


def segment_nonce(prefix: bytes, index: int, last: bool) -> bytes:
    """The 16-byte nonce, and CTR start block, of a segment (Tink's layout)."""
    return prefix + struct.pack(">IB", index, 1 if last else 0) + b"\0\0\0\0"


class SegmentHeader:
    """The 28 bytes before a segment's body. `size_bytes` is the body's length, tag included."""

    def __init__(self, device: bytes, clip: int, index: int, last: bool, size_bytes: int, check: int) -> None:
        self.device = device
        self.clip = clip
        self.index = index
        self.last = last
        self.size_bytes = size_bytes
        self.check = check


def decode_segment_header(record: "bytes | bytearray | memoryview") -> SegmentHeader:
    """Check the first 28 bytes of a segment record (SPEC 5.2); raises Malformed or UnsupportedVersion.

    The body is not looked at: `record` may hold only the header.
    """
    if len(record) < SEGMENT_HEADER_BYTES:
        raise Malformed("segment cut inside its header")
    kind, version, flags, zero, device, clip, index, size = struct.unpack_from(_LAYOUT, record, 0)
    (check,) = struct.unpack_from(">I", record, _CHECK_AT)
    if kind != RECORD_SEGMENT:
        raise Malformed("not a segment")
    if version != PROTOCOL_VERSION:
        raise UnsupportedVersion("segment version %d" % version)
    if flags & ~_FLAG_LAST or zero:
        raise Malformed("segment flags")
    if index >= MAX_SEGMENTS:
        raise Malformed("segment index")
    full = full_body_bytes(index)
    last = bool(flags & _FLAG_LAST)
    if size > full or size < TAG_BYTES or (size != full and not last):
        raise Malformed("segment length")
    return SegmentHeader(device, clip, index, last, size, check)


@gateway_only
def segment_body(header: SegmentHeader, record: "bytes | bytearray | memoryview") -> memoryview:
    """The body of a whole segment record, its check right; raises Malformed when cut, longer or torn."""
    if len(record) != SEGMENT_HEADER_BYTES + header.size_bytes:
        raise Malformed("segment cut or followed by other bytes")
    if segment_check(record) != header.check:
        raise Malformed("segment torn")
    return memoryview(record)[SEGMENT_HEADER_BYTES:]


class SegmentSealer:
    """Gathers plaintext and seals it in place, a segment at a time, in one buffer that is allocated once.

    `begin` a clip, `write` until `full`, `seal` to get the finished record, and so on; the clip's last segment is
    sealed with last=True and may be empty. Views of whole segments are made once, so that sealing one allocates no more
    than its two SHA-256 do.
    """

    def __init__(self) -> None:
        record = bytearray(MAX_SEGMENT_RECORD_BYTES)
        view = memoryview(record)
        self._record = record
        self._view = view
        self._header = view[:_CHECK_AT]
        self._nonce = bytearray(16)
        # Plaintext and whole record of the first full segment, and of the others.
        self._first = (
            view[SEGMENT_HEADER_BYTES : FIRST_SEGMENT_RECORD_BYTES - TAG_BYTES],
            view[:FIRST_SEGMENT_RECORD_BYTES],
        )
        self._next = (view[SEGMENT_HEADER_BYTES : MAX_SEGMENT_RECORD_BYTES - TAG_BYTES], view)
        self._used = 0
        self._ended = True
        self.room = 0
        self.index = 0

    def begin(self, device: bytes, clip: int, keys: StreamKeys, prefix: bytes) -> None:
        """Start the stream of `clip`; the previous one is forgotten."""
        struct.pack_into(_LAYOUT, self._record, 0, RECORD_SEGMENT, PROTOCOL_VERSION, 0, 0, device, clip, 0, 0)
        struct.pack_into(">7sIB", self._nonce, 0, prefix, 0, 0)
        self._cipher = AesCtr(keys.aes_key)
        self._mac = Mac(keys.mac_key)
        self.index = 0
        self._used = 0
        self._ended = False
        self.room = FIRST_PLAIN_BYTES

    @property
    def full(self) -> bool:
        """Whether the segment must be sealed before more is written."""
        return self.room == 0

    @property
    def waiting_bytes(self) -> int:
        """Plaintext bytes that are in the buffer and not yet sealed."""
        return self._used

    def write(self, data: "bytes | bytearray | memoryview", start: int = 0) -> int:
        """Take as much of data[start:] as fits the segment; returns how many bytes were taken."""
        take = min(self.room, len(data) - start)
        at = SEGMENT_HEADER_BYTES + self._used
        # Each view is an allocation, so the whole of `data` is taken without one.
        self._view[at : at + take] = data if take == len(data) else memoryview(data)[start : start + take]
        self._used += take
        self.room -= take
        return take

    def seal(self, last: bool) -> memoryview:
        """Seal the segment: its whole record, valid until the next `write`; its tag is the last 32 bytes.

        Raises ValueError when a segment that is not the last is not full, or the stream has ended: an index is
        never sealed twice. A failure half-way (MemoryError) ends the stream.
        """
        index = self.index
        if self._ended or index >= MAX_SEGMENTS or not (last or not self.room):
            raise ValueError("segment sealed out of order")
        self._ended = True  # until it is whole: sealing again after a failure half-way would undo the encryption
        size = self._used + TAG_BYTES
        end = SEGMENT_HEADER_BYTES + size
        record = self._record
        nonce = self._nonce
        pack_into = struct.pack_into
        pack_into(">I", nonce, PREFIX_BYTES, index)
        pack_into(">II", record, _INDEX_AT, index, size)
        if last:
            nonce[_NONCE_LAST_AT] = record[_FLAGS_AT] = _FLAG_LAST
        if self.room:
            whole = self._view[:end]
            cipher_text = whole[SEGMENT_HEADER_BYTES : end - TAG_BYTES]
        else:
            cipher_text, whole = self._next if index else self._first
        self._cipher.apply(nonce, cipher_text)
        tag = self._mac.digest(nonce, cipher_text)
        pack_into("32s", record, end - TAG_BYTES, tag)
        pack_into(">I", record, _CHECK_AT, crc32(tag, crc32(sampled(cipher_text), crc32(self._header))))
        self.index = index + 1
        self._used = 0
        self._ended = last
        self.room = 0 if last else NEXT_PLAIN_BYTES
        return whole
