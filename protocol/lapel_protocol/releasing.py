"""Making and opening whole releases: for whoever builds, signs or keeps them, never on a device (SPEC section 16)."""

import hashlib
import struct

from .release import (
    DAMAGED,
    ENTRY_BYTES,
    ENTRY_LAYOUT,
    FORMAT,
    MAGIC,
    MALFORMED,
    MAX_CONTENT_BYTES,
    MAX_RELEASE_FILES,
    RELEASE_HEADER_BYTES,
    RELEASE_LAYOUT,
    SIGNATURE_BYTES,
    Manifest,
    ReleaseError,
    entries,
    verify_manifest,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

MAX_RELEASE_BYTES = RELEASE_HEADER_BYTES + MAX_RELEASE_FILES * ENTRY_BYTES + SIGNATURE_BYTES + MAX_CONTENT_BYTES
"""The longest file that can be a release: longer ones are refused unread."""


class Reader:
    """Bytes that are read like a file."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def read(self, size: int) -> bytes:
        """The next bytes, fewer at the end."""
        found = self._data[self._at : self._at + size]
        self._at += len(found)
        return found

    def seek(self, offset: int) -> int:
        """Go to an offset from the start."""
        self._at = offset
        return offset


def encode_manifest(
    hardware: str, code: "tuple[int, int, int]", number: int, version: str, floor: int, files: "Mapping[str, bytes]"
) -> bytes:
    """The manifest of these files, which a release then has in the order of their names. Raises ReleaseError when a
    device would refuse it.
    """
    rows = sorted(files.items())
    total = sum(len(content) for _, content in rows)
    if max(number, floor, total) >= 1 << 32 or min(number, floor) < 0 or len(rows) > MAX_RELEASE_FILES:
        raise ReleaseError(MALFORMED, "a number is out of its range")
    for path, _ in rows:
        _check_length(path, 60)
    _check_length(hardware, 16)
    _check_length(version, 24)
    mpy, sub, march = code
    names = hardware.encode(), version.encode()
    manifest = struct.pack(
        RELEASE_LAYOUT, MAGIC, FORMAT, mpy, sub, march, number, floor, total, len(rows), 0, names[0], names[1]
    )
    for path, content in rows:
        manifest += struct.pack(ENTRY_LAYOUT, len(content), hashlib.sha256(content).digest(), path.encode())
    for _ in entries(Reader(manifest), Manifest(manifest[:RELEASE_HEADER_BYTES])):
        pass
    return manifest


def _check_length(text: str, most: int) -> None:
    if len(text.encode()) > most:
        raise ReleaseError(MALFORMED, "%s is longer than %d bytes" % (text, most))


def join_release(manifest: bytes, signature: bytes, files: "Mapping[str, bytes]") -> bytes:
    """The release file."""
    return manifest + signature + b"".join(content for _, content in sorted(files.items()))


class Release:
    """A release whose signature and files were checked: `manifest`, `files` by path, `data` the whole file."""

    def __init__(self, manifest: Manifest, files: "dict[str, bytes]", data: bytes) -> None:
        self.manifest = manifest
        self.files = files
        self.data = data

    @property
    def name(self) -> str:
        """Names it in messages and in the ledger: 16 hex digits of its manifest's SHA-256."""
        return self.manifest.release.hex()

    @property
    def signed_manifest(self) -> bytes:
        """Manifest and signature, as they lie in a slot."""
        return self.data[: self.manifest.content_at]


def open_release(data: bytes, modulus: bytes) -> Release:
    """Check a release file as a whole: form, signature, every hash, and nothing behind it. Raises ReleaseError."""
    if len(data) > MAX_RELEASE_BYTES:
        raise ReleaseError(MALFORMED, f"it is longer than {MAX_RELEASE_BYTES} bytes")
    file = Reader(data)
    manifest = verify_manifest(file, modulus)
    at = manifest.content_at
    if len(data) != at + manifest.content_bytes:
        raise ReleaseError(MALFORMED, "it is not as long as its manifest says")
    files = {}
    for path, size, digest in entries(file, manifest):
        content = data[at : at + size]
        if hashlib.sha256(content).digest() != digest:
            raise ReleaseError(DAMAGED, path)
        files[path] = content
        at += size
    return Release(manifest, files, data)
