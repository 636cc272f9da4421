"""Raises alarms and cancels: seals them and hands them to the link before anything else happens.

Rules that hold here:

- One alarm is latched. While it is, ALARM and a fall say again how far it got; an opened case, duress and a low battery
  are told of beside it, because they are news.
- A drill never takes the place of anything, and makes way for whatever is real.
"""

from lapel_protocol.event import ALARM_CANCELLED, ALARM_RAISED
from lapel_protocol.reports import ALARM_DURESS, ALARM_LOW_BATTERY, ALARM_TAMPER, AlarmCancelled, AlarmRaised

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .alarm_control import AlarmControl
    from .battery_watch import BatteryWatch
    from .boards.contract import Board
    from .identity import Identity
    from .keystore import KeyStore
    from .recorder import Recorder
    from .uplink import Uplink


class AlarmCalls:
    """`clip_due`: the clip of the alarm that is latched is to be begun."""

    def __init__(
        self,
        board: "Board",
        identity: "Identity",
        uplink: "Uplink",
        alarm: "AlarmControl",
        battery: "BatteryWatch",
        recorder: "Recorder",
        keys: "KeyStore",
    ) -> None:
        self._board = board
        self._identity = identity
        self._uplink = uplink
        self._alarm = alarm
        self._battery = battery
        self._recorder = recorder
        self._keys = keys
        self._case_was_open = False
        self.clip_due = False

    def raise_alarm(self, kind: int, now_ms: int, flags: int = 0) -> None:
        """Raise an alarm of a kind with ALARM_TEST or no flag, or say again how far the one that is latched got."""
        alarm = self._alarm
        if alarm.latched and (flags or not alarm.test):
            alarm.show_again(now_ms)
        else:
            clip = 0 if flags else self._recorder.clip if self._recorder.active else self._keys.epoch
            counter = self._send(ALARM_RAISED, self._raised(kind, clip, flags), now_ms, bool(flags))
            alarm.raised(self._identity.boot, counter, now_ms, bool(flags))
            self._board.log("alarm %d/%d raised" % (self._identity.boot, counter))
        if not flags:
            self.clip_due = True

    def send_cancel(self, now_ms: int) -> None:
        """The wearer cancels the alarm that is latched."""
        word = AlarmCancelled(self._alarm.boot, self._alarm.counter)
        self._alarm.beside(self._identity.boot, self._send(ALARM_CANCELLED, word.encode(), now_ms))

    def send_duress(self, now_ms: int) -> None:
        """Somebody makes the wearer cancel: an alarm of its own, of which the device shows nothing."""
        self._tell(ALARM_DURESS, now_ms)

    def send_low_battery(self, now_ms: int) -> None:
        """Within a visit: people are told, and nothing is begun that would use it up sooner."""
        self._tell(ALARM_LOW_BATTERY, now_ms)

    def watch_case(self, is_open: bool, now_ms: int) -> None:
        """One alarm for each opening, also while another is latched."""
        if is_open and not self._case_was_open:
            if self._alarm.latched and not self._alarm.test:
                self._tell(ALARM_TAMPER, now_ms)
            else:
                self.raise_alarm(ALARM_TAMPER, now_ms)
        self._case_was_open = is_open

    def _tell(self, kind: int, now_ms: int) -> None:
        clip = self._recorder.clip if self._recorder.active else 0
        self._alarm.beside(self._identity.boot, self._send(ALARM_RAISED, self._raised(kind, clip, 0), now_ms))

    def _raised(self, kind: int, clip: int, flags: int) -> bytes:
        return AlarmRaised(kind, self._battery.percent, clip, flags).encode()

    def _send(self, kind: int, payload: bytes, now_ms: int, drill: bool = False) -> int:
        record = self._identity.seal(kind, payload, now_ms)
        counter: int = self._identity.counter
        self._uplink.publish_alarm(record, now_ms, drill)
        return counter
