"""SHA-256, HMAC, HKDF and AES-CTR from what both Pythons have natively.

FIPS 180-4, RFC 2104, RFC 5869, NIST SP 800-38A. Nothing here is a construction of our own.
"""

import hashlib
from binascii import crc32 as _crc32

try:
    from .ctr_micropython import AesCtr, sampled, segment_check
except ImportError:
    from .ctr_cpython import AesCtr, sampled, segment_check  # type: ignore[assignment]

__all__ = ["AesCtr", "Mac", "crc32", "equal", "hkdf", "sampled", "segment_check", "sha256"]

_BLOCK_BYTES = 64
_IPAD = bytes(b ^ 0x36 for b in range(256))
_OPAD = bytes(b ^ 0x5C for b in range(256))


def sha256(*parts: "bytes | bytearray | memoryview") -> bytes:
    """SHA-256 over the parts, one after the other: 32 bytes."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part)
    return digest.digest()


class Mac:
    """HMAC-SHA256 (RFC 2104) under one key of at most 64 bytes, its padded key blocks cached.

    MicroPython's sha256 has no copy(), so a pad is hashed again at each use; keeping the blocks saves the rest.
    """

    def __init__(self, key: "bytes | bytearray | memoryview") -> None:
        if len(key) > _BLOCK_BYTES:
            raise ValueError("HMAC key longer than one block")
        # Without lists, which take eight times as much of a device's heap at a stretch.
        self._inner = bytearray(_IPAD[:1] * _BLOCK_BYTES)
        self._outer = bytearray(_OPAD[:1] * _BLOCK_BYTES)
        for i in range(len(key)):
            self._inner[i] = _IPAD[key[i]]
            self._outer[i] = _OPAD[key[i]]

    def digest(self, *parts: "bytes | bytearray | memoryview") -> bytes:
        """The 32-byte tag over the parts, one after the other."""
        inner = hashlib.sha256(self._inner)
        for part in parts:
            inner.update(part)
        outer = hashlib.sha256(self._outer)
        outer.update(inner.digest())
        return outer.digest()


def hkdf(ikm: bytes, salt: bytes, info: "bytes | bytearray | memoryview", length: int) -> bytes:
    """HKDF-SHA256 (RFC 5869), extract and expand. `length` is at most 255 * 32 bytes."""
    expand = Mac(Mac(salt).digest(ikm))
    out = b""
    block = b""
    counter = 1
    while len(out) < length:
        block = expand.digest(block, info, bytes([counter]))
        out += block
        counter += 1
    return out[:length]


def equal(a: "bytes | bytearray | memoryview", b: "bytes | bytearray | memoryview") -> bool:
    """Whether two byte strings are equal, in a time that depends on their length only."""
    if len(a) != len(b):
        return False
    different = 0
    for x, y in zip(a, b):
        different |= x ^ y
    return different == 0


def crc32(*parts: "bytes | bytearray | memoryview") -> int:
    """CRC-32 (ISO 3309) over the parts: finds torn writes, proves nothing."""
    value = 0
    for part in parts:
        value = _crc32(part, value)
    return value
