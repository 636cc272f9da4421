"""MicroPython's virtual file system module."""

from typing import Any, Protocol

class BlockDevice(Protocol):
    def readblocks(self, block: int, buffer: bytearray, offset: int = ..., /) -> Any: ...
    def writeblocks(self, block: int, buffer: bytearray, offset: int = ..., /) -> Any: ...
    def ioctl(self, operation: int, argument: int, /) -> Any: ...

class _Vfs:
    @staticmethod
    def mkfs(device: Any) -> None: ...

class VfsFat(_Vfs):
    def __init__(self, device: Any) -> None: ...

class VfsLfs2(_Vfs):
    def __init__(
        self,
        device: Any,
        readsize: int = ...,
        progsize: int = ...,
        lookahead: int = ...,
        mtime: bool = ...,
    ) -> None: ...

class VfsPosix(_Vfs):
    def __init__(self, root: str = ...) -> None: ...

def mount(filesystem: Any, mount_point: str, *, readonly: bool = ...) -> None: ...
def umount(mount_point: Any) -> None: ...
