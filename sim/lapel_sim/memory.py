"""Heap measurements of a running device, from what MicroPython itself prints after a collection."""

import re
import threading
from dataclasses import dataclass

_BEGIN = "lapel-heap begin"
_END = "lapel-heap end"
_TOTALS = re.compile(r"GC: total: (\d+), used: (\d+), free: (\d+)")
_LARGEST = re.compile(r"max free sz: (\d+)")
# A garbage collector block is four machine words; the simulated board's words have eight bytes.
_GC_BLOCK_BYTES = 32


@dataclass(frozen=True)
class HeapState:
    """Bytes. `largest_free_bytes` is the largest single allocation that would still succeed."""

    total_bytes: int
    live_bytes: int
    free_bytes: int
    largest_free_bytes: int


class HeapReader:
    """Recognises reports among console lines and lets another thread ask for one. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Condition()
        self._wanted = False
        self._totals: tuple[int, int, int] | None = None
        self._reports = 0
        self.open = False
        self.latest: HeapState | None = None

    def asked(self) -> bool:
        """Whether the device shall report now; asked for once."""
        with self._lock:
            wanted, self._wanted = self._wanted, False
            return wanted

    def take(self, line: str) -> bool:
        """Read one console line; True when it belongs to a report."""
        with self._lock:
            if line == _BEGIN:
                self.open, self._totals = True, None
                return True
            if not self.open:
                return False
            if line == _END:
                self.open = False
                self._reports += 1
                self._lock.notify_all()
                return True
            if found := _TOTALS.search(line):
                self._totals = (int(found[1]), int(found[2]), int(found[3]))
            elif (found := _LARGEST.search(line)) and self._totals is not None:
                total, used, free = self._totals
                self.latest = HeapState(total, used, free, int(found[1]) * _GC_BLOCK_BYTES)
            return True

    def ask(self, timeout_s: float) -> HeapState | None:
        """Ask the device and wait for its answer; None when it does not come."""
        with self._lock:
            before = self._reports
            self._wanted = True
            self._lock.wait_for(lambda: self._reports > before, timeout_s)
            return self.latest if self._reports > before else None


def heap_table(rows: "list[tuple[str, HeapState]]") -> str:
    """A table of phases for people."""
    lines = [f"{'phase':<32}{'live bytes':>12}{'free bytes':>12}{'largest free':>14}"]
    lines.extend(
        f"{name:<32}{state.live_bytes:>12,}{state.free_bytes:>12,}{state.largest_free_bytes:>14,}"
        for name, state in rows
    )
    return "\n".join(lines)
