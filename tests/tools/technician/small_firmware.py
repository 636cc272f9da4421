"""Releases of a few small files for the simulated boards, and what such a board prints when it runs one."""

from __future__ import annotations

from functools import cache
from io import BytesIO
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from lapel_build.release import TARGETS, build_files, device_files, make_release, modulus_of, new_key
from lapel_device.slots import SLOT_A, SLOT_B, SlotState, slot_folder
from lapel_protocol.releasing import Release
from lapel_sim.tray.board import TrayBoard
from lapel_tools.technician.bench import Order

TARGET = TARGETS["tray"]
HARDWARE = TARGET.hardware
_SOURCES = {
    "lapel_device/__init__.py": "",
    "lapel_device/runtime.py": (
        "import time\n\n\ndef run(*given):\n    print('works')\n    while True:\n        time.sleep(0.1)\n"
    ),
    "lapel_sim/__init__.py": "",
    "lapel_sim/board/__init__.py": "",
    "lapel_sim/board/from_slot.py": "def board():\n    return None\n",
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


def order(number: int, floor: int = 0, even_busy: bool = False) -> Order:
    """Put release `number` onto boards of the simulator."""
    return Order([release(number, floor)], modulus_of(signer(0)), HARDWARE, even_busy)


def carries(board: TrayBoard, number: int) -> bool:
    """Whether the flash of a board without power holds all of a release, byte for byte, and is set to run it."""
    files = board.files()
    made = release(number)
    wanted = device_files(TARGET, made, modulus_of(signer(0)))
    state = SlotState(_Read(files))  # type: ignore[arg-type]
    state.load()
    if state.active not in (SLOT_A, SLOT_B) or state.trial:
        return False
    folder = slot_folder(state.active)
    in_slot = {path: content for path, content in files.items() if path.startswith(folder + "/")}
    slot = {path.replace("/a/", folder + "/", 1): text for path, text in wanted.items() if path.startswith("/a/")}
    base = {path: text for path, text in wanted.items() if not path.startswith("/a/")}
    left_over = [path for path in files if path.endswith(".new")]
    return in_slot == slot and {path: files.get(path) for path in base} == base and not left_over


class _Read:
    """Files of a dictionary as a `Storage` that is only read."""

    def __init__(self, files: dict[str, bytes]) -> None:
        self._files = files

    def size(self, path: str) -> int:
        return len(self._files[path]) if path in self._files else -1

    def open(self, path: str, mode: str) -> BytesIO:
        return BytesIO(self._files[path])
