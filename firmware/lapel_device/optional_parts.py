"""The parts that a device has only when they are wanted: man-down, sequences of RECORD, visits, location, updates.

Rules that hold here:

- Each is imported when it is first wanted, so that a device without it has its heap for other things. Garbage is
  collected before, so that what stays lies close together and leaves large blocks free.
- None of them stops an alarm: what fails, or finds no memory, is complained of and tried again.
"""

import gc

from lapel_protocol.clip import TRUST_GATEWAY
from lapel_protocol.command import UPDATE_OFFER

from . import gestures
from .slots import SLOT_ROM

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Protocol

    from lapel_protocol.orders import VisitState

    from .alarm_calls import AlarmCalls
    from .alarm_control import AlarmControl
    from .boards.contract import Board
    from .configuration import Config
    from .feedback import Feedback
    from .gestures import Gestures
    from .identity import Identity
    from .journal import Journal
    from .location_watch import LocationWatch
    from .motion_watch import MotionWatch
    from .pin import PinEntry
    from .settings import Settings
    from .slots import Running
    from .update_control import UpdateControl
    from .uplink import Uplink
    from .visit_control import VisitControl

    class Host(Protocol):
        """The application, as these parts see it."""

        def report(self, kind: int, payload: bytes, now_ms: int) -> None: ...

        def complain(self, what: str) -> None: ...

        @property
        def resting(self) -> bool: ...

        def on_man_down(self, now_ms: int) -> None: ...

        def on_accelerometer_failed(self, now_ms: int) -> None: ...


