"""AES-CTR from AES-ECB counter blocks: MicroPython's cryptolib has no CTR by default.

One keystream buffer serves all ciphers of the process, so use is strictly one call at a time (there are no threads).
"""

from cryptolib import aes  # type: ignore[import-not-found,unused-ignore]

try:
    from .loops_viper import close_record, crypt
except (ImportError, SyntaxError):  # no native emitter on this port
    from .loops_plain import close_record, crypt

__all__ = ["AesCtr", "close_record"]

_PIECE_BYTES = 2032  # 127 blocks: half a segment, which has 254
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
        crypt(data, 0, 0, 0, size, iv, stream, self._encrypt)

    def encrypt_record(self, record: bytearray, head: int, size: int, iv: "bytes | bytearray | memoryview") -> None:
        """Encrypt `size` bytes from record[head + 4] on, in place, for `close_record`; `head` is a multiple of 4."""
        crypt(record, 0, 0, head, size, iv, _whole, self._encrypt)
