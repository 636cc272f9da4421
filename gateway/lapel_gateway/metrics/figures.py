"""Families of figures as Prometheus knows them, made of rows."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric

Value = float | int | bool


def gauge(name: str, words: str, value: Value) -> Metric:
    """One figure that goes up and down."""
    return GaugeMetricFamily(name, words, value=float(value))


def gauges(name: str, words: str, labels: Sequence[str], rows: Iterable[tuple[Sequence[str], Value]]) -> Metric:
    """Such figures, one for each row: (the labels' values, value)."""
    family = GaugeMetricFamily(name, words, labels=labels)
    for values, value in rows:
        family.add_metric(values, float(value))
    return family


def counters(name: str, words: str, labels: Sequence[str], rows: Iterable[tuple[Sequence[str], Value]]) -> Metric:
    """Figures that only grow, and begin at nothing with the process; Prometheus appends ``_total`` to the name."""
    family = CounterMetricFamily(name, words, labels=labels)
    for values, value in rows:
        family.add_metric(values, float(value))
    return family


def age_s(then_ms: int | None, now_ms: int) -> float:
    """Seconds since a time in Unix milliseconds; 0 for none, and for one that the clock has not reached."""
    return 0.0 if then_ms is None else max(0, now_ms - then_ms) / 1000
