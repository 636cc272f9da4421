"""Replaces functions that a loaded library imports, in its own table of them, by a few instructions.

For what the MicroPython library does otherwise than a board. Nothing else in the process is touched. x86-64 Linux, as
the library is.
"""

import ctypes
import mmap
import struct
from pathlib import Path

PAGE_BYTES = 4096
_LOAD, _DYNAMIC = 1, 2
_STRINGS, _SYMBOLS, _RELOCATIONS, _RELOCATION_BYTES, _JUMPS, _JUMP_BYTES = 5, 6, 7, 8, 23, 2
_GLOB_DAT, _JUMP_SLOT = 6, 7
_READ_WRITE = 3
_KEPT: list[mmap.mmap] = []


class NotImported(Exception):
    """The library does not import the function as expected; the message says what was looked for."""


class Page:
    """Memory for instructions and the cells they work on, which stays until the process ends."""

    def __init__(self) -> None:
        self._content = mmap.mmap(-1, PAGE_BYTES, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
        self._used = 0
        self._address = ctypes.addressof(ctypes.c_char.from_buffer(self._content))
        _KEPT.append(self._content)

    def place(self, content: bytes) -> int:
        """Put it there; returns its address, a multiple of 16."""
        at = self._used
        self._content[at : at + len(content)] = content
        self._used = (at + len(content) + 15) & ~15
        return self._address + at


def address_of(library: ctypes.CDLL, name: str) -> int:
    """Where a function of a loaded library begins. Raises AttributeError when it has none of that name."""
    return ctypes.cast(getattr(library, name), ctypes.c_void_p).value or 0


def replace(library: Path, name: str, address: int) -> None:
    """Let the loaded `library` call `address` for the function `name` that it imports. Raises NotImported."""
    base = _base_of(library)
    slots = _slots_of(library.read_bytes(), name.encode())
    if not slots:
        raise NotImported(f"{library.name} imports no {name}()")
    libc = ctypes.CDLL(None)
    for slot in slots:
        start = (base + slot) & ~(PAGE_BYTES - 1)
        if libc.mprotect(ctypes.c_void_p(start), ctypes.c_size_t(2 * PAGE_BYTES), _READ_WRITE):
            raise NotImported("the table of imported functions cannot be changed")
        ctypes.c_uint64.from_address(base + slot).value = address


def _base_of(library: Path) -> int:
    for line in Path("/proc/self/maps").read_text(encoding="ascii").splitlines():
        if line.endswith(str(library)):
            return int(line.partition("-")[0], 16)
    raise NotImported(f"{library} is not loaded")


def _slots_of(elf: bytes, name: bytes) -> list[int]:
    """Where, from its base, a shared object keeps the address of an imported function (System V ABI, ELF-64)."""
    (headers,) = struct.unpack_from("<Q", elf, 32)
    size, count = struct.unpack_from("<HH", elf, 54)
    segments = [struct.unpack_from("<IIQQQQ", elf, headers + at * size) for at in range(count)]

    def offset(address: int) -> int:
        for kind, _, start, virtual, _, length in segments:
            if kind == _LOAD and virtual <= address < virtual + length:
                return int(address - virtual + start)
        raise NotImported("an address outside every segment")

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
