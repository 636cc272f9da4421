"""Verifying an exported clip with nothing but its own folder: no gateway, no ledger, no network.

What it shows
- every file is the one that the manifest names;
- header, segments and end are authentic under the clip's own keys A and K_h, in order, none missing up to the head;
- ``stream.tink`` and ``associated-data.bin`` are the original's, and what the manifest says of the clip is what the
  authenticated header says;
- with the keyset, ``clip.mkv`` is exactly what the original holds.

What it cannot show: A and K_h travel in the folder, and whoever holds them could have made it. A head that was put on
record elsewhere before the export (``expected_head``) closes that gap.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from lapel_gateway.viewing.assembly import MATROSKA, ORIGINAL
from lapel_gateway.viewing.export import ASSOCIATED_DATA, FORMAT, KEYSET, MANIFEST, STREAM
from lapel_gateway.viewing.tink import MAX_KEYSET_BYTES, KeysetError, read_keyset
from lapel_protocol import names
from lapel_protocol.clip import FLAG_ALARM, ClipHeader, Head, head_of
from lapel_protocol.crypto import Mac, equal
from lapel_protocol.errors import Malformed, ProtocolError
from lapel_protocol.keys import EpochKeys
from lapel_protocol.limits import CLIP_END_BYTES, CLIP_HEADER_BYTES, KEY_BYTES, SEGMENT_HEADER_BYTES
from lapel_protocol.opening import SegmentOpener, open_clip_end, open_clip_header, verify_segment
from lapel_protocol.stream import (
    RECORD_SEGMENT,
    SegmentHeader,
    StreamKeys,
    decode_segment_header,
    segment_body,
    split_tink_header,
)

MAX_MANIFEST_BYTES = 4 << 20
"""A manifest lists a handful of files and at most a thousand frames."""


class NotAnExport(Exception):
    """The folder is not an exported clip; the message says what is missing."""


@dataclass(frozen=True)
class Check:
    """One thing looked at. ``ok`` None: it could not be decided from this folder, and ``detail`` says why."""

    name: str
    ok: bool | None
    detail: str


class _ClipKeys(EpochKeys):
    """The one epoch key that an export carries: A."""

    def __init__(self, clip_auth: bytes) -> None:
        self.clip_auth = clip_auth


def verify_export(folder: Path, expected_head: str | None = None) -> list[Check]:
    """Check an exported clip; ``expected_head`` is a head (hex) that was recorded elsewhere. Raises NotAnExport."""
    manifest = _read_manifest(folder)
    checks = list(_check_files(folder, manifest))
    try:
        auth, mac_key = (bytes.fromhex(manifest["verification"][name]) for name in ("A", "K_h"))
        if len(auth) != KEY_BYTES or len(mac_key) != KEY_BYTES:
            raise ValueError
    except (KeyError, TypeError, ValueError):
        return [*checks, Check("keys", False, "the manifest does not carry A and K_h, 32 bytes each")]
    try:
        with ExitStack() as files:
            checks += _Original(folder, manifest, files, auth, mac_key).checks(expected_head)
    except ProtocolError as error:
        checks.append(Check("original", False, f"{ORIGINAL}: {error}"))
    except OSError as error:
        checks.append(Check("original", False, f"{error.filename}: {error.strerror}"))
    return checks


class _Original:
    """Walks original.lapel once and holds everything beside it against it."""

    def __init__(self, folder: Path, manifest: dict[str, Any], files: ExitStack, auth: bytes, mac_key: bytes) -> None:
        self._folder = folder
        self._manifest = manifest
        self._files = files
        self._file = files.enter_context((folder / ORIGINAL).open("rb"))
        self._keys = _ClipKeys(auth)
        self._mac_key = mac_key

    def checks(self, expected_head: str | None) -> Iterator[Check]:
        """Raises ProtocolError at the first record that is not authentic."""
        record = self._file.read(CLIP_HEADER_BYTES)
        header = open_clip_header(self._keys, record)
        if not equal(header.mac_key, self._mac_key):
            yield Check("header", False, "the header is authentic and seals another K_h than the manifest's")
            return
        yield Check("header", True, f"authentic: device {header.device.hex()}, clip {header.clip}")
        associated = self._mirror(ASSOCIATED_DATA)
        associated.expect(header.associated_data())
        yield associated.check("associated data", f"{ASSOCIATED_DATA} is the header's")
        yield from self._statements(header)
        head, ended = head_of(record), False
        content = self._content_check(header)
        stream = self._mirror(STREAM)
        stream.expect(header.tink_header)
        mac = Mac(self._mac_key)
        end_record = b""
        while start := self._file.read(SEGMENT_HEADER_BYTES):
            if start[0] != RECORD_SEGMENT:
                end_record = start + self._file.read()
                break
            segment = decode_segment_header(start)
            if (segment.device, segment.clip, segment.index) != (header.device, header.clip, head.count) or ended:
                raise Malformed(f"segment {segment.index} of another clip, or out of order, at place {head.count}")
            body = segment_body(segment, start + self._file.read(segment.size_bytes))
            head.update(verify_segment(mac, header.prefix, segment, body))
            stream.expect(body)
            content.expect(segment, body)
            ended = segment.last
        yield Check("segments", head.count > 0, f"{head.count} authentic, in order, none missing")
        yield self._end(end_record, head)
        yield stream.check("stream", f"{STREAM} is the Tink header and the segments of {ORIGINAL}")
        yield content.check()
        yield from self._heads(head, expected_head)

    def _mirror(self, name: str) -> _Mirror:
        return _Mirror(self._files.enter_context((self._folder / name).open("rb")))

    def _content_check(self, header: ClipHeader) -> _Content:
        path = self._folder / KEYSET
        if not (self._folder / MATROSKA).exists():
            return _Content(None, None, f"there is no {MATROSKA}: the clip was exported sealed")
        if not path.exists():
            return _Content(None, None, f"{MATROSKA} cannot be compared without {KEYSET}: export --with-key")
        if path.stat().st_size > MAX_KEYSET_BYTES:
            raise Malformed(f"{KEYSET} is too large")
        try:
            ikm = read_keyset(path.read_text(encoding="utf-8"))
        except (KeysetError, UnicodeDecodeError) as error:
            raise Malformed(f"{KEYSET}: {error}") from None
        salt, prefix = split_tink_header(header.tink_header)
        keys = StreamKeys(ikm, salt, header.associated_data())
        if not equal(keys.mac_key, self._mac_key):
            raise Malformed(f"{KEYSET} is the key of another clip")
        return _Content(SegmentOpener(keys, prefix), self._mirror(MATROSKA), "")

    def _statements(self, header: ClipHeader) -> Iterator[Check]:
        """What the manifest says of the clip against the header's own fields."""
        told = self._manifest.get("clip") or {}
        notice = told.get("notice") or {}
        started = told.get("started") or {}
        pairs = [
            ("device", told.get("device"), header.device.hex()),
            ("clip", told.get("clip"), header.clip),
            ("start", started.get("ms"), header.wall_ms),
            ("trust of the start", started.get("trust"), names.TRUST_NAMES[header.trust]),
            ("notice", notice.get("outcome"), names.NOTICE_NAMES[header.notice]),
            ("notice prompt", notice.get("prompted_ms_before_start"), header.prompted_ms),
            ("notice confirmation", notice.get("confirmed_ms_before_start"), header.confirmed_ms),
            ("alarm", told.get("alarm"), bool(header.flags & FLAG_ALARM)),
        ]
        wrong = [f"{name} is {true!r}, the manifest says {said!r}" for name, said, true in pairs if said != true]
        yield Check("statements", not wrong, "; ".join(wrong) or "the manifest says what the header says")

    def _end(self, record: bytes, head: Head) -> Check:
        accounting = self._manifest.get("accounting") or {}
        if not record:
            if accounting.get("end_record"):
                return Check("end", False, "the end record that the manifest counts is not there")
            cut = (
                "cut: its length is vouched for by the gateway's ledger only" if accounting.get("cut") else "not ended"
            )
            return Check("end", None, f"no end record; the clip was {cut}")
        if len(record) != CLIP_END_BYTES:
            return Check("end", False, f"{len(record)} bytes after the last segment are no end record")
        end = open_clip_end(self._keys, record)
        if end.segments != head.count or not equal(end.head, head.value):
            return Check("end", False, f"the device ended the clip after {end.segments} segments with another head")
        return Check("end", True, f"authentic: {end.segments} segments, {end.duration_ms} ms, {end.frames} frames")

    def _heads(self, head: Head, expected_head: str | None) -> Iterator[Check]:
        accounting = self._manifest.get("accounting") or {}
        value = head.value.hex()
        same = (accounting.get("head"), accounting.get("segments")) == (value, head.count)
        yield Check("head", same, f"{value} after {head.count} segments" + ("" if same else ", not the manifest's"))
        if expected_head is None:
            yield Check("recorded head", None, "no head from elsewhere was given: --head HEX")
        else:
            agrees = expected_head.strip().lower() == value
            yield Check("recorded head", agrees, "is this clip's" if agrees else "is not this clip's")


