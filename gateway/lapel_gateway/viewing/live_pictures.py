"""Pictures of clips that are still coming in, for whoever looks at their alarms now.

The role that delivers has the keys, and opens; the web role has none, and asks: see docs/decisions/0014.

Rules that hold here
- A clip is opened while somebody looks at it: its request is fresh (`ASKED_S`). At most `MAX_CLIPS` are at once.
- However many look, a clip's new segments are opened once, and one picture of it is decoded, each `TURN_S` at most.
- Only segments that the ledger counts are read, each verified again, in order. The vault's file is never written.
- Of a clip one picture is kept, for the gateway's own user alone, and no longer than somebody looks, or than it takes
  to make the clip's copies. Nothing of it is left by a stop, or found by the next start.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import sqlalchemy as sa
import structlog

from lapel_gateway import describe
from lapel_gateway.custody.vault import Vault
from lapel_gateway.keystore import KeyStoreError
from lapel_gateway.ledger import reading
from lapel_gateway.ledger.clips import UNFINISHED
from lapel_gateway.ledger.schema import clip as clips
from lapel_gateway.viewing.frames import FrameFinder, decodes
from lapel_gateway.viewing.unseal import ClipKeys, KeyRing, read_header, read_segment
from lapel_protocol import custody
from lapel_protocol.errors import ProtocolError
from lapel_protocol.names import CUSTODY_STATE_NAMES
from lapel_protocol.opening import SegmentOpener
from lapel_protocol.stream import segment_offset

ASKED_S = 12.0
"""A request holds for so long; a page with many pictures repeats it every eight."""

TURN_S = 1.0
MAX_CLIPS = 8
MAX_BEHIND = 256
"""Segments (a megabyte) that are opened at once: of a clip that is further ahead, only the newest."""

MAX_SEEN = 512
"""Requests looked at: more are no people's."""

NOT_YET = CUSTODY_STATE_NAMES[custody.HELD]

_FOLDER = "live"
_ROW = sa.select(clips.c.state, clips.c.contiguous, clips.c.header_ms).where(
    clips.c.device == sa.bindparam("of_device"), clips.c.clip == sa.bindparam("of_clip")
)
_log = structlog.get_logger("lapel.viewing")


@dataclass(frozen=True)
class Seen:
    """What there is of a clip now: a picture with what tells it from others, or why there is none, or neither yet."""

    picture: bytes = field(default=b"", repr=False)
    tag: str = ""
    why_not: str = ""


class LiveArea:
    """The folder in which the roles meet: ``<clip>.asked``, and as answers ``<clip>.jpg`` or ``<clip>.why``."""

    def __init__(self, views: Path) -> None:
        self.root = views / _FOLDER

    def ask(self, clip: str) -> None:
        """Somebody looks at this clip; its name is one that `describe.parse_clip_name` takes. Raises OSError."""
        self.root.mkdir(parents=True, mode=0o750, exist_ok=True)
        path = self.root / f"{clip}.asked"
        with contextlib.suppress(FileNotFoundError):
            os.utime(path)
            return
        path.touch(mode=0o600)

    def see(self, clip: str) -> Seen:
        """The answer as far as there is one. Raises OSError."""
        with contextlib.suppress(FileNotFoundError), (self.root / f"{clip}.jpg").open("rb") as file:
            stands = os.fstat(file.fileno())
            return Seen(file.read(), f"{stands.st_mtime_ns:x}-{stands.st_size:x}")
        with contextlib.suppress(FileNotFoundError):
            return Seen(why_not=(self.root / f"{clip}.why").read_text("utf-8"))
        return Seen()

    def asked(self, now_s: float) -> list[str]:
        """Clips that somebody looks at, the newest request first; requests that are old are forgotten."""
        found: list[tuple[float, str]] = []
        with contextlib.suppress(FileNotFoundError), os.scandir(self.root) as entries:
            for entry in entries:
                if not entry.name.endswith(".asked") or len(found) >= MAX_SEEN:
                    continue
                with contextlib.suppress(FileNotFoundError):
                    at_s = entry.stat().st_mtime
                    if abs(now_s - at_s) < ASKED_S:
                        found.append((-at_s, entry.name.removesuffix(".asked")))
                    else:
                        os.unlink(entry.path)
        return [name for _, name in sorted(found)]

    def answer(self, clip: str, picture: bytes = b"", why_not: str = "") -> None:
        """Put a picture, or why there is none, in place of the last answer. Raises OSError."""
        suffix = ".jpg" if picture else ".why"
        part = self.root / f".{clip}.part"
        handle = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        with os.fdopen(handle, "wb") as file:
            file.write(picture or why_not.encode())
        part.replace(self.root / f"{clip}{suffix}")
        if picture:
            (self.root / f"{clip}.why").unlink(missing_ok=True)

    def forget(self, clip: str) -> None:
        """Leave nothing of a clip."""
        for name in (f"{clip}.jpg", f"{clip}.why", f".{clip}.part"):
            (self.root / name).unlink(missing_ok=True)

    def clear(self) -> None:
        """Leave nothing at all but requests. Raises OSError."""
        with contextlib.suppress(FileNotFoundError), os.scandir(self.root) as entries:
            for entry in entries:
                if not entry.name.endswith(".asked"):
                    os.unlink(entry.path)


