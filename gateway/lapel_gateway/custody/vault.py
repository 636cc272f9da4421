"""The vault: sealed originals, byte for byte as the device made them, one file for each clip.

Beside the file of a cut clip stands the record of the event that settled it, sealed as it came: a clip that ended has
its end in its own file, and a cut one must be no worse off with a ledger that is older than the vault.

Rules that hold here
- A record is placed at the offset that its index gives (``lapel_protocol.stream.segment_offset``), so the order of
  arrival does not matter and a repeat changes nothing.
- Nothing placed counts until ``sync`` returned: then the journal has it durably (``custody.vault_journal``). The
  ledger claims bytes only after that. The files themselves are synced when half of the journal is full; until then a
  crash of the machine may take their bytes, and ``recover`` puts them back.
- Only the one who places may ``recover``; it comes before reading when the process before this one may have died.
- A reserve of free space is left to the ledger, so that alarms are still recorded when clips find the disk full.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import os
import resource
from collections import OrderedDict
from collections.abc import Iterator
from concurrent.futures import Executor, Future, wait
from pathlib import Path

from lapel_gateway import steps
from lapel_gateway.custody.vault_journal import HALF_BYTES, JOURNAL_NAME, Placed, VaultJournal
from lapel_gateway.durable import sync_folder, write_all_at

OPEN_FILES = 256
"""File handles kept open beside those of files that are not synced yet."""

UNSYNCED_FILES = 4096
"""Files that wait to be synced, at most; fewer where the system lets a process open few files."""

RESERVE_BYTES = 256 << 20
"""Free space that clips may not take: a year of alarms and events."""

_SUFFIX = ".lapel"
_CUT_SUFFIX = ".cut"
_MAX_CUT_BYTES = 2048  # more than any event has


class VaultFull(Exception):
    """There is no room for a clip's bytes; nothing of this batch may be acknowledged."""


