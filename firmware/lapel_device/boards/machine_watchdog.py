"""The chip's watchdog, begun at the first feed: booting may take longer than it waits."""

from machine import WDT

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

_TIMEOUT_MS = 8300
"""The RP2040's longest is 8388 ms."""


class MachineWatchdog:
    """Each feed also does the board's own work that is due (`chore`): rejoining Wi-Fi, for one."""

    def __init__(self, chore: "Callable[[], object]") -> None:
        self._chore = chore
        self._wdt: WDT | None = None

    def feed(self) -> None:
        """See contract.Watchdog."""
        if self._wdt is None:
            self._wdt = WDT(timeout=_TIMEOUT_MS)
        self._wdt.feed()
        self._chore()
