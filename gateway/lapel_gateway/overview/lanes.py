"""How much comes in on each lane: alarms and events by the ledger, clips by how the ones under way have grown.

Rates are over the last `WINDOW_MS`; what was not looked at yet is no rate, and is said to be none.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import Any

import sqlalchemy as sa

from lapel_gateway.describe import moment, parse_clip_name
from lapel_gateway.ledger.direct import Direct
from lapel_gateway.ledger.schema import alarm, clip, event
from lapel_protocol.topics import LANE_ALARM, LANE_CLIP, LANE_EVENT

WINDOW_MS = 60_000

_ALARMS = sa.select(sa.func.count(), sa.func.max(alarm.c.received_ms)).where(
    alarm.c.received_ms > sa.bindparam("since_ms"), alarm.c.boot.is_not(None)
)
_EVENTS = sa.select(sa.func.count()).where(event.c.received_ms > sa.bindparam("since_ms"))
_SIZE = Direct(
    sa.select(clip.c.sealed_bytes).where(
        clip.c.device == sa.bindparam("of_device"), clip.c.clip == sa.bindparam("of_clip")
    )
)


class LaneMeter:
    """Watches the lanes from one look to the next."""

    def __init__(self) -> None:
        self._sizes: dict[str, int] | None = None
        self._grown: deque[tuple[int, int]] = deque()

    def read(
        self, connection: sa.Connection, clips: Iterable[dict[str, Any]], contact_ms: int | None, now_ms: int
    ) -> dict[str, Any]:
        """{lane: words}; ``clips`` are those under way, ``contact_ms`` when a device was last heard of."""
        since = {"since_ms": now_ms - WINDOW_MS}
        alarms, newest_ms = connection.execute(_ALARMS, since).one()
        events = connection.execute(_EVENTS, since).scalar_one()
        known = self._sizes is not None
        self._count(connection, {words["id"]: words["bytes"] for words in clips}, now_ms)
        return {
            LANE_ALARM: {"lane": LANE_ALARM, "last_minute": alarms, "newest": moment(newest_ms)},
            LANE_EVENT: {"lane": LANE_EVENT, "last_minute": events, "newest": moment(contact_ms)},
            LANE_CLIP: {
                "lane": LANE_CLIP,
                "bytes_last_minute": sum(size for _, size in self._grown) if known else None,
                "under_way": len(self._sizes or ()),
            },
        }

    def _count(self, connection: sa.Connection, sizes: dict[str, int], now_ms: int) -> None:
        before = self._sizes
        self._sizes = sizes
        if before is None:
            return
        grown = sum(max(0, size - before.get(name, 0)) for name, size in sizes.items())
        for name in before.keys() - sizes.keys():
            device, number = parse_clip_name(name) or ("", 0)
            for (size,) in _SIZE.all(connection, {"of_device": device, "of_clip": number}):
                grown += max(0, size - before[name])
        if grown:
            self._grown.append((now_ms, grown))
        # A clock that was set back leaves nothing behind that never ages.
        while self._grown and not 0 <= now_ms - self._grown[0][0] < WINDOW_MS:
            self._grown.popleft()
