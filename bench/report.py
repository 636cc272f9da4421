"""What a benchmark found: figures with units, ratios of the same run, and the bounds they are held against."""

from __future__ import annotations

import json
import os
import platform
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

SHORTEST_S = 1.0
"""A repeated measurement goes on for at least this long."""


@dataclass(frozen=True, slots=True)
class Figure:
    """One line of the table. `bound` says in words what the figure is held against; `within` whether it is."""

    group: str
    name: str
    value: float
    unit: str
    bound: str = ""
    within: bool | None = None
    note: str = ""


class Report:
    """Collects figures and prints each as it comes."""

    def __init__(self, quick: bool = False) -> None:
        self.quick = quick
        """Whether a short run is wanted: fewer repetitions and smaller sizes, and figures of less worth."""
        self.figures: list[Figure] = []
        self._group = ""

    def group(self, name: str, about: str = "") -> None:
        """Begin a group of figures."""
        self._group = name
        print(f"\n{name}: {about}" if about else f"\n{name}", flush=True)

    def figure(self, name: str, value: float, unit: str, note: str = "") -> float:
        """Record a measured value; returns it."""
        return self._add(Figure(self._group, name, value, unit, note=note))

    def at_most(self, name: str, value: float, unit: str, limit: float, note: str = "") -> float:
        """Record a value that is to be at most `limit` of the same unit."""
        return self._add(Figure(self._group, name, value, unit, f"<= {limit:g}", value <= limit, note))

    def at_least(self, name: str, value: float, unit: str, limit: float, note: str = "") -> float:
        """Record a value that is to be at least `limit` of the same unit."""
        return self._add(Figure(self._group, name, value, unit, f">= {limit:g}", value >= limit, note))

    def repeat(self, name: str, work: Callable[[], object], size_bytes: int = 0) -> float:
        """Time `work` for at least `SHORTEST_S`; records µs a call (and MB/s of `size_bytes` a call); returns µs."""
        work()
        times, started = 0, time.perf_counter()
        while (spent := time.perf_counter() - started) < SHORTEST_S:
            work()
            times += 1
        note = f"{times * size_bytes / spent / 1e6:.1f} MB/s" if size_bytes else ""
        return self.figure(name, spent / times * 1e6, "µs", note)

    def missed(self) -> list[Figure]:
        """The figures that are not within their bound."""
        return [figure for figure in self.figures if figure.within is False]

    def write(self, path: Path) -> None:
        """Write everything as JSON, with the date and the machine it was measured on."""
        whole = {"format": 1, **machine(), "quick": self.quick, "figures": [asdict(figure) for figure in self.figures]}
        path.write_text(json.dumps(whole, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")

    def _add(self, figure: Figure) -> float:
        self.figures.append(figure)
        verdict = "" if figure.within is None else f"  {'ok' if figure.within else 'MISSED'} ({figure.bound})"
        note = f"  {figure.note}" if figure.note else ""
        print(f"  {figure.name:58} {figure.value:12,.2f} {figure.unit:10}{verdict}{note}", flush=True)
        return figure.value


def machine() -> dict[str, object]:
    """Date, processor count and memory in GiB, kernel architecture and Python of this run."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / (1 << 30)
    return {
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
        "cores": os.cpu_count() or 1,
        "memory_gib": round(memory, 1),
        "architecture": platform.machine(),
        "python": platform.python_version(),
    }
