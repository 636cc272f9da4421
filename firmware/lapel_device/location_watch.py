"""Reads the GNSS receiver while a visit or an alarm wants it, and says where the device is (SPEC 7.10).

Made when location begins and let go when it ends: outside of a visit and an alarm the receiver is off and not read.
Rules that hold here:

- Only a fix of now is told; without one nothing is.
- A receiver that does not answer is reported once and started again; nothing else suffers from it.
"""

from lapel_protocol.reports import ACCURACY_UNKNOWN

from .nmea import Nmea

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Protocol

    from .boards.contract import Gnss

    class Host(Protocol):
        """What is asked of the device."""

        def send_location(self, latitude: int, longitude: int, accuracy_m: int, age_s: int, now_ms: int) -> bool: ...

        def on_gnss_failed(self) -> None: ...


READ_MS = 100
"""A receiver at 9600 baud fills the 256 bytes that a board keeps for it in a quarter of a second."""
RETRY_MS = 5000
ALARM_MS = 30_000
VISIT_MS = 120_000
_MAX_AGE_MS = 10_000
_BUFFER_BYTES = 128
_READS = 4


class LocationWatch:
    """One stretch of time in which the device may know where it is."""

    def __init__(self, receiver: "Gnss", host: "Host") -> None:
        self._receiver = receiver
        self._host = host
        self._nmea = Nmea()
        self._buffer = memoryview(bytearray(_BUFFER_BYTES))
        self._started = False
        self._reported = False
        self._read_ms = 0
        self._sent_ms = -VISIT_MS
        self._alarm = False

    def stop(self) -> None:
        """Switch the receiver off; it does not matter whether it answers."""
        try:
            self._receiver.stop()
        except OSError:
            return

    def poll(self, alarm: bool, now_ms: int) -> None:
        """Call at least ten times a second. `alarm`: one is latched; a new one is told of at once."""
        if alarm and not self._alarm:
            self._sent_ms = now_ms - VISIT_MS
        self._alarm = alarm
        if now_ms < self._read_ms:
            return
        self._read_ms = now_ms + READ_MS
        nmea = self._nmea
        try:
            if not self._started:
                self._receiver.start()
                self._started = True
            for _ in range(_READS):
                size = self._receiver.readinto(self._buffer)
                if size:
                    nmea.feed(self._buffer[:size], now_ms)
                if size < _BUFFER_BYTES:
                    break
        except OSError:
            self._started = False
            self._read_ms = now_ms + RETRY_MS
            if not self._reported:
                self._reported = True
                self._host.on_gnss_failed()
            return
        age_ms = nmea.age_ms(now_ms)
        if not 0 <= age_ms <= _MAX_AGE_MS or now_ms - self._sent_ms < (ALARM_MS if alarm else VISIT_MS):
            return
        accuracy_m = nmea.accuracy_m or ACCURACY_UNKNOWN
        if self._host.send_location(nmea.latitude, nmea.longitude, accuracy_m, age_ms // 1000, now_ms):
            self._sent_ms = now_ms
