"""Gives the device's TLS a clock of its own: the one that the firmware sets, as on a board, instead of the host's.

mbedTLS asks the C library for the time. Here the address of `time` in the MicroPython library's own table of imported
functions is replaced by a few instructions that add the seconds of a memory cell; the device writes that cell when it
sets its real-time clock (board/rtc.py). Nothing else in the process is touched. x86-64 Linux, as the library is.
"""

import ctypes
import mmap
import struct
from pathlib import Path

START_VARIABLE = "LAPEL_CLOCK_START"  # Unix seconds that the device's clock shows when it is switched on
CELL_VARIABLE = "LAPEL_CLOCK"  # address of the cell, for the board

_PAGE_BYTES = 4096
_LOAD, _DYNAMIC = 1, 2
_STRINGS, _SYMBOLS, _RELOCATIONS, _RELOCATION_BYTES, _JUMPS, _JUMP_BYTES = 5, 6, 7, 8, 23, 2
_GLOB_DAT, _JUMP_SLOT = 6, 7
_READ_WRITE = 3


class NoClock(Exception):
    """The library does not import `time` as expected; the message says what was looked for."""


def install(library: Path) -> int:
    """Replace `time` in the loaded `library`; returns the address of the cell (8 bytes, signed, little-endian: seconds
    to add to the host's clock; 0 at first). Raises NoClock.
    """
    base = _base_of(library)
    slots = _slots_of(library.read_bytes(), b"time")
    if not slots:
        raise NoClock(f"{library.name} imports no time()")
    libc = ctypes.CDLL(None)
    real = ctypes.cast(libc.time, ctypes.c_void_p).value or 0
    page = mmap.mmap(-1, _PAGE_BYTES, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    address = ctypes.addressof(ctypes.c_char.from_buffer(page))
    cell = address + _PAGE_BYTES // 2
    _KEPT.append(page)
    code = (
        b"\x53\x48\x89\xfb\x31\xff"  # push rbx; mov rbx, rdi; xor edi, edi
        + b"\x48\xb8" + struct.pack("<Q", real) + b"\xff\xd0"  # mov rax, time; call rax
        + b"\x48\xb9" + struct.pack("<Q", cell) + b"\x48\x03\x01"  # mov rcx, cell; add rax, [rcx]
        + b"\x48\x85\xdb\x74\x03\x48\x89\x03\x5b\xc3"  # if rbx: mov [rbx], rax; pop rbx; ret
    )  # fmt: skip
    page[: len(code)] = code
    for slot in slots:
        start = (base + slot) & ~(_PAGE_BYTES - 1)
        if libc.mprotect(ctypes.c_void_p(start), ctypes.c_size_t(2 * _PAGE_BYTES), _READ_WRITE):
            raise NoClock("the table of imported functions cannot be changed")
        ctypes.c_uint64.from_address(base + slot).value = address
    return cell


def set_cell(cell: int, seconds: int) -> None:
    """Let the clock differ from the host's by so much."""
    ctypes.c_int64.from_address(cell).value = seconds


_KEPT: list[mmap.mmap] = []


def _base_of(library: Path) -> int:
    for line in Path("/proc/self/maps").read_text(encoding="ascii").splitlines():
        if line.endswith(str(library)):
            return int(line.partition("-")[0], 16)
    raise NoClock(f"{library} is not loaded")


def _slots_of(elf: bytes, name: bytes) -> list[int]:
    """Where, from its base, a shared object keeps the address of an imported function (System V ABI, ELF-64)."""
    (headers,) = struct.unpack_from("<Q", elf, 32)
    size, count = struct.unpack_from("<HH", elf, 54)
    segments = [struct.unpack_from("<IIQQQQ", elf, headers + at * size) for at in range(count)]

    def offset(address: int) -> int:
        for kind, _, start, virtual, _, length in segments:
            if kind == _LOAD and virtual <= address < virtual + length:
                return int(address - virtual + start)
        raise NoClock("an address outside every segment")

    [(start, length)] = [(start, length) for kind, _, start, _, _, length in segments if kind == _DYNAMIC]
    dynamic = dict(struct.unpack_from("<QQ", elf, at) for at in range(start, start + length, 16))
    strings, symbols = offset(dynamic[_STRINGS]), offset(dynamic[_SYMBOLS])
    slots = []
    for table, bytes_of in ((_RELOCATIONS, _RELOCATION_BYTES), (_JUMPS, _JUMP_BYTES)):
        if table not in dynamic:
            continue
        first = offset(dynamic[table])
        for at in range(first, first + dynamic[bytes_of], 24):
            slot, info = struct.unpack_from("<QQ", elf, at)
            if info & 0xFFFFFFFF in (_GLOB_DAT, _JUMP_SLOT):
                (text,) = struct.unpack_from("<I", elf, symbols + 24 * (info >> 32))
                if elf[strings + text : strings + text + len(name) + 1] == name + b"\0":
                    slots.append(slot)
    return slots
