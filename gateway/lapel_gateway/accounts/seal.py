"""What accounts keep encrypted, and random secrets of which only the hash is kept.

Rules that hold here
- A random secret has 256 bits: its SHA-256 is kept, and found again by it; a slow password hash would add nothing.
- Encryption is AES-256-GCM (NIST SP 800-38D) with a random nonce, under a key of its own that serves nothing else, each
  text bound to what it belongs to. A stolen ledger alone opens none of it.
- No secret is in an exception or a ``repr``.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from lapel_gateway.key_file import KEY_BYTES, load_key

SECRET_BYTES = 32
MAX_SECRET_CHARACTERS = 256
"""Longer ones are refused before they are hashed."""

_NONCE_BYTES = 12


class SealError(Exception):
    """What was kept cannot be read: it is damaged, belongs elsewhere, or the key is another."""


class Seal:
    """Encrypts for the ledger, and derives what forms carry against requests from other sites."""

    def __init__(self, key: bytes) -> None:
        """``key`` has 32 bytes."""
        self._cipher = AESGCM(key)
        self._form_key = hmac.digest(key, b"lapel/v1 form", "sha256")

    @classmethod
    def load(cls, path: Path) -> Seal:
        """Read the key, which is made where there is none. Raises KeyStoreError."""
        return cls(load_key(path, "accounts"))

    @classmethod
    def passing(cls) -> Seal:
        """One whose key ends with the process."""
        return cls(secrets.token_bytes(KEY_BYTES))

    def seal(self, plain: bytes, of: str) -> bytes:
        """``plain`` encrypted; ``of`` says what it belongs to, and has to be said again to read it."""
        nonce = secrets.token_bytes(_NONCE_BYTES)
        return nonce + self._cipher.encrypt(nonce, plain, of.encode())

    def open(self, sealed: bytes, of: str) -> bytes:
        """What was sealed. Raises SealError."""
        try:
            return self._cipher.decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], of.encode())
        except (InvalidTag, ValueError):
            raise SealError(f"what is kept encrypted of {of} cannot be read with this key of accounts") from None

    def form_token(self, cookie: str) -> str:
        """What the forms of a session carry; whoever does not know the session's cookie cannot make it."""
        return hmac.digest(self._form_key, cookie.encode("utf-8", "surrogatepass"), "sha256").hex()


def new_secret(prefix: str = "") -> tuple[str, bytes]:
    """A random secret and its hash."""
    text = prefix + secrets.token_hex(SECRET_BYTES)
    return text, digest(text)


def digest(secret: str) -> bytes:
    """What the ledger keeps of a random secret."""
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).digest()