class _Mirror:
    """A file that must hold exactly what is expected of it, in order."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._same = True

    def expect(self, content: bytes | bytearray | memoryview) -> None:
        self._same = self._same and self._file.read(len(content)) == content

    def check(self, name: str, claim: str) -> Check:
        same = self._same and not self._file.read(1)
        return Check(name, same, claim if same else f"not so: {claim}")


class _Content:
    """clip.mkv against the opened segments, where there is a key."""

    def __init__(self, opener: SegmentOpener | None, mirror: _Mirror | None, why_not: str) -> None:
        self._opener = opener
        self._mirror = mirror
        self._why_not = why_not

    def expect(self, segment: SegmentHeader, body: memoryview) -> None:
        if self._opener and self._mirror:
            self._mirror.expect(self._opener.open(segment, body))

    def check(self) -> Check:
        if self._mirror is None:
            return Check("content", None, self._why_not)
        return self._mirror.check("content", f"{MATROSKA} is what {ORIGINAL} holds")


def _read_manifest(folder: Path) -> dict[str, Any]:
    path = folder / MANIFEST
    try:
        if path.stat().st_size > MAX_MANIFEST_BYTES:
            raise NotAnExport(f"{path} is too large for a manifest")
        manifest = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise NotAnExport(f"{folder} is not an exported clip: {error.filename}: {error.strerror}") from None
    except (ValueError, RecursionError):
        raise NotAnExport(f"{path} is not JSON") from None
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise NotAnExport(f"{path} is not a manifest of the format {FORMAT}")
    return manifest


def _check_files(folder: Path, manifest: dict[str, Any]) -> Iterator[Check]:
    listed = manifest.get("files")
    if not isinstance(listed, dict) or not listed:
        yield Check("files", False, "the manifest lists no files")
        return
    wrong = [fault for name, facts in sorted(listed.items()) if (fault := _file_fault(folder, name, facts))]
    missing = [name for name in (ORIGINAL, STREAM, ASSOCIATED_DATA) if name not in listed]
    wrong += [f"{name} is not listed" for name in missing]
    extra = sorted(path.name for path in folder.iterdir() if path.name not in listed and path.name != MANIFEST)
    wrong += [f"{name} is not in the manifest" for name in extra]
    yield Check("files", not wrong, "; ".join(wrong) or f"{len(listed)} files have their SHA-256")


def _file_fault(folder: Path, name: str, facts: Any) -> str | None:
    """What is wrong with one listed file; a name that leads elsewhere is never opened."""
    if Path(name).name != name or name in ("", ".", ".."):
        return f"{name!r} is not a file name"
    path = folder / name
    if not isinstance(facts, dict) or not path.is_file() or path.is_symlink():
        return f"{name} is missing"
    if path.stat().st_size != facts.get("bytes"):
        return f"{name} has {path.stat().st_size} bytes, not {facts.get('bytes')}"
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return None if digest == facts.get("sha256") else f"{name} was altered: its SHA-256 differs"
