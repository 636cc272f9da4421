"""Exporting a clip: everything needed to prove and play it elsewhere, with public tools.

Rules that hold here
- Everything is read from the sealed original and verified on the way; nothing comes from a copy that could differ.
- The folder appears whole or not at all. It is never merged into one that has something in it.
- The clip's key leaves only when it is asked for, in a file that only its owner can read.
- Device keys never leave. The clip's own A and K_h do: with them anyone can verify the clip, and could forge it, so its
  head should also be on record elsewhere before it is handed out.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import sqlalchemy as sa

from lapel_gateway import describe, durable
from lapel_gateway.custody.vault import Vault
from lapel_gateway.ledger import reading
from lapel_gateway.ledger.schema import SETTLED_BY_END
from lapel_gateway.ledger.schema import clip as clips
from lapel_gateway.viewing import unseal
from lapel_gateway.viewing.assembly import (
    FORM_OPENED,
    FORM_SEALED,
    MATROSKA,
    MP4,
    ORIGINAL,
    VTT,
    Views,
    content_words,
    make_copies,
)
from lapel_gateway.viewing.tink import keyset_json
from lapel_gateway.viewing.unseal import ClipKeys, KeyRing
from lapel_protocol.clip import Head, head_of
from lapel_protocol.crypto import Mac
from lapel_protocol.errors import ProtocolError
from lapel_protocol.limits import CLIP_END_BYTES
from lapel_protocol.opening import SegmentOpener, open_clip_end, verify_segment

STREAM = "stream.tink"
ASSOCIATED_DATA = "associated-data.bin"
KEYSET = "tink-keyset.json"
MANIFEST = "manifest.json"
FORMAT = "lapel-export/1"

SECRET_MODE = 0o600

TINK_WHOLE = (
    "The stream is whole. Tink's streaming AEAD with the keyset and the associated data decrypts stream.tink to "
    "exactly clip.mkv."
)
TINK_CUT = (
    "The stream was cut: its own last segment is missing. Tink's streaming AEAD gives out the plaintext in order and "
    "then reports an error where the end should be; some of its implementations withhold the last of the {count} "
    "segments that are here. Lapel opens them all: clip.mkv."
)
TINK_EMPTY = "The stream was cut before its first segment was whole: Tink's streaming AEAD reports an error at once."
KEYS_NOTE = (
    "A verifies the clip's header and end, K_h every segment. Whoever holds them could also forge this clip: compare "
    "the head with a record made before this export."
)


class ExportError(Exception):
    """The clip cannot be exported; the message says why and what to do."""


@dataclass(frozen=True)
class _Copied:
    head: Head
    ended: bool
    end_record: bool


def export_clip(
    ledger: sa.Engine,
    vault: Vault,
    keys: KeyRing,
    clip: tuple[str, int],
    out_dir: Path,
    with_key: bool,
    now_ms: int,
    views: Views | None = None,
) -> dict[str, Any]:
    """Export a clip, (device, number), to ``out_dir`` and return the manifest.

    ``out_dir`` must be missing or empty. With ``views`` the copies for viewing are taken from there where they were
    made from the same Matroska; otherwise they are made anew. Raises ExportError.
    """
    name = describe.clip_name(*clip)
    row = _row(ledger, clip, name)
    try:
        with _building(out_dir) as folder, vault.path(*clip).open("rb") as file:
            clip_keys = keys.of_clip(*clip, unseal.read_header(file))
            if with_key and clip_keys.ikm is None:
                raise ExportError(f"the key of {name} cannot be exported: {clip_keys.sealed_because}")
            copied = _copy_records(file, clip_keys, row, folder)
            content = None
            if clip_keys.stream is not None:
                content = _copies(folder, views.folder(*clip) if views else None, row["assembly"])
            if with_key and clip_keys.ikm is not None:
                text = keyset_json(clip_keys.ikm, int.from_bytes(copied.head.value[:4], "big") or 1)
                durable.write_file(folder / KEYSET, text.encode(), SECRET_MODE)
            manifest = _manifest(row, clip_keys, copied, content, folder, now_ms)
            text = json.dumps(manifest, ensure_ascii=False, indent=2) + "\n"
            durable.write_file(folder / MANIFEST, text.encode())
            return manifest
    except ProtocolError as error:
        raise ExportError(f"{vault.path(*clip)} is damaged ({error}): restore it from a backup") from None
    except OSError as error:
        raise ExportError(f"{error.filename or out_dir}: {error.strerror or error}") from None


def _row(ledger: sa.Engine, clip: tuple[str, int], name: str) -> sa.RowMapping:
    with reading(ledger) as connection:
        query = sa.select(clips).where(clips.c.device == clip[0], clips.c.clip == clip[1])
        row = connection.execute(query).mappings().one_or_none()
    if row is None:
        raise ExportError(f"there is no clip {name}: `lapel clip list` shows them")
    if row["header_ms"] is None:
        raise ExportError(f"nothing of clip {name} has arrived yet but its number")
    return row


@contextmanager
def _building(out_dir: Path) -> Iterator[Path]:
    """A folder to build in, which takes the place of ``out_dir`` when the block ends well."""
    if out_dir.exists() and (not out_dir.is_dir() or any(out_dir.iterdir())):
        raise ExportError(f"{out_dir} exists and is not empty: name another folder")
    out_dir = out_dir.absolute()
    out_dir.parent.mkdir(parents=True, exist_ok=True)
    folder = out_dir.with_name(f".{out_dir.name}.part")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(mode=0o750)
    try:
        yield folder
        for path in folder.iterdir():
            durable.sync_file(path)
        durable.replace_folder(folder, out_dir)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _copy_records(file: BinaryIO, keys: ClipKeys, row: sa.RowMapping, folder: Path) -> _Copied:
    """Write original.lapel, stream.tink, associated-data.bin and, with the keys, clip.mkv. Raises ProtocolError."""
    header = keys.header
    head = head_of(keys.header_record)
    mac = Mac(header.mac_key)
    opener = SegmentOpener(keys.stream, header.prefix) if keys.stream else None
    ended = False
    (folder / ASSOCIATED_DATA).write_bytes(header.associated_data())
    with (folder / ORIGINAL).open("wb") as original, (folder / STREAM).open("wb") as stream:
        original.write(keys.header_record)
        stream.write(header.tink_header)
        with (folder / MATROSKA).open("wb") if opener else _nowhere() as matroska:
            for index in range(row["contiguous"]):
                segment, body, record = unseal.read_segment(file, header, index)
                head.update(verify_segment(mac, header.prefix, segment, body))
                original.write(record)
                stream.write(body)
                if opener and matroska:
                    matroska.write(opener.open(segment, body))
                ended = segment.last
        end_record = b""
        if row["settled_by"] == SETTLED_BY_END and row["contiguous"] == row["settled_segments"]:
            end_record = file.read(CLIP_END_BYTES)
            open_clip_end(keys.epoch, end_record)
            original.write(end_record)
    if head.value != row["head"]:
        raise ExportError(f"the head of {header.device.hex()}-{header.clip} is not the one in the ledger")
    return _Copied(head, ended, bool(end_record))


@contextmanager
def _nowhere() -> Iterator[None]:
    yield None


def _copies(folder: Path, view: Path | None, assembly: str | None) -> dict[str, Any]:
    """Put clip.mp4 and clip.vtt beside clip.mkv; returns what the clip contains."""
    known = json.loads(assembly) if assembly else {}
    if view is None or known.get("form") != FORM_OPENED:
        return content_words(make_copies(folder))
    files = known["files"]
    if files[MATROSKA]["sha256"] != durable.sha256_of(folder / MATROSKA):
        return content_words(make_copies(folder))
    for name in (MP4, VTT):
        if name in files:
            shutil.copyfile(view / name, folder / name)
            if durable.sha256_of(folder / name) != files[name]["sha256"]:
                return content_words(make_copies(folder))
    content: dict[str, Any] = known["content"]
    return content


def _manifest(
    row: sa.RowMapping, keys: ClipKeys, copied: _Copied, content: dict[str, Any] | None, folder: Path, now_ms: int
) -> dict[str, Any]:
    words = describe.clip_words(row)
    del words["assembly"]
    count, settled = copied.head.count, row["settled_segments"]
    tink = TINK_WHOLE if copied.ended else TINK_CUT.format(count=count) if count else TINK_EMPTY
    return {
        "format": FORMAT,
        "exported": describe.moment(now_ms),
        "form": FORM_SEALED if keys.stream is None else FORM_OPENED,
        "sealed_because": keys.sealed_because or None,
        "clip": words,
        "accounting": {
            "segments": count,
            "settled": settled,
            "missing": None if settled is None else max(0, settled - count),
            "head": copied.head.value.hex(),
            "stream_ended": copied.ended,
            "end_record": copied.end_record,
            "cut": words["cut"],
        },
        "content": content,
        "tink": {"template": "AES256_CTR_HMAC_SHA256_4KB", "note": tink},
        "verification": {"A": keys.epoch.clip_auth.hex(), "K_h": keys.header.mac_key.hex(), "note": KEYS_NOTE},
        "files": {
            path.name: {"sha256": durable.sha256_of(path), "bytes": path.stat().st_size}
            for path in sorted(folder.iterdir())
        },
    }
