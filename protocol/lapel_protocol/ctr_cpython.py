"""AES-CTR by the `cryptography` package, for CPython."""

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes


class AesCtr:
    """AES-256 in counter mode (NIST SP 800-38A) with a 12-byte IV and a 32-bit big-endian block counter from 0."""

    def __init__(self, key: bytes) -> None:
        self._algorithm = algorithms.AES(bytes(key))

    def apply(self, iv: "bytes | bytearray | memoryview", data: memoryview) -> None:
        """Encrypt or decrypt `data` in place. `iv` has at least 12 bytes."""
        encryptor = Cipher(self._algorithm, modes.CTR(bytes(iv[:12]) + b"\0\0\0\0")).encryptor()
        data[:] = encryptor.update(data)
