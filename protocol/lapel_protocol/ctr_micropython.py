"""AES-CTR from AES-ECB counter blocks, which MicroPython's cryptolib lacks, and the check of a segment (SPEC 5.2).

One keystream buffer serves all of it, so use is strictly one call at a time (there are no threads).
"""

from binascii import crc32

from cryptolib import aes  # type: ignore[import-not-found,unused-ignore]

from .limits import CHECK_STRIDE_BYTES, SEGMENT_HEADER_BYTES, TAG_BYTES

try:
    from .loops_viper import crypt, gather
except (ImportError, SyntaxError):  # no native emitter on this port
    from .loops_plain import crypt, gather

__all__ = ["AesCtr", "sampled", "segment_check"]

_PIECE_BYTES = 512  # 32 blocks: a segment, which has 254, in eight pieces
_keystream = bytearray(_PIECE_BYTES)
_whole = memoryview(_keystream)
_MODE_ECB = 1


class AesCtr:
    """AES-256 in counter mode (NIST SP 800-38A) with a 12-byte IV and a 32-bit big-endian block counter from 0."""

    def __init__(self, key: bytes) -> None:
        self._encrypt = aes(key, _MODE_ECB).encrypt

    def apply(self, iv: "bytes | bytearray | memoryview", data: memoryview) -> None:
        """Encrypt or decrypt `data` in place. `iv` has at least 12 bytes; both start on a word boundary."""
        size = len(data)
        stream = _whole if size > _PIECE_BYTES else _whole[: (size + 15) & ~15]
        crypt(data, stream, iv, size, stream, self._encrypt)


def sampled(data: "bytes | bytearray | memoryview") -> memoryview:
    """The 4 bytes at each multiple of CHECK_STRIDE_BYTES of `data`, joined, as far as there are four.

    `data` is at most a segment's body and starts on a word boundary. What is returned lasts until the next use of this
    module.
    """
    words = _whole[: (len(data) + CHECK_STRIDE_BYTES - 4) // CHECK_STRIDE_BYTES * 4]
    gather(data, words, len(words))
    return words


def segment_check(record: "bytes | bytearray | memoryview") -> int:
    """What the check field of a whole segment record should be; it starts on a word boundary."""
    view = memoryview(record)
    tag_at = len(view) - TAG_BYTES
    words = sampled(view[SEGMENT_HEADER_BYTES:tag_at])
    return crc32(view[tag_at:], crc32(words, crc32(view[: SEGMENT_HEADER_BYTES - 4])))
