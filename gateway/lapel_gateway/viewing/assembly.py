"""Assembly: from a clip that the gateway holds, verified and durable, to files that people can play.

Rules that hold here
- The sealed original in the vault is read and never written.
- With the organisation's private key: clip.mkv, clip.mp4 and clip.vtt, published as one folder, whole or not at all,
  with two small pictures for lists. Without it: no files; the clip is ``verified, sealed``, and its original is what is
  forwarded.
- Every authentic segment without a gap is taken, also where the device settled fewer. Each is verified again as it is
  read, and the head at the end must be the ledger's.
- A kill at any point is repaired by doing it all again: nothing is told to anybody before the ledger has it.
- The disk's reserve is left to the ledger: an alarm is recorded although clips have filled everything else.
- The clip's new state, its forwarding and the notice that it is ready are one transaction.

Assembly is a channel of the outbox (kind ``assemble``): it has a thread of its own and is retried like any delivery.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from lapel_gateway import describe, durable, steps
from lapel_gateway.channels.contract import DeliveryError, Parcel
from lapel_gateway.custody.vault import Vault, VaultFull
from lapel_gateway.ledger import reading, writing
from lapel_gateway.ledger.outgoing import add_outbox
from lapel_gateway.ledger.schema import OUTBOX_ASSEMBLE, OUTBOX_FORWARD, OUTBOX_NOTICE, SETTLED_BY_CUT
from lapel_gateway.ledger.schema import clip as clips
from lapel_gateway.viewing import media, thumbnail, unseal, viewcopy
from lapel_gateway.viewing.unseal import ClipKeys, KeyRing
from lapel_protocol import custody
from lapel_protocol.errors import ProtocolError
from lapel_protocol.machine import Machine
from lapel_protocol.names import CUSTODY_STATE_NAMES

MATROSKA = "clip.mkv"
MP4 = "clip.mp4"
VTT = "clip.vtt"
ORIGINAL = "original.lapel"
"""The name that a sealed original is forwarded and exported under; in the vault it is named by its clip."""

FORM_OPENED = "opened"
FORM_SEALED = "verified, sealed"

ROOM_FACTOR = 3
"""Free space wanted for each sealed byte, beside the vault's reserve: Matroska, an MP4 at most as large, and room."""

MAX_UNDECODABLE_LISTED = 1000
"""Times of undecodable frames kept in the ledger; a clip has as many as it has frames, in the worst case."""


class AssemblyError(Exception):
    """A clip cannot be assembled now; the message says why and what to do."""


