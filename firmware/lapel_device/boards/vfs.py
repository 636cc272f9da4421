"""Storage on MicroPython's own file systems (littlefs, FAT, or the host's), under a root folder.

`flush` on a MicroPython file reaches the medium: lfs_file_sync, f_sync or fsync, whichever is mounted; `close` does so
on littlefs and FAT.
"""

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

_NOT_FOUND = 2  # ENOENT
_EXISTS = 17  # EEXIST


class VfsStorage:
    """The `Storage` of a board whose file system is mounted at `root` ("" or "/sd", no slash at the end)."""

    def __init__(self, root: str) -> None:
        self._root = root

    def open(self, path: str, mode: str) -> "Any":
        """Open in a binary mode; raises OSError."""
        return open(self._root + path, mode)

    def listdir(self, path: str) -> "Iterable[str]":
        """Yield names one at a time: a folder of hundreds of clips is never a list on the heap."""
        try:
            entries = os.ilistdir(self._root + path)  # type: ignore[attr-defined]  # MicroPython's own
        except OSError as error:
            if error.errno != _NOT_FOUND:
                raise
            return
        while True:
            try:
                entry = next(entries)
            except StopIteration:
                return
            except UnicodeError:
                continue  # no name: a power cut while a FAT folder grew leaves what stood in the cluster before
            yield entry[0]

    def remove(self, path: str) -> None:
        """Delete a file; raises OSError."""
        os.remove(self._root + path)

    def mkdir(self, path: str) -> None:
        """Make a folder unless it exists; raises OSError."""
        try:
            os.mkdir(self._root + path)
        except OSError as error:
            if error.errno != _EXISTS:
                raise

    def size(self, path: str) -> int:
        """Bytes in a file, -1 when there is none."""
        try:
            return os.stat(self._root + path)[6]
        except OSError:
            return -1

    def free_bytes(self) -> int:
        """Bytes free; slow (littlefs walks the file system)."""
        figures = os.statvfs(self._root or "/")
        # littlefs counts blocks that files share twice: "free" may come out below zero, and without a sign as huge.
        return figures[0] * figures[3] if 0 <= figures[3] <= figures[2] else 0

    def total_bytes(self) -> int:
        """Bytes of the whole file system."""
        figures = os.statvfs(self._root or "/")
        return figures[1] * figures[2]
