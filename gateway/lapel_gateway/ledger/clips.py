"""Clips in the ledger: rows to tracks and back. Only ingest writes what is written here."""

from __future__ import annotations

import functools
from collections.abc import Collection, Iterable, Mapping
from typing import Any, NamedTuple

import sqlalchemy as sa

from lapel_gateway.custody.tracks import ClipTrack, decode_extents
from lapel_gateway.ledger.direct import Direct
from lapel_gateway.ledger.schema import EPOCH_LOST, OPENING_UNOPENABLE, SETTLED_BY_CUT, epoch, event, stored
from lapel_gateway.ledger.schema import clip as clips
from lapel_protocol import SUITE_TINK_4KB, custody
from lapel_protocol.clip import PREV_NONE, Head
from lapel_protocol.machine import Machine
from lapel_protocol.names import CUSTODY_STATE_NAMES

UNFINISHED_STATES = (custody.OPEN, custody.ENDED, custody.CUT)
UNFINISHED = tuple(CUSTODY_STATE_NAMES[state] for state in UNFINISHED_STATES)


# Built once: they are used with every batch.
_ONE = (clips.c.device == sa.bindparam("of_device"), clips.c.clip == sa.bindparam("of_clip"))
_LOADED = [column.name for column in clips.c]
_LOAD = Direct(sa.select(clips).where(*_ONE))
_CUSTODY = Direct(
    sa.select(
        clips.c.device,
        clips.c.clip,
        clips.c.state,
        clips.c.opening,
        clips.c.receipt_segments,
        clips.c.settled_segments,
        clips.c.settled_head,
        clips.c.head,
    ).where(*_ONE)
)
_RECEIPTED = Direct(
    sa.update(clips)
    .where(*_ONE, clips.c.receipt_ms.is_(None), clips.c.receipt_segments.is_not(None))
    .where(clips.c.opening != sa.literal_column(f"'{OPENING_UNOPENABLE}'"))
    .values(receipt_ms=sa.bindparam("now_ms"))
)
_GROWN = Direct(
    sa.update(clips)
    .where(*_ONE)
    .values({name: sa.bindparam(name) for name in ("contiguous", "head", "extents", "sealed_bytes")})
)

# Built once: they are asked with every heartbeat or hello.
_NAMES: sa.BindParameter[Any] = sa.bindparam("names", expanding=True)
_LOST = sa.select(epoch.c.epoch).where(epoch.c.device == clips.c.device, epoch.c.used_for == EPOCH_LOST)
_RECOVERABLE = (
    sa.select(clips.c.device, clips.c.clip)
    .where(clips.c.device.in_(_NAMES), clips.c.state.in_(UNFINISHED), clips.c.clip.not_in(_LOST.correlate(clips)))
    .order_by(clips.c.device, clips.c.clip)
)
_PROGRESS = (
    sa.select(
        clips.c.device,
        clips.c.clip,
        clips.c.contiguous,
        sa.func.row_number()
        .over(partition_by=clips.c.device, order_by=(clips.c.alarm.desc(), clips.c.clip))
        .label("place"),
    )
    .where(clips.c.device.in_(_NAMES), clips.c.state.in_(UNFINISHED), clips.c.header_ms.is_not(None))
    .subquery()
)
_FIRST = sa.select(_PROGRESS).where(_PROGRESS.c.place <= sa.bindparam("most")).order_by(_PROGRESS.c.place)
_LATELY = (
    sa.select(
        clips.c.device,
        clips.c.clip,
        sa.func.row_number().over(partition_by=clips.c.device, order_by=clips.c.clip.desc()).label("place"),
    )
    .where(clips.c.device.in_(_NAMES), clips.c.verified_ms > sa.bindparam("since_ms"))
    .subquery()
)
_NEWEST = sa.select(_LATELY.c.device, _LATELY.c.clip).where(_LATELY.c.place <= sa.bindparam("most"))


def load_tracks(connection: sa.Connection, keys: Iterable[tuple[str, int]]) -> list[ClipTrack]:
    """The tracks of the clips that the ledger knows; their headers are still to be read from the vault."""
    found = []
    for device, clip in sorted(set(keys)):
        found += _LOAD.all(connection, {"of_device": device, "of_clip": clip})
    return [_track(dict(zip(_LOADED, row, strict=True))) for row in found]


def unfinished_clips(connection: sa.Connection) -> list[tuple[str, int]]:
    """(device, clip) of every clip that the gateway does not hold whole."""
    query = sa.select(clips.c.device, clips.c.clip).where(clips.c.state.in_(UNFINISHED))
    return [(row.device, row.clip) for row in connection.execute(query.order_by(clips.c.device, clips.c.clip))]


def recoverable_clips(connection: sa.Connection, names: Collection[str]) -> dict[str, list[int]]:
    """The clips of each of these devices that are not held whole and that it has not lost, oldest first."""
    found: dict[str, list[int]] = {}
    for row in connection.execute(_RECOVERABLE, {"names": sorted(names)}):
        found.setdefault(row.device, []).append(row.clip)
    return found


