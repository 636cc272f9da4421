"""The firmware that is put onto a board: a signed release for its hardware and MicroPython, and what goes beside it.

A release is made and signed elsewhere; here it is verified, and chosen for a board. The loader and the files that name
the board, which go beside it, are compiled for the same hardware.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lapel_build.release import TARGETS, Target, device_files
from lapel_device.slots import SLOT_A, slot_folder
from lapel_protocol.release import WRONG_CODE, ReleaseError, code_of
from lapel_protocol.releasing import MAX_RELEASE_BYTES, Release, open_release

from .ports import BoardFacts

_MACHINES = {
    "pico_w": "Pico W with RP2040",
    "pico2_w": "Pico 2 W with RP2350",
    "esp32s3_cam": "with ESP32S3",
}
"""How MicroPython's machine text ends on the boards that each kind of hardware is made of."""


class FirmwareError(Exception):
    """No firmware fits, or a release cannot be used; the message says what is needed."""


@dataclass(frozen=True)
class Firmware:
    """What one board is to carry. `base`: the files outside of its slots by absolute path, the last of them the one
    that starts the others; `modulus`: what the board shall verify releases with.
    """

    target: Target
    release: Release
    modulus: bytes

    @property
    def base(self) -> dict[str, bytes]:
        slot = slot_folder(SLOT_A) + "/"
        files = device_files(self.target, self.release, self.modulus)
        return {path: content for path, content in files.items() if not path.startswith(slot)}

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
    if wanted in _MACHINES and not facts.machine.endswith(_MACHINES[wanted].split()[-1]):
        raise FirmwareError(f"this is a {facts.machine}, which no {wanted} has")
    found = wanted or facts.hardware
    if not found:
        found = next((name for name, ending in _MACHINES.items() if facts.machine.endswith(ending)), "")
    if found not in TARGETS:
        raise FirmwareError(f"which hardware is this {facts.machine}? Say --hardware {'|'.join(sorted(TARGETS))}")
    return found


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
        return Firmware(TARGETS[hardware], release, modulus)
    raise FirmwareError(
        f"none of the releases given is for {hardware} with MicroPython {facts.release} ({told or 'none was given'})"
    )
