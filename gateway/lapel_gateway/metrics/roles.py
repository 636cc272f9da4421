"""Roles in figures: which is alive, when it last came round, how far it is behind."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from prometheus_client.metrics_core import Metric

from lapel_gateway.metrics.figures import age_s, gauges
from lapel_gateway.progress import Progress
from lapel_gateway.settings.config import ROLES


def role_figures(found: Mapping[str, Progress], now_ms: int) -> Iterator[Metric]:
    """Every family, from what the ledger says of the roles."""
    yield gauges(
        "lapel_role_up",
        "Whether a role is alive and came round within the last seconds.",
        ("role",),
        (((role,), role in found and found[role].fresh(now_ms)) for role in ROLES),
    )
    yield gauges(
        "lapel_role_progress_age_seconds",
        "How long ago a role last came round.",
        ("role",),
        (((role,), age_s(one.turned_ms, now_ms)) for role, one in sorted(found.items())),
    )
    yield gauges(
        "lapel_role_start_time_seconds",
        "When a role began, in Unix time.",
        ("role",),
        (((role,), one.started_ms / 1000) for role, one in sorted(found.items())),
    )
    yield gauges(
        "lapel_role_broker_connected",
        "Whether the broker has all subscriptions of a role.",
        ("role",),
        (((role,), one.connected) for role, one in sorted(found.items()) if one.connected is not None),
    )
    yield gauges(
        "lapel_role_waiting_seconds",
        "How long the oldest message that a role has in hand waits to be taken; 0 = it has none.",
        ("role",),
        (((role,), age_s(one.waiting_ms, now_ms)) for role, one in sorted(found.items())),
    )
    yield gauges(
        "lapel_role_backlog_bytes",
        "Bytes that a role has read from the broker and not looked at yet.",
        ("role",),
        (((role,), one.backlog_bytes) for role, one in sorted(found.items())),
    )
