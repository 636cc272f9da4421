"""Lets Ctrl-C interrupt MicroPython as on a board: between instructions of Python, never inside what is done in C.

MicroPython for Unix raises KeyboardInterrupt out of its signal handler, wherever the process is: inside the file
system, the allocator, or what the board asks of its world, which then are left half done. A board's interrupt only
notes it (`mp_sched_keyboard_interrupt`), and the virtual machine raises it at the next jump. So does the handler here.

A memory cell of three bytes is between handler and board:

    0   not 0: the board holds Ctrl-C, for what is one thing in hardware and several calls here
    1   1: one came meanwhile; the board raises it
    2   not 0: MicroPython listens for it; else it is lost (on a board it is a character then)
"""

from __future__ import annotations

import ctypes
import signal
import struct
from pathlib import Path

from lapel_sim.imports import Page, address_of, replace

CELL_VARIABLE = "LAPEL_INTERRUPTS"
_CELL_BYTES = 3


def install(library: Path) -> int:
    """Take SIGINT for the loaded `library`, for good; returns the address of the cell. Raises NotImported."""
    libc = ctypes.CDLL(None)
    page = Page()
    cell = page.place(bytes(_CELL_BYTES))
    note = address_of(ctypes.CDLL(str(library)), "mp_sched_keyboard_interrupt")
    rax_is_cell = b"\x48\xb8" + struct.pack("<Q", cell)
    handler = page.place(
        rax_is_cell
        + b"\x80\x78\x02\x00\x74\x15"  # cmp byte [rax + 2], 0; je lost
        + b"\x80\x38\x00\x75\x0c"  # cmp byte [rax], 0; jne held
        + b"\x48\xb8" + struct.pack("<Q", note) + b"\xff\xe0"  # mov rax, note; jmp rax
        + b"\xc6\x40\x01\x01"  # held: mov byte [rax + 1], 1
        + b"\xc3"  # lost: ret
    )  # fmt: skip
    sigaction = page.place(
        b"\x83\xff" + bytes([signal.SIGINT]) + b"\x74\x0c"  # cmp edi, SIGINT; je mine
        + b"\x48\xb8" + struct.pack("<Q", address_of(libc, "sigaction")) + b"\xff\xe0"  # mov rax, sigaction; jmp rax
        + rax_is_cell  # mine:
        + b"\x48\x83\x3e\x00\x0f\x95\x40\x02"  # cmp qword [rsi], 0 (SIG_DFL); setne byte [rax + 2]
        + b"\x31\xc0\xc3"  # xor eax, eax; ret
    )  # fmt: skip
    replace(library, "sigaction", sigaction)
    libc.signal(signal.SIGINT, ctypes.c_void_p(handler))
    signal.siginterrupt(signal.SIGINT, True)  # what waits in a call of the system is woken, to raise it
    return cell
