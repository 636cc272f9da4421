"""Devices and visits in figures: how many are in which state, never which or whose."""

from __future__ import annotations

from collections.abc import Iterator

import sqlalchemy as sa
from prometheus_client.metrics_core import Metric

from lapel_gateway.ledger.direct import Direct
from lapel_gateway.ledger.schema import DEVICE_ACTIVE, DEVICE_LOST, DEVICE_RETIRED, tally
from lapel_gateway.ledger.visit_tables import visit
from lapel_gateway.metrics.figures import age_s, counters, gauge, gauges
from lapel_gateway.metrics.watched import Watched
from lapel_protocol import visit as protocol_visit
from lapel_protocol.names import VISIT_STATE_NAMES

BATTERY_LOW_PERCENT = 20
CLOCK_BOUNDS_S = (2, 30, 300)
"""A device's clock is off by more than so much."""

FIRMWARES = 50
"""Versions that have a figure of their own, the most frequent ones; a fleet runs two or three."""

_STATES = (DEVICE_ACTIVE, DEVICE_RETIRED, DEVICE_LOST)
_COUNTED = Direct(
    sa.text(
        "SELECT state, json_extract(word, '$.firmware'), count(*),"
        " coalesce(sum(contact_ms IS NULL), 0), coalesce(sum(abs(:now_ms - contact_ms) > :silent_ms), 0),"
        " coalesce(sum(json_extract(word, '$.battery_percent') < :low), 0),"
        " coalesce(sum(json_extract(word, '$.storage_full')), 0),"
        " coalesce(sum(json_extract(word, '$.clips_held')), 0),"
        " coalesce(max(abs(json_extract(word, '$.clock_ahead_ms'))), 0),"
        + ",".join(
            f" coalesce(sum(abs(json_extract(word, '$.clock_ahead_ms')) > {bound * 1000}), 0)"
            for bound in CLOCK_BOUNDS_S
        )
        + " FROM (SELECT state, contact_ms, CASE WHEN json_valid(status) THEN status ELSE '{}' END AS word FROM device)"
        " GROUP BY 1, 2 ORDER BY 3 DESC"
    )
)
_WATCHED_VISITS = tuple(
    VISIT_STATE_NAMES[state]
    for state in (protocol_visit.PLANNED, protocol_visit.ACTIVE, protocol_visit.AMBER, protocol_visit.OVERDUE)
)
_OVERDUE = VISIT_STATE_NAMES[protocol_visit.OVERDUE]
_VISITS = Direct(
    sa.select(visit.c.state, sa.func.count(), sa.func.count(visit.c.lost_ms), sa.func.min(visit.c.due_ms))
    .where(visit.c.state.in_([sa.literal_column(f"'{state}'") for state in _WATCHED_VISITS]))
    .group_by(visit.c.state)
)
_REFUSED = Direct(sa.select(tally.c.reason, sa.func.sum(tally.c.count)).group_by(tally.c.reason))


def device_figures(connection: sa.Connection, watched: Watched, now_ms: int) -> Iterator[Metric]:
    """Of the registry, which is read whole."""
    values = {"now_ms": now_ms, "silent_ms": watched.silent_ms, "low": BATTERY_LOW_PERCENT}
    rows = _COUNTED.all(connection, values)
    by_state = dict.fromkeys(_STATES, 0)
    for state, _, count, *_ in rows:
        by_state[state] = by_state.get(state, 0) + count
    yield gauges("lapel_devices", "Devices, by state.", ("state",), (((one,), n) for one, n in by_state.items()))
    active = [row for row in rows if row[0] == DEVICE_ACTIVE]
    totals = [sum(column) for column in zip(*(row[2:8] for row in active), strict=True)] or [0] * 6
    for name, words, total in (
        ("unheard", "Active devices that were never in contact.", totals[1]),
        ("silent", "Active devices whose last contact is longer ago than [alarms] heartbeat_late_s.", totals[2]),
        ("battery_low", f"Active devices that last told of less than {BATTERY_LOW_PERCENT} % battery.", totals[3]),
        ("storage_full", "Active devices that last told of full storage: they start no clip.", totals[4]),
        ("clips_unsent", "Clips that active devices last told of holding.", totals[5]),
    ):
        yield gauge(f"lapel_devices_{name}", words, total)
    yield gauge(
        "lapel_devices_clock_off_max_seconds",
        "The largest difference of an active device's clock, as far as it believes in it, from the gateway's.",
        max((row[8] for row in active), default=0) / 1000,
    )
    yield gauges(
        "lapel_devices_clock_off",
        "Active devices whose clock differs by more than so many seconds.",
        ("beyond",),
        (((str(bound),), sum(row[9 + at] for row in active)) for at, bound in enumerate(CLOCK_BOUNDS_S)),
    )
    versions = [row for row in active if row[1] is not None]
    yield gauges(
        "lapel_devices_firmware",
        "Active devices, by the version of their firmware.",
        ("version",),
        (((str(row[1]),), row[2]) for row in versions[:FIRMWARES]),
    )


def visit_figures(connection: sa.Connection, now_ms: int) -> Iterator[Metric]:
    """What is planned or under way."""
    rows = {state: rest for state, *rest in _VISITS.all(connection, {})}
    nothing = [0, 0, None]
    yield gauges(
        "lapel_visits",
        "Visits that are planned or under way, by state.",
        ("state",),
        (((state,), rows.get(state, nothing)[0]) for state in _WATCHED_VISITS),
    )
    lost = sum(rest[1] for rest in rows.values())
    yield gauge("lapel_visits_contact_lost", "Visits under way whose device is out of contact.", lost)
    words = "How long the oldest overdue visit has been due; 0 = none is overdue."
    yield gauge("lapel_visit_overdue_oldest_seconds", words, age_s(rows.get(_OVERDUE, nothing)[2], now_ms))


def refused_figures(connection: sa.Connection) -> Iterator[Metric]:
    """What was refused since the ledger began, by reason."""
    rows = sorted(_REFUSED.all(connection, {}))
    words = "Records and messages of devices that were refused, by reason."
    yield counters("lapel_refused", words, ("reason",), (((reason,), count) for reason, count in rows))
