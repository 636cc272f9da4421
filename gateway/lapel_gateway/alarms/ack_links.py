"""Links in messages by which one person can acknowledge one alarm, until they expire.

Rules that hold here
- A token is version ‖ expiry ‖ alarm ‖ recipient ‖ HMAC-SHA-256 (RFC 2104) over all of it, under a key of this
  gateway that serves nothing else. It is base64url without padding (RFC 4648 section 5), and only one spelling is read.
- A token lets its recipient acknowledge its alarm, and nothing else. Whether that user still may is asked when it is
  used; that an alarm was acknowledged stands in the ledger, so a link is spent by what it does.
- The MAC is compared in constant time and before anything in a token is read.
- No token appears in a log, an exception or a ``repr``: whoever has it can use it.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import secrets
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from lapel_gateway.key_file import load_key
from lapel_protocol.limits import MAX_NAME_BYTES

ACK_PATH = "/ack/"
"""Where a link's token stands in its address."""

VERSION = 1
MAX_ALARM_BYTES = 48
"""The ledger's column."""

MAX_TOKEN_CHARACTERS = 400
"""More than the longest alarm and name need; longer ones are refused before anything is done with them."""

_LABEL = b"lapel/v1 acknowledge link\0"
_HEAD = struct.Struct(">BIB")  # version, expiry in Unix seconds, length of the alarm's id
_MAC_BYTES = 32

# --- why a link is refused ---
FORGED = "forged"
EXPIRED = "expired"
REVOKED = "revoked"
USED = "used"
OWN = "own"
GONE = "gone"


class LinkRefused(Exception):
    """A link is not honoured. ``reason`` is one of the words above; the claim is known unless it is forged."""

    def __init__(self, reason: str, claim: Claim | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.claim = claim


@dataclass(frozen=True)
class Claim:
    """What a genuine token says."""

    alarm: str
    recipient: str
    """Name of the user whom it was made for."""
    expires_ms: int
    """Unix milliseconds."""


class AckLinks:
    """Makes and reads tokens under one key."""

    def __init__(self, key: bytes) -> None:
        """``key`` has 32 bytes."""
        self._key = hmac.new(key, digestmod=hashlib.sha256)

    @classmethod
    def load(cls, path: Path, entropy: Callable[[int], bytes] = secrets.token_bytes) -> AckLinks:
        """Read the key (64 hexadecimal digits, mode 0600), which is made where there is none. Raises KeyStoreError.

        Removing the file and starting the gateway anew ends every link that was given out.
        """
        return cls(load_key(path, "acknowledge links", entropy))

    def make(self, alarm: str, recipient: str, expires_ms: int) -> str:
        """The token that lets ``recipient`` acknowledge ``alarm`` until ``expires_ms`` (rounded up to a second).

        The same arguments make the same token. Raises ValueError for an alarm or a name that is too long.
        """
        who, which = recipient.encode(), alarm.encode()
        if not 0 < len(which) <= MAX_ALARM_BYTES or not 0 < len(who) <= MAX_NAME_BYTES:
            raise ValueError("an acknowledge link is for one alarm and one user's name")
        body = _HEAD.pack(VERSION, -(-expires_ms // 1000), len(which)) + which + who
        return base64.urlsafe_b64encode(body + self._mac(body)).rstrip(b"=").decode()

    def read(self, token: str, now_ms: int) -> Claim:
        """What a token says. Raises LinkRefused for one that this gateway did not make, or that has expired."""
        raw = _decoded(token)
        body, mac = raw[:-_MAC_BYTES], raw[-_MAC_BYTES:]
        if not hmac.compare_digest(mac, self._mac(body)) or len(body) < _HEAD.size:
            raise LinkRefused(FORGED)
        version, expires_s, length = _HEAD.unpack_from(body)
        if version != VERSION:
            raise LinkRefused(FORGED)
        which, who = body[_HEAD.size : _HEAD.size + length], body[_HEAD.size + length :]
        claim = Claim(which.decode(), who.decode(), expires_s * 1000)
        if now_ms >= claim.expires_ms:
            raise LinkRefused(EXPIRED, claim)
        return claim

    def _mac(self, body: bytes) -> bytes:
        mac = self._key.copy()
        mac.update(_LABEL + body)
        return mac.digest()


def _decoded(token: str) -> bytes:
    """The bytes of a token in its one spelling. Raises LinkRefused."""
    if not token.isascii() or len(token) > MAX_TOKEN_CHARACTERS:
        raise LinkRefused(FORGED)
    try:
        raw = base64.b64decode(token + "=" * (-len(token) % 4), b"-_", validate=True)
    except (binascii.Error, ValueError):
        raise LinkRefused(FORGED) from None
    if base64.urlsafe_b64encode(raw).rstrip(b"=").decode() != token:
        raise LinkRefused(FORGED)
    return raw
