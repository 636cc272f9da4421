"""Readiness: whether an alarm can be taken and told now, and what speaks against it.

Rules that hold here
- Only what was seen lately counts: rows that the roles write every second, what the channels last did, the disks now.
- What is said may be read by anybody who reaches the address: no name, no place, no path.
- Clips that wait for room are told of and do not make the gateway unready: alarms are taken all the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import sqlalchemy as sa

from lapel_gateway.disk_watch import free_bytes
from lapel_gateway.metrics.deliveries import works
from lapel_gateway.metrics.watched import Watched
from lapel_gateway.progress import Progress, read_progress

NEEDED = ("alarms", "ingest", "deliver")
"""Roles that take alarms, hear devices and tell people."""

LEAST_FREE_BYTES = 16 << 20
"""Free space below which the ledger may not take another alarm."""


@dataclass(frozen=True)
class Check:
    """One thing that has to be well; ``detail`` says what is not, "" for nothing."""

    name: str
    detail: str
    needed: bool = True

    @property
    def well(self) -> bool:
        """Whether nothing speaks against it."""
        return not self.detail


@dataclass(frozen=True)
class Readiness:
    """The outcome of every check."""

    checks: tuple[Check, ...]

    @property
    def ready(self) -> bool:
        """Whether an alarm can be taken and told now."""
        return all(check.well for check in self.checks if check.needed)


def look(connection: sa.Connection, watched: Watched, now_ms: int) -> Readiness:
    """Every check. Raises what the ledger raises when it cannot be read."""
    found = read_progress(connection)
    checks = [_ledger(found.get("web"), now_ms)]
    checks += [Check(role, _role(found.get(role), now_ms)) for role in NEEDED]
    return Readiness((*checks, _broker(found, now_ms), *_disks(watched), _channels(connection, watched)))


def unreadable() -> Readiness:
    """The outcome where the ledger cannot even be read."""
    return Readiness((Check("ledger", "it cannot be read"),))


def _ledger(web: Progress | None, now_ms: int) -> Check:
    # Whoever asks is answered by the web role, so that lives; what it writes about itself grows old only when the
    # ledger does not take it.
    fresh = web is not None and web.fresh(now_ms)
    return Check("ledger", "" if fresh else "nothing can be written to it, or the gateway is just starting")


def _role(progress: Progress | None, now_ms: int) -> str:
    if progress is None:
        return "it does not run"
    if not progress.fresh(now_ms):
        return f"it died or hangs: it came round last {abs(now_ms - progress.turned_ms) // 1000} seconds ago"
    return ""


def _broker(found: Mapping[str, Progress], now_ms: int) -> Check:
    away = [role for role, one in sorted(found.items()) if one.connected is False and one.fresh(now_ms)]
    return Check("broker", f"not connected: {', '.join(away)}" if away else "")


def _disks(watched: Watched) -> list[Check]:
    checks = []
    if watched.data_dir is not None:
        free = _free(watched.data_dir)
        checks.append(Check("disk", "there is no room for the ledger" if free < LEAST_FREE_BYTES else ""))
    if watched.vault_dir is not None and watched.vault_dir.is_dir():
        full = _free(watched.vault_dir) <= watched.reserve_bytes
        checks.append(Check("vault", "clips wait for room; alarms are taken" if full else "", needed=False))
    return checks


def _free(folder: Path) -> int:
    try:
        return free_bytes(folder)
    except OSError:
        return 0


def _channels(connection: sa.Connection, watched: Watched) -> Check:
    if not watched.channels:
        return Check("channels", "none is configured: nobody would be told of an alarm")
    fine, _ = works(connection, watched)
    return Check("channels", "" if fine else "none works: nobody would be told of an alarm")
