"""Finished clips copied into a directory, such as a share that an evidence system watches.

Rules that hold here
- Files appear whole: written under a hidden name, made durable, renamed. The sidecar comes last: where it stands,
  everything that it names is there.
- What is copied is checked against the SHA-256 that assembly wrote down; a difference stops the delivery.
- The directory itself is never made: a share that is not mounted must not fill the disk below its mount point.
- A repeat finds what is already there and does not copy it again.
"""

from __future__ import annotations

import errno
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lapel_gateway import durable
from lapel_gateway.channels.contract import DeliveryError, Parcel
from lapel_gateway.ledger.schema import OUTBOX_FORWARD

FILE_MODE = 0o644
FOLDER_MODE = 0o755


class DirectoryChannel:
    """One destination directory: ``<root>/<device>/<clip's name>.{mkv,mp4,vtt,lapel}`` and ``.json``."""

    kinds = frozenset({OUTBOX_FORWARD})

    def __init__(self, root: Path, find: Callable[[str, int, str], Path], name: str = "directory") -> None:
        """``find`` gives the path of a clip's file: (device, clip, name of the file)."""
        self.name = name
        self._root = root
        self._find = find

    def deliver(self, parcel: Parcel, now_ms: int) -> None:
        """Copy the clip's files, then its sidecar. Raises DeliveryError."""
        device, clip = str(parcel.payload["device"]), int(parcel.payload["clip"])
        forwarded: dict[str, Any] = {}
        if not self._root.is_dir():
            raise DeliveryError(f"{self._root} is not there: make the directory, or mount the share it stands for")
        try:
            folder = self._root / device
            if not folder.exists():
                folder.mkdir(mode=FOLDER_MODE)
                durable.sync_folder(self._root)
            for name, facts in sorted(parcel.payload["files"].items()):
                target = folder / f"{parcel.subject}{Path(name).suffix}"
                _copy(self._find(device, clip, name), target, str(facts["sha256"]), int(facts["bytes"]))
                forwarded[target.name] = facts
            sidecar = {**parcel.payload["sidecar"], "files": forwarded}
            text = json.dumps(sidecar, ensure_ascii=False, indent=2, sort_keys=True) + "\n"
            durable.write_file(folder / f"{parcel.subject}.json", text.encode(), FILE_MODE)
        except OSError as error:
            raise DeliveryError(_remedy(error, self._root)) from None


def _copy(source: Path, target: Path, sha256: str, size_bytes: int) -> None:
    if target.is_file() and target.stat().st_size == size_bytes and durable.sha256_of(target) == sha256:
        return
    try:
        file = source.open("rb")
    except FileNotFoundError:
        raise DeliveryError(f"{source} is missing from the vault: restore it from a backup") from None
    with file, durable.replacing(target, FILE_MODE) as copy:
        if durable.copy_hashing(file, copy) != sha256:
            raise DeliveryError(f"{source} is not what assembly wrote: its SHA-256 differs; restore it from a backup")


def _remedy(error: OSError, root: Path) -> str:
    """What an operator can do about a failed copy."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"no space left in {root}: free some, delivery goes on by itself"
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return f"{root} cannot be written ({error.strerror}): let this user write there"
    return f"{error.filename or root}: {error.strerror or error}"
