"""`network.WLAN`: access points within reach, passwords, and the time that joining takes. And `network.PPP`.

Status codes are those of the port. `scan` would hold the board for seconds and raises Misuse.
"""

from .clock import clock
from .faults import Misuse
from .uart import UART
from .wiring import wiring

_JOIN_US = 2_500_000
_WRONG_US = 4_000_000
_CODES = {  # idle, connecting, got an address, wrong password, no access point
    "rp2": (0, 1, 3, -3, -2),
    "esp32": (1000, 1001, 1010, 202, 201),
}


class AccessPoint:
    """One network. `up` may change at any time."""

    def __init__(self, password: str, security: str = "wpa2", rssi: int = -60) -> None:
        self.password = password
        self.security = security
        self.rssi = rssi
        self.up = True
        self.deaf = False  # it never answers


class Air:
    """Every access point within reach, by name; `tries` is what stations tried, in order."""

    def __init__(self, **points: AccessPoint) -> None:
        self.points = points
        self.tries: list[str] = []


class WLAN:
    """The station."""

    IF_STA = 0
    IF_AP = 1
    # As the RP2 numbers them
    SEC_OPEN = 0
    SEC_WPA_WPA2 = 4194310
    SEC_WPA3 = 16777220
    SEC_WPA2_WPA3 = 20971524

    def __init__(self, interface: int = 0) -> None:
        if interface != self.IF_STA:
            raise Misuse("only the station is used")
        self._active = False
        self._ssid = ""
        self._key = ""
        self._since_us = -1
        self._security = -1

    def active(self, on: "bool | None" = None) -> bool:
        if on is not None:
            self._active = on
        return self._active

    def connect(self, ssid: str, key: "str | None" = None, **options: int) -> None:
        if (wiring.port == "esp32" and options) or (options and list(options) != ["security"]):
            raise TypeError("extra keyword arguments given")
        if not self._active:
            raise OSError("Wifi Not Started" if wiring.port == "esp32" else 1)
        if wiring.port == "esp32" and self._since_us >= 0:
            raise OSError("Wifi Internal Error")
        self._ssid = ssid
        self._key = key or ""
        self._security = options.get("security", -1)
        self._since_us = clock.now_us
        self._air().tries.append(ssid)

    def disconnect(self) -> None:
        self._since_us = -1

    def isconnected(self) -> bool:
        return self.status() == _CODES[wiring.port][2]

    def status(self, what: "str | None" = None) -> int:
        if what is not None:
            if what != "rssi":
                raise ValueError("unknown status param")
            return self._air().points[self._ssid].rssi if self.isconnected() else 0
        idle, connecting, joined, wrong, absent = _CODES[wiring.port]
        if self._since_us < 0 or not self._active:
            return idle
        point = self._air().points.get(self._ssid)
        took_us = clock.now_us - self._since_us
        if point is None or not point.up:
            return absent if took_us > _JOIN_US else connecting
        if point.deaf:
            return connecting
        if point.password != self._key or not self._accepts(point.security):
            return wrong if took_us > _WRONG_US else connecting
        return joined if took_us > _JOIN_US else connecting

    def _accepts(self, security: str) -> bool:
        return {self.SEC_WPA_WPA2: "wpa2", self.SEC_WPA3: "wpa3"}.get(self._security, security) == security

    def config(self, what: "str | None" = None, **settings: object) -> object:
        return b"\x28\xcd\xc1\x01\x02\x03" if what == "mac" else None

    def scan(self) -> None:
        raise Misuse("a scan holds the board for seconds")

    def _air(self) -> Air:
        air = wiring.part("air")
        if not isinstance(air, Air):
            raise Misuse("no air")
        return air


class PPP:
    """A PPP client over a UART whose modem is in data mode, which is what the peer's `online` says."""

    def __init__(self, stream: UART) -> None:
        self._stream = stream
        self._active = False
        self._since_us = -1
        self.credentials: tuple[str, str] = ("", "")

    def active(self, on: "bool | None" = None) -> bool:
        if on is not None:
            self._active = on
            if not on:
                self._since_us = -1
        return self._active

    def connect(self, *, security: int = 0, user: str = "", key: str = "") -> None:
        if not self._active:
            raise OSError(1)
        self._since_us = clock.now_us
        self.credentials = (user, key)

    def disconnect(self) -> None:
        self._since_us = -1

    def isconnected(self) -> bool:
        online = bool(getattr(self._stream._peer, "online", False))
        return online and self._since_us >= 0 and clock.now_us - self._since_us > _JOIN_US

    def poll(self) -> None:
        """lwIP's ports want it called."""
