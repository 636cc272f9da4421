"""Passwords: what one must be like, and Argon2id (RFC 9106) over it.

Rules that hold here (NIST SP 800-63B-4 section 3.1.1)
- A length, no rules of composition, no expiry; any character; normalised (NFKC) before it is hashed.
- The user's name and the service's are no password, nor is one character many times.
- Hashing takes 64 MiB (RFC 9106 section 4, second recommended parameters), so few are hashed at a time.
- Whether a name is known makes no difference: where there is nothing to compare with, as much is computed.
"""

from __future__ import annotations

import secrets
import threading
import unicodedata
from functools import cache

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError
from argon2.profiles import RFC_9106_LOW_MEMORY

MAX_CHARACTERS = 256
LEAST_DIFFERENT = 5
"""Different characters that a password has at least; "aaaaaaaaaaaaaaa" is guessed first."""

AT_ONCE = 2
"""Passwords that one process hashes side by side: 64 MiB each."""

_HASHER = PasswordHasher.from_parameters(RFC_9106_LOW_MEMORY)
_turn = threading.BoundedSemaphore(AT_ONCE)


class PasswordError(Exception):
    """A password will not do; the message says why. It never holds the password."""


def check_password(password: str, name: str, least: int) -> None:
    """Whether somebody called ``name`` may have it; ``least`` characters. Raises PasswordError."""
    plain = _normal(password)
    if len(plain) < least:
        raise PasswordError(f"a password has at least {least} characters; four or five words in a row are a good one")
    if len(plain) > MAX_CHARACTERS:
        raise PasswordError(f"a password has at most {MAX_CHARACTERS} characters")
    rest = _letters(plain)
    for known in (name, *name.split(), "lapel", "password"):
        if len(_letters(known)) > 2:
            rest = rest.replace(_letters(known), "")
    if len(rest) < least // 2:
        raise PasswordError("a password is more than your name, the word password or lapel, and a few characters")
    if len(set(plain)) < LEAST_DIFFERENT:
        raise PasswordError(f"a password has at least {LEAST_DIFFERENT} different characters")


def hash_password(password: str) -> str:
    """What the ledger keeps (PHC string)."""
    with _turn:
        return _HASHER.hash(_normal(password))


def verify_password(kept: str | None, password: str) -> bool:
    """Whether it is the one of which ``kept`` was made; of None as much is computed, and it is not."""
    if len(password) > MAX_CHARACTERS:
        password = password[:MAX_CHARACTERS] + "…"
    with _turn:
        try:
            _HASHER.verify(kept or _nobodys(), _normal(password))
            return kept is not None
        except (VerificationError, InvalidHashError):
            return False


def is_outdated(kept: str) -> bool:
    """Whether it was hashed with other parameters than today's, so that it is to be hashed again at a log-in."""
    return _HASHER.check_needs_rehash(kept)


@cache
def _nobodys() -> str:
    return _HASHER.hash(secrets.token_hex(16))


def _normal(password: str) -> str:
    return unicodedata.normalize("NFKC", password.encode("utf-8", "replace").decode())


def _letters(text: str) -> str:
    return "".join(c for c in unicodedata.normalize("NFKC", text).casefold() if c.isalnum())
