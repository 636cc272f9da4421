"""The firmware that is put onto a board: a signed release for its hardware and MicroPython, and what goes beside it.

A release is made and signed elsewhere; here it is verified, and chosen for a board. The loader and the files that name
the board, which go beside it, are compiled for the same hardware.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lapel_build.release import TARGETS, Target, base_files, rom_of
from lapel_protocol.release import WRONG_CODE, ReleaseError, code_of
from lapel_protocol.releasing import MAX_RELEASE_BYTES, Release, open_release

from .chips import CHIPS, Chip
from .ports import BoardFacts


class FirmwareError(Exception):
    """No firmware fits, or a release cannot be used; the message says what is needed."""


@dataclass(frozen=True)
class Firmware:
    """What one board is to carry. `base`: the files outside of its slots by absolute path, the last of them the one
    that starts the others; `modulus`: what the board shall verify releases with; `in_rom`: executed in place.
    """

    target: Target
    release: Release
    modulus: bytes
    in_rom: bool = False

    @property
    def base(self) -> dict[str, bytes]:
        return base_files(self.target, self.modulus)

    @property
    def rom(self) -> bytes:
        """The image for its ROM partition, empty where it lies in a slot of the file system."""
        return rom_of(self.release) if self.in_rom else b""

    @property
    def version(self) -> str:
        """For people: the version's name and its number."""
        return f"{self.release.manifest.version} ({self.release.manifest.number})"


def read_release(path: Path, modulus: bytes) -> Release:
    """A release file, verified whole. Raises FirmwareError."""
    try:
        with open(path, "rb") as file:
            data = file.read(MAX_RELEASE_BYTES + 1)
        return open_release(data, modulus)
    except OSError as error:
        raise FirmwareError(f"{path}: {error.strerror or error}") from None
    except ReleaseError as error:
        raise FirmwareError(f"{path} is no release of this signer: {error}") from None


def hardware_of(facts: BoardFacts, wanted: str = "") -> str:
    """The hardware id of a board: what the technician says, what it carries, or what MicroPython calls it.

    Raises FirmwareError where nothing tells, or where the technician's word cannot be true.
    """
    if wanted and wanted not in TARGETS:
        raise FirmwareError(f"no hardware is called {wanted}; there are {', '.join(sorted(TARGETS))}")
    if wanted and chip_of(TARGETS[wanted]) not in (None, facts.chip):
        raise FirmwareError(f"this is a {facts.machine}, which no {wanted} has")
    if wanted or facts.hardware in TARGETS:
        return wanted or facts.hardware
    fitting = [name for name, target in TARGETS.items() if facts.chip and chip_of(target) == facts.chip]
    if len(fitting) != 1:
        raise FirmwareError(f"what is this {facts.machine} built into? Say --hardware {'|'.join(fitting or TARGETS)}")
    return fitting[0]


def chip_of(target: Target) -> Chip | None:
    """The chip of a kind of hardware, by its board's own data; None for hardware that is no board."""
    if not target.board_module.startswith("lapel_device."):
        return None
    facts: dict[str, object] = importlib.import_module(target.board_module).BOARD
    return next((chip for chip in CHIPS if chip.word.lower() == facts.get("chip")), None)


def choose(releases: Sequence[Release], facts: BoardFacts, hardware: str, modulus: bytes) -> Firmware:
    """The newest release that this board loads. Raises FirmwareError, which says what was given and what is needed."""
    code = code_of(facts.mpy)
    told = ""
    for release in sorted(releases, key=lambda release: -release.manifest.number):
        try:
            release.manifest.check_for(hardware, code, 0)
        except ReleaseError as error:
            if error.reason == WRONG_CODE or not told:
                told = str(error)
            continue
        target = TARGETS[hardware]
        in_rom = target.rom and facts.rom_bytes > 0
        if in_rom:
            _check_rom(facts, rom_of(release))
        else:
            _check_heap(target, release)
        return Firmware(target, release, modulus, in_rom)
    raise FirmwareError(
        f"none of the releases given is for {hardware} with MicroPython {facts.release} ({told or 'none was given'})"
    )


def _check_rom(facts: BoardFacts, image: bytes) -> None:
    """Raise FirmwareError where a board's ROM partition does not hold the image of a release."""
    if len(image) > facts.rom_bytes:
        raise FirmwareError(
            f"the ROM partition of this MicroPython holds {facts.rom_bytes // 1024} KiB, and this release needs "
            f"{-(-len(image) // 1024)} KiB: give the board an image with a larger one (docs/technicians.md)"
        )


def _check_heap(target: Target, release: Release) -> None:
    """Raise FirmwareError where a board's heap does not hold a release that it would load from a slot."""
    chip, size = chip_of(target), release.manifest.content_bytes
    if chip is not None and size > chip.code_bytes:
        raise FirmwareError(
            f"the heap of an {chip.name} holds {chip.code_bytes // 1024} KiB of firmware from a slot, and this release "
            f"has {size // 1024} KiB: it would never start. Give the board a MicroPython with a ROM partition, which "
            "official images lack (docs/technicians.md)"
        )
