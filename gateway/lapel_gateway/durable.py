"""Files that are there as a whole or not at all, also after a power cut.

Rules that hold here
- A file is written beside its place under a hidden name, made durable, and renamed: readers never see half of it.
- The hidden name is always the same for the same target, so what a crash left behind is overwritten by the next try.
- A rename counts only after its folder was made durable too.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

COPY_BYTES = 1 << 20
"""Read and written at a time: memory does not grow with a clip."""

_MAX_PARTS = 512  # half of Linux's IOV_MAX


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable. Raises OSError."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def sync_file(path: Path) -> None:
    """Make the content of a file durable. Raises OSError."""
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_all_at(handle: int, parts: Sequence[bytes | memoryview], offset: int) -> None:
    """Write the parts one after the other from `offset`, in as many calls as the kernel wants. Raises OSError."""
    for start in range(0, len(parts), _MAX_PARTS):
        some = parts[start : start + _MAX_PARTS]
        end = offset + sum(map(len, some))
        offset += os.pwritev(handle, some, offset)
        while offset < end:
            offset += os.pwrite(handle, b"".join(some)[offset - end :], offset)


@contextlib.contextmanager
def replacing(path: Path, mode: int = 0o640) -> Iterator[BinaryIO]:
    """Write ``path`` through the file that is given out; it takes its place, durably, when the block ends well.

    Raises OSError; then the old file, if any, is untouched and nothing is left beside it.
    """
    part = path.with_name(f".{path.name}.part")
    try:
        handle = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, mode)
        with os.fdopen(handle, "wb") as file:
            # A leftover of a crash keeps the mode it was made with.
            os.fchmod(file.fileno(), mode)
            yield file
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            part.unlink()
        raise
    sync_folder(path.parent)


def write_file(path: Path, content: bytes, mode: int = 0o640) -> None:
    """Put ``content`` at ``path`` as a whole, durably. Raises OSError."""
    with replacing(path, mode) as file:
        file.write(content)


def sha256_of(path: Path) -> str:
    """SHA-256 of a file, hexadecimal. Raises OSError."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def copy_hashing(source: BinaryIO, target: BinaryIO) -> str:
    """Copy the rest of ``source`` to ``target`` and return its SHA-256, hexadecimal. Raises OSError."""
    digest = hashlib.sha256()
    while block := source.read(COPY_BYTES):
        digest.update(block)
        target.write(block)
    return digest.hexdigest()


def replace_folder(built: Path, place: Path) -> None:
    """Let the folder ``built``, its files already durable, take the place of ``place``. Raises OSError.

    A crash leaves the old folder, the new one, or none, and never a mixture; running it again finishes the job.
    """
    sync_folder(built)
    if place.exists():
        old = place.with_name(f".{place.name}.old")
        shutil.rmtree(old, ignore_errors=True)
        place.rename(old)
        built.rename(place)
        shutil.rmtree(old)
    else:
        built.rename(place)
    sync_folder(place.parent)
