"""``PICO_UF2=FILE python -m tests.emulated``: judge the image, then run these tests on it.

Ends with 2, and what to do, where FILE is not an image of MicroPython for the RP2040.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from lapel_tools.technician.images import ImageError
from tests.emulated.image import VARIABLE, find_image

_USAGE_ERROR = 2


def main() -> int:
    """Returns the exit status."""
    try:
        image = find_image()
    except ImageError as error:
        sys.stderr.write(f"test-pico: {error}\ntest-pico: it takes RPI_PICO_W (.uf2) from micropython.org/download\n")
        return _USAGE_ERROR
    if image is None:
        sys.stderr.write(f"test-pico: name an image: make test-pico {VARIABLE}=RPI_PICO_W.uf2\n")
        return _USAGE_ERROR
    sys.stdout.write(
        f"test-pico: {image.base.machine}, MicroPython {image.base.version}, emulated: this takes a while\n"
    )
    sys.stdout.flush()
    return int(pytest.main([str(Path(__file__).parent), "-v", "--durations=0", *sys.argv[1:]]))


if __name__ == "__main__":
    sys.exit(main())
