"""Alarms in figures: which are open, how long the oldest has waited for a human, and what became of the others."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import sqlalchemy as sa
from prometheus_client.metrics_core import Metric

from lapel_gateway.alarms.kinds import KIND_NAMES, TECHNICAL_KINDS, kind_name
from lapel_gateway.ledger.direct import Direct
from lapel_gateway.ledger.schema import alarm
from lapel_gateway.metrics.figures import age_s, counters, gauges
from lapel_protocol import alarm as protocol_alarm
from lapel_protocol.names import ALARM_STATE_NAMES

COUNTED_STEPS = ("received", "acknowledged", "resolved", "cancelled")
"""Steps of an alarm's log that are counted since the process began."""

CONCERNS = ("person", "drill", "gateway")
"""Whom an alarm is about: somebody, somebody who tries it out, or the gateway and what it depends on."""

_RECEIVED = ALARM_STATE_NAMES[protocol_alarm.RECEIVED]
_NOTIFYING = ALARM_STATE_NAMES[protocol_alarm.NOTIFYING]
_ACKNOWLEDGED = ALARM_STATE_NAMES[protocol_alarm.ACKNOWLEDGED]
_STATES = (_RECEIVED, _NOTIFYING, _ACKNOWLEDGED)
_OPEN = Direct(
    sa.select(alarm.c.state, alarm.c.kind, alarm.c.test, sa.func.count(), sa.func.min(alarm.c.received_ms))
    .where(alarm.c.state.in_([sa.literal_column(f"'{state}'") for state in _STATES]))
    .group_by(alarm.c.state, alarm.c.kind, alarm.c.test)
)


def alarm_figures(connection: sa.Connection, counted: Mapping[tuple[str, int], int], now_ms: int) -> Iterator[Metric]:
    """Every family; ``counted``: {(step, kind): how often since the process began}."""
    rows = _OPEN.all(connection, {})
    numbers = {(state, kind, bool(test)): count for state, kind, test, count, _ in rows}
    yield gauges(
        "lapel_alarms_open",
        "Alarms that are not resolved, by state and kind; drills apart.",
        ("state", "kind", "drill"),
        (((state, kind_name(kind), _word(drill)), count) for (state, kind, drill), count in sorted(numbers.items())),
    )
    unanswered: dict[str, int] = {}
    untold: dict[str, int] = {}
    for state, kind, test, _, received_ms in rows:
        concern = "gateway" if kind in TECHNICAL_KINDS else "drill" if test else "person"
        if state != _ACKNOWLEDGED:
            unanswered[concern] = min(received_ms, unanswered.get(concern, received_ms))
        if state == _RECEIVED:
            untold[concern] = min(received_ms, untold.get(concern, received_ms))
    yield gauges(
        "lapel_alarm_unacknowledged_oldest_seconds",
        "How long the oldest alarm that nobody has acknowledged has waited; 0 = there is none.",
        ("concern",),
        (((concern,), age_s(unanswered.get(concern), now_ms)) for concern in CONCERNS),
    )
    yield gauges(
        "lapel_alarm_untold_oldest_seconds",
        "How long the oldest alarm that no channel has taken has waited; 0 = there is none.",
        ("concern",),
        (((concern,), age_s(untold.get(concern), now_ms)) for concern in CONCERNS),
    )
    yield counters(
        "lapel_alarm_steps",
        "Alarms received, acknowledged, resolved and cancelled by their wearers since the web role began, by kind.",
        ("step", "kind"),
        (((step, name), counted.get((step, kind), 0)) for step in COUNTED_STEPS for kind, name in KIND_NAMES.items()),
    )


def _word(drill: bool) -> str:
    return "true" if drill else "false"