class Views:
    """The view area: ``<root>/<device>/<clip, 8 hex digits>/`` with the files of each opened clip."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def folder(self, device: str, clip: int) -> Path:
        """Where the files of a clip are or would be."""
        return self.root / device / f"{clip:08x}"

    def path(self, device: str, clip: int, name: str) -> Path:
        """One file of a clip."""
        return self.folder(device, clip) / name


@dataclass(frozen=True)
class Copies:
    """What was made of an opened clip."""

    survey: media.Survey
    view: viewcopy.ViewCopy


MakeCopies = Callable[[Path], Copies]
"""Makes MP4 and WebVTT beside the Matroska in a folder. An argument: the seeded fault suite has no time for video."""


def make_copies(folder: Path) -> Copies:
    """Write clip.mp4 (where there is anything to see or hear) and clip.vtt beside clip.mkv. Raises OSError."""
    matroska = folder / MATROSKA
    survey = media.survey(matroska)
    view = viewcopy.write_mp4(matroska, survey, folder / MP4)
    viewcopy.write_vtt(survey, folder / VTT)
    return Copies(survey, view)


def make_views(folder: Path) -> Copies:
    """The copies, and the small pictures of lists beside them. Raises OSError."""
    copies = make_copies(folder)
    thumbnail.write_thumbnails(folder / MATROSKA, copies.survey, folder)
    return copies


class Assembler:
    """Assembles clips; one thread at a time."""

    name = "assembly"
    kinds = frozenset({OUTBOX_ASSEMBLE})

    def __init__(
        self, engine: sa.Engine, vault: Vault, views: Views, keys: KeyRing, copies: MakeCopies = make_views
    ) -> None:
        self._engine = engine
        self._vault = vault
        self._views = views
        self._keys = keys
        self._copies = copies

    def deliver(self, parcel: Parcel, now_ms: int) -> None:
        """As a channel: assemble the clip that the parcel names. Raises DeliveryError."""
        named = describe.parse_clip_name(parcel.subject)
        if named is None:
            raise DeliveryError(f"{parcel.subject} is not the id of a clip", refused=True)
        try:
            self.assemble(*named, now_ms)
        except AssemblyError as error:
            raise DeliveryError(str(error)) from None

    def assemble(self, device: str, clip: int, now_ms: int) -> bool:
        """Assemble a held clip; False when it is not held (any more): it was assembled before, or more is to come.

        Raises AssemblyError.
        """
        with reading(self._engine) as connection:
            row = connection.execute(_one(device, clip)).mappings().one_or_none()
        if row is None:
            raise AssemblyError(f"the ledger has no clip {describe.clip_name(device, clip)}")
        if row["state"] != CUSTODY_STATE_NAMES[custody.HELD]:
            return False
        count = row["contiguous"]
        try:
            self._vault.check_room(ROOM_FACTOR * row["sealed_bytes"])
            with self._vault.path(device, clip).open("rb") as file:
                keys = self._keys.of_clip(device, clip, unseal.read_header(file))
                file.seek(0)
                if keys.stream is None:
                    checked = unseal.check(file, keys, count)
                    assembly = self._sealed(device, clip, keys)
                else:
                    folder = self._new_folder(device, clip)
                    with (folder / MATROSKA).open("wb") as matroska:
                        checked = unseal.unseal(file, keys, count, matroska.write)
                    steps.reach("assembly.opened")
                    assembly = self._opened(folder, self._copies(folder))
                if checked.head.value != row["head"]:
                    raise AssemblyError(f"{self._vault.path(device, clip)}: its head is not the one in the ledger")
                if keys.stream is not None:
                    durable.replace_folder(folder, self._views.folder(device, clip))
                    steps.reach("assembly.published")
        except ProtocolError as error:
            raise AssemblyError(
                f"{self._vault.path(device, clip)} is damaged ({error}): restore it from a backup, or want it again"
            ) from None
        except VaultFull as error:
            raise AssemblyError(f"{error}: free some, assembly goes on by itself") from None
        except OSError as error:
            raise AssemblyError(f"{error.filename or self._vault.root}: {error.strerror or error}") from None
        assembly |= {
            "segments": count,
            "segments_settled": row["settled_segments"],
            "cut": row["settled_by"] == SETTLED_BY_CUT,
            "stream_ended": checked.ended,
        }
        self._commit(device, clip, assembly, now_ms)
        steps.reach("assembly.committed")
        return True

    def _new_folder(self, device: str, clip: int) -> Path:
        """An empty folder beside the clip's place; what a crash left there is removed."""
        place = self._views.folder(device, clip)
        if not place.parent.exists():
            place.parent.mkdir(parents=True, mode=0o750)
            durable.sync_folder(self._views.root)
        folder = place.with_name(f".{place.name}.part")
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(mode=0o750)
        return folder

    def _opened(self, folder: Path, copies: Copies) -> dict[str, Any]:
        files = {}
        for path in sorted(folder.iterdir()):
            durable.sync_file(path)
            if path.name in (thumbnail.THUMBNAIL, thumbnail.BLURRED):
                continue
            files[path.name] = {"sha256": durable.sha256_of(path), "bytes": path.stat().st_size}
        steps.reach("assembly.copied")
        return {"form": FORM_OPENED, "files": files, "content": content_words(copies)}

    def _sealed(self, device: str, clip: int, keys: ClipKeys) -> dict[str, Any]:
        path = self._vault.path(device, clip)
        facts = {"sha256": durable.sha256_of(path), "bytes": path.stat().st_size}
        return {"form": FORM_SEALED, "reason": keys.sealed_because, "files": {ORIGINAL: facts}}

    def _commit(self, device: str, clip: int, assembly: dict[str, Any], now_ms: int) -> None:
        with writing(self._engine) as connection:
            if not _advance(connection, device, clip, custody.ASSEMBLE):
                return
            here = sa.and_(clips.c.device == device, clips.c.clip == clip)
            text = json.dumps(assembly, ensure_ascii=False, sort_keys=True)
            connection.execute(sa.update(clips).where(here).values(assembled_ms=now_ms, assembly=text))
            row = connection.execute(_one(device, clip)).mappings().one()
            words = describe.clip_words(row)
            name = words["id"]
            parcel = {"device": device, "clip": clip, "files": assembly["files"], "sidecar": words}
            # A clip that was taken back (a restored backup) and assembled again is forwarded again.
            add_outbox(connection, OUTBOX_FORWARD, f"forward-{name}-{now_ms}", name, parcel, now_ms)
            ready = {"notice": "clip_ready", "device": device, "subject": name, "at_ms": now_ms, "clip": words}
            add_outbox(connection, OUTBOX_NOTICE, f"notice-clip_ready-{name}", name, ready, now_ms)


