"""What a fuzz target is, and what it is judged by.

A target is a function of bytes. It returns whether the input was read (`READ`) or refused (`REFUSED`) and raises for
everything that must not happen:

- any exception that the decoder does not name is a crash;
- `Forged`: something was accepted that no key holder sealed;
- `TooSlow`, `TooMuchMemory`: an input cost more than its length explains.

A target keeps its objects from one input to the next, but no input may change what a later one does; where that cannot
be had for the price (a real ledger), the target's own module says how it starts anew.
"""

from __future__ import annotations

import importlib
import time
import tracemalloc
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn

REFUSED = 0
READ = 1

ROOMS = ("protocol", "records", "device", "card", "gateway", "files", "web", "channels", "technician")
"""Where targets are: `tests/fuzz/<room>_targets.py` has those named `<room>/…`."""

INSTRUMENTED = [
    "lapel_protocol",
    "lapel_device",
    "lapel_gateway",
    "lapel_tools",
]
"""Whose branches libFuzzer sees: ours. Instrumenting the libraries below costs speed and finds their bugs."""

MEASURED_EVERY = 64
"""One input in so many has its memory measured, which makes it several times slower."""

Mutator = Callable[[bytes, int, int], bytes]
"""(input, longest output, random number) -> another input."""


class Finding(Exception):
    """Something that must not happen, beside an exception that nobody named."""

    kind = "crash"


class Forged(Finding):
    """Accepted although no key holder sealed it."""

    kind = "acceptance"


class TooSlow(Finding):
    """One input took more processor time than any may."""

    kind = "hang"


class TooMuchMemory(Finding):
    """One input made more be allocated than its length explains."""

    kind = "memory"


@dataclass
class Built:
    """A target that is ready: its function, its seeds, and how to mutate beside libFuzzer's own way."""

    one: Callable[[bytes], int]
    seeds: Sequence[bytes]
    mutator: Mutator | None = None
    close: Callable[[], None] = lambda: None


@dataclass(frozen=True)
class Target:
    """One row of the table. `share` is its part of all inputs, by what an input costs and what it can reach."""

    name: str
    build: Callable[[Path], Built] = field(repr=False)
    share: float = 1.0
    max_bytes: int = 1200
    cpu_ms: int = 250
    """Processor time that one input may take: far above what any does, far below what an operator would notice."""
    hang_s: int = 20
    """Wall time after which an input that has not come to its end is given up."""
    kib: int = 256
    """Memory that one input may take at once, beside 64 bytes for each of its own."""


TARGETS: dict[str, Target] = {}


def target(
    name: str, *, share: float = 1.0, max_bytes: int = 1200, cpu_ms: int = 250, kib: int = 256, hang_s: int = 20
) -> Callable[[Callable[[Path], Built]], Callable[[Path], Built]]:
    """Enter the decorated function, which makes the target in a scratch folder of its own, as a target."""

    def enter(build: Callable[[Path], Built]) -> Callable[[Path], Built]:
        if name in TARGETS:
            raise ValueError(f"two targets are called {name}")
        TARGETS[name] = Target(name, build, share, max_bytes, cpu_ms, hang_s, kib)
        return build

    return enter


def load(name: str) -> Target:
    """The target of this name; only its room is imported."""
    importlib.import_module(f"tests.fuzz.{name.partition('/')[0]}_targets")
    return TARGETS[name]


def load_all() -> list[Target]:
    """Every target, in the order of the rooms."""
    for room in ROOMS:
        importlib.import_module(f"tests.fuzz.{room}_targets")
    return [one for room in ROOMS for one in TARGETS.values() if one.name.startswith(f"{room}/")]


class Judge:
    """Runs a built target on one input after the other and holds it to its limits."""

    def __init__(self, chosen: Target, built: Built) -> None:
        self._target = chosen
        self._one = built.one
        self._limit_ns = chosen.cpu_ms * 1_000_000
        self.inputs = 0
        self.read = 0
        self.timed = 0
        self.spent_ns = 0
        self.slowest_ns = 0
        self.most_bytes = 0

    def __call__(self, data: bytes) -> None:
        """Judge one input. Raises Finding, or what the target raised."""
        self.inputs += 1
        if self.inputs % MEASURED_EVERY == 0:
            self.measure(data)
            return
        started = time.thread_time_ns()
        self.read += self._one(data)
        spent = time.thread_time_ns() - started
        self.spent_ns += spent
        self.timed += 1
        if spent > self.slowest_ns:
            self.slowest_ns = spent
            if spent > self._limit_ns:
                raise TooSlow(f"{len(data)} bytes took {spent / 1e6:.0f} ms, above {self._target.cpu_ms} ms")

    def measure(self, data: bytes) -> None:
        """Judge one input's memory. Raises Finding, or what the target raised."""
        tracemalloc.start()
        try:
            self.read += self._one(data)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        self.most_bytes = max(self.most_bytes, peak)
        allowed = (self._target.kib << 10) + 64 * len(data)
        if peak > allowed:
            raise TooMuchMemory(f"{len(data)} bytes made {peak} be allocated at once, above {allowed}")


def forged(what: str) -> NoReturn:
    """Raise Forged."""
    raise Forged(what)
