"""Heartbeats of devices in visits: each is a sign of the wearer, and says whether the battery will last."""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sa

from lapel_gateway.ledger.visits import visits_of_devices, write_beats
from lapel_gateway.settings.visits import MINUTE_MS, VisitsSection
from lapel_gateway.verify import Trust
from lapel_gateway.visits.course import LOOK_MS
from lapel_protocol.reports import Heartbeat


def note_beats(
    connection: sa.Connection, beats: Sequence[tuple[Trust, Heartbeat]], rules: VisitsSection, now_ms: int
) -> None:
    """Write contact of the visits that these devices are in: one look-up for all, whatever else there is."""
    if not beats:
        return
    running = visits_of_devices(connection, {trust.name for trust, _ in beats})
    if not running:
        return
    news = []
    for trust, beat in beats:
        row = running.get(trust.name)
        if row is None:
            continue
        left_min = max(0, ((row["due_ms"] or 0) - now_ms) // MINUTE_MS)
        low = row["low_battery_ms"] is None and battery_is_low(
            beat.battery_percent, beat.battery_minutes, left_min, rules
        )
        look_ms = now_ms if low or row["lost_ms"] is not None else now_ms + LOOK_MS
        news.append({"of_id": row["id"], "at_ms": now_ms, "look_ms": look_ms})
    write_beats(connection, news)


def battery_is_low(percent: int, minutes: int, left_min: int, rules: VisitsSection) -> bool:
    """Whether a device will not last its visit; ``minutes`` 0 = it cannot say."""
    return percent < rules.low_battery_percent or 0 < minutes < left_min
