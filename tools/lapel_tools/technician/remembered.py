"""Which base image was used for which chip, by its SHA-256: a small file of the technician's own.

The images are the technician's files. What is remembered is that one of them was meant, so that another file under the
same name is noticed before it is on a board.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path

from lapel_gateway.durable import write_file

from .images import BaseImage, ImageError, read_image

FOLDER_VARIABLE = "XDG_CONFIG_HOME"
_FILE_NAME = "base-images.json"


@dataclass(frozen=True)
class Remembered:
    """An image that was used: its path then, and its SHA-256 in hexadecimal."""

    path: Path
    sha256: str


class ImageMemory:
    """The images used, by the name of the chip."""

    def __init__(self, folder: Path | None = None) -> None:
        """`folder`: else lapel/ in the user's configuration folder."""
        if folder is None:
            base = os.environ.get(FOLDER_VARIABLE)
            folder = (Path(base) if base else Path.home() / ".config") / "lapel"
        self.path = folder / _FILE_NAME

    def of(self, chip: str) -> Remembered | None:
        """What was used last for a chip. Raises ImageError when the file is not what this class writes."""
        entry = self._read().get(chip)
        return Remembered(Path(entry["path"]), entry["sha256"]) if entry is not None else None

    def differs(self, image: BaseImage) -> bool:
        """Whether another content was used before for this chip under this file's name."""
        known = self.of(image.chip.name)
        return known is not None and known.path.name == image.path.name and known.sha256 != image.sha256

    def keep(self, image: BaseImage) -> None:
        """Remember it as the one for its chip."""
        entries = self._read()
        entries[image.chip.name] = {"path": str(image.path.resolve()), "sha256": image.sha256}
        self.path.parent.mkdir(parents=True, exist_ok=True)
        write_file(self.path, json.dumps(entries, indent=2).encode() + b"\n")

    def load(self, chip: str) -> BaseImage:
        """The image used last for a chip, read again. Raises ImageError when there is none or it has changed since."""
        known = self.of(chip)
        if known is None:
            raise ImageError(f"which base image? Name the file once: --image FILE (for {chip})")
        image = read_image(known.path)
        if image.sha256 != known.sha256:
            raise ImageError(f"{known.path} is not the file that was used before: name it with --image if it is meant")
        return image

    def _read(self) -> dict[str, dict[str, str]]:
        try:
            entries = json.loads(self.path.read_bytes())
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, RecursionError) as error:
            raise ImageError(f"{self.path} cannot be read ({error}): remove it, and name images with --image") from None
        if not isinstance(entries, dict) or not all(
            isinstance(entry, dict) and isinstance(entry.get("path"), str) and isinstance(entry.get("sha256"), str)
            for entry in entries.values()
        ):
            raise ImageError(f"{self.path} is not what lapel wrote: remove it, and name images with --image")
        return entries
