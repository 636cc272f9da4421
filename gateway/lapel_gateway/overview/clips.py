"""The clips that are being received: how much of each is here."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from lapel_gateway.describe import clip_name, moment
from lapel_gateway.ledger.clips import UNFINISHED
from lapel_gateway.ledger.direct import Direct
from lapel_gateway.ledger.schema import clip

MAX_CLIPS = 200
"""Told at once, alarms' first, then the newest; more are counted."""

_NAMES = (
    *("device", "clip", "person", "state", "alarm", "contiguous", "settled_segments", "sealed_bytes"),
    *("first_ms", "missing_ms", "header_ms"),
)
_COLUMNS = [clip.c[name] for name in _NAMES]
_ONE = Direct(
    sa.select(*_COLUMNS).where(clip.c.device == sa.bindparam("of_device"), clip.c.clip == sa.bindparam("of_clip"))
)
_UNFINISHED = (
    sa.select(*_COLUMNS)
    .where(clip.c.state.in_(UNFINISHED))
    .order_by(clip.c.alarm.desc(), clip.c.first_ms.desc(), clip.c.device, clip.c.clip)
    .limit(MAX_CLIPS)
)
_COUNT = sa.select(sa.func.count()).where(clip.c.state.in_(UNFINISHED))


def clip_progress(connection: sa.Connection, device: str, number: int) -> dict[str, Any] | None:
    """How much of one clip is here; None where nothing of it was heard of yet."""
    rows = _ONE.all(connection, {"of_device": device, "of_clip": number})
    return _words(rows[0]) if rows else None


def read_clips(connection: sa.Connection) -> tuple[dict[str, Any], int]:
    """({id: progress} of the clips that are not here whole, how many more there are)."""
    rows = connection.execute(_UNFINISHED).all()
    more = connection.execute(_COUNT).scalar_one() - MAX_CLIPS if len(rows) == MAX_CLIPS else 0
    found = (_words(tuple(row)) for row in rows)
    return {words["id"]: words for words in found}, more


def _words(row: tuple[Any, ...]) -> dict[str, Any]:
    values = dict(zip(_NAMES, row, strict=True))
    return {
        "id": clip_name(values["device"], values["clip"]),
        "device": values["device"],
        "person": values["person"],
        "state": values["state"],
        "alarm": bool(values["alarm"]),
        "segments": values["contiguous"],
        "segments_settled": values["settled_segments"],
        "bytes": values["sealed_bytes"],
        "first_received": moment(values["first_ms"]),
        "missing_since": moment(values["missing_ms"]) if values["header_ms"] is None else None,
    }
