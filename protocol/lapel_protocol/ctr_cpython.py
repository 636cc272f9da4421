"""AES-CTR by the `cryptography` package, and the check of a segment (SPEC 5.2), for CPython."""

from array import array
from binascii import crc32

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from .limits import CHECK_STRIDE_BYTES, SEGMENT_HEADER_BYTES, TAG_BYTES

__all__ = ["AesCtr", "sampled", "segment_check"]

# In words, which are moved about and never looked at: the order of their bytes does not matter.
_STRIDE = slice(None, None, CHECK_STRIDE_BYTES // 4)
_HEAD = slice(SEGMENT_HEADER_BYTES // 4 - 1)
_SAMPLED = slice(SEGMENT_HEADER_BYTES // 4, -TAG_BYTES // 4, CHECK_STRIDE_BYTES // 4)
_TAG = slice(-TAG_BYTES // 4, None)


class AesCtr:
    """AES-256 in counter mode (NIST SP 800-38A) with a 12-byte IV and a 32-bit big-endian block counter from 0."""

    def __init__(self, key: bytes) -> None:
        self._algorithm = algorithms.AES(bytes(key))

    def apply(self, iv: "bytes | bytearray | memoryview", data: memoryview) -> None:
        """Encrypt or decrypt `data` in place. `iv` has at least 12 bytes."""
        encryptor = Cipher(self._algorithm, modes.CTR(bytes(iv[:12]) + b"\0\0\0\0")).encryptor()
        data[:] = encryptor.update(data)


def sampled(data: "bytes | bytearray | memoryview") -> "array[int]":
    """The 4 bytes at each multiple of CHECK_STRIDE_BYTES of `data`, joined, as far as there are four."""
    words = array("I")
    words.frombytes(data[: len(data) & ~3])
    return words[_STRIDE]


def segment_check(record: "bytes | bytearray | memoryview") -> int:
    """What the check field of a whole segment record should be."""
    if len(record) & 3:  # a last one: its tag is no row of words
        view = memoryview(record)
        words = sampled(view[SEGMENT_HEADER_BYTES:-TAG_BYTES])
        return crc32(view[-TAG_BYTES:], crc32(words, crc32(view[: SEGMENT_HEADER_BYTES - 4])))
    whole = array("I")
    whole.frombytes(record)
    return crc32(whole[_TAG], crc32(whole[_SAMPLED], crc32(whole[_HEAD])))
