"""The machine under the gateway: room on its disks and for how long, and which roles are played.

Rules that hold here
- A role is alive while what it writes of itself is fresh (`lapel_gateway.progress`). It is late when the ledger has
  work of it that should have been done: whoever comes round may still leave things undone.
- Nothing here changes anything.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from lapel_gateway.describe import moment
from lapel_gateway.ledger.schema import OUTBOX_WAITING, clip, escalation, outbox
from lapel_gateway.ledger.visit_tables import visit
from lapel_gateway.progress import read_progress

LATE_MS = 10_000
"""Work that is due for so long was forgotten, not just busy with: roles look several times a second."""

DAY_MS = 86_400_000
RATE_DAYS = 7
"""Over how many days the growth of clips is taken."""

GRAIN_BYTES = 16 << 20
"""Free room is told to this: it changes all the time, and every change is sent to every reader."""

COPIES_LOOKED_AT = 20
"""Newest clips from which it is taken how much room their opened copies need beside the sealed originals."""

_ESCALATIONS = sa.select(sa.func.min(escalation.c.next_at_ms))
_VISITS = sa.select(sa.func.min(visit.c.next_at_ms))
_DELIVERIES = sa.select(sa.func.min(outbox.c.next_at_ms)).where(
    outbox.c.state == OUTBOX_WAITING, outbox.c.leased_until_ms.is_(None)
)
_GROWTH = sa.select(sa.func.sum(clip.c.sealed_bytes), sa.func.min(clip.c.first_ms)).where(
    clip.c.first_ms > sa.bindparam("since_ms")
)
_COPIES = sa.select(clip.c.sealed_bytes, clip.c.assembly).order_by(clip.c.first_ms.desc()).limit(COPIES_LOOKED_AT)

_WORK = {
    "alarms": (("watching over visits", _VISITS),),
    "deliver": (("telling of alarms", _ESCALATIONS), ("deliveries", _DELIVERIES)),
}


def read_roles(connection: sa.Connection, roles: Sequence[str], now_ms: int) -> dict[str, Any]:
    """{role: whether it is alive and connected, and since when its work is late and which}."""
    progress = read_progress(connection)
    found = {}
    for role in roles:
        late: list[tuple[int, str]] = []
        for name, query in _WORK.get(role, ()):
            due_ms = connection.execute(query).scalar()
            if due_ms is not None and due_ms < now_ms - LATE_MS:
                late.append((due_ms, name))
        since_ms, what = min(late, default=(None, None))
        own = progress.get(role)
        alive = own is not None and own.fresh(now_ms)
        found[role] = {
            "role": role,
            "alive": alive,
            "connected": own.connected if own is not None and alive else None,
            "started": moment(own.started_ms) if own is not None and alive else None,
            "last_round": moment(own.turned_ms) if own is not None and not alive else None,
            "late_since": moment(since_ms),
            "late_with": what,
        }
    return found


def daily_bytes(connection: sa.Connection, now_ms: int) -> int:
    """How much room clips with their copies have taken a day lately; 0 = none."""
    total, first_ms = connection.execute(_GROWTH, {"since_ms": now_ms - RATE_DAYS * DAY_MS}).one()
    if not total:
        return 0
    sealed = copied = 0
    for size, assembly in connection.execute(_COPIES):
        files = (json.loads(assembly) if assembly else {}).get("files", {})
        if files:
            sealed += size
            # An original that is only referred to takes its room once.
            copied += sum(facts["bytes"] for name, facts in files.items() if not name.startswith("original"))
    ratio = 1 + (copied / sealed if sealed else 0)
    return int(total * ratio * DAY_MS / max(DAY_MS, now_ms - first_ms))


def read_storage(folders: Mapping[str, Path], low_bytes: int, daily: int) -> dict[str, Any]:
    """{what is kept there: room, whether it is low, and for how many days it lasts as clips come now}.

    A disk that cannot be looked at says why; folders on one disk say the same.
    """
    found: dict[str, Any] = {}
    for name, folder in folders.items():
        words: dict[str, Any] = {"name": name, "free_bytes": None, "total_bytes": None, "low": None, "days": None}
        try:
            state = os.statvfs(folder)
        except FileNotFoundError:
            continue  # nothing was kept there yet
        except OSError as error:
            found[name] = {**words, "trouble": error.strerror or type(error).__name__}
            continue
        free = state.f_bavail * state.f_frsize
        days = max(0, free - low_bytes) // daily if daily and name != "forward" else None
        found[name] = {
            **words,
            "free_bytes": free // GRAIN_BYTES * GRAIN_BYTES,
            "total_bytes": state.f_blocks * state.f_frsize,
            "low": free <= low_bytes,
            "days": days,
            "trouble": None,
        }
    return found
