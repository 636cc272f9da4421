"""Deliveries in figures: what waits for each channel, what attempts came to, whether channels work."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import sqlalchemy as sa
from prometheus_client.metrics_core import Metric

from lapel_gateway.ledger.direct import Direct
from lapel_gateway.ledger.schema import OUTBOX_ALARM, OUTBOX_WAITING, channel_health, outbox
from lapel_gateway.metrics.figures import age_s, counters, gauges
from lapel_gateway.metrics.watched import Watched
from lapel_gateway.outbox import DELIVERED, REFUSED, RETRY, SKIPPED

OUTCOMES = (DELIVERED, RETRY, REFUSED, SKIPPED)
UNDIVIDED = "undivided"
"""Where channels are named: what has not been handed on to its channels yet."""

_WAITING = Direct(
    sa.select(outbox.c.channel, outbox.c.kind, sa.func.count(), sa.func.min(outbox.c.created_ms))
    .where(outbox.c.state == sa.literal_column(f"'{OUTBOX_WAITING}'"))
    .group_by(outbox.c.channel, outbox.c.kind)
)
_HEALTH = Direct(
    sa.select(
        channel_health.c.channel, channel_health.c.part, channel_health.c.good_ms, channel_health.c.failing_ms
    ).order_by(channel_health.c.channel, channel_health.c.part)
)


def delivery_figures(
    connection: sa.Connection, watched: Watched, counted: Mapping[tuple[str, str], int], now_ms: int
) -> Iterator[Metric]:
    """Every family; ``counted``: {(channel, outcome): attempts since the process began}."""
    # What several channels share a label with is added up, and the oldest of it counts.
    waiting: dict[tuple[str, str], tuple[int, float]] = {
        (watched.label(name), OUTBOX_ALARM): (0, 0.0) for name in watched.channels
    }
    for name, kind, count, created_ms in _WAITING.all(connection, {}):
        label = (watched.label(name) if name else UNDIVIDED, kind)
        before, oldest_s = waiting.get(label, (0, 0.0))
        waiting[label] = (before + count, max(oldest_s, age_s(created_ms, now_ms)))
    yield gauges(
        "lapel_outbox_waiting",
        "What a channel has still to take, by kind: alarm, notice, assemble, forward.",
        ("channel", "kind"),
        ((label, count) for label, (count, _) in sorted(waiting.items())),
    )
    yield gauges(
        "lapel_outbox_oldest_seconds",
        "How long the oldest of it has waited; 0 = there is nothing.",
        ("channel", "kind"),
        ((label, oldest_s) for label, (_, oldest_s) in sorted(waiting.items())),
    )
    attempts = {(watched.label(name), outcome): 0 for name in watched.channels for outcome in OUTCOMES}
    for (name, outcome), count in counted.items():
        made = (watched.label(name), outcome)
        attempts[made] = attempts.get(made, 0) + count
    yield counters(
        "lapel_deliveries",
        "Attempts at delivery since the web role began, by what they came to.",
        ("channel", "outcome"),
        sorted(attempts.items()),
    )
    health = [row for row in _HEALTH.all(connection, {}) if row[0] in watched.channels]
    yield gauges(
        "lapel_channel_failing_seconds",
        "Since when a channel, or the test of its link, fails; 0 = it works, as far as was tried.",
        ("channel", "part"),
        (((watched.label(name), part), age_s(failing_ms, now_ms)) for name, part, _, failing_ms in health),
    )
    yield gauges(
        "lapel_channel_good_age_seconds",
        "How long ago a channel, or the test of its link, last worked.",
        ("channel", "part"),
        (
            ((watched.label(name), part), age_s(good_ms, now_ms))
            for name, part, good_ms, _ in health
            if good_ms is not None
        ),
    )
    yield from _receivers(health, watched, now_ms)


def works(connection: sa.Connection, watched: Watched) -> tuple[int, int]:
    """(channels that take alarms and are not known to fail, those of them that have delivered something)."""
    rows = [row for row in _HEALTH.all(connection, {}) if row[0] in watched.channels]
    failing = {name for name, _, _, failing_ms in rows if failing_ms is not None}
    tried = {name for name, _, good_ms, _ in rows if good_ms is not None}
    fine = set(watched.channels) - failing
    return len(fine), len(fine & tried)


def _receivers(
    health: list[tuple[str, str, int | None, int | None]], watched: Watched, now_ms: int
) -> Iterator[Metric]:
    newest: dict[str, int] = {}
    for name, _, good_ms, _ in health:
        if name in watched.receivers and good_ms is not None:
            newest[name] = max(good_ms, newest.get(name, 0))
    yield gauges(
        "lapel_receiver_ack_age_seconds",
        "How long ago a receiving centre last acknowledged an alarm or a link test; absent: never.",
        ("channel",),
        (((watched.label(name),), age_s(good_ms, now_ms)) for name, good_ms in sorted(newest.items())),
    )
    yield gauges(
        "lapel_receiver_supervision_seconds",
        "How often the link to a receiving centre is tested; 0 = it is not.",
        ("channel",),
        (((watched.label(name),), every_s) for name, every_s in watched.receivers.items()),
    )
