"""A Wi-Fi station that keeps itself joined to the first of its networks that is there, without ever waiting.

Rules that hold here:

- `poll` looks at the radio a few times a second and does one step; nothing scans: that would hold the board for
  seconds.
- The networks are tried in their order; after a whole round in vain there is a pause, doubled each time up to a minute.
- A lost network is looked for at once, from the most preferred one on.
- What is logged is the number of a network, never its name or password, and each kind of failure once until one worked.
"""

from time import ticks_add, ticks_diff, ticks_ms  # type: ignore[attr-defined,unused-ignore]

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from network import WLAN

    from .wifi_networks import Network

LOOK_MS = 250
JOIN_MS = 15_000
PAUSE_MS = 2000
MAX_PAUSE_MS = 60_000

_IDLE = 0
_JOINING = 1
_JOINED = 2
_PAUSED = 3


class WifiStation:
    """`joined`: the number of the network that it is in, from 1; 0 = none. `told`: what has failed since it was last
    joined, a line each.
    """

    def __init__(self, wlan: "WLAN", networks: "list[Network]", log: "Callable[[str], None]") -> None:
        self._wlan = wlan
        self._networks = networks
        self._log = log
        self._state = _IDLE
        self._since = ticks_ms()
        self._looked = ticks_add(self._since, -LOOK_MS)
        self._at = 0
        self._pause_ms = PAUSE_MS
        self.told = ""
        self.joined = 0

    @property
    def up(self) -> bool:
        """Whether a network is joined."""
        return self._state == _JOINED

    def rssi(self) -> int:
        """Signal in dBm, 0 when no network is joined."""
        if not self.up:
            return 0
        try:
            return self._wlan.status("rssi")
        except (OSError, ValueError):
            return 0

    def poll(self) -> None:
        """One step; call as often as you like. Never raises."""
        now = ticks_ms()
        if not self._networks or ticks_diff(now, self._looked) < LOOK_MS:
            return
        self._looked = now
        try:
            self._step(now)
        except OSError as error:
            self._tell("the radio does not answer: %s" % error)
            self._next(now)

    def _step(self, now: "Any") -> None:
        if self._state == _IDLE:
            self._join(now)
        elif self._state == _PAUSED:
            if ticks_diff(now, self._since) >= self._pause_ms:
                self._pause_ms = min(2 * self._pause_ms, MAX_PAUSE_MS)
                self._join(now)
        elif self._wlan.isconnected():
            if self._state != _JOINED:
                self._state = _JOINED
                self.joined = self._at + 1
                self._pause_ms = PAUSE_MS
                self.told = ""
                self._log("Wi-Fi network %d joined" % self.joined)
        elif self._state == _JOINED:
            self._log("Wi-Fi network %d lost" % self.joined)
            self.joined = 0
            self._at = 0
            self._join(now)
        else:
            self._joining(now)

    def _joining(self, now: "Any") -> None:
        """Nothing yet: the port says why not, or time runs out."""
        import network

        status = self._wlan.status()
        if status == network.STAT_WRONG_PASSWORD:
            self._tell("Wi-Fi network %d: wrong password" % (self._at + 1))
        elif status == network.STAT_NO_AP_FOUND:
            self._tell("Wi-Fi network %d: not within reach" % (self._at + 1))
        elif status < 0 or 200 <= status < 300 or ticks_diff(now, self._since) >= JOIN_MS:
            self._tell("Wi-Fi network %d: does not let us in (%d)" % (self._at + 1, status))
        else:
            return
        self._next(now)

    def _next(self, now: "Any") -> None:
        self._disconnect()
        self._at += 1
        self._state = _IDLE  # the next look joins: what a radio raises stays within `poll`
        if self._at < len(self._networks):
            return
        self._at = 0
        self._state = _PAUSED
        self._since = now

    def _join(self, now: "Any") -> None:
        wlan = self._wlan
        self._state = _JOINING
        self._since = now
        if not wlan.active():
            wlan.active(True)
        self._disconnect()
        name, password, security = self._networks[self._at]
        code = _security(wlan, security)
        if code is not None:
            for keyword in ("security", "auth"):  # the second is what older versions called it
                option: dict[str, Any] = {keyword: code}
                try:
                    wlan.connect(name, password, **option)
                    return
                except TypeError:
                    continue
        wlan.connect(name, password)  # a port that finds it out by itself

    def _disconnect(self) -> None:
        try:
            self._wlan.disconnect()
        except OSError:
            return

    def _tell(self, what: str) -> None:
        if what not in self.told:
            self.told += what + "\n"
            self._log(what)


def _security(wlan: "WLAN", wanted: str) -> "int | None":
    """The port's code for a security that is to be insisted on, None where it may choose."""
    names = {"wpa3": ("SEC_WPA3",), "wpa2": ("SEC_WPA2", "SEC_WPA_WPA2")}.get(wanted, ())
    for name in names:
        code = getattr(wlan, name, None)
        if code is not None:
            return int(code)
    return None
