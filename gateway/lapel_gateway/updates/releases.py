"""The releases that this gateway keeps: each verified with the firmware signer's public key, named by its id.

Rules that hold here
- The gateway has no private key and makes no release: it keeps the signer's file, byte for byte.
- What is served is what was published: a file that differs from its row in the ledger is not read.
- One number of a kind of board is one release, for ever.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path

import sqlalchemy as sa
import structlog
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from lapel_gateway.durable import write_file
from lapel_gateway.ledger import reading, writing
from lapel_gateway.ledger.firmware_tables import firmware_release as releases
from lapel_protocol.release import SIGNATURE_BYTES, ReleaseError
from lapel_protocol.releasing import MAX_RELEASE_BYTES, Release, open_release

HELD = 4
"""Releases that are kept in memory while devices ask for them: one for each kind of board, more or less."""

_log = structlog.get_logger("lapel.updates")


class UpdateError(Exception):
    """The request about a release or a roll-out cannot be met; the message says why and what to do."""


@dataclass(frozen=True)
class ReleaseInfo:
    """One release for lists. Times are Unix milliseconds."""

    release: str
    hardware: str
    number: int
    version: str
    floor: int
    size_bytes: int
    added_ms: int
    added_by: str


def read_signer(path: Path) -> bytes:
    """The modulus of the firmware signer's public key: as `lapel firmware new-key` wrote it, or in PEM.

    Raises UpdateError, OSError.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise UpdateError(f"{path} is not there: give the signer's public key with --key, once") from None
    modulus = _modulus_in_pem(content) if content.startswith(b"-----") else content
    if len(modulus) != SIGNATURE_BYTES or not modulus[0] & 0x80 or not modulus[-1] & 1:
        raise UpdateError(f"{path} is not a firmware signer's public key, RSA of {8 * SIGNATURE_BYTES} bits")
    return modulus


def _modulus_in_pem(content: bytes) -> bytes:
    """Empty where it is no RSA key of the right size."""
    try:
        key = serialization.load_pem_public_key(content)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        return b""
    if not isinstance(key, rsa.RSAPublicKey) or key.key_size != 8 * SIGNATURE_BYTES:
        return b""
    return key.public_numbers().n.to_bytes(SIGNATURE_BYTES, "big")


class ReleaseStore:
    """Releases in a folder and in the ledger."""

    def __init__(self, engine: sa.Engine, folder: Path) -> None:
        self._engine = engine
        self._folder = folder
        self._held: OrderedDict[str, bytes] = OrderedDict()
        self._missed: set[str] = set()

    def publish(self, path: Path, modulus: bytes, who: str, now_ms: int) -> Release:
        """Take a release file in. Publishing the same one again is harmless. Raises UpdateError, OSError."""
        with path.open("rb") as file:
            data = file.read(MAX_RELEASE_BYTES + 1)
        try:
            made = open_release(data, modulus)
        except ReleaseError as error:
            raise UpdateError(f"{path} is not published: {error}") from None
        facts = made.manifest
        self._folder.mkdir(parents=True, exist_ok=True)
        write_file(self._path(made.name), data)
        with writing(self._engine) as connection:
            same = sa.and_(releases.c.hardware == facts.hardware, releases.c.number == facts.number)
            taken = connection.execute(sa.select(releases.c.release).where(same)).scalar()
            if taken is not None and taken != made.name:
                raise UpdateError(
                    f"number {facts.number} for {facts.hardware} is another release already ({taken}): "
                    "build it again under a higher number"
                )
            if taken is None:
                row = {
                    "release": made.name,
                    "hardware": facts.hardware,
                    "number": facts.number,
                    "version": facts.version,
                    "floor": facts.floor,
                    "content_at": facts.content_at,
                    "size_bytes": len(data),
                    "sha256": hashlib.sha256(data).hexdigest(),
                    "added_ms": now_ms,
                    "added_by": who,
                }
                connection.execute(sa.insert(releases).values(row))
        return made

    def list(self) -> list[ReleaseInfo]:
        """Every release, by kind of board, the newest first."""
        order = sa.select(releases).order_by(releases.c.hardware, releases.c.number.desc())
        with reading(self._engine) as connection:
            return [_info(row) for row in connection.execute(order).mappings()]

    def find(self, release: str) -> ReleaseInfo:
        """The one whose id begins so. Raises UpdateError."""
        found = [one for one in self.list() if one.release.startswith(release.lower())]
        if len(found) != 1:
            names = ", ".join(one.release for one in found) or "none; lapel firmware list shows those there are"
            raise UpdateError(f"{release!r} names no single release: {names}")
        return found[0]

    def piece(self, release: str, offset: int, size: int) -> bytes:
        """Bytes of a release file; none when there is no such release, or its file is not what was published."""
        data = self._held.get(release)
        if data is None:
            data = self._load(release)
            if not data:
                return b""
            self._held[release] = data
            while len(self._held) > HELD:
                self._held.popitem(last=False)
        self._held.move_to_end(release)
        return data[offset : offset + size]

    def _load(self, release: str) -> bytes:
        with reading(self._engine) as connection:
            wanted = connection.execute(sa.select(releases.c.sha256).where(releases.c.release == release)).scalar()
        if wanted is None:
            return b""
        path = self._path(release)
        try:
            data = path.read_bytes()
            trouble = "" if hashlib.sha256(data).hexdigest() == wanted else "it is not the file that was published"
        except OSError as error:
            trouble = error.strerror or str(error)
        if not trouble:
            self._missed.discard(release)
            return data
        if release not in self._missed:
            self._missed.add(release)
            _log.error(
                "devices ask for a release that cannot be given: put its file back, or publish it again",
                release=release,
                file=str(path),
                reason=trouble,
            )
        return b""

    def _path(self, release: str) -> Path:
        return self._folder / f"{release}.fw"


def _info(row: sa.RowMapping) -> ReleaseInfo:
    return ReleaseInfo(**{name: row[name] for name in ReleaseInfo.__dataclass_fields__})
