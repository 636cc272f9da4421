"""AES-CTR by the `cryptography` package, for CPython."""

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from .loops_plain import close_record

__all__ = ["AesCtr", "close_record"]


class AesCtr:
    """AES-256 in counter mode (NIST SP 800-38A) with a 12-byte IV and a 32-bit big-endian block counter from 0."""

    def __init__(self, key: bytes) -> None:
        self._algorithm = algorithms.AES(bytes(key))

    def apply(self, iv: "bytes | bytearray | memoryview", data: memoryview) -> None:
        """Encrypt or decrypt `data` in place. `iv` has at least 12 bytes."""
        encryptor = Cipher(self._algorithm, modes.CTR(bytes(iv[:12]) + b"\0\0\0\0")).encryptor()
        data[:] = encryptor.update(data)

    def encrypt_record(self, record: bytearray, head: int, size: int, iv: "bytes | bytearray | memoryview") -> None:
        """Encrypt `size` bytes from record[head + 4] on, in place, for `close_record`; `head` is a multiple of 4."""
        self.apply(iv, memoryview(record)[head + 4 : head + 4 + size])
