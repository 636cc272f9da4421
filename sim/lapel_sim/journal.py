"""The world's journal: everything that the world gave and saw, written down as it happens.

It is made without the product's help, so tests compare what the product says against it. One JSON object a line; every
line has `at_ms` (the host's monotonic clock), `unix_ms`, `kind`, and for a device's lines `device` and `ticks_ms` (that
device's own clock).
"""

import json
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from .hosttime import host_ms

Entry = dict[str, Any]


class Journal:
    """Append-only list of entries, on disk and in memory; waiting threads wake at every entry. Thread-safe."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = path.open("a", encoding="utf-8", buffering=1)
        self._entries: list[Entry] = []
        self._changed = threading.Condition()
        self._watcher: Callable[[Entry], None] | None = None

    def watch(self, watcher: Callable[[Entry], None] | None) -> None:
        """Call `watcher` with every further entry, on the thread that writes it (for narration)."""
        self._watcher = watcher

    def write(self, kind: str, **fields: Any) -> None:
        """Add one entry. Fields must fit JSON."""
        entry: Entry = {"at_ms": host_ms(), "unix_ms": time.time_ns() // 1_000_000, "kind": kind, **fields}
        with self._changed:
            if self._file.closed:
                return  # a device's last words while the world is being taken down
            self._entries.append(entry)
            self._file.write(json.dumps(entry, separators=(",", ":")) + "\n")
            self._changed.notify_all()
        if self._watcher is not None:
            self._watcher(entry)

    def entries(self, kind: str | None = None, device: str | None = None, since: int = 0, **fields: Any) -> list[Entry]:
        """Entries that match, oldest first. `since`: the index (a `len(journal)`) to start from."""
        with self._changed:
            chosen = self._entries[since:]
        return [
            entry
            for entry in chosen
            if (kind is None or entry["kind"] == kind)
            and (device is None or entry.get("device") == device)
            and all(entry.get(name) == value for name, value in fields.items())
        ]

    def __len__(self) -> int:
        with self._changed:
            return len(self._entries)

    def wait(self, timeout_s: float) -> None:
        """Return at the next entry, or after `timeout_s`."""
        with self._changed:
            self._changed.wait(timeout_s)

    def close(self) -> None:
        with self._changed:
            self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
