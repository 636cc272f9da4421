"""The channels, and what waits for them: how much, since when, and whether each works."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa

from lapel_gateway.channels.health import read_health
from lapel_gateway.describe import moment
from lapel_gateway.ledger.schema import OUTBOX_WAITING, outbox

_WAITING = (
    sa.select(outbox.c.kind, outbox.c.channel, sa.func.count().label("count"), sa.func.min(outbox.c.created_ms))
    .where(outbox.c.state == OUTBOX_WAITING)
    .group_by(outbox.c.kind, outbox.c.channel)
    .order_by(outbox.c.kind, outbox.c.channel)
)


def read_channels(connection: sa.Connection, people: Mapping[str, str]) -> dict[str, Any]:
    """{channel: words} as `read_health` has them, with when the oldest parcel that waits was made."""
    oldest: dict[str, int] = {}
    for _kind, channel, _count, made_ms in connection.execute(_WAITING):
        oldest[channel] = min(made_ms, oldest.get(channel, made_ms))
    return {
        words["channel"]: {**words, "oldest_waiting": moment(oldest.get(words["channel"]))}
        for words in read_health(connection, people)
    }


def read_waiting(connection: sa.Connection) -> dict[str, Any]:
    """{kind of work: how many parcels of it wait, and since when the oldest}; kinds are those of the outbox."""
    found: dict[str, tuple[int, int]] = {}
    for kind, _channel, count, made_ms in connection.execute(_WAITING):
        before = found.get(kind, (0, made_ms))
        found[kind] = (before[0] + count, min(before[1], made_ms))
    return {kind: {"waiting": count, "oldest": moment(made_ms)} for kind, (count, made_ms) in found.items()}
