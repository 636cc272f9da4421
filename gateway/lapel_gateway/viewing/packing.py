"""Exports for whoever asked for them on a clip's page: made here, fetched there, gone after a day.

The role that delivers has the keys, and makes them; the web role has none, and hands out what was made
(docs/decisions/0014). They meet in the ledger, by the numbers of requests, and in a folder.

Rules that hold here
- What is made is what `export.export_clip` makes, without the clip's key, as one ZIP file: everything in it is stored
  as it is, below a folder with the clip's name, so that who unpacks it has what ``lapel clip export`` would have made.
- It is there whole or not at all, for the gateway's own user alone, and no longer than its request holds.
- Nothing is made that would fill the disk: alarms and clips need the room.
- What failed is tried again for as long as the request holds, and the request says why.
"""

from __future__ import annotations

import re
import shutil
import threading
import zipfile
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import sqlalchemy as sa
import structlog

from lapel_gateway import durable
from lapel_gateway.custody.vault import Vault
from lapel_gateway.describe import clip_name
from lapel_gateway.keystore import KeyStoreError
from lapel_gateway.ledger import reading
from lapel_gateway.ledger.schema import clip as clips
from lapel_gateway.viewing.approvals import Standing, note_made, note_trouble, standing_exports
from lapel_gateway.viewing.assembly import Views
from lapel_gateway.viewing.export import ExportError, export_clip
from lapel_gateway.viewing.unseal import KeyRing

TURN_S = 1.0
"""How soon it is seen that somebody asked."""

RETRY_MS = 60_000
STOP_S = 5.0
FILE_MODE = 0o600

ROOM_TIMES = 6
"""What making one takes of the disk, in sizes of its clip: the original, its stream, the Matroska and the MP4, all of
it once in the ZIP file, of which one part at a time is also beside it, and some to spare."""

_FOLDER = "exports"
_NAME = re.compile(r"([1-9][0-9]{0,15})\.zip")
_log = structlog.get_logger("lapel.viewing")


class ExportArea:
    """The folder of what was made: ``<number of the request>.zip``."""

    def __init__(self, views: Path) -> None:
        self.root = views / _FOLDER

    def path(self, number: int) -> Path:
        """Of what was made for a request."""
        return self.root / f"{number}.zip"

    def keep(self, numbers: set[int]) -> None:
        """Leave nothing but what was made for these. Raises OSError."""
        if not self.root.is_dir():
            return
        for path in self.root.iterdir():
            named = _NAME.fullmatch(path.name)
            if named and int(named[1]) in numbers:
                continue
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)


class Packer:
    """Makes what was asked for and agreed to, in a thread of its own, until it is stopped."""

    def __init__(
        self,
        engine: sa.Engine,
        vault: Vault,
        views: Views,
        area: ExportArea,
        keys: KeyRing,
        now_ms: Callable[[], int],
        *,
        two_needed: bool,
        keep_free_bytes: int,
    ) -> None:
        """``keys`` are this thread's own; ``keep_free_bytes`` are left free on the disk."""
        self._engine = engine
        self._vault = vault
        self._views = views
        self._area = area
        self._keys = keys
        self._now_ms = now_ms
        self._two_needed = two_needed
        self._keep_free_bytes = keep_free_bytes
        self._again_ms: dict[int, int] = {}
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="exports", daemon=True)

    def start(self) -> None:
        """Begin; returns at once."""
        self._thread.start()

    def stop(self) -> None:
        """End after the one under way, or in bounded time: what is half made is made anew by the next start."""
        self._ended.set()
        self._thread.join(STOP_S)

    def turn(self) -> bool:
        """Make the one that has waited longest; whether there may be more.

        Raises OSError, and what the ledger raises.
        """
        now_ms = self._now_ms()
        with reading(self._engine) as connection:
            standing = standing_exports(connection, now_ms, two_needed=self._two_needed)
        numbers = {one.number for one in standing}
        self._area.keep(numbers)
        self._again_ms = {number: at_ms for number, at_ms in self._again_ms.items() if number in numbers}
        for one in standing:
            if one.due and self._again_ms.get(one.number, now_ms) <= now_ms:
                # Before it is tried: whatever comes of it, were it a full ledger, it holds up no other.
                self._again_ms[one.number] = now_ms + RETRY_MS
                self._make(one, now_ms)
                return True
        return False

    def _make(self, one: Standing, now_ms: int) -> None:
        name = clip_name(*one.clip)
        try:
            size, sha256 = self._pack(one, name, now_ms)
        except (ExportError, KeyStoreError) as error:
            trouble = str(error)
        except OSError as error:
            trouble = f"it cannot be written on the gateway: {error.strerror or error}"
        except sa.exc.SQLAlchemyError:
            raise
        except Exception:  # noqa: BLE001 - whoever waits for it is told, and the others are given theirs
            _log.exception("internal error", part="exports", id=name, request=one.number)
            trouble = "internal error: the gateway's log says more"
        else:
            note_made(self._engine, one.number, size, sha256, self._now_ms())
            _log.info("export made", id=name, request=one.number, bytes=size)
            return
        note_trouble(self._engine, one.number, trouble)
        _log.error("an export cannot be made", id=name, request=one.number, reason=trouble)

    def _pack(self, one: Standing, name: str, now_ms: int) -> tuple[int, str]:
        """Make a request's file; returns (bytes, SHA-256). Raises ExportError, KeyStoreError, OSError."""
        root = self._area.root
        root.mkdir(parents=True, mode=0o750, exist_ok=True)
        self._check_room(one, root)
        folder = root / f"{one.number}.folder"
        shutil.rmtree(folder, ignore_errors=True)
        try:
            export_clip(self._engine, self._vault, self._keys, one.clip, folder, False, now_ms, self._views)
            place = self._area.path(one.number)
            with durable.replacing(place, FILE_MODE) as file, zipfile.ZipFile(file, "w") as packed:
                stamp = datetime.fromtimestamp(now_ms / 1000, UTC).timetuple()[:6]
                for path in sorted(folder.iterdir()):
                    entry = zipfile.ZipInfo(f"{name}/{path.name}", stamp)
                    entry.external_attr = 0o640 << 16
                    entry.file_size = path.stat().st_size
                    with path.open("rb") as source, packed.open(entry, "w") as target:
                        shutil.copyfileobj(source, target, durable.COPY_BYTES)
                    path.unlink()
            return place.stat().st_size, durable.sha256_of(place)
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def _check_room(self, one: Standing, root: Path) -> None:
        with reading(self._engine) as connection:
            query = sa.select(clips.c.sealed_bytes).where(clips.c.device == one.clip[0], clips.c.clip == one.clip[1])
            needed = ROOM_TIMES * (connection.execute(query).scalar() or 0) + self._keep_free_bytes
        free = shutil.disk_usage(root).free
        if free < needed:
            raise ExportError(
                f"the gateway's disk has too little room: {needed >> 20} MiB are needed and {free >> 20} MiB are free"
            )

    def _run(self) -> None:
        told = ""
        wait_s = 0.0
        while not self._ended.wait(wait_s):
            trouble = ""
            wait_s = TURN_S
            try:
                wait_s = 0.0 if self.turn() else TURN_S
            except (OSError, sa.exc.SQLAlchemyError) as error:
                trouble = str(error).partition("\n")[0]
                if trouble != told:
                    _log.error("exports cannot be made", reason=trouble)
            except Exception as error:  # noqa: BLE001 - were this thread to end, nobody would be given an export any more
                trouble = f"internal error: {type(error).__name__}"
                if trouble != told:
                    _log.exception("exports cannot be made")
            told = trouble
