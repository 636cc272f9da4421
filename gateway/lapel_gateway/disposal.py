"""Disposal: what was kept as long as the settings say goes, whatever part of the ledger it lies in.

Rules that hold here
- It has a thread of its own in the deliver role, the background process: no alarm and no delivery waits for it.
- What goes, goes in portions, one commit each, with a pause after each in which others write.
- What to delete is the business of the rooms that keep it; how often they are asked is said here.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

import sqlalchemy as sa
import structlog

from lapel_gateway.devices import health
from lapel_gateway.settings.visits import VisitsSection
from lapel_gateway.visits import disposal as visits

LOOK_S = 3600.0
"""How often what was kept long enough is looked for."""

PAUSE_S = 0.5
"""Between two portions."""

RETRY_S = 60.0
"""Until the next look where the ledger could not be used."""

STOP_S = 5.0

_log = structlog.get_logger("lapel.disposal")


class Disposal:
    """Deletes what was kept long enough, by ``rules`` what belongs to visits, until it is stopped."""

    def __init__(self, engine: sa.Engine, rules: VisitsSection, now_ms: Callable[[], int]) -> None:
        self._engine = engine
        self._rules = rules
        self._now_ms = now_ms
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="disposal", daemon=True)

    def start(self) -> None:
        """Begin; returns at once."""
        self._thread.start()

    def stop(self) -> None:
        """End after the portion under way, in bounded time."""
        self._ended.set()
        self._thread.join(STOP_S)

    def portion(self) -> bool:
        """Delete a portion of everything that is due; whether there may be more. Raises what the ledger raises."""
        now_ms = self._now_ms()
        more = visits.dispose(self._engine, self._rules, now_ms).more
        return health.dispose(self._engine, now_ms).more or more

    def _run(self) -> None:
        wait_s = 0.0
        while not self._ended.wait(wait_s):
            try:
                wait_s = PAUSE_S if self.portion() else LOOK_S
            except sa.exc.SQLAlchemyError as error:
                wait_s = RETRY_S
                _log.error("nothing is disposed of now", reason=str(error).partition("\n")[0], again_in_s=wait_s)
            except Exception:  # noqa: BLE001 - were this thread to end, positions would be kept for ever
                wait_s = RETRY_S
                _log.exception("internal error", part="disposal")
