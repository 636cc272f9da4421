"""Entry of a boot that works on the device's files for the world: format, write, read, list, fill, remove. No firmware
runs.
"""

import os
import sys

from . import ops
from .disk import MOUNT_POINT, make_disk, make_filesystem, mount
from .wire import Wire, read_options

_PIECE_BYTES = 4096
_UNIT_BYTES = 1024  # there is heap enough here for caches of four times this; the format does not depend on it
_FOLDER = 0x4000


def _make_folders(path: str) -> None:
    parts = path.split("/")[1:-1]
    made = MOUNT_POINT
    for part in parts:
        made += "/" + part
        try:
            os.mkdir(made)
        except OSError:
            os.stat(made)  # it exists; anything else raises here


def _write(wire: Wire, path: str) -> None:
    _make_folders(path)
    buffer = bytearray(_PIECE_BYTES)
    with open(MOUNT_POINT + path, "wb") as out:
        while True:
            size = wire.call(ops.FILE_READ, into=buffer)
            if not size:
                return
            out.write(memoryview(buffer)[:size])


def _dump(wire: Wire, path: str) -> None:
    buffer = bytearray(_PIECE_BYTES)
    with open(MOUNT_POINT + path, "rb") as source:
        while True:
            size = source.readinto(buffer)
            if not size:
                return
            wire.call(ops.FILE_GIVE, data=memoryview(buffer)[:size])


def _list(wire: Wire, folder: str) -> None:
    for entry in os.ilistdir(MOUNT_POINT + folder):  # type: ignore[attr-defined,unused-ignore]
        path = folder + "/" + entry[0]
        if entry[1] & _FOLDER:
            _list(wire, path)
        else:
            wire.call(ops.FILE_GIVE, data=(path + "\n").encode())


def _fill(path: str, leave_bytes: int) -> None:
    """Write filler until only `leave_bytes` are free."""
    _make_folders(path)
    stat = os.statvfs(MOUNT_POINT)
    size = stat[0] * stat[3] - leave_bytes  # type: ignore[index,unused-ignore]
    filler = bytes(_PIECE_BYTES)
    with open(MOUNT_POINT + path, "wb") as out:
        while size > 0:
            out.write(memoryview(filler)[: min(size, _PIECE_BYTES)])
            size -= _PIECE_BYTES


def main() -> None:
    """Do what the world asks until it has no more. The first argument is the descriptor of the socket to the world."""
    wire = Wire(int(sys.argv[1]))
    options = read_options(wire)
    options["unit_bytes"] = _UNIT_BYTES
    disk = make_disk(wire, options)
    mounted = False
    name = bytearray(256)
    while True:
        task = wire.call(ops.FILE_NEXT, into=name)
        path = bytes(name[: wire.size]).decode()
        size = wire.extra
        if task == ops.FILE_DONE:
            break
        if task == ops.FILE_FORMAT:
            make_filesystem(disk, str(options["filesystem"]))
            continue
        if not mounted:
            mount(disk, options)
            mounted = True
        if task == ops.FILE_WRITE:
            _write(wire, path)
        elif task == ops.FILE_DUMP:
            _dump(wire, path)
        elif task == ops.FILE_LIST:
            _list(wire, "")
        elif task == ops.FILE_FILL:
            _fill(path, size)
        elif task == ops.FILE_REMOVE:
            os.remove(MOUNT_POINT + path)
    wire.call(ops.BLOCK_SYNC)