class OptionalParts:
    """`visits` and the others are None while they are not wanted. `release`: what this device runs, as a hello tells
    it, empty where firmware is not in slots.
    """

    def __init__(
        self,
        board: "Board",
        display: "Feedback",
        reader: "Gestures",
        settings: "Settings",
        identity: "Identity",
        journal: "Journal",
        uplink: "Uplink",
        alarm: "AlarmControl",
        calls: "AlarmCalls",
        host: "Host",
    ) -> None:
        self._board = board
        self._display = display
        self._reader = reader
        self._settings = settings
        self._identity = identity
        self._journal = journal
        self._uplink = uplink
        self._alarm = alarm
        self._calls = calls
        self._host = host
        self.visits: VisitControl | None = None
        self._pin: PinEntry | None = None
        self._motion: MotionWatch | None = None
        self._motion_part = b""
        self._place: LocationWatch | None = None
        self._no_gnss = False
        self._low_battery = False
        self._running: Running | None = None
        self._update: UpdateControl | None = None
        self.release = b""

    def begin(self, config: "Config", running: "Running | None", now_ms: int) -> None:
        """What this device was provisioned with, the visit that a restart interrupted, and the trial of a release."""
        if running is not None:
            self._tell_running(running)
            self._use_update()
        if config.cancel_pin or config.duress_pin:
            gc.collect()
            from .pin import PinEntry

            self._pin = PinEntry(config.cancel_pin, config.duress_pin, self._alarm, self._calls)
        try:
            sizes = [self._board.storage.size("/visit.0"), self._board.storage.size("/visit.1")]
        except OSError:
            return
        if max(sizes) >= 0:
            self._use_visits(now_ms)

    def take(self, found: int, mask: int, at_ms: int, now_ms: int) -> int:
        """The gestures of a sample of the buttons, as they were at `at_ms`; returns those that are left for others."""
        motion = self._motion
        if motion is not None:
            motion.buttons(mask, at_ms, now_ms)
            if motion.swallows(at_ms):
                found &= gestures.ALARM_HOLD
        if self._pin is not None and self._alarm.latched:
            found = self._pin.take(found, bool(mask), at_ms, now_ms)
        visits = self.visits
        if visits is not None:
            if found & gestures.RECORD_DOUBLE:
                visits.double_press(self._wall_ms(now_ms), now_ms)
            elif found & gestures.RECORD_TRIPLE:
                visits.triple_press(now_ms)
            elif found & gestures.RECORD_DOUBLE_HOLD:
                visits.double_hold(now_ms)
            found &= ~(gestures.RECORD_DOUBLE | gestures.RECORD_TRIPLE | gestures.RECORD_DOUBLE_HOLD)
        return found

    def poll(self, now_ms: int) -> None:
        """Call every 10 to 20 ms."""
        if self._motion is not None:
            self._motion.poll(now_ms)
        visit = self.visits.number if self.visits is not None else 0
        if self._place is not None:
            self._place.poll(visit, now_ms)
        if self._update is not None:
            # A visit counts from the wearer's word on, also where the gateway has not given it a number yet.
            in_visit = self.visits is not None and self.visits.active
            alert = self._motion is not None and self._motion.alert
            busy = not self._host.resting or self._alarm.latched or in_visit or alert or self._low_battery
            self._update.poll(busy, now_ms)

    def housekeep(self, low_battery: bool, now_ms: int) -> None:
        """Call once a second."""
        self._low_battery = low_battery
        if self._update is None and self._running is not None and self._running[1]:
            self._use_update()  # a trial that found no memory at its start has to be settled all the same
        update = self._update
        if update is not None:
            if self._running is not None and self._running[1] and not update.trial:
                self._tell_running(self._running[:1] + (False,) + self._running[2:])
            if update.over:
                self._update = None
        try:
            self._watch_motion()
        except (OSError, MemoryError):
            self._host.complain("the accelerometer cannot be used now")
        if self.visits is not None:
            self.visits.poll(self._wall_ms(now_ms), low_battery, now_ms)
            try:
                self.visits.keep()
            except OSError:
                self._host.complain("the visit cannot be kept")
        try:
            self._watch_place()
        except MemoryError:
            self._host.complain("no memory for location now")

    def told_visit(self, visit: "VisitState", now_ms: int) -> None:
        """The gateway's word about the visit."""
        self._use_visits(now_ms)
        if self.visits is not None:
            self.visits.told(visit, now_ms)

    def told_update(self, kind: int, payload: bytes, now_ms: int) -> None:
        """The gateway's word about an update; of no use where firmware is not in slots."""
        if self._update is None and kind == UPDATE_OFFER:
            self._use_update()
        if self._update is not None:
            self._update.told(kind, payload, now_ms)

    def receipted(self, boot: int, counter: int) -> None:
        """The gateway has this event."""
        if self.visits is not None:
            self.visits.receipted(boot, counter)

    def _use_visits(self, now_ms: int) -> None:
        if self.visits is not None:
            return
        try:
            gc.collect()
            from .visit_control import VisitControl

            storage = self._board.storage
            visits = VisitControl(self._display, storage, self._identity, self._journal, self._calls, self._host)
            visits.load(now_ms)
        except MemoryError:
            self._host.complain("no memory for visits now")
            return
        except OSError:
            self._host.complain("the visit cannot be read")
        self.visits = visits
        self._reader.defer_single = True

    def _tell_running(self, running: "Running") -> None:
        from lapel_protocol.updating import RELEASE_FIXED, RELEASE_TRIAL, RunningRelease

        self._running = running
        flags = RELEASE_FIXED if running[0] == SLOT_ROM else RELEASE_TRIAL if running[1] else 0
        self.release = RunningRelease(running[2], running[3], flags, running[4]).encode()

    def _use_update(self) -> None:
        running = self._running
        if running is None or running[0] == SLOT_ROM:
            return
        storage = self._board.slots()
        if storage is None:
            return
        try:
            from .update_control import UpdateControl

            self._update = UpdateControl(self._board, storage, self._identity, self._uplink, running, self._host)
        except MemoryError:
            self._host.complain("no memory for an update now")

    def _wall_ms(self, now_ms: int) -> int:
        """Unix milliseconds by the gateway's clock, 0 without it."""
        wall_ms, trust = self._identity.time.wall(now_ms)
        return wall_ms if trust == TRUST_GATEWAY else 0

    def _watch_motion(self) -> None:
        """Put the settings of man-down in force. Not in a warning, which nothing but the wearer may end."""
        settings = self._settings.current
        motion = self._motion
        part = settings.man_down_part()
        if part == self._motion_part or (motion is not None and motion.warning):
            return
        if motion is not None:
            motion.stop()
            self._motion = None
        if settings.man_down or settings.no_movement_min:
            sensor = self._board.accelerometer()
            if sensor is None:
                self._board.log("man-down is wanted, but there is no accelerometer")
            else:
                gc.collect()
                from .motion_watch import MotionWatch

                self._motion = MotionWatch(sensor, settings, self._display, self._host)
        self._motion_part = part

    def _watch_place(self) -> None:
        """Location begins and ends with a visit or an alarm."""
        if not (self._alarm.latched or (self.visits is not None and self.visits.number)):
            if self._place is not None:
                self._place.stop()
                self._place = None
        elif self._place is None and not self._no_gnss:
            gc.collect()
            receiver = self._board.gnss()
            self._no_gnss = receiver is None
            if receiver is not None:
                from .location_watch import LocationWatch

                self._place = LocationWatch(receiver, self._board, self._identity, self._uplink, self._alarm)
