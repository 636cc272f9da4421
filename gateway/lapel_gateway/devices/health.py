"""How each device fared, hour by hour: battery, storage, unsent clips, how often it was heard.

Rules that hold here
- A row is of one device and one hour of the gateway's clock, and is written with what it tells of: in the transaction
  that takes the heartbeat or hello. An hour without a row is one in which nothing was heard.
- It is kept for `KEEP_DAYS`, longer than a trial; then it goes, some at a time.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.sqlite import insert

from lapel_gateway.describe import moment
from lapel_gateway.ledger import reading, writing
from lapel_gateway.ledger.direct import Direct
from lapel_gateway.ledger.schema import device_health
from lapel_gateway.verify import Trust
from lapel_protocol.reports import HEART_BLOCKED, HEART_STORAGE_FULL, Heartbeat, Hello

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
KEEP_DAYS = 400
PORTION = 5000
"""Rows that go in one transaction."""

MOST_ROWS = KEEP_DAYS * 24

_new = insert(device_health)
_row, _more = device_health.c, _new.excluded


def _least(one: sa.ColumnElement[Any], other: sa.ColumnElement[Any]) -> sa.ColumnElement[Any]:
    # SQLite's min() of several is NULL where one is.
    return sa.func.min(sa.func.coalesce(one, other), sa.func.coalesce(other, one))


def _most(one: sa.ColumnElement[Any], other: sa.ColumnElement[Any]) -> sa.ColumnElement[Any]:
    return sa.func.max(sa.func.coalesce(one, other), sa.func.coalesce(other, one))


_NOTE = Direct(
    _new.on_conflict_do_update(
        index_elements=["device", "hour_ms"],
        set_={
            "battery_min": _least(_row.battery_min, _more.battery_min),
            "battery_max": _most(_row.battery_max, _more.battery_max),
            "free_kib_min": _least(_row.free_kib_min, _more.free_kib_min),
            "held_max": _most(_row.held_max, _more.held_max),
            "heartbeats": _row.heartbeats + _more.heartbeats,
            "boots": _row.boots + _more.boots,
            "blocked": sa.func.max(_row.blocked, _more.blocked),
            "full": sa.func.max(_row.full, _more.full),
        },
    )
)


def note_health(
    connection: sa.Connection,
    hellos: Iterable[tuple[Trust, Hello, bool]],
    beats: Iterable[tuple[Trust, Heartbeat]],
    now_ms: int,
) -> None:
    """Add what these hellos (with whether each was the first of its boot) and heartbeats said to their hours."""
    hour_ms = now_ms - now_ms % HOUR_MS
    rows = [_said(trust, hour_ms, hello) | {"boots": int(first)} for trust, hello, first in hellos]
    rows += [
        _said(trust, hour_ms, beat)
        | {
            "held_max": beat.clips_held,
            "heartbeats": 1,
            "blocked": int(bool(beat.flags & HEART_BLOCKED)),
            "full": int(bool(beat.flags & HEART_STORAGE_FULL)),
        }
        for trust, beat in beats
    ]
    if rows:
        _NOTE.run_each(connection, rows)


def read_health(connection: sa.Connection, device: str, from_ms: int, to_ms: int) -> list[sa.RowMapping]:
    """The hours of a period in which a device was heard, oldest first."""
    query = sa.select(device_health).where(_row.device == device, _row.hour_ms >= from_ms, _row.hour_ms < to_ms)
    return list(connection.execute(query.order_by(_row.hour_ms).limit(MOST_ROWS)).mappings())


def list_health(engine: sa.Engine, device: str, from_ms: int, to_ms: int) -> list[dict[str, Any]]:
    """The same in words."""
    with reading(engine) as connection:
        return [health_words(row) for row in read_health(connection, device, from_ms, to_ms)]


def health_words(row: sa.RowMapping) -> dict[str, Any]:
    """An hour in words."""
    return {
        "hour": moment(row["hour_ms"]),
        "battery_percent_min": row["battery_min"],
        "battery_percent_max": row["battery_max"],
        "storage_free_kib_min": row["free_kib_min"],
        "unsent_clips_max": row["held_max"],
        "heartbeats": row["heartbeats"],
        "boots": row["boots"],
        "blocked": bool(row["blocked"]),
        "storage_full": bool(row["full"]),
    }


@dataclass(frozen=True)
class Disposed:
    """How many hours went."""

    hours: int

    @property
    def more(self) -> bool:
        """Whether there may be more to dispose of."""
        return self.hours >= PORTION


def dispose(engine: sa.Engine, now_ms: int) -> Disposed:
    """Delete hours that were kept long enough, the oldest first, as far as one transaction goes."""
    old = sa.select(_row.device, _row.hour_ms).where(_row.hour_ms < now_ms - KEEP_DAYS * DAY_MS)
    first = old.order_by(_row.hour_ms).limit(PORTION).subquery()
    which = sa.tuple_(_row.device, _row.hour_ms).in_(sa.select(first.c.device, first.c.hour_ms))
    with writing(engine) as connection:
        return Disposed(connection.execute(sa.delete(device_health).where(which)).rowcount)


def _said(trust: Trust, hour_ms: int, report: Hello | Heartbeat) -> dict[str, Any]:
    return {
        "device": trust.name,
        "hour_ms": hour_ms,
        "battery_min": report.battery_percent,
        "battery_max": report.battery_percent,
        "free_kib_min": report.storage_free_kib,
        "held_max": None,
        "heartbeats": 0,
        "boots": 0,
        "blocked": 0,
        "full": 0,
    }
