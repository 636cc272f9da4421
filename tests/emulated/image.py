"""The image of MicroPython that these tests run on, named by PICO_UF2."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from lapel_sim.tray.kinds import PICO, PICO_W, BoardKind
from lapel_tools.technician.chips import RP2040
from lapel_tools.technician.images import BaseImage, ImageError, read_image

VARIABLE = "PICO_UF2"

_KINDS = {kind.machine: kind for kind in (PICO, PICO_W)}


@dataclass(frozen=True)
class Image:
    """An image that was judged, and the board that it is for."""

    base: BaseImage
    kind: BoardKind


def find_image() -> Image | None:
    """The image that is named, None where none is. Raises ImageError, which says what is wrong with it."""
    named = os.environ.get(VARIABLE, "")
    if not named:
        return None
    base = read_image(Path(named).absolute())
    base.check_for(RP2040)
    if base.machine not in _KINDS:
        raise ImageError(f"{named} is for {base.machine or 'an unknown board'}; take RPI_PICO_W or RPI_PICO")
    return Image(base, _KINDS[base.machine])
