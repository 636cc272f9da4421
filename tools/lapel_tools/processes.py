"""What processes of this machine have cost: processor time and the most memory they held, from Linux's /proc."""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Usage:
    """Of a process, or of several together."""

    cpu_s: float = 0.0
    peak_mib: float = 0.0
    """Resident memory at its highest."""

    def __add__(self, other: Usage) -> Usage:
        return Usage(self.cpu_s + other.cpu_s, self.peak_mib + other.peak_mib)

    def __sub__(self, earlier: Usage) -> Usage:
        """The processor time since then, and the peak as it is."""
        return Usage(self.cpu_s - earlier.cpu_s, self.peak_mib)


def usage(process: int) -> Usage:
    """Of a process by itself; nothing of one that has ended."""
    try:
        fields = _stat(process)
        status = Path(f"/proc/{process}/status").read_text(encoding="ascii", errors="replace")
    except (OSError, IndexError):
        return Usage()
    peak_kib = next((int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM:")), 0)
    return Usage((int(fields[11]) + int(fields[12])) / _TICKS, peak_kib / 1024)


def tree(process: int) -> list[int]:
    """A process and those that descend from it, as far as they are alive."""
    parents: dict[int, list[int]] = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            with contextlib.suppress(OSError, IndexError):
                parents.setdefault(int(_stat(int(folder.name))[1]), []).append(int(folder.name))
    found = [process]
    for one in found:
        found += parents.get(one, [])
    return found


def _stat(process: int) -> list[str]:
    """The fields of /proc/PID/stat from the third on."""
    # The name in parentheses may hold anything; what follows it is numbers.
    return Path(f"/proc/{process}/stat").read_text(encoding="ascii", errors="replace").rsplit(")", 1)[1].split()
