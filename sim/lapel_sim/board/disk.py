"""The world's block device, as MicroPython's file systems want it (os.AbstractBlockDev, both interfaces)."""

import vfs

from . import ops

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .wire import Wire

MOUNT_POINT = "/card"
_IOCTL_SYNC = 3
_IOCTL_COUNT = 4
_IOCTL_SIZE = 5
_IOCTL_ERASE = 6


class Disk:
    """Every read and write is a call into the world, which decides what a power cut leaves of it."""

    def __init__(self, wire: "Wire", blocks: int, block_bytes: int) -> None:
        self._wire = wire
        self._blocks = blocks
        self._block_bytes = block_bytes

    def readblocks(self, block: int, buffer: "bytearray | memoryview", offset: int = 0) -> None:
        self._wire.call(ops.BLOCK_READ, 0, block, offset, into=buffer)

    def writeblocks(self, block: int, buffer: "bytes | bytearray | memoryview", offset: int = 0) -> None:
        self._wire.call(ops.BLOCK_WRITE, 0, block, offset, data=buffer)

    def ioctl(self, op: int, argument: int) -> int:
        if op == _IOCTL_COUNT:
            return self._blocks
        if op == _IOCTL_SIZE:
            return self._block_bytes
        if op == _IOCTL_SYNC:
            self._wire.call(ops.BLOCK_SYNC)
        elif op == _IOCTL_ERASE:
            self._wire.call(ops.BLOCK_ERASE, 0, argument)
        return 0


def make_disk(wire: "Wire", options: "dict[str, object]") -> Disk:
    """The disk that the world's options describe."""
    return Disk(wire, int(str(options["blocks"])), int(str(options["block_bytes"])))


def make_filesystem(disk: Disk, kind: str) -> None:
    """Format: `kind` is "littlefs" or "fat"."""
    if kind == "fat":
        vfs.VfsFat.mkfs(disk)
    else:
        vfs.VfsLfs2.mkfs(disk)


def mount(disk: Disk, options: "dict[str, object]", root: str = "") -> None:
    """Mount at MOUNT_POINT, and at `root` as well; raises OSError when there is no file system."""
    if options["filesystem"] == "fat":
        mounted: vfs.VfsFat | vfs.VfsLfs2 = vfs.VfsFat(disk)
    else:
        unit = int(str(options["unit_bytes"]))
        mounted = vfs.VfsLfs2(disk, readsize=unit, progsize=unit, lookahead=128)
    if root:
        vfs.mount(mounted, root)
    vfs.mount(mounted, MOUNT_POINT)
