"""AES-CTR from AES-ECB counter blocks: MicroPython's cryptolib has no CTR by default.

One keystream buffer serves all ciphers of the process, so use is strictly one call at a time (there are no threads).
"""

from cryptolib import aes  # type: ignore[import-not-found,unused-ignore]

try:
    from .xor_viper import fill_counters, xor_into
except (ImportError, SyntaxError):  # no native emitter on this port
    from .xor_plain import fill_counters, xor_into

_PIECE_BYTES = 1024  # 64 blocks: a quarter segment, so that the keystream costs 1 KiB of heap and not 4
_keystream = bytearray(_PIECE_BYTES)
_whole = memoryview(_keystream)
_MODE_ECB = 1


class AesCtr:
    """AES-256 in counter mode (NIST SP 800-38A) with a 12-byte IV and a 32-bit big-endian block counter from 0."""

    def __init__(self, key: bytes) -> None:
        self._ecb = aes(key, _MODE_ECB)

    def apply(self, iv: "bytes | bytearray | memoryview", data: memoryview) -> None:
        """Encrypt or decrypt `data` in place. `iv` has at least 12 bytes; `data` starts on a word boundary."""
        size = len(data)
        at = 0
        while at < size:
            piece = min(_PIECE_BYTES, size - at)
            blocks = (piece + 15) >> 4
            fill_counters(_keystream, iv, at >> 4, blocks)
            stream = _whole[: blocks << 4]
            self._ecb.encrypt(stream, stream)
            xor_into(data[at : at + piece], _keystream, piece)
            at += piece
