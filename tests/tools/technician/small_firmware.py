"""Releases of a few small files for the simulated boards, and what such a board prints when it runs one."""

from __future__ import annotations

from functools import cache
from io import BytesIO
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from lapel_build.release import (
    TARGETS,
    base_files,
    build_files,
    make_release,
    modulus_of,
    new_key,
    rom_of,
    slot_files,
)
from lapel_device.slots import SLOT_A, SLOT_B, SLOT_ROM, SlotState, slot_folder
from lapel_protocol.releasing import Release
from lapel_sim.tray.board import TrayBoard
from lapel_sim.tray.kinds import KINDS, PICO_W_WITH_ROM
from lapel_tools.technician.bench import Order

TARGET = TARGETS["tray"]
HARDWARE = TARGET.hardware
HARDWARE_OF = {kind.name: HARDWARE for kind in KINDS.values()} | {PICO_W_WITH_ROM.name: "bench_rom"}
"""What boards of the tray are built into, by their kind."""

_SOURCES = {
    "lapel_device/__init__.py": "",
    "lapel_device/runtime.py": (
        "import time\n\n\ndef run(*given):\n    print('works')\n    while True:\n        time.sleep(0.1)\n"
    ),
    "lapel_sim/__init__.py": "",
    "lapel_sim/board/__init__.py": "",
    "lapel_sim/board/from_slot.py": "def board():\n    return None\n",
    "lapel_sim/board/on_flash.py": "def board():\n    return None\n",
}


@cache
def signer(which: int) -> rsa.RSAPrivateKey:
    """A firmware key of this run; another number is another signer."""
    return new_key()


def write_public_key(path: Path, which: int = 0) -> None:
    """What a technician is given of a signer."""
    text = signer(which).public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    path.write_bytes(text)


@cache
def release(number: int, floor: int = 0, which: int = 0, hardware: str = HARDWARE) -> Release:
    """A release that says its number; two releases differ in one file and have the others in common."""
    target = TARGETS[hardware]
    sources = {**_SOURCES, "lapel_device/version.py": f"NUMBER = {number}\nTEXT = '{'n' * 300}{number}'\n"}
    files = build_files(target, {name: text.encode() for name, text in sources.items()})
    return make_release(target, files, number, f"0.{number}.0", floor, signer(which))


def order(number: int, floor: int = 0, even_busy: bool = False, hardware: str = HARDWARE) -> Order:
    """Put release `number` onto boards of the simulator."""
    return Order([release(number, floor, hardware=hardware)], modulus_of(signer(0)), hardware, even_busy)


def carries(board: TrayBoard, number: int) -> bool:
    """Whether the flash of a board without power holds all of a release, byte for byte, and is set to run it."""
    files = board.files()
    hardware = HARDWARE_OF[board.kind.name]
    made = release(number, hardware=hardware)
    modulus = modulus_of(signer(0))
    state = SlotState(_Read(files))  # type: ignore[arg-type]
    state.load()
    base = base_files(TARGETS[hardware], modulus)
    if state.trial or {path: files.get(path) for path in base} != base:
        return False
    if any(path.endswith(".new") for path in files):
        return False
    if board.kind.rom_bytes:
        return state.active == SLOT_ROM and board.flash.read_bytes().startswith(rom_of(made))
    if state.active not in (SLOT_A, SLOT_B):
        return False
    folder = slot_folder(state.active) + "/"
    return {path: content for path, content in files.items() if path.startswith(folder)} == slot_files(
        made, state.active
    )


class _Read:
    """Files of a dictionary as a `Storage` that is only read."""

    def __init__(self, files: dict[str, bytes]) -> None:
        self._files = files

    def size(self, path: str) -> int:
        return len(self._files[path]) if path in self._files else -1

    def open(self, path: str, mode: str) -> BytesIO:
        return BytesIO(self._files[path])