class _Open:
    """One clip that is being opened."""

    def __init__(self, path: Path, keys: ClipKeys) -> None:
        self._path = path
        self._keys = keys
        self._opener = None if keys.stream is None else SegmentOpener(keys.stream, keys.header.prefix)
        self._finder = FrameFinder()
        self._next = 0
        self._told = b""
        self._ended = ""

    def new_picture(self, count: int) -> tuple[bytes, str]:
        """(a newer picture that can be decoded, "" = none; why there is none at all), ``count`` segments being here.

        Raises OSError.
        """
        if self._opener is None:
            return b"", self._keys.sealed_because
        if not self._ended:
            self._read(self._opener, count)
        frame = self._finder.frame
        if frame and frame != self._told and decodes(frame):
            self._told = frame
            return frame, ""
        return b"", "" if self._told else self._ended

    def _read(self, opener: SegmentOpener, count: int) -> None:
        if count - self._next > MAX_BEHIND:
            self._next = count - MAX_BEHIND
            self._finder.resume()
        with self._path.open("rb") as file:
            file.seek(segment_offset(self._next))
            while self._next < count:
                try:
                    segment, body, _ = read_segment(file, self._keys.header, self._next)
                    self._finder.write(opener.open(segment, body))
                except ProtocolError as error:
                    self._ended = f"the clip is damaged: {error}"
                    return
                self._next += 1


class LivePictures:
    """Answers the requests in a live area, in a thread of its own, until it is stopped."""

    def __init__(
        self,
        engine: sa.Engine,
        vault: Vault,
        area: LiveArea,
        keys: KeyRing,
        now_s: Callable[[], float] = time.time,
    ) -> None:
        """``now_s``: Unix seconds, as files have them. ``keys`` are this thread's own."""
        self._engine = engine
        self._vault = vault
        self._area = area
        self._keys = keys
        self._now_s = now_s
        self._open: dict[str, _Open] = {}
        self._answered: set[str] = set()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="live pictures", daemon=True)

    def start(self) -> None:
        """Begin; returns at once."""
        self._thread.start()

    def stop(self) -> None:
        """End, in bounded time."""
        self._ended.set()
        self._thread.join(TURN_S * 5)

    def turn(self) -> None:
        """Answer what is asked now. Raises OSError, and what the ledger raises."""
        asked = self._area.asked(self._now_s())[:MAX_CLIPS]
        for clip in self._answered - set(asked):
            self._area.forget(clip)
            self._open.pop(clip, None)
        self._answered &= set(asked)
        for clip in asked:
            self._answer(clip)

    def _answer(self, clip: str) -> None:
        named = describe.parse_clip_name(clip)
        if named is None:
            return
        with reading(self._engine) as connection:
            row = connection.execute(_ROW, {"of_device": named[0], "of_clip": named[1]}).one_or_none()
        if row is None or row.state not in (*UNFINISHED, NOT_YET):
            # Its copies are made, and have their own way out.
            self._area.forget(clip)
            self._open.pop(clip, None)
            self._answered.discard(clip)
            return
        if row.header_ms is None:
            return
        self._answered.add(clip)
        try:
            known = self._open.get(clip)
            if known is None:
                path = self._vault.path(*named)
                with path.open("rb") as file:
                    known = _Open(path, self._keys.of_clip(*named, read_header(file)))
                self._open[clip] = known
            picture, why_not = known.new_picture(row.contiguous)
        except (ProtocolError, KeyStoreError) as error:
            picture, why_not = b"", f"the clip cannot be opened: {error}"
        except FileNotFoundError:
            picture, why_not = b"", "its original is missing from the vault"
        if picture or why_not:
            self._area.answer(clip, picture, why_not)

    def _run(self) -> None:
        told = ""
        self._quietly(self._area.clear)
        while not self._ended.is_set():
            began = time.monotonic()
            trouble = self._quietly(self.turn, told)
            if trouble and trouble != told:
                _log.error("clips that come in cannot be seen", reason=trouble)
            told = trouble
            self._ended.wait(max(TURN_S / 4, TURN_S - (time.monotonic() - began)))
        self._quietly(self._area.clear)

    def _quietly(self, do: Callable[[], None], told: str = "") -> str:
        """Do it; returns why it could not be done, "" when it was. ``told``: what the log was told last."""
        try:
            do()
        except (OSError, sa.exc.SQLAlchemyError) as error:
            return str(error).partition("\n")[0]
        except Exception as error:  # noqa: BLE001 - were this thread to end, nobody would see a clip come in any more
            trouble = f"internal error: {type(error).__name__}"
            if trouble != told:
                _log.exception("a clip that comes in cannot be seen")
            return trouble
        return ""
