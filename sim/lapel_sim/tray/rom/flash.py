"""The flash of a tray board: NOR flash behind the block protocol of MicroPython, in memory that the host maps.

On a board this is C, which no Ctrl-C breaks into, and so is the file system that calls it. MicroPython raises
KeyboardInterrupt at jumps: hence there is no jump here, and what is chosen is chosen by index.
"""

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

    def __init__(self, part: str = "LAPEL_FLASH") -> None:
        address, size = os.memory_of(part)  # type: ignore[attr-defined]
        self._content = memoryview(uctypes.bytearray_at(address, size))

    def readblocks(self, block: int, buffer: "bytearray | memoryview", offset: int = 0) -> None:
        at = block * BLOCK_BYTES + offset
        buffer[:] = self._content[at : at + len(buffer)]

    def writeblocks(self, block: int, buffer: "bytes | bytearray | memoryview", offset: int = -1) -> None:
        (self._program, self._erase_and_program)[offset < 0](block * BLOCK_BYTES + max(offset, 0), buffer)

    def _erase_and_program(self, at: int, buffer: "bytes | bytearray | memoryview") -> None:
        self._content[at : at + BLOCK_BYTES] = b"\xff" * BLOCK_BYTES
        self._program(at, buffer)

    def _program(self, at: int, buffer: "bytes | bytearray | memoryview") -> None:
        there = bytes(self._content[at : at + len(buffer)])
        (self._clear, self._fill)[there == b"\xff" * len(buffer)](at, there, buffer)

    def _fill(self, at: int, there: bytes, buffer: "bytes | bytearray | memoryview") -> None:
        self._content[at : at + len(buffer)] = buffer

    def _clear(self, at: int, there: bytes, buffer: "bytes | bytearray | memoryview") -> None:
        both = int.from_bytes(there, "big") & int.from_bytes(buffer, "big")
        self._content[at : at + len(buffer)] = both.to_bytes(len(buffer), "big")

    def ioctl(self, operation: int, argument: int) -> int:
        return (self._fact, self._erase)[operation == _ERASE](operation, argument)

    def _erase(self, operation: int, block: int) -> int:
        self._content[block * BLOCK_BYTES : (block + 1) * BLOCK_BYTES] = b"\xff" * BLOCK_BYTES
        return 0

    def _fact(self, operation: int, argument: int) -> int:
        return {_COUNT: len(self._content) // BLOCK_BYTES, _SIZE: BLOCK_BYTES}.get(operation, 0)
