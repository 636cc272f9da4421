"""A board in BOOTSEL: a folder that takes a UF2 file as an RP2040's or RP2350's drive does.

The boot ROM writes whatever blocks are of its family and leaves when it has as many as they say there are. The drive's
content is watched, because a tool only copies a file.
"""

from __future__ import annotations

import struct
import threading
from collections.abc import Callable
from pathlib import Path

_INFO = {
    "RP2040": "UF2 Bootloader v3.0\r\nModel: Raspberry Pi RP2\r\nBoard-ID: RPI-RP2\r\n",
    "RP2350": "UF2 Bootloader v1.0\r\nModel: Raspberry Pi RP2350\r\nBoard-ID: RP2350\r\n",
}
_FAMILIES = {"RP2040": 0xE48BFF56, "RP2350": 0xE48BFF59}
_BLOCK = struct.Struct("<8I")
_BLOCK_BYTES = 512
_PAYLOAD_BYTES = 256
_POLL_S = 0.02


class BootselDrive:
    """`written`: flash content by address, as far as a tool has given it. `left` is set when the board has started."""

    def __init__(self, folder: Path, chip: str, when_started: Callable[[], None] | None = None) -> None:
        """`chip`: RP2040 or RP2350. `when_started`: called when the image is whole and the board runs it."""
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "INFO_UF2.TXT").write_bytes(_INFO[chip].encode())
        (folder / "INDEX.HTM").write_text("<html></html>")
        self.folder = folder
        self.chip = chip
        self.written: dict[int, bytes] = {}
        self.left = threading.Event()
        self._when_started = when_started
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._watch, name=f"bootsel {chip}", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Take the board off the machine."""
        self._closed.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._closed.wait(_POLL_S):
            for path in self.folder.glob("*"):
                if path.name not in ("INFO_UF2.TXT", "INDEX.HTM") and self._take(path.read_bytes()):
                    self._start()
                    return

    def _take(self, content: bytes) -> bool:
        """Write the blocks of a file; True when they are all there."""
        count = 0
        numbers = set()
        for at in range(0, len(content) - _BLOCK_BYTES + 1, _BLOCK_BYTES):
            first, second, _, address, _, number, blocks, family = _BLOCK.unpack_from(content, at)
            if (first, second, family) != (0x0A324655, 0x9E5D5157, _FAMILIES[self.chip]):
                continue
            self.written[address] = content[at + _BLOCK.size : at + _BLOCK.size + _PAYLOAD_BYTES]
            numbers.add(number)
            count = blocks
        return bool(count) and len(numbers) == count

    def _start(self) -> None:
        if self._when_started is not None:
            self._when_started()
        for path in list(self.folder.glob("*")):
            path.unlink()
        self.left.set()
