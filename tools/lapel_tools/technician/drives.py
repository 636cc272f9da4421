"""Boards in BOOTSEL: an RP2040 or RP2350 that shows itself as a drive, onto which a UF2 file is copied.

The drive is written only after the image was judged for the chip that the drive's own INFO_UF2.TXT names.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from .chips import CHIPS, Chip
from .images import BaseImage

INFO_NAME = "INFO_UF2.TXT"
_MOST_INFO_BYTES = 4096
_PIECE_BYTES = 64 << 10
GONE_TIMEOUT_S = 20.0
"""Until a board has written its last block and left; a full 4 MiB takes some ten seconds."""


class DriveError(Exception):
    """A drive is not a board in BOOTSEL, or it cannot be written; the message says what to do."""


@dataclass(frozen=True)
class BootDrive:
    """A board in BOOTSEL, at the folder where its drive is mounted."""

    folder: Path
    chip: Chip
    model: str


def read_drive(folder: Path) -> BootDrive:
    """The board behind a drive. Raises DriveError."""
    try:
        with open(folder / INFO_NAME, "rb") as file:
            text = file.read(_MOST_INFO_BYTES).decode("ascii", "replace")
    except OSError:
        raise DriveError(
            f"{folder}: no board in BOOTSEL there (no {INFO_NAME}); hold BOOTSEL while you plug the board in"
        ) from None
    lines = [line.partition(":") for line in text.splitlines()]
    facts = {name.strip(): value.strip() for name, _, value in lines}
    chip = next((chip for chip in CHIPS if chip.drive_board_id and chip.drive_board_id == facts.get("Board-ID")), None)
    if chip is None:
        raise DriveError(f"{folder}: a board in its boot loader, but no RP2040 or RP2350: {facts.get('Model', '?')}")
    return BootDrive(folder, chip, facts.get("Model", ""))


def find_drives() -> list[BootDrive]:
    """Every board in BOOTSEL whose drive is mounted."""
    found = []
    for folder in mounted_folders():
        if (folder / INFO_NAME).is_file():
            try:
                found.append(read_drive(folder))
            except DriveError:
                continue
    return found


def mounted_folders() -> list[Path]:
    """Where removable drives are mounted on this machine."""
    if sys.platform == "linux":
        lines = Path("/proc/self/mounts").read_text(encoding="utf-8", errors="replace").splitlines()
        rows = [line.split() for line in lines]
        # The system writes a space as \040.
        return [Path(row[1].replace("\\040", " ")) for row in rows if len(row) > 2 and row[2] in ("vfat", "msdos")]
    volumes = Path("/Volumes")
    return sorted(volumes.iterdir()) if volumes.is_dir() else []


def write_drive(drive: BootDrive, image: BaseImage, progress: Callable[[int], None] | None = None) -> None:
    """Copy an image onto a board in BOOTSEL and wait until it has left. Raises ImageError and DriveError.

    `progress` is told how many bytes were added.
    """
    image.check_for(read_drive(drive.folder).chip)
    target = drive.folder / image.path.name
    try:
        with open(target, "wb") as out:
            for at in range(0, len(image.content), _PIECE_BYTES):
                piece = image.content[at : at + _PIECE_BYTES]
                out.write(piece)
                if progress is not None:
                    progress(len(piece))
            out.flush()
            os.fsync(out.fileno())
    except OSError as error:
        # A board restarts with its last block, sometimes before the system has closed the file.
        if (drive.folder / INFO_NAME).exists():
            raise DriveError(f"{drive.folder}: {error.strerror or error}; unplug the board and begin again") from None
    end = time.monotonic() + GONE_TIMEOUT_S
    while (drive.folder / INFO_NAME).exists():
        if time.monotonic() > end:
            raise DriveError(
                f"{drive.folder}: the board took the image but did not start it; unplug it and begin again"
            )
        time.sleep(0.1)
