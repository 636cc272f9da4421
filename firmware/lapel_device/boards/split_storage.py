"""Storage of a board with a microSD card: clips on the card, everything else in the flash of the board.

Identity, settings, journal and the alarm's latch do not go with a card that is pulled out: without one there are no
clips, and the alarm works. Rules that hold here:

- A card that is put in, or comes back after a fault, is used from then on: each use of a path on it goes on with
  bringing it up, at most every RETRY_MS after it failed, and raises OSError until it is mounted.
- A card is mounted anew after every fault: what the file system remembers of it may be another card's.
"""

from time import ticks_diff, ticks_ms  # type: ignore[attr-defined,unused-ignore]

import vfs

from .vfs import VfsStorage

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

    from .sdcard import SdCard

MOUNT_POINT = "/sd"
RETRY_MS = 5000
_FOLDER = "/spool"
_BLOCK = 512
_EAGAIN = 11
_ENODEV = 19
_BEGIN_MS = 1500


class SplitStorage:
    """The `Storage` of such a board. `mounted`: whether the card is in use."""

    def __init__(self, card: "SdCard", log: "Callable[[str], None]", root: str = "") -> None:
        """`root`: where the flash's file system is mounted."""
        self._card = card
        self._log = log
        self._flash = VfsStorage(root)
        self._files = VfsStorage(MOUNT_POINT)
        self._failed: Any = None
        self.mounted = False

    def begin(self, wait_ms: "Callable[[int], object]") -> None:
        """At boot: wait for the card, for a second and a half at most. Without one the board goes on."""
        since = ticks_ms()
        while not self.mounted and self._failed is None and ticks_diff(ticks_ms(), since) < _BEGIN_MS:
            try:
                self._mount()
            except OSError:
                wait_ms(10)

    def format(self) -> None:
        """Make a FAT file system on the card; everything on it is lost. For a technician: it takes seconds.

        Raises OSError: without a card, or when it does not take it. Mounted again by the next use.
        """
        if not self._card.ready:
            raise OSError(_ENODEV)
        if self.mounted:
            self.mounted = False
            vfs.umount(MOUNT_POINT)
        vfs.VfsFat.mkfs(self._card)  # type: ignore[arg-type,unused-ignore]
        self._card.sync()
        self._failed = None

    def open(self, path: str, mode: str) -> "Any":
        """See contract.Storage."""
        return self._at(path).open(path, mode)

    def listdir(self, path: str) -> "Iterable[str]":
        """See contract.Storage."""
        return self._at(path).listdir(path)

    def remove(self, path: str) -> None:
        """See contract.Storage."""
        self._at(path).remove(path)

    def mkdir(self, path: str) -> None:
        """See contract.Storage."""
        self._at(path).mkdir(path)

    def size(self, path: str) -> int:
        """See contract.Storage."""
        try:
            return self._at(path).size(path)
        except OSError:
            return -1

    def free_bytes(self) -> int:
        """Bytes free for clips. Raises OSError without a card."""
        return self._at(_FOLDER).free_bytes()

    def total_bytes(self) -> int:
        """Bytes of the card. Raises OSError without one."""
        return self._at(_FOLDER).total_bytes()

    def _at(self, path: str) -> VfsStorage:
        if not path.startswith(_FOLDER):
            return self._flash
        if not self.mounted or not self._card.ready:
            self._mount()
        return self._files

    def _mount(self) -> None:
        """Go on with bringing the card up; OSError until its file system is mounted."""
        if self.mounted:
            self.mounted = False
            vfs.umount(MOUNT_POINT)
            self._log("the card failed")
        if self._failed is not None and ticks_diff(ticks_ms(), self._failed) < RETRY_MS:
            raise OSError(_ENODEV)
        try:
            ready = self._card.begin()
        except OSError:
            self._fail("there is no card")
            raise
        if not ready:
            raise OSError(_EAGAIN)
        try:
            vfs.mount(self._filesystem(), MOUNT_POINT)
        except OSError:
            self._fail("the card has no file system")
            raise
        self.mounted = True
        self._failed = None
        self._log("card %s, %d MB" % (self._card.name, self._card.capacity // 1_000_000))
        self._files.mkdir(_FOLDER)

    def _filesystem(self) -> "Any":
        try:
            return vfs.VfsFat(self._card)  # type: ignore[abstract,arg-type,unused-ignore]
        except OSError:
            sizes = {"readsize": _BLOCK, "progsize": _BLOCK}
            return vfs.VfsLfs2(self._card, **sizes)  # type: ignore[abstract,arg-type,unused-ignore]

    def _fail(self, why: str) -> None:
        if self._failed is None:
            self._log(why)
        self._failed = ticks_ms()
