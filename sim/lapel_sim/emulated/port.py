"""The USB serial port of an emulated board: its CDC endpoints behind a pseudo-terminal.

Rules that hold here:

- The port is there from the end of an enumeration to the next reset; then it is another pseudo-terminal.
- What a board says while nobody reads is dropped, as USB does, never waited for.
"""

from __future__ import annotations

import asyncio
import os
import tty
from collections.abc import Callable

from rp2040py.usb.cdc import USBCDC

_PIECE_BYTES = 1024
_UNREAD_BYTES = 1 << 20


class UsbPort:
    """Bytes between a pseudo-terminal and a `USBCDC`."""

    def __init__(self, cdc: USBCDC, heard: Callable[[bytes], None]) -> None:
        """`name` is the device file of the port, empty while there is none. `heard` is called with all that the board
        says, whoever reads it."""
        self.name = ""
        self._cdc = cdc
        self._heard = heard
        self._ends: tuple[int, int] | None = None
        self._typed = bytearray()
        self._said = bytearray()
        cdc.on_serial_data = self._hear

    def open(self) -> None:
        """The board has enumerated."""
        self.close()
        master, slave = os.openpty()
        tty.setraw(slave)
        os.set_blocking(master, False)
        self._ends = (master, slave)
        self.name = os.ttyname(slave)
        asyncio.get_running_loop().add_reader(master, self._read)

    def close(self) -> None:
        """The board has left the bus."""
        if self._ends is not None:
            asyncio.get_running_loop().remove_reader(self._ends[0])
            for end in self._ends:
                os.close(end)
        self._ends = None
        self.name = ""
        self._typed.clear()
        self._said.clear()

    def carry(self) -> None:
        """Hand over what either side takes now."""
        fifo = self._cdc.tx_fifo
        taken = min(fifo.size - fifo.item_count, len(self._typed))
        for byte in self._typed[:taken]:
            self._cdc.send_serial_byte(byte)
        del self._typed[:taken]
        if self._ends is not None and self._said:
            try:
                del self._said[: os.write(self._ends[0], self._said)]
            except BlockingIOError:
                del self._said[:-_UNREAD_BYTES]

    def _hear(self, content: bytes | bytearray) -> None:
        self._heard(bytes(content))
        if self._ends is not None:
            self._said += content

    def _read(self) -> None:
        if self._ends is not None and len(self._typed) < _PIECE_BYTES:
            try:
                self._typed += os.read(self._ends[0], _PIECE_BYTES)
            except BlockingIOError:
                return
