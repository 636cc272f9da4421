"""Fills the slot that does not run with a release that is offered, piece by piece (SPEC sections 8.11 and 16).

Rules that hold here:

- The manifest comes first and is verified before any file is looked for; a file that the running slot has as well is
  copied from there, the others are asked for.
- Each file is compared with its hash when it is there, and the slot as a whole at the end: whatever was sent, and
  wherever the power went, nothing becomes good by being there.
- `work` is one bounded step, about what a sector of flash costs. After a restart it goes on with the next file.
"""

from lapel_protocol.release import (
    DAMAGED,
    RELEASE_HEADER_BYTES,
    Manifest,
    ReleaseError,
    entries,
    verify_manifest,
)
from lapel_protocol.updating import UPDATE_BLOCK_BYTES

from .slots import check_file, check_slot, manifest_path, slot_folder

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from lapel_protocol.updating import UpdateBlock, UpdateOffer

    from .boards.contract import File, Storage
    from .slots import Code

OLDER = "older"
NO_ROOM = "no_room"

_ASK_BYTES = 4 * UPDATE_BLOCK_BYTES
_COPY_BYTES = 1024
_REMOVED_TOGETHER = 16
_TRIES = 3
_SPARE_BYTES = 16 << 10  # what a file system needs for itself while it fills up


class SlotFiller:
    """One release on its way into `slot`. `offset` and `size` are what is to be asked for, size 0 = nothing now.

    `manifest` once it is verified; `ready` once the whole slot is. `fetched` counts the bytes that came over the air.
    """

    def __init__(
        self,
        storage: "Storage",
        slot: int,
        running_slot: int,
        modulus: bytes,
        hardware: str,
        code: "Code",
        floor: int,
        offer: "UpdateOffer",
    ) -> None:
        self._storage = storage
        self._slot = slot
        self._running_slot = running_slot
        self._modulus = modulus
        self._hardware = hardware
        self._code = code
        self._floor = floor
        self._offer = offer
        self._steps = self._run()
        self._file: File | None = None
        self._end = 0
        self.manifest: Manifest | None = None
        self.ready = False
        self.offset = 0
        self.size = 0
        self.fetched = 0

    def work(self) -> None:
        """One step. Raises ReleaseError when this release is not to be run, OSError when storage fails: then go on with
        a new filler.
        """
        if not self.ready and not self.size:
            try:
                next(self._steps)
            except StopIteration:
                self.ready = True

    def take(self, block: "UpdateBlock") -> bool:
        """A piece that was asked for; False for any other. Raises OSError."""
        file = self._file
        data = block.data
        if file is None or block.offset != self.offset or len(data) > self._end - self.offset or not self.size:
            return False
        file.write(data)
        self.fetched += len(data)
        self.offset += len(data)
        self.size = max(0, self.size - len(data))
        return True

    def close(self) -> None:
        """Let go of the file that is open."""
        file = self._file
        self._file = None
        if file is not None:
            try:
                file.close()
            except OSError:
                return

    def _run(self) -> "Iterator[int]":
        manifest = self._kept_manifest()
        if manifest is None:
            for _ in self._clear(slot_folder(self._slot)):
                yield 0
            self._storage.mkdir(slot_folder(self._slot))
            for _ in self._fetch(manifest_path(self._slot), 0, self._offer.content_at):
                yield 0
            manifest = self._read_manifest()
            if manifest.release != self._offer.release or manifest.number != self._offer.number:
                raise ReleaseError(DAMAGED, "another manifest than was offered")
            if self._storage.free_bytes() < manifest.content_bytes + _SPARE_BYTES:
                raise ReleaseError(NO_ROOM)
        manifest.check_for(self._hardware, self._code, self._floor)
        self.manifest = manifest
        at = manifest.content_at
        for row in range(manifest.count):
            path, size, digest = self._entry(manifest, row)
            for _ in self._file_of(path, size, digest, at):
                yield 0
            at += size
        for _ in check_slot(self._storage, self._slot, self._modulus, self._hardware, self._code, self._floor):
            yield 0

    def _kept_manifest(self) -> "Manifest | None":
        """The manifest that lies in the slot from before a restart, if it is the one that is offered."""
        if self._storage.size(manifest_path(self._slot)) != self._offer.content_at:
            return None
        try:
            manifest = self._read_manifest()
        except ReleaseError:
            return None
        same = manifest.release == self._offer.release and manifest.number == self._offer.number
        return manifest if same else None

    def _read_manifest(self) -> Manifest:
        file = self._storage.open(manifest_path(self._slot), "rb")
        try:
            return verify_manifest(file, self._modulus)
        finally:
            file.close()

    def _entry(self, manifest: Manifest, row: int) -> "tuple[str, int, bytes]":
        file = self._storage.open(manifest_path(self._slot), "rb")
        try:
            for found in entries(file, manifest, row):
                return found
        finally:
            file.close()
        raise ReleaseError(DAMAGED)

    def _file_of(self, path: str, size: int, digest: bytes, at: int) -> "Iterator[int]":
        """Have one file in the slot: it lies there, or in the running slot, or it is fetched."""
        target = slot_folder(self._slot) + "/" + path
        for attempt in range(_TRIES):
            try:
                for left in check_file(self._storage, target, size, digest):
                    yield left
                return
            except ReleaseError:
                pass
            source = slot_folder(self._running_slot) + "/" + path
            if not attempt:
                self._make_folders(target)
                try:
                    for left in check_file(self._storage, source, size, digest):
                        yield left
                    for left in self._copy(source, target, size):
                        yield left
                    continue
                except ReleaseError:
                    pass
            for left in self._fetch(target, at, size):
                yield left
        for left in check_file(self._storage, target, size, digest):
            yield left

    def _copy(self, source: str, target: str, size: int) -> "Iterator[int]":
        file = self._storage.open(source, "rb")
        self._file = self._storage.open(target, "wb")
        try:
            while size > 0:
                self._file.write(file.read(_COPY_BYTES))
                size -= _COPY_BYTES
                yield size
        finally:
            file.close()
        self._file.close()
        self._file = None

    def _fetch(self, path: str, at: int, size: int) -> "Iterator[int]":
        """Write a file of pieces that are asked for."""
        self._file = self._storage.open(path, "wb")
        self.offset = at
        self._end = at + size
        while self.offset < self._end:
            self.size = min(self._end - self.offset, _ASK_BYTES)
            yield self.size
        self._file.close()
        self._file = None

    def _make_folders(self, path: str) -> None:
        at = path.find("/", 1)
        while at > 0:
            self._storage.mkdir(path[:at])
            at = path.find("/", at + 1)

    def _clear(self, folder: str) -> "Iterator[int]":
        """Remove every file below a folder; a folder is never listed while it is changed."""
        while True:
            files = []
            folders = []
            for name in self._storage.listdir(folder):
                if "." in name or name == "manifest":
                    files.append(name)
                    if len(files) == _REMOVED_TOGETHER:
                        break
                else:
                    folders.append(name)
            for name in files:
                self._storage.remove(folder + "/" + name)
                yield 0
            if len(files) < _REMOVED_TOGETHER:
                break
        for name in folders:
            for _ in self._clear(folder + "/" + name):
                yield 0


def read_floor(storage: "Storage", slot: int) -> int:
    """The floor that the release in a slot, verified at boot, asks for. Raises OSError or ReleaseError."""
    file = storage.open(manifest_path(slot), "rb")
    try:
        return Manifest(file.read(RELEASE_HEADER_BYTES)).floor
    finally:
        file.close()