class Vault:
    """Clip files under one folder: ``<root>/<device>/<clip, 8 hex digits>.lapel``, and ``.cut`` beside a cut one."""

    def __init__(
        self,
        root: Path,
        reserve_bytes: int = RESERVE_BYTES,
        *,
        journal_half_bytes: int = HALF_BYTES,
        beside: Executor | None = None,
    ) -> None:
        """`beside` syncs the clips' files while their batches go on; without it that is done in between."""
        self.root = root
        self.reserve_bytes = reserve_bytes
        self._journal_half_bytes = journal_half_bytes
        self._beside = beside
        self._journal: VaultJournal | None = None
        self._handles: OrderedDict[tuple[str, int], int] = OrderedDict()
        self._placed: list[Placed] = []  # since the last sync
        self._truncated: dict[tuple[str, int], int] = {}  # since the last sync, and to which size
        self._kept = False  # whether the next sync has to reach the files themselves, as it has to after a cut
        self._unsynced: set[tuple[str, int]] = set()
        self._new_folders: set[Path] = set()
        self._known_folders: set[Path] = set()
        # What is being synced now, for the half of the journal that was left last.
        self._settling: Future[None] | None = None
        self._settling_keys: set[tuple[str, int]] = set()
        self._settling_folders: set[Path] = set()
        allowed, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        self._most_unsynced = UNSYNCED_FILES if allowed < 0 else min(UNSYNCED_FILES, allowed // 4)
        root.mkdir(parents=True, exist_ok=True)

    def path(self, device: str, clip: int) -> Path:
        """Where the sealed original of a clip is or would be."""
        return self.root / device / f"{clip:08x}{_SUFFIX}"

    def size(self, device: str, clip: int) -> int:
        """Bytes of the clip's file, -1 when there is none."""
        try:
            return self.path(device, clip).stat().st_size
        except FileNotFoundError:
            return -1

    def clips(self) -> Iterator[tuple[str, int]]:
        """Every clip that has a file, in order of device and clip."""
        for name in self.folders():
            for clip in self.numbers(name):
                yield name, clip

    def folders(self, since_s: int = 0) -> list[str]:
        """The devices' folders in which a file was made or removed at or after this Unix time, in order."""
        with os.scandir(self.root) as entries:
            return sorted(entry.name for entry in entries if entry.is_dir() and entry.stat().st_mtime >= since_s)

    def numbers(self, device: str) -> list[int]:
        """The clips of a device that have a file, in order; nothing but names is read."""
        found = []
        with os.scandir(self.root / device) as entries:
            for entry in entries:
                stem, dot, suffix = entry.name.partition(".")
                if dot + suffix == _SUFFIX and len(stem) == 8:
                    with contextlib.suppress(ValueError):
                        found.append(int(stem, 16))
        return sorted(found)

    def check_room(self, size_bytes: int) -> None:
        """Raise VaultFull unless ``size_bytes`` more fit beside the reserve."""
        state = os.statvfs(self.root)
        if state.f_bavail * state.f_frsize < self.reserve_bytes + size_bytes:
            raise VaultFull(f"vault {self.root}: less than {self.reserve_bytes >> 20} MiB free")

    def place(self, device: str, clip: int, offset: int, *parts: bytes | memoryview) -> None:
        """Write ``parts``, at least one, one after the other from ``offset`` of the clip's file, making the file first.

        Raises VaultFull, OSError; then whatever was placed since the last sync has to be placed again.
        """
        placed = Placed(device, clip, offset, parts)
        try:
            self._write(placed)
        except OSError as error:
            self._placed.clear()
            self._truncated.clear()
            raise _full_or_other(error, self.root) from error
        self._placed.append(placed)

    def truncate(self, device: str, clip: int, size_bytes: int) -> None:
        """Cut the clip's file to ``size_bytes``: what follows was never claimed by the ledger."""
        handle = self._handle(device, clip, create=True)
        self._unsynced.add((device, clip))
        self._truncated[device, clip] = size_bytes
        os.ftruncate(handle, size_bytes)

    def keep(self, device: str, clip: int) -> None:
        """Have the next sync make durable what the clip's file holds, whoever wrote it."""
        with contextlib.suppress(FileNotFoundError):
            self._handle(device, clip, create=False)
            self._unsynced.add((device, clip))
            self._kept = True

    def read(self, device: str, clip: int, offset: int, size_bytes: int) -> bytes:
        """At most ``size_bytes`` from ``offset``: fewer at the end of the file, none where there is no file."""
        try:
            return os.pread(self._handle(device, clip, create=False), size_bytes, offset)
        except FileNotFoundError:
            return b""

    def keep_cut(self, device: str, clip: int, record: bytes) -> None:
        """Keep the sealed event that settled a cut clip, instead of an earlier one; its name is durable after `sync`.

        Written in place: what a crash tears is refused by its MAC, and sent again by its device, which has no receipt.
        Raises VaultFull, OSError.
        """
        path = self.path(device, clip).with_suffix(_CUT_SUFFIX)
        try:
            path.parent.mkdir(mode=0o750, exist_ok=True)
            handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
            try:
                if os.pread(handle, _MAX_CUT_BYTES, 0) != record:
                    os.ftruncate(handle, 0)
                    write_all_at(handle, [record], 0)
                os.fdatasync(handle)
            finally:
                os.close(handle)
        except OSError as error:
            raise _full_or_other(error, self.root) from error
        self._new_folders |= {self.root, path.parent}
        self._kept = True

    def cut(self, device: str, clip: int) -> bytes:
        """The sealed event that settled the clip, nothing proved of it; empty where none did. Raises OSError."""
        try:
            return self.path(device, clip).with_suffix(_CUT_SUFFIX).read_bytes()[:_MAX_CUT_BYTES]
        except FileNotFoundError:
            return b""

    def sync(self) -> None:
        """Make durable whatever was placed since the last call.

        Raises VaultFull, OSError; then it is not, and has to be placed again.
        """
        if not (self._placed or self._truncated or self._kept):
            return
        try:
            journal = self._settled()
            if self._truncated or self._kept or VaultJournal.frame_bytes(self._placed) > journal.half_bytes:
                self._sync_files()
            else:
                if not journal.fits(self._placed) or len(self._unsynced) > self._most_unsynced:
                    journal = self._turn(journal)
                journal.append(self._placed)
        except OSError as error:
            self._drop_journal()
            raise _full_or_other(error, self.root) from error
        finally:
            self._placed.clear()
            self._truncated.clear()
        self._close_oldest()

    def recover(self) -> None:
        """Put back what a crash may have taken from the clips' files. Raises VaultFull, OSError."""
        try:
            self._recovered()
        except OSError as error:
            raise _full_or_other(error, self.root) from error

    def checkpoint(self) -> None:
        """Make the clips' files durable and the journal empty. Raises VaultFull, OSError."""
        try:
            if self._journal is not None:
                self._sync_files()
        except OSError as error:
            self._drop_journal()
            raise _full_or_other(error, self.root) from error

    def close(self) -> None:
        """Close every file. What was not synced stays unclaimed."""
        if self._settling is not None:
            self._settling.exception()
        while self._handles:
            os.close(self._handles.popitem()[1])
        self._drop_journal()
        self._placed.clear()
        self._unsynced.clear()

    def _write(self, placed: Placed) -> None:
        handle = self._handle(placed.device, placed.clip, create=True)
        self._unsynced.add((placed.device, placed.clip))
        write_all_at(handle, placed.parts, placed.offset)

    def _recovered(self) -> VaultJournal:
        """The journal, once the clips' files have what its frames say. Raises OSError."""
        if self._journal is None:
            journal = VaultJournal(self.root / JOURNAL_NAME, self._journal_half_bytes)
            try:
                for frame in journal.frames():
                    for placed in frame:
                        self._write(placed)
                # A frame whose append failed may have been read as well, with old bytes for these.
                for placed in self._placed:
                    self._write(placed)
                for key, size_bytes in self._truncated.items():
                    os.ftruncate(self._handle(*key, create=False), size_bytes)
                self._sync_unsynced()
                steps.reach("vault.put_back")
                journal.reset()
            except BaseException:
                journal.close()
                raise
            self._journal = journal
        return self._journal

    def _drop_journal(self) -> None:
        """Put everything back from the journal before it is used again.

        After a sync that failed the kernel takes pages for clean that are not on the disk: only writing them anew
        helps.
        """
        if self._settling is not None:
            self._settling.exception()
        self._settling = None
        self._unsynced |= self._settling_keys
        self._new_folders |= self._settling_folders
        self._settling_keys, self._settling_folders = set(), set()
        if self._journal is not None:
            self._journal.close()
            self._journal = None

    def _turn(self, journal: VaultJournal) -> VaultJournal:
        """Go on in the other half of the journal, and have the files synced that this one is about. Raises OSError."""
        if self._settling is not None:
            wait([self._settling])
            journal = self._settled()
        half = journal.turn()
        self._settling_keys, self._unsynced = self._unsynced, set()
        self._settling_folders, self._new_folders = self._new_folders, set()
        handles = [self._handle(*key, create=False) for key in sorted(self._settling_keys)]
        work = functools.partial(_settle, journal, half, handles, sorted(self._settling_folders))
        if self._beside is None:
            work()
            self._settling_keys, self._settling_folders = set(), set()
        else:
            self._settling = self._beside.submit(work)
        return journal

    def _settled(self) -> VaultJournal:
        """The journal, with note taken of files that were synced beside, or could not be. Raises OSError."""
        if self._settling is not None and self._settling.done():
            if self._settling.exception() is not None:
                self._drop_journal()
            self._settling = None
            self._settling_keys, self._settling_folders = set(), set()
        return self._recovered()

    def _sync_files(self) -> None:
        """Make the clips' files durable; the journal is empty then. Raises OSError."""
        if self._settling is not None:
            wait([self._settling])
        journal = self._settled()
        self._sync_unsynced()
        self._kept = False
        journal.reset()

    def _sync_unsynced(self) -> None:
        for key in sorted(self._unsynced):
            os.fdatasync(self._handle(*key, create=False))
            self._unsynced.discard(key)
        for folder in sorted(self._new_folders):
            sync_folder(folder)
            self._new_folders.discard(folder)

    def _handle(self, device: str, clip: int, create: bool) -> int:
        key = (device, clip)
        handle = self._handles.get(key)
        if handle is not None:
            self._handles.move_to_end(key)
            return handle
        path = self.path(device, clip)
        try:
            handle = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            if not create:
                raise
            path.parent.mkdir(mode=0o750, exist_ok=True)
            handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
            self._new_folders.add(path.parent)
        if path.parent not in self._known_folders:
            # Made now, or by a process that was killed before it had made folder and files durable by name.
            self._known_folders.add(path.parent)
            self._new_folders |= {self.root, path.parent}
        self._handles[key] = handle
        self._close_oldest()
        return handle

    def _close_oldest(self) -> None:
        """Keep at most OPEN_FILES handles; a file with unsynced bytes stays open, so that its write errors are seen."""
        if len(self._handles) > OPEN_FILES + len(self._unsynced) + len(self._settling_keys):
            for key in list(self._handles)[: len(self._handles) - OPEN_FILES]:
                if key not in self._unsynced and key not in self._settling_keys:
                    os.close(self._handles.pop(key))


def _settle(journal: VaultJournal, half: int, handles: list[int], folders: list[Path]) -> None:
    """Make files and the names in folders durable, then free the half of the journal that has them. Raises OSError."""
    for handle in handles:
        os.fdatasync(handle)
    for folder in folders:
        sync_folder(folder)
    steps.reach("vault.files_synced")
    journal.free(half)


def _full_or_other(error: OSError, root: Path) -> Exception:
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return VaultFull(f"vault {root}: {error.strerror}")
    return error
