"""Reads the GNSS receiver while a visit or an alarm wants it, and says where the device is (SPEC 7.10).

Made when location begins and let go when it ends: outside of a visit and an alarm the receiver is off and not read.
Rules that hold here:

- Only a fix of now is told; without one nothing is.
- A receiver that does not answer is reported once and started again; nothing else suffers from it.
"""

from lapel_protocol.event import LOCATION
from lapel_protocol.reports import ACCURACY_UNKNOWN, Location

from .nmea import Nmea

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .alarm_control import AlarmControl
    from .boards.contract import Board, Gnss
    from .identity import Identity
    from .uplink import Uplink


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

    def __init__(
        self, receiver: "Gnss", board: "Board", identity: "Identity", uplink: "Uplink", alarm: "AlarmControl"
    ) -> None:
        self._receiver = receiver
        self._board = board
        self._identity = identity
        self._uplink = uplink
        self._alarm = alarm
        self._nmea = Nmea()
        self._buffer = memoryview(bytearray(_BUFFER_BYTES))
        self._started = False
        self._reported = False
        self._read_ms = 0
        self._sent_ms = -VISIT_MS
        self._in_alarm = False

    def stop(self) -> None:
        """Switch the receiver off; it does not matter whether it answers. What was not sent yet never is."""
        self._uplink.publish_fleeting(b"")
        try:
            self._receiver.stop()
        except OSError:
            return

    def poll(self, visit: int, now_ms: int) -> None:
        """Call at least ten times a second. `visit`: the one that the wearer is in, 0 = none."""
        alarm = self._alarm.latched
        if alarm and not self._in_alarm:
            self._sent_ms = now_ms - VISIT_MS  # an alarm does not wait for the next turn of its visit
        self._in_alarm = alarm
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
                self._board.log("the GNSS receiver does not answer")
            return
        age_ms = nmea.age_ms(now_ms)
        if not 0 <= age_ms <= _MAX_AGE_MS or now_ms - self._sent_ms < (ALARM_MS if alarm else VISIT_MS):
            return
        if not (alarm or visit) or not self._uplink.welcomed:
            return
        self._sent_ms = now_ms
        boot, counter = (self._alarm.boot, self._alarm.counter) if alarm else (0, 0)
        accuracy_m = nmea.accuracy_m or ACCURACY_UNKNOWN
        place = Location(nmea.latitude, nmea.longitude, accuracy_m, age_ms // 1000, boot, counter, visit)
        self._uplink.publish_fleeting(self._identity.seal(LOCATION, place.encode(), now_ms))
