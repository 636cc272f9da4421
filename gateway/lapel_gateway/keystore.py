"""Secrets at rest: every device's K_dev under one master key, and the organisation's RSA key.

Rules that hold here
- K_dev is sealed with AES-256-GCM (NIST SP 800-38D) under the master key, bound to its device id; the ledger holds the
  sealed form, the master key file stands apart from it (mode 0600).
- No secret appears in an exception, a log line or a ``repr``.
- Verifying clips needs K_dev only; opening them also needs the organisation's private key, which may be kept elsewhere.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

from cryptography.exceptions import InvalidTag, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from lapel_protocol.errors import Unopenable
from lapel_protocol.limits import KEY_BYTES, RSA_BYTES
from lapel_protocol.wrap import key_id

_NONCE_BYTES = 12
_LABEL = b"lapel/v1 K_dev"


class KeyStoreError(Exception):
    """A key file cannot be used; the message says which and what to do."""


class KeyStore:
    """Seals and opens device keys under the master key of this gateway."""

    def __init__(self, master_key: bytes) -> None:
        """``master_key`` has 32 bytes."""
        self._cipher = AESGCM(master_key)

    @classmethod
    def load(cls, path: Path) -> KeyStore:
        """Read the master key: 64 hexadecimal digits in a file that only its owner can read. Raises KeyStoreError."""
        try:
            mode = stat.S_IMODE(path.stat().st_mode)
            text = path.read_text(encoding="ascii").strip()
        except FileNotFoundError:
            raise KeyStoreError(f"master key {path} is missing: restore it from its copy, or provision anew") from None
        except (OSError, UnicodeDecodeError):
            raise KeyStoreError(f"master key {path} cannot be read by this user") from None
        if mode & 0o077:
            raise KeyStoreError(f"master key {path} can be read by others (mode {mode:04o}): chmod 600 {path}")
        try:
            key = bytes.fromhex(text)
        except ValueError:
            key = b""
        if len(key) != KEY_BYTES:
            raise KeyStoreError(
                f"master key {path} is not {2 * KEY_BYTES} hexadecimal digits: restore it from its copy"
            )
        return cls(key)

    @classmethod
    def create(cls, path: Path) -> KeyStore:
        """Write a new random master key to ``path`` (0600, durable); an existing file is never replaced."""
        key = os.urandom(KEY_BYTES)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError:
            raise KeyStoreError(f"master key {path} exists and is not replaced") from None
        except OSError as error:
            raise KeyStoreError(f"master key {path} cannot be written: {error.strerror}") from None
        with os.fdopen(handle, "w", encoding="ascii") as file:
            file.write(key.hex() + "\n")
            file.flush()
            os.fsync(file.fileno())
        return cls(key)

    def seal(self, device: bytes, k_dev: bytes) -> bytes:
        """The form of a 32-byte K_dev that the ledger holds: nonce[12] ‖ ciphertext and tag[48]."""
        nonce = os.urandom(_NONCE_BYTES)
        return nonce + self._cipher.encrypt(nonce, k_dev, _LABEL + device)

    def open(self, device: bytes, sealed: bytes) -> bytes:
        """K_dev of ``device``. Raises KeyStoreError when it was sealed for another device or master key."""
        try:
            return self._cipher.decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], _LABEL + device)
        except (InvalidTag, ValueError):
            raise KeyStoreError(
                f"the sealed key of device {device.hex()} does not open: is this the ledger's own master key?"
            ) from None


class OrganisationKey:
    """The organisation's RSA-3072 key: the public half for every device, the private half where clips are opened."""

    def __init__(self, public: rsa.RSAPublicKey, private: rsa.RSAPrivateKey | None) -> None:
        numbers = public.public_numbers()
        if public.key_size != RSA_BYTES * 8 or numbers.e != 65537:
            raise KeyStoreError("the organisation's key must be RSA-3072 with the public exponent 65537")
        self.modulus = numbers.n.to_bytes(RSA_BYTES, "big")
        """384 bytes, big-endian."""
        self.key_id = key_id(self.modulus)
        """8 bytes that clip headers name the key by."""
        self._private = private

    @classmethod
    def load(cls, path: Path) -> OrganisationKey:
        """Read a PEM file with the private or only the public key. Raises KeyStoreError."""
        try:
            pem = path.read_bytes()
        except OSError as error:
            raise KeyStoreError(f"organisation key {path}: {error.strerror}") from None
        try:
            if b"PRIVATE KEY" in pem:
                private = serialization.load_pem_private_key(pem, None)
                if isinstance(private, rsa.RSAPrivateKey):
                    return cls(private.public_key(), private)
            else:
                public = serialization.load_pem_public_key(pem)
                if isinstance(public, rsa.RSAPublicKey):
                    return cls(public, None)
        except (ValueError, TypeError, UnsupportedAlgorithm):
            raise KeyStoreError(f"organisation key {path} is not an unencrypted PEM key") from None
        raise KeyStoreError(f"organisation key {path} is not an RSA key")

    @property
    def can_open(self) -> bool:
        """Whether the private half is at hand."""
        return self._private is not None

    def unwrap(self, wrapped: bytes) -> bytes:
        """The 32-byte seed in a 384-byte RSA-OAEP-SHA256 wrap (RFC 8017 section 7.1). Raises Unopenable."""
        if self._private is None:
            raise KeyStoreError("the organisation's private key is kept elsewhere")
        oaep = padding.OAEP(mgf=padding.MGF1(hashes.SHA256()), algorithm=hashes.SHA256(), label=None)
        try:
            seed = self._private.decrypt(wrapped, oaep)
        except ValueError:
            raise Unopenable("the wrapped seed does not open with the organisation's key") from None
        if len(seed) != KEY_BYTES:
            raise Unopenable("the wrapped seed has the wrong length")
        return seed
