"""Everything in figures, for the registry of one process; and whether the gateway is ready."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import sqlalchemy as sa
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from lapel_gateway.ledger import reading
from lapel_gateway.ledger.direct import Direct
from lapel_gateway.ledger.schema import alarm, alarm_log, delivery, outbox
from lapel_gateway.metrics.alarms import COUNTED_STEPS, alarm_figures
from lapel_gateway.metrics.clips import Room, clip_figures
from lapel_gateway.metrics.deliveries import delivery_figures
from lapel_gateway.metrics.devices import device_figures, refused_figures, visit_figures
from lapel_gateway.metrics.figures import gauge, gauges
from lapel_gateway.metrics.readiness import Readiness, look, unreadable
from lapel_gateway.metrics.roles import role_figures
from lapel_gateway.metrics.watched import Watched
from lapel_gateway.progress import read_progress

_NEW_DELIVERIES = Direct(
    sa.select(outbox.c.channel, delivery.c.outcome, sa.func.count(), sa.func.max(delivery.c.id))
    .join_from(delivery, outbox, outbox.c.id == delivery.c.outbox_id)
    .where(delivery.c.id > sa.bindparam("after"))
    .group_by(outbox.c.channel, delivery.c.outcome)
)
_LAST_DELIVERY = Direct(sa.select(sa.func.max(delivery.c.id)))
_NEW_STEPS = Direct(
    sa.select(alarm_log.c.step, alarm.c.kind, sa.func.count(), sa.func.max(alarm_log.c.id))
    .join_from(alarm_log, alarm, alarm.c.id == alarm_log.c.alarm_id)
    .where(alarm_log.c.id > sa.bindparam("after"))
    .group_by(alarm_log.c.step, alarm.c.kind)
)
_LAST_STEP = Direct(sa.select(sa.func.max(alarm_log.c.id)))


class _Tail:
    """Counts of a table that only grows, from its end at the first look on."""

    def __init__(self, new: Direct, last: Direct) -> None:
        self.counted: Counter[tuple[Any, Any]] = Counter()
        self._new = new
        self._last = last
        self._after: int | None = None

    def read(self, connection: sa.Connection) -> None:
        """Add what is new."""
        if self._after is None:
            self._after = self._last.all(connection, {})[0][0] or 0
        rows = self._new.all(connection, {"after": self._after})
        for one, other, count, _ in rows:
            self.counted[one, other] += count
        self._after = max([self._after, *(newest for *_, newest in rows)])


class Figures(Collector):
    """Reads everything each time it is asked. Several threads may ask; they are answered one after another."""

    def __init__(self, engine: sa.Engine, watched: Watched, now_ms: Callable[[], int]) -> None:
        self._engine = engine
        self._watched = watched
        self._now_ms = now_ms
        self._room = Room(watched)
        self._deliveries = _Tail(_NEW_DELIVERIES, _LAST_DELIVERY)
        self._steps = _Tail(_NEW_STEPS, _LAST_STEP)
        self._lock = threading.Lock()

    def readiness(self) -> Readiness:
        """Whether an alarm can be taken and told now."""
        try:
            with reading(self._engine) as connection:
                return look(connection, self._watched, self._now_ms())
        except sa.exc.SQLAlchemyError:
            return unreadable()

    def collect(self) -> Iterator[Metric]:
        """Every family; where the ledger cannot be read, only that."""
        began = time.perf_counter()
        try:
            with self._lock, reading(self._engine) as connection:
                found = list(self._families(connection, self._now_ms()))
        except sa.exc.SQLAlchemyError:
            found = _readiness(unreadable())
        yield from found
        yield gauges("lapel_build_info", "The version that runs.", ("version",), [((_version(),), 1)])
        yield gauge("lapel_collect_seconds", "How long it took to read these figures.", time.perf_counter() - began)

    def _families(self, connection: sa.Connection, now_ms: int) -> Iterator[Metric]:
        self._deliveries.read(connection)
        self._steps.read(connection)
        yield from _readiness(look(connection, self._watched, now_ms))
        yield from role_figures(read_progress(connection), now_ms)
        steps = {(step, kind): n for (step, kind), n in self._steps.counted.items() if step in COUNTED_STEPS}
        yield from alarm_figures(connection, steps, now_ms)
        yield from delivery_figures(connection, self._watched, self._deliveries.counted, now_ms)
        yield from clip_figures(connection, now_ms)
        yield from self._room.figures(connection, now_ms)
        yield from device_figures(connection, self._watched, now_ms)
        yield from visit_figures(connection, now_ms)
        yield from refused_figures(connection)


def _readiness(readiness: Readiness) -> list[Metric]:
    return [
        gauge("lapel_ready", "Whether an alarm can be taken and told now, as /readyz says.", readiness.ready),
        gauges(
            "lapel_ready_check",
            "What that depends on: whether each of these is well.",
            ("check",),
            (((check.name,), check.well) for check in readiness.checks),
        ),
    ]


def _version() -> str:
    try:
        return version("lapel")
    except PackageNotFoundError:
        return "unknown"
