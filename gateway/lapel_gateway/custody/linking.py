"""How a clip follows the one before it, and which clips are missing: every clip ever started is accounted for."""

from __future__ import annotations

import sqlalchemy as sa

from lapel_gateway.alarms.book import alarm_id
from lapel_gateway.custody.batch import Batch, Notice
from lapel_gateway.custody.tracks import ClipTrack
from lapel_gateway.ledger.direct import Direct
from lapel_gateway.ledger.schema import (
    CHAIN_BROKEN,
    CHAIN_FIRST,
    CHAIN_LINKED,
    CHAIN_UNKNOWN,
    CHAIN_UNSETTLED,
    CHAIN_WAITING,
    OPENING_UNTRIED,
    alarm,
    handover,
)
from lapel_gateway.ledger.schema import clip as clips
from lapel_gateway.verify import Trust
from lapel_protocol import custody
from lapel_protocol.clip import PREV_NONE, PREV_UNSETTLED_HEAD, ClipHeader
from lapel_protocol.names import CUSTODY_STATE_NAMES

_OPEN = CUSTODY_STATE_NAMES[custody.OPEN]
_NO_HEAD = bytes(32)


_WAITING = Direct(
    sa.select(clips.c.clip, clips.c.previous_head).where(
        clips.c.device == sa.bindparam("of_device"),
        clips.c.previous_clip == sa.bindparam("before"),
        clips.c.chain == sa.literal_column(f"'{CHAIN_WAITING}'"),
    )
)
_SETTLED = Direct(
    sa.select(clips.c.settled_head).where(
        clips.c.device == sa.bindparam("of_device"), clips.c.clip == sa.bindparam("of_clip")
    )
)


_ISSUED = Direct(
    sa.select(handover.c.person, handover.c.returned_ms)
    .where(handover.c.device == sa.bindparam("of_device"), handover.c.issued_ms <= sa.bindparam("at_ms"))
    .order_by(handover.c.issued_ms.desc(), handover.c.id.desc())
    .limit(1)
)


def name_wearer(connection: sa.Connection, track: ClipTrack) -> None:
    """Enter whoever had the device when the clip began, where that is on record; call before the track is first saved.

    A clip may come in after its device was taken back, or handed to somebody else. Within no handover that is over, or
    with a clock that cannot be believed, it is of whoever has the device as it comes in.
    """
    if track.dated:
        for person, returned_ms in _ISSUED.all(connection, {"of_device": track.name, "at_ms": track.start_ms}):
            if returned_ms is not None and track.start_ms < returned_ms:
                track.person = person


def link_clip(connection: sa.Connection, batch: Batch, trust: Trust, track: ClipTrack) -> None:
    """Compare what a clip's header says of the clip before with what the ledger knows; call before the track is saved.

    A clip before that nobody has seen gets a row, so that it is missed from now on.
    """
    header = track.header
    if header is not None and track.chain in (CHAIN_UNKNOWN, CHAIN_WAITING):
        track.chain = _chain(connection, batch, trust, header)
        track.changed = True
        if track.chain == CHAIN_BROKEN:
            batch.notices.append(_broken(track.readable, track.name))
    if track.settled_head is not None:
        _link_next(connection, batch, track)


def link_alarm(connection: sa.Connection, track: ClipTrack) -> None:
    """Let the alarm that started the clip name it; call after the track is saved.

    The alarm itself named the clip that was about to begin, which a power cut may have prevented.
    """
    header = track.header
    if header is not None and header.alarm_counter:
        mine = alarm.c.id == alarm_id(track.name, header.alarm_boot, header.alarm_counter)
        begun = sa.exists().where(
            clips.c.device == track.name, clips.c.clip == alarm.c.clip, clips.c.header_ms.is_not(None)
        )
        named = sa.or_(alarm.c.clip.is_(None), sa.not_(begun))
        connection.execute(sa.update(alarm).where(mine, named).values(clip=track.clip))


def note_missing(connection: sa.Connection, name: str, clip: int, trust: Trust, now_ms: int) -> None:
    """Make a row for a clip that is known by number only."""
    connection.execute(
        sa.insert(clips).values(
            device=name,
            clip=clip,
            person=trust.person,
            device_state=trust.state,
            state=_OPEN,
            alarm=False,
            chain=CHAIN_UNKNOWN,
            opening=OPENING_UNTRIED,
            contiguous=0,
            extents=b"",
            sealed_bytes=0,
            first_ms=now_ms,
            start_ms=now_ms,
            missing_ms=now_ms,
        )
    )


def _chain(connection: sa.Connection, batch: Batch, trust: Trust, header: ClipHeader) -> str:
    before = header.previous_clip
    if before == PREV_NONE:
        # "Unknown" is an honest answer after a changed card; "none" is one only when there was none.
        earlier = sa.select(clips.c.clip).where(clips.c.device == trust.name, clips.c.clip < header.clip).limit(1)
        if header.previous_head != _NO_HEAD:
            return CHAIN_UNSETTLED
        return CHAIN_FIRST if connection.execute(earlier).first() is None else CHAIN_BROKEN
    track = batch.touched.get((trust.name, before))
    head, known = (track.settled_head, True) if track else (None, False)
    if track is None:
        rows = _SETTLED.all(connection, {"of_device": trust.name, "of_clip": before})
        if rows:
            ((head,),) = rows
            known = True
    if not known:
        note_missing(connection, trust.name, before, trust, batch.now_ms)
    if header.previous_head == PREV_UNSETTLED_HEAD:
        return CHAIN_UNSETTLED
    if head is None:
        return CHAIN_WAITING
    return CHAIN_LINKED if head == header.previous_head else CHAIN_BROKEN


def _link_next(connection: sa.Connection, batch: Batch, track: ClipTrack) -> None:
    """The clip is settled: settle the link of the clip after it, if that waited."""
    for clip, previous_head in _WAITING.all(connection, {"of_device": track.name, "before": track.clip}):
        chain = CHAIN_LINKED if previous_head == track.settled_head else CHAIN_BROKEN
        after = batch.touched.get((track.name, clip))
        if after is not None:
            after.chain = chain
        connection.execute(
            sa.update(clips).where(clips.c.device == track.name, clips.c.clip == clip).values(chain=chain)
        )
        if chain == CHAIN_BROKEN:
            batch.notices.append(_broken(f"{track.name}-{clip}", track.name))


def _broken(readable: str, name: str) -> Notice:
    detail = "its header names another head for the clip before it than the one that was settled"
    return Notice("chain_broken", readable, name, readable, detail)
