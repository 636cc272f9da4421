"""What carries the link: Wi-Fi first, the modem when Wi-Fi has been away for a while.

Rules that hold here: the modem is dialled after AWAY_MS without Wi-Fi and hung up after BACK_MS with it, so that a
doorway does not make it dial; both are looked after whenever the link is asked for and at every feed of the watchdog.
"""

from time import ticks_diff, ticks_ms  # type: ignore[attr-defined,unused-ignore]

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .ppp_modem import PppModem
    from .wifi import WifiStation

AWAY_MS = 20_000
BACK_MS = 60_000


class Bearers:
    """`modem` is None where there is none."""

    def __init__(self, wifi: "WifiStation", modem: "PppModem | None") -> None:
        self.wifi = wifi
        self.modem = modem
        self._was_up = False
        self._since = ticks_ms()

    def is_up(self) -> bool:
        """Whether one of them carries now."""
        self.poll()
        return self.wifi.up or (self.modem is not None and self.modem.up)

    def poll(self) -> None:
        """Let each take a step. Never raises."""
        self.wifi.poll()
        modem = self.modem
        if modem is None:
            return
        now = ticks_ms()
        if self.wifi.up != self._was_up:
            self._was_up = self.wifi.up
            self._since = now
        if ticks_diff(now, self._since) >= (BACK_MS if self._was_up else AWAY_MS):
            modem.want(not self._was_up)
        modem.poll()
