"""Clips in the ledger: rows to tracks and back. Only ingest writes what is written here."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any

import sqlalchemy as sa

from lapel_gateway.ledger.schema import EPOCH_LOST, OPENING_UNOPENABLE, epoch
from lapel_gateway.ledger.schema import clip as clips
from lapel_gateway.tracks import ClipTrack, decode_extents
from lapel_protocol import SUITE_TINK_4KB, custody
from lapel_protocol.clip import PREV_NONE, Head
from lapel_protocol.machine import Machine
from lapel_protocol.names import CUSTODY_STATE_NAMES

UNFINISHED_STATES = (custody.OPEN, custody.ENDED, custody.CUT)
UNFINISHED = tuple(CUSTODY_STATE_NAMES[state] for state in UNFINISHED_STATES)


# Built once: it is asked with every heartbeat.
_LOST = sa.select(epoch.c.epoch).where(epoch.c.device == sa.bindparam("name"), epoch.c.used_for == EPOCH_LOST)
_RECOVERABLE = (
    sa.select(clips.c.clip)
    .where(clips.c.device == sa.bindparam("name"), clips.c.state.in_(UNFINISHED), clips.c.clip.not_in(_LOST))
    .order_by(clips.c.clip)
)


def load_tracks(connection: sa.Connection, keys: Iterable[tuple[str, int]]) -> list[ClipTrack]:
    """The tracks of the clips that the ledger knows; their headers are still to be read from the vault."""
    wanted = sorted(set(keys))
    if not wanted:
        return []
    rows = connection.execute(sa.select(clips).where(sa.tuple_(clips.c.device, clips.c.clip).in_(wanted)))
    return [_track(row) for row in rows.mappings()]


def unfinished_clips(connection: sa.Connection) -> list[tuple[str, int]]:
    """(device, clip) of every clip that the gateway does not hold whole."""
    query = sa.select(clips.c.device, clips.c.clip).where(clips.c.state.in_(UNFINISHED))
    return [(row.device, row.clip) for row in connection.execute(query.order_by(clips.c.device, clips.c.clip))]


def recoverable_clips(connection: sa.Connection, device: str) -> list[tuple[str, int]]:
    """(device, clip) of a device's clips that are not held whole and that it has not lost, oldest first."""
    return [(device, clip) for clip in connection.execute(_RECOVERABLE, {"name": device}).scalars()]


def held_clips(connection: sa.Connection) -> list[tuple[str, int, int]]:
    """(device, clip, bytes in the vault) of every clip that the gateway holds whole."""
    query = sa.select(clips.c.device, clips.c.clip, clips.c.sealed_bytes).where(clips.c.state.not_in(UNFINISHED))
    return [(row.device, row.clip, row.sealed_bytes) for row in connection.execute(query)]


def mark_receipted(connection: sa.Connection, device: str, numbers: Collection[int], now_ms: int) -> None:
    """Receipts for these clips, as far as they are held, are about to leave for the first time."""
    if numbers:
        connection.execute(
            sa.update(clips)
            .where(clips.c.device == device, clips.c.clip.in_(sorted(numbers)), clips.c.receipt_ms.is_(None))
            .where(clips.c.receipt_segments.is_not(None), clips.c.opening != OPENING_UNOPENABLE)
            .values(receipt_ms=now_ms)
        )


_INSERT = sa.insert(clips)
_UPDATE = sa.update(clips).where(clips.c.device == sa.bindparam("device_"), clips.c.clip == sa.bindparam("clip_"))


def save_track(connection: sa.Connection, track: ClipTrack) -> None:
    """Write what ingest knows of a clip; what assembly and delivery wrote stays, the later states included."""
    values = _values(track)
    if track.new:
        connection.execute(_INSERT, {"device": track.name, "clip": track.clip, **values})
    else:
        connection.execute(_UPDATE, {"device_": track.name, "clip_": track.clip, **values})


def _track(row: sa.RowMapping) -> ClipTrack:
    head = None
    if row["head"] is not None:
        head = Head(row["head"], row["contiguous"])
    state = CUSTODY_STATE_NAMES.index(row["state"])
    return ClipTrack(
        device=bytes.fromhex(row["device"]),
        name=row["device"],
        clip=row["clip"],
        person=row["person"],
        first_ms=row["first_ms"],
        machine=Machine(custody.TRANSITIONS, state),
        moving=state in UNFINISHED_STATES,
        header_ms=row["header_ms"],
        device_state=row["device_state"],
        chain=row["chain"],
        opening=row["opening"],
        head=head,
        extents=decode_extents(row["extents"]),
        sealed_bytes=row["sealed_bytes"],
        settled_by=row["settled_by"],
        settled_segments=row["settled_segments"],
        settled_head=row["settled_head"],
        cut=None if row["cut_boot"] is None else (row["cut_boot"], row["cut_counter"]),
        cut_why=row["cut_why"],
        end_record=row["end_record"],
        receipt_segments=row["receipt_segments"],
        receipt_ms=row["receipt_ms"],
        verified_ms=row["verified_ms"],
        missing_ms=row["missing_ms"],
    )


def _values(track: ClipTrack) -> dict[str, Any]:
    values: dict[str, Any] = {
        "person": track.person,
        "device_state": track.device_state,
        "alarm": track.alarm,
        "chain": track.chain,
        "opening": track.opening,
        "contiguous": track.contiguous,
        "head": track.head.value if track.head else None,
        "extents": track.encode_extents(),
        "sealed_bytes": track.sealed_bytes,
        "settled_by": track.settled_by,
        "settled_segments": track.settled_segments,
        "settled_head": track.settled_head,
        "cut_boot": track.cut[0] if track.cut else None,
        "cut_counter": track.cut[1] if track.cut else None,
        "cut_why": track.cut_why,
        "end_record": track.end_record,
        "receipt_segments": track.receipt_segments,
        "first_ms": track.first_ms,
        "header_ms": track.header_ms,
        "verified_ms": track.verified_ms,
        "missing_ms": track.missing_ms,
    }
    if track.unfinished:
        values["receipt_ms"] = None
    if track.moving:
        values["state"] = CUSTODY_STATE_NAMES[track.machine.state]
    header = track.header
    if header is not None:
        started_by_alarm = bool(header.alarm_counter)
        values.update(
            boot=header.boot,
            alarm_boot=header.alarm_boot if started_by_alarm else None,
            alarm_counter=header.alarm_counter if started_by_alarm else None,
            flags=header.flags,
            suite=SUITE_TINK_4KB,
            wall_ms=header.wall_ms,
            mono_ms=header.mono_ms,
            trust=header.trust,
            notice=header.notice,
            prompted_ms=header.prompted_ms,
            confirmed_ms=header.confirmed_ms,
            codec=header.codec,
            key_id=header.key_id,
            previous_clip=header.previous_clip if header.previous_clip != PREV_NONE else None,
            previous_head=header.previous_head,
        )
    end = track.end
    if end is not None:
        values.update(
            end_reason=end.reason,
            duration_ms=end.duration_ms,
            plain_bytes=end.size_bytes,
            end_wall_ms=end.wall_ms,
            end_mono_ms=end.mono_ms,
            frames=end.frames,
            frames_dropped=end.dropped,
        )
    return values
