"""Wall time and how far it can be believed (SPEC section 8.4).

Time is monotonic milliseconds since boot plus an offset; a step of the offset touches no timer. Before the first TLS
handshake of a cold start the real-time clock is raised to the later of the firmware's build time and the last time
stored, or certificate checks would fail for ever.
"""

import struct

from lapel_protocol.clip import TRUST_GATEWAY, TRUST_NONE, TRUST_NTP, TRUST_RTC
from lapel_protocol.crypto import crc32

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .boards.contract import Clock, Storage

STORE_INTERVAL_MS = 3_600_000  # one small write an hour; bounds how far a cold start is behind
MAX_WALL_MS = 4_102_444_800_000  # year 2100: a time beyond it is an error of the sender
_PATHS = ("/time.0", "/time.1")  # written alternately: a cut write costs an hour, never both


class Timekeeper:
    """The device's clock. `trust` is one of the protocol's TRUST_* values."""

    def __init__(self, clock: "Clock", storage: "Storage", build_ms: int) -> None:
        self._clock = clock
        self._storage = storage
        self._build_ms = build_ms
        self._offset_ms = 0
        self._stored_at_ms = 0
        self._turn = 0
        self.trust = TRUST_NONE

    def boot(self, now_ms: int) -> None:
        """Take the real-time clock, or the floor when it is behind or unset; sets the real-time clock for TLS."""
        floor = self._build_ms
        for turn in range(2):
            stored = self._load(turn)
            if stored > floor:
                floor = stored
                self._turn = 1 - turn
        rtc = self._clock.rtc_ms()
        if floor <= rtc < MAX_WALL_MS:
            self._offset_ms = rtc - now_ms
            self.trust = TRUST_RTC
        else:
            self._offset_ms = floor - now_ms
            self.trust = TRUST_NONE
            self._clock.set_rtc_ms(floor)
        self._stored_at_ms = now_ms

    def wall(self, now_ms: int) -> "tuple[int, int]":
        """(Unix milliseconds, trust) at monotonic `now_ms`; with TRUST_NONE the time is a floor, not an estimate."""
        return now_ms + self._offset_ms, self.trust

    def adopt(self, wall_ms: int, now_ms: int, trust: int = TRUST_GATEWAY) -> bool:
        """Take a time from the gateway, or from NTP with TRUST_NTP; False when it is refused.

        Refused are times before the firmware was built or after 2100, and NTP once the gateway has spoken in this boot.
        The caller has checked the round trip (limits.TIME_ROUND_TRIP_MS).
        """
        if not self._build_ms <= wall_ms < MAX_WALL_MS or (trust == TRUST_NTP and self.trust == TRUST_GATEWAY):
            return False
        first = self.trust != trust
        self._offset_ms = wall_ms - now_ms
        self.trust = trust
        self._clock.set_rtc_ms(wall_ms)
        if first:
            self._stored_at_ms = now_ms - STORE_INTERVAL_MS
        return True

    def poll(self, now_ms: int) -> None:
        """Store the time when it is believable and an hour has passed. Storage errors are left to the next hour."""
        if self.trust < TRUST_NTP or now_ms - self._stored_at_ms < STORE_INTERVAL_MS:
            return
        self._stored_at_ms = now_ms
        body = struct.pack(">Q", now_ms + self._offset_ms)
        try:
            file = self._storage.open(_PATHS[self._turn], "wb")
            try:
                file.write(body + struct.pack(">I", crc32(body)))
            finally:
                file.close()
        except OSError:
            return
        self._turn = 1 - self._turn

    def _load(self, turn: int) -> int:
        """The time stored in one of the two files, or 0."""
        try:
            file = self._storage.open(_PATHS[turn], "rb")
            try:
                data = file.read(12)
            finally:
                file.close()
        except OSError:
            return 0
        if len(data) != 12:
            return 0
        wall, crc = struct.unpack(">QI", data)
        return wall if crc == crc32(data[:8]) and wall < MAX_WALL_MS else 0
