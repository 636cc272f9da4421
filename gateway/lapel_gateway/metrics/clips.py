"""Custody in figures: what was received and is not receipted, what waits to be assembled, and the room that is left."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import sqlalchemy as sa
from prometheus_client.metrics_core import Metric

from lapel_gateway.disk_watch import free_bytes
from lapel_gateway.ledger.clips import UNFINISHED
from lapel_gateway.ledger.direct import Direct
from lapel_gateway.ledger.schema import clip
from lapel_gateway.metrics.figures import age_s, gauge, gauges
from lapel_gateway.metrics.watched import Watched
from lapel_protocol import custody
from lapel_protocol.names import CUSTODY_STATE_NAMES

FILL_WINDOW_MS = 7 * 24 * 3_600_000
"""The days by which the vault's filling is judged."""

MOST_CLIPS = 20_000
"""The newest of them that are looked at: as many as take a few hundredths of a second."""

MOST_VIEWS = 200
"""The newest clips by which it is judged how much their copies for viewing take beside them."""

LEAST_MS = 3_600_000
"""A gateway that began less than this ago is not taken to go on as it began."""

FILL_KEPT_MS = 60_000
"""How long what was found out about the filling holds."""

_HELD = CUSTODY_STATE_NAMES[custody.HELD]
_MISSING = clip.c.header_ms.is_(None)
_OPEN = Direct(
    sa.select(clip.c.state, _MISSING, sa.func.count(), sa.func.min(clip.c.first_ms), sa.func.min(clip.c.verified_ms))
    .where(clip.c.state.in_([sa.literal_column(f"'{state}'") for state in (*UNFINISHED, _HELD)]))
    .group_by(clip.c.state, _MISSING)
)
_NEWEST = (
    sa.select(clip.c.sealed_bytes, clip.c.first_ms)
    .where(clip.c.first_ms > sa.bindparam("since_ms"))
    .order_by(clip.c.first_ms.desc())
    .limit(sa.bindparam("most"))
    .subquery()
)
_FILLED = Direct(sa.select(sa.func.count(), sa.func.sum(_NEWEST.c.sealed_bytes), sa.func.min(_NEWEST.c.first_ms)))
_FIRST = Direct(sa.select(sa.func.min(clip.c.first_ms)))
_VIEWS = Direct(
    sa.text(
        "SELECT sum(sealed_bytes), sum(CASE WHEN json_extract(assembly, '$.form') = 'opened' THEN"
        " (SELECT sum(json_extract(value, '$.bytes')) FROM json_each(assembly, '$.files')) ELSE 0 END)"
        " FROM (SELECT sealed_bytes, assembly FROM clip WHERE first_ms > :since_ms"
        " ORDER BY first_ms DESC LIMIT :most) WHERE assembly IS NOT NULL"
    )
)


def clip_figures(connection: sa.Connection, now_ms: int) -> Iterator[Metric]:
    """What is open, by the index of the clips' states."""
    rows = {(state, bool(missing)): tuple(rest) for state, missing, *rest in _OPEN.all(connection, {})}
    nothing = (0, None, None)
    yield gauges(
        "lapel_clips_unreceipted",
        "Clips of which something was received, not receipted yet: open, or ended or cut with segments to come.",
        ("state",),
        (((state,), rows.get((state, False), nothing)[0]) for state in UNFINISHED),
    )
    yield gauges(
        "lapel_custody_oldest_seconds",
        "How long ago the first record of the oldest of them was received; 0 = there is none.",
        ("state",),
        (((state,), age_s(rows.get((state, False), nothing)[1], now_ms)) for state in UNFINISHED),
    )
    missing = sum(numbers[0] for (_, headless), numbers in rows.items() if headless)
    yield gauge("lapel_clips_missing", "Clips that devices have named and of which nothing was received.", missing)
    held = rows.get((_HELD, False), nothing)
    yield gauge("lapel_clips_unassembled", "Clips that are held and not assembled yet.", held[0])
    words = "How long the oldest of them has been held; 0 = there is none."
    yield gauge("lapel_assembly_oldest_seconds", words, age_s(held[2], now_ms))


class Room:
    """The room on the disks, and how fast clips take it. What the ledger says of that is kept for a minute."""

    def __init__(self, watched: Watched) -> None:
        self._watched = watched
        self._found_ms = -FILL_KEPT_MS
        self._bytes_per_s = 0.0

    def figures(self, connection: sa.Connection, now_ms: int) -> Iterator[Metric]:
        """Free bytes, bytes that come a second, and seconds until clips are not taken any more."""
        places = {"data": self._watched.data_dir, "vault": self._watched.vault_dir}
        free = {place: _free(folder) for place, folder in places.items()}
        yield gauges(
            "lapel_disk_free_bytes",
            "Bytes that the gateway can still write where it keeps its data, and where its vault is.",
            ("place",),
            (((place,), room) for place, room in free.items() if room is not None),
        )
        if not 0 <= now_ms - self._found_ms < FILL_KEPT_MS:
            self._bytes_per_s = self._fill(connection, now_ms)
            self._found_ms = now_ms
        words = "Bytes a second that clips have taken on the vault's disk lately, on average over seven days at most."
        yield gauge("lapel_vault_fill_bytes_per_second", words, self._bytes_per_s)
        room = free["vault"]
        if room is not None:
            words = (
                "Bytes that clips can still take: free on the vault's disk, less the reserve that is left for alarms."
            )
            left = max(0, room - self._watched.reserve_bytes)
            yield gauge("lapel_vault_free_bytes", words, left)
            words = "Seconds until these are taken, as things go; infinite where no clips have come."
            per_s = self._bytes_per_s
            yield gauge("lapel_vault_full_in_seconds", words, left / per_s if per_s else float("inf"))

    def _fill(self, connection: sa.Connection, now_ms: int) -> float:
        since_ms = now_ms - FILL_WINDOW_MS
        ((count, size, oldest_ms),) = _FILLED.all(connection, {"since_ms": since_ms, "most": MOST_CLIPS})
        if not count:
            return 0.0
        ((first_ms,),) = _FIRST.all(connection, {})
        begun_ms = oldest_ms if count == MOST_CLIPS else max(since_ms, first_ms)
        taken = float(size) * (1 + self._views_share(connection, since_ms))
        return taken * 1000 / float(max(LEAST_MS, now_ms - begun_ms))

    def _views_share(self, connection: sa.Connection, since_ms: int) -> float:
        """Bytes of copies for viewing for each sealed byte, where these fill the same disk."""
        if not _same_disk(self._watched.vault_dir, self._watched.views_dir):
            return 0.0
        ((sealed, views),) = _VIEWS.all(connection, {"since_ms": since_ms, "most": MOST_VIEWS})
        return float(views or 0) / float(sealed) if sealed else 0.0


def _free(folder: Path | None) -> int | None:
    """Free bytes; None where there is no such folder, or its disk does not answer."""
    if folder is None:
        return None
    try:
        return free_bytes(folder)
    except OSError:
        return None


def _same_disk(one: Path | None, other: Path | None) -> bool:
    try:
        return one is not None and other is not None and os.stat(one).st_dev == os.stat(other).st_dev
    except OSError:
        return False
