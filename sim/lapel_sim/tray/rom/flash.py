"""The flash of a tray board: NOR flash behind the block protocol of MicroPython, in memory that the host maps."""

import os

import uctypes  # type: ignore[import-not-found,unused-ignore]

BLOCK_BYTES = 4096
_COUNT = 4
_SIZE = 5
_ERASE = 6


class Flash:
    """Erasing sets every bit of a block, programming clears bits. Without an offset a block is erased first, as the
    drivers of the RP2 and the ESP32 do it.
    """

    def __init__(self) -> None:
        address, size = os.environ_flash()  # type: ignore[attr-defined]
        self._content = memoryview(uctypes.bytearray_at(address, size))

    def readblocks(self, block: int, buffer: "bytearray | memoryview", offset: int = 0) -> None:
        at = block * BLOCK_BYTES + offset
        buffer[:] = self._content[at : at + len(buffer)]

    def writeblocks(self, block: int, buffer: "bytes | bytearray | memoryview", offset: int = -1) -> None:
        at = block * BLOCK_BYTES
        if offset < 0:
            self.ioctl(_ERASE, block)
        else:
            at += offset
        size = len(buffer)
        there = bytes(self._content[at : at + size])
        if there == b"\xff" * size:
            self._content[at : at + size] = buffer
        else:
            both = int.from_bytes(there, "big") & int.from_bytes(buffer, "big")
            self._content[at : at + size] = both.to_bytes(size, "big")

    def ioctl(self, operation: int, argument: int) -> int:
        if operation == _ERASE:
            at = argument * BLOCK_BYTES
            self._content[at : at + BLOCK_BYTES] = b"\xff" * BLOCK_BYTES
        return {_COUNT: len(self._content) // BLOCK_BYTES, _SIZE: BLOCK_BYTES}.get(operation, 0)
