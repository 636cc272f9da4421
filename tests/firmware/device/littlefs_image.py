"""Runs on the real MicroPython: reads a littlefs image that another littlefs made, and adds to it.

tests/seeded/test_storage_media.py starts it. Argument: the image, a file of the host.
"""

import json
import sys

import vfs

_BLOCK = 4096
_UNIT_BYTES = 128


class Disk:
    """The image in memory."""

    def __init__(self, image: bytearray) -> None:
        self.image = memoryview(image)

    def readblocks(self, block: int, buffer: bytearray, offset: int = 0) -> None:
        at = block * _BLOCK + offset
        buffer[:] = self.image[at : at + len(buffer)]

    def writeblocks(self, block: int, buffer: bytearray, offset: int = 0) -> None:
        at = block * _BLOCK + offset
        self.image[at : at + len(buffer)] = buffer

    def ioctl(self, operation: int, argument: int) -> int:
        if operation == 6:
            self.image[argument * _BLOCK : (argument + 1) * _BLOCK] = b"\xff" * _BLOCK
        return {4: len(self.image) // _BLOCK, 5: _BLOCK}.get(operation, 0)


def main() -> None:
    """Read the first clip, write a second one: the first backwards."""
    with open(sys.argv[1], "rb") as file:
        disk = Disk(bytearray(file.read()))
    unit = _UNIT_BYTES
    vfs.mount(vfs.VfsLfs2(disk, readsize=unit, progsize=unit, lookahead=unit), "/medium")
    with open("/medium/spool/00000001.clp", "rb") as file:
        content = file.read()
    with open("/medium/spool/00000002.clp", "wb") as file:
        file.write(bytes(reversed(content)))
    vfs.umount("/medium")
    with open(sys.argv[1], "wb") as file:
        file.write(disk.image)
    print(json.dumps({"found": (content[:64] + content[-64:]).hex(), "size": len(content)}))  # noqa: T201 - to its test
