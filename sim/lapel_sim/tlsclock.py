"""Gives the device's TLS a clock of its own: the one that the firmware sets, as on a board, instead of the host's.

mbedTLS asks the C library for the time. In the MicroPython library a few instructions take its place, which add the
seconds of a memory cell; the device writes that cell when it sets its real-time clock (board/rtc.py).
"""

import ctypes
import struct
from pathlib import Path

from .imports import Page, address_of, replace

START_VARIABLE = "LAPEL_CLOCK_START"  # Unix seconds that the device's clock shows when it is switched on
CELL_VARIABLE = "LAPEL_CLOCK"  # address of the cell, for the board


def install(library: Path) -> int:
    """Replace `time` in the loaded `library`; returns the address of the cell (8 bytes, signed, little-endian: seconds
    to add to the host's clock; 0 at first). Raises NotImported.
    """
    page = Page()
    cell = page.place(bytes(8))
    real = address_of(ctypes.CDLL(None), "time")
    code = (
        b"\x53\x48\x89\xfb\x31\xff"  # push rbx; mov rbx, rdi; xor edi, edi
        + b"\x48\xb8" + struct.pack("<Q", real) + b"\xff\xd0"  # mov rax, time; call rax
        + b"\x48\xb9" + struct.pack("<Q", cell) + b"\x48\x03\x01"  # mov rcx, cell; add rax, [rcx]
        + b"\x48\x85\xdb\x74\x03\x48\x89\x03\x5b\xc3"  # if rbx: mov [rbx], rax; pop rbx; ret
    )  # fmt: skip
    replace(library, "time", page.place(code))
    return cell


def set_cell(cell: int, seconds: int) -> None:
    """Let the clock differ from the host's by so much."""
    ctypes.c_int64.from_address(cell).value = seconds
