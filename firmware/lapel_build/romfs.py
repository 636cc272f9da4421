"""An image of MicroPython's ROMFS: files that lie in flash as they are, so that code is executed in place."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mpremote.romfs import VfsRomWriter  # type: ignore[import-untyped,unused-ignore]


def rom_image(files: Mapping[str, bytes]) -> bytes:
    """The image with these files, by path without a slash at the beginning; the same for the same files."""
    tree: dict[str, Any] = {}
    for path, content in sorted(files.items()):
        *folders, name = path.split("/")
        folder = tree
        for one in folders:
            folder = folder.setdefault(one, {})
        folder[name] = content
    image = VfsRomWriter()
    _add(image, tree)
    return bytes(image.finalise())


def _add(image: VfsRomWriter, tree: dict[str, Any]) -> None:
    for name, content in tree.items():
        if isinstance(content, dict):
            image.opendir(name)
            _add(image, content)
            image.closedir()
        else:
            image.mkfile(name, content)