class ClipFiles:
    """Finds the files of assembled clips, for channels that forward them."""

    def __init__(self, vault: Vault, views: Views) -> None:
        self._vault = vault
        self._views = views

    def __call__(self, device: str, clip: int, name: str) -> Path:
        """The path of ``original.lapel`` or of a file of the view folder."""
        return self._vault.path(device, clip) if name == ORIGINAL else self._views.path(device, clip, name)


def mark_delivered(connection: sa.Connection, parcel: Parcel, last: bool, now_ms: int) -> None:
    """A destination has the clip that the parcel names; with the last one the clip is delivered."""
    named = describe.parse_clip_name(parcel.subject)
    if last and named is not None:
        _advance(connection, *named, custody.DELIVER)


def content_words(copies: Copies) -> dict[str, Any]:
    """What an opened clip contains, for the ledger, sidecars and manifests."""
    survey, view = copies.survey, copies.view
    undecodable = list(view.undecodable_ms[:MAX_UNDECODABLE_LISTED])
    return {
        "duration_ms": survey.end_ms,
        "torn": survey.torn,
        "damaged": survey.damaged,
        "frames": len(survey.frames_ms),
        "first_frame_ms": survey.frames_ms[0] if survey.frames_ms else None,
        "last_frame_ms": survey.frames_ms[-1] if survey.frames_ms else None,
        "width": survey.width,
        "height": survey.height,
        "frames_shown": view.frames,
        "frames_undecodable": len(view.undecodable_ms),
        "frames_undecodable_ms": undecodable,
        "frames_retimed": view.retimed,
        "audio_ms": survey.audio_ms,
        "audio_start_ms": survey.audio_start_ms,
        "audio_rate_hz": survey.audio_rate_hz,
        "audio_gaps_ms": survey.audio_gaps_ms,
        "audio_overlaps_ms": survey.audio_overlaps_ms,
        "events": [[cue.start_ms, cue.text] for cue in survey.cues],
    }


def _one(device: str, clip: int) -> sa.Select[Any]:
    return sa.select(clips).where(clips.c.device == device, clips.c.clip == clip)


def _advance(connection: sa.Connection, device: str, clip: int, event: int) -> bool:
    """Take a clip's custody one step on; False when its state does not allow that (any more)."""
    row = connection.execute(_one(device, clip)).one_or_none()
    if row is None:
        return False
    machine = Machine(custody.TRANSITIONS, CUSTODY_STATE_NAMES.index(row.state))
    if not machine.allows(event):
        return False
    machine.handle(event)
    here = sa.and_(clips.c.device == device, clips.c.clip == clip)
    connection.execute(sa.update(clips).where(here).values(state=CUSTODY_STATE_NAMES[machine.state]))
    return True
