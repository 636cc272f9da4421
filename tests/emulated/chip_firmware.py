"""A release of a few small files for an emulated fob, and the whole firmware as files of its flash."""

from __future__ import annotations

from lapel_build.release import (
    TARGETS,
    base_files,
    build_files,
    device_files,
    make_release,
    modulus_of,
    rom_of,
    slot_sources,
)
from lapel_protocol.releasing import Release
from tests.emulated.conftest import BOARD
from tests.tools.technician.small_firmware import signer

WORKS = "works"

_TARGET = TARGETS[BOARD]
_SMALL = {
    "lapel_device/__init__.py": "",
    "lapel_device/runtime.py": (
        f"import time\n\n\ndef run(*given):\n    print({WORKS!r})\n    while True:\n        time.sleep(1)\n"
    ),
    "lapel_device/boards/__init__.py": "",
    f"lapel_device/boards/{BOARD}.py": "def board():\n    return None\n",
}


def small_release() -> Release:
    """What a board can be flashed with in little time, signed by signer 0."""
    files = build_files(_TARGET, {name: text.encode() for name, text in _SMALL.items()})
    return make_release(_TARGET, files, 1, "0.1.0", 0, signer(0))


def _whole_release() -> Release:
    return make_release(_TARGET, build_files(_TARGET, slot_sources()), 7, "0.7.0", 0, signer(0))


def whole_firmware() -> dict[str, bytes]:
    """Every file of a fob's flash as flashing leaves it with a slot, by absolute path."""
    return device_files(_TARGET, _whole_release(), modulus_of(signer(0)))


def whole_firmware_in_place() -> tuple[dict[str, bytes], bytes]:
    """Every file of a fob's flash as flashing leaves it with a ROM partition, and what lies in that."""
    return base_files(_TARGET, modulus_of(signer(0))), rom_of(_whole_release())