def open_progress(connection: sa.Connection, names: Collection[str], most: int) -> dict[str, list[tuple[int, int]]]:
    """(clip, contiguous segments held) of each device's unfinished clips with a header: ``most``, alarms' first."""
    found: dict[str, list[tuple[int, int]]] = {}
    for row in connection.execute(_FIRST, {"names": sorted(names), "most": most}):
        found.setdefault(row.device, []).append((row.clip, row.contiguous))
    return found


def held_lately(
    connection: sa.Connection, names: Collection[str], since_ms: int, most: int
) -> dict[str, frozenset[int]]:
    """The newest clips of each of these devices that came to be held after ``since_ms``, at most so many of each."""
    found: dict[str, set[int]] = {}
    for row in connection.execute(_NEWEST, {"names": sorted(names), "since_ms": since_ms, "most": most}):
        found.setdefault(row.device, set()).add(row.clip)
    return {name: frozenset(numbers) for name, numbers in found.items()}


class CustodyRow(NamedTuple):
    """What receipts are made of: columns of a clip's row."""

    device: str
    clip: int
    state: str
    opening: str
    receipt_segments: int | None
    settled_segments: int | None
    settled_head: bytes | None
    head: bytes | None


def custody_rows(connection: sa.Connection, keys: Iterable[tuple[str, int]]) -> list[CustodyRow]:
    """Those of these clips that the ledger knows, by device and number."""
    found = []
    for device, clip in sorted(keys):
        found += _CUSTODY.all(connection, {"of_device": device, "of_clip": clip})
    return [CustodyRow(*row) for row in found]


def mark_receipted(connection: sa.Connection, keys: Iterable[tuple[str, int]], now_ms: int) -> None:
    """Receipts for these clips (device, clip), as far as they are held, are about to leave for the first time."""
    rows = [{"of_device": device, "of_clip": clip, "now_ms": now_ms} for device, clip in sorted(keys)]
    if rows:
        _RECEIPTED.run_each(connection, rows)


def save_tracks(connection: sa.Connection, tracks: Iterable[ClipTrack]) -> None:
    """Write what ingest knows of clips; what assembly and delivery wrote stays, the later states included."""
    grown = []
    for track in tracks:
        if not track.changed:
            grown.append(
                {
                    "of_device": track.name,
                    "of_clip": track.clip,
                    "contiguous": track.contiguous,
                    "head": track.head.value if track.head else None,
                    "extents": track.encode_extents(),
                    "sealed_bytes": track.sealed_bytes,
                }
            )
            continue
        values = _values(track)
        if track.new:
            _statement("insert", (*values, "device", "clip")).run(
                connection, {**values, "device": track.name, "clip": track.clip}
            )
        else:
            _statement("update", tuple(values)).run(
                connection, {**values, "of_device": track.name, "of_clip": track.clip}
            )
    if grown:
        _GROWN.run_each(connection, grown)


@functools.cache
def _statement(kind: str, columns: tuple[str, ...]) -> Direct:
    """The insert or update of these columns: one for each of the few sets of columns that a clip goes through."""
    if kind == "insert":
        return Direct(sa.insert(clips), columns)
    return Direct(sa.update(clips).where(*_ONE).values({name: sa.bindparam(name) for name in columns}))


def _track(row: Mapping[str, Any]) -> ClipTrack:
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
    if track.new:
        values["start_ms"] = track.first_ms
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
            wall_ms=stored(header.wall_ms),
            mono_ms=stored(header.mono_ms),
            trust=header.trust,
            notice=header.notice,
            prompted_ms=header.prompted_ms,
            confirmed_ms=header.confirmed_ms,
            codec=header.codec,
            key_id=header.key_id,
            previous_clip=header.previous_clip if header.previous_clip != PREV_NONE else None,
            previous_head=header.previous_head,
            start_ms=track.start_ms,
        )
    end = track.end
    if end is not None:
        values.update(
            end_reason=end.reason,
            duration_ms=end.duration_ms,
            plain_bytes=stored(end.size_bytes),
            end_wall_ms=stored(end.wall_ms),
            end_mono_ms=stored(end.mono_ms),
            frames=end.frames,
            frames_dropped=end.dropped,
        )
    return values


def cut_records(connection: sa.Connection) -> list[tuple[str, int, bytes]]:
    """(device, clip, sealed event) of every clip that a device's word about a cut has settled."""
    named = (event.c.device == clips.c.device, event.c.boot == clips.c.cut_boot, event.c.counter == clips.c.cut_counter)
    query = sa.select(clips.c.device, clips.c.clip, event.c.record).join(event, sa.and_(*named))
    rows = connection.execute(query.where(clips.c.settled_by == SETTLED_BY_CUT).order_by(clips.c.device, clips.c.clip))
    return [(row.device, row.clip, bytes(row.record)) for row in rows]
