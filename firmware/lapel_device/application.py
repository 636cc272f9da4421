"""The device: buttons, notice, recording, alarm, link and feedback put together, without I/O of its own.

The runtime, and the seeded fault suite in its place, calls `boot` once and then `sample_buttons`, `frame`, `audio` and
`poll` with the time. Rules that hold here:

- An alarm is sealed and handed to the link before the ratchet steps, a clip is opened, or anything is written. Its
  clip starts in the following poll.
- Nothing that fails in storage, battery or camera stops the alarm, and nothing at all raises to the runtime but
  what is a defect.
- A poll does one bounded piece of slow work at most: settle a piece of a cut clip, or wrap one seed ahead; never
  the latter while recording.
- Watching for man-down is imported and made only while a setting asks for it.
- A device that is not provisioned, or has lost its keys, says so and does nothing else.
- A board with neither camera nor microphone records nothing: RECORD is refused, and its alarms promise no clip.
"""

import sys

from lapel_protocol import alarm as alarms
from lapel_protocol import command as commands
from lapel_protocol import recording
from lapel_protocol.event import ALARM_RAISED, CLIP_CUT, PROBE
from lapel_protocol.orders import WANT_END
from lapel_protocol.reports import (
    ALARM_MAN_DOWN,
    ALARM_PANIC,
    ALARM_TEST,
    EPOCH_BOOT,
    HEART_RECORDING,
    HEART_STORAGE_FULL,
    ClipCut,
    Probe,
)

from . import feedback, gestures
from .alarm_calls import AlarmCalls
from .alarm_control import AlarmControl
from .battery_watch import BatteryWatch
from .epochs import EpochLedger
from .feedback import Feedback
from .gestures import Gestures
from .identity import Identity
from .journal import Journal
from .keystore import MARK_BOOT, KeyStore, KeyStoreFault, KeyStoreLost
from .optional_parts import OptionalParts
from .recorder import Recorder
from .recording_control import RecordingControl
from .seeds import Seeds
from .settings import ConfigError, Settings
from .spool import Spool
from .storage_guard import StorageGuard
from .timekeeper import Timekeeper
from .uplink import ONLINE, LinkConfig, Uplink

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from lapel_protocol.reports import Heartbeat, Hello

    from .boards.contract import Board, TlsIdentity
    from .configuration import Config
    from .slots import Running
    from .spool import SpoolClip

FIRMWARE = (0, 1, 0)

NO_LINK_MS = 15_000
"""Without the gateway's answer for this long the wearer is told: longer than one reconnection takes."""

_PACKAGE = "lapel_device"
_CONFIGURATION = "lapel_device.configuration"
_HOUSEKEEPING_MS = 1000
_STAGE_AGAIN_MS = 5000


class Status:
    """A moment of the device, for logs and tests. States are those of lapel_protocol.recording and .alarm."""

    def __init__(self) -> None:
        self.fault = ""
        self.boot = 0
        self.recording = recording.IDLE
        self.clip = 0
        self.frames = 0
        self.dropped = 0
        self.alarm = alarms.QUIET
        self.alarm_boot = 0
        self.alarm_counter = 0
        self.events_held = 0
        self.online = False
        self.welcomed = False
        self.clips_held = 0
        self.free_bytes = 0
        self.battery_percent = 0


class Application:
    """One boot of one device. `fault` says why the device cannot work; empty while it can. Seeds are wrapped ahead
    from `stage_ms` on. `running`: what the loader chose, None where firmware is not in slots.
    """

    def __init__(self, board: "Board", running: "Running | None" = None) -> None:
        self._board = board
        self._running = running
        self._display = Feedback(board.indicator)
        self._gestures = Gestures()
        self._records = bool(board.profile.frame_width or board.profile.audio_rate_hz)
        self._ready = False
        self._mask = 0
        self._case_open = False
        self.fault = ""

    # -- boot -------------------------------------------------------------------------------------------------------

    def boot(self, now_ms: int) -> None:
        """Load keys and settings, consume this boot's epoch, and take up what the boot before left."""
        from . import configuration

        storage = self._board.storage
        try:
            config = configuration.load_config(storage)
            self._boot(config, configuration.load_tls(config, storage), now_ms)
        except (ConfigError, KeyStoreLost, KeyStoreFault) as error:
            self._fail(str(error), now_ms)
        except OSError as error:
            self._fail("storage does not answer: %s" % error, now_ms)
        # Its reader is not needed again before the next boot, and gives its heap back.
        del configuration
        sys.modules.pop(_CONFIGURATION, None)
        if hasattr(sys.modules[_PACKAGE], "configuration"):
            delattr(sys.modules[_PACKAGE], "configuration")

    def _fail(self, fault: str, now_ms: int) -> None:
        self.fault = fault
        self._display.show(feedback.ERROR, now_ms)
        self._board.log("out of service: %s" % fault)

    def _boot(self, config: "Config", tls: "TlsIdentity | None", now_ms: int) -> None:
        board = self._board
        self._keystore = KeyStore(board.sectors)
        self._keystore.load()
        self._time = Timekeeper(board.clock, board.storage, config.build_ms)
        self._time.boot(now_ms)
        self._settings = Settings(board.storage, config.settings)
        self._settings.load()
        self._spool = Spool(board.storage, config.device, board.profile.sync_segments)
        self._journal = Journal(board.storage, self._spool.scratch)
        self._ledger = EpochLedger(board.storage)
        self._scan()
        epoch = self._keystore.step(MARK_BOOT, board.entropy(32), board.clock.ticks_ms())
        self._ledger.add(epoch.number, EPOCH_BOOT)
        self._identity = Identity(config.device, epoch, self._time)
        self._seeds = Seeds(board, epoch.pool, config.modulus)
        self._guard = StorageGuard(board.storage, self._spool, board.profile)
        self._battery = BatteryWatch(board.battery)
        self._alarm = AlarmControl(self._display, board.storage)
        link = LinkConfig(config.host, config.port, tls)
        self._uplink = Uplink(
            board, self._identity, self._keystore, self._spool, self._journal, self._ledger, link, self
        )
        self._recorder = Recorder(board, self._identity, config.key_id, self._keystore, self._spool, self._ledger)
        self._recording = RecordingControl(
            self._recorder, self._seeds, self._guard, self._spool, self._settings, self._display, self
        )
        keys: Any = self._keystore
        if not self._records:
            from .boards.no_parts import NoClips

            keys = NoClips()
        self._calls = AlarmCalls(board, self._identity, self._uplink, self._alarm, self._battery, self._recorder, keys)
        self._parts = OptionalParts(
            board,
            self._display,
            self._gestures,
            self._settings,
            self._identity,
            self._journal,
            self._uplink,
            self._alarm,
            self._calls,
            self,
        )
        self._tamper = config.tamper
        self._gestures.drills = config.drills
        self._probed = False
        self.stage_ms = 0
        self._storage_complained = False
        self._source_complained = False
        self._answered_ms = now_ms
        self._housekeeping_ms = now_ms
        self._apply_settings()
        self._latch_again(now_ms)
        self._parts.begin(config, self._running, now_ms)
        self._ready = True
        board.log("boot %d of %s" % (epoch.number, config.device.hex()))

    def _scan(self) -> None:
        """What storage holds; a medium that does not answer costs the clips on it, not the alarm."""
        for part in (self._spool.scan, self._journal.load):
            try:
                part()
            except OSError as error:
                self._board.log("storage does not answer: %s" % error)
        self._ledger.load(self._keystore, self._spool.has)

    def _latch_again(self, now_ms: int) -> None:
        """An alarm of an earlier boot stays latched; one that never reached its latch file is still in the journal."""
        try:
            found = self._alarm.load(now_ms)
        except OSError:
            found = False
            self.complain("the alarm's latch cannot be read")
        for row in range(0 if found else self._journal.count):
            kind, boot, counter = self._journal.describe(row)
            if kind == ALARM_RAISED and not self._alarm.is_beside(boot, counter):
                self._alarm.raised(boot, counter, now_ms, self._journal.is_drill(row))
        self._display.silent = self._alarm.latched and bool(self._settings.current.silent)

    # -- what the runtime brings ------------------------------------------------------------------------------------

    @property
    def wants_camera(self) -> bool:
        """Whether frames are to be captured now."""
        return self._ready and self._recording.recording and self._board.profile.frame_width > 0

    @property
    def wants_audio(self) -> bool:
        """Whether samples are to be taken now."""
        return self._ready and self._recording.recording and self._recorder.audio_rate_hz > 0

    @property
    def frame_interval_ms(self) -> int:
        """Aim between two frames: the setting, or else the board's own."""
        wanted: int = self._settings.current.frame_interval_ms if self._ready else 0
        return wanted or self._board.profile.frame_interval_ms

    def sample_buttons(self, mask: int, at_ms: int, now_ms: int) -> None:
        """The raw levels of the buttons, every 10 to 20 ms, and before them what was missed, as it was at `at_ms`."""
        if not self._ready:
            return
        if mask & ~self._mask & gestures.ALARM_BUTTON:
            self._uplink.hurry(now_ms)
        found = self._gestures.sample(mask, at_ms)
        self._case_open = bool(mask & gestures.CASE_OPEN)
        self._mask = mask & (gestures.RECORD_BUTTON | gestures.ALARM_BUTTON)
        found = self._parts.take(found, self._mask, at_ms, now_ms)
        if not found:
            return
        if found & gestures.ALARM_HOLD:
            self._raise_alarm(ALARM_PANIC, now_ms)
        if found & gestures.DRILL_HOLD:
            self._raise_alarm(ALARM_PANIC, now_ms, ALARM_TEST)
        if not self._records:
            if found & (gestures.RECORD_PRESS | gestures.RECORD_DOUBLE | gestures.RECORD_HOLD):
                self._display.show(feedback.REFUSED, now_ms)
            return
        # Without visits, a second quick press is a second press.
        if found & (gestures.RECORD_PRESS | gestures.RECORD_DOUBLE):
            self._recording.wearer(recording.PRESS, now_ms)
        if found & gestures.RECORD_HOLD:
            self._recording.wearer(recording.HOLD, now_ms)

    def frame(self, jpeg: memoryview, captured_ms: int, width: int, height: int, now_ms: int) -> None:
        """A captured frame; an empty one was larger than the board's frame buffer. `captured_ms` is monotonic."""
        if self._ready:
            self._source_complained = False
            self._recording.frame(jpeg, captured_ms, now_ms)

    def audio(self, pcm: memoryview, now_ms: int) -> None:
        """Samples, of which the last was taken about now."""
        if self._ready:
            self._recording.audio(pcm, now_ms)

    def source_failed(self, name: str, error: OSError, now_ms: int) -> None:
        """The "camera" or "microphone" did not answer; it will be started again."""
        if self._ready and not self._source_complained:
            self._source_complained = True
            self._board.log("the %s does not answer: %s" % (name, error))
            self._recording.note("%s: does not answer" % name, now_ms)

    def poll(self, now_ms: int) -> None:
        """Timers, the link, and one bounded piece of slow work. Call every 10 to 20 ms."""
        if self._ready:
            self._uplink.poll(now_ms)
            self._parts.poll(now_ms)
            if self._calls.clip_due or (
                self._alarm.latched and not self._alarm.test and 0 < self._recording.again_ms <= now_ms
            ):
                self._calls.clip_due = False
                if self._records:
                    self._recording.alarm_raised((self._alarm.boot, self._alarm.counter), now_ms)
            self._recording.poll(now_ms)
            self._work(now_ms)
            if now_ms >= self._housekeeping_ms:
                self._housekeeping_ms = now_ms + _HOUSEKEEPING_MS
                self._housekeep(now_ms)
        elif self.fault and self._running is not None and self._running[1]:
            self._board.reset()  # a version on trial that cannot work: the loader counts its boots
        elif self.fault and not self._display.is_on(feedback.ERROR):
            self._display.show(feedback.ERROR, now_ms)
        self._display.poll(now_ms)

    def status(self) -> Status:
        """How things are now."""
        status = Status()
        status.fault = self.fault
        if self._ready:
            status.boot = self._identity.boot
            status.recording = self._recording.state
            status.clip = self._recorder.clip
            status.frames = self._recorder.frames
            status.dropped = self._recorder.dropped
            status.alarm = self._alarm.state
            status.alarm_boot = self._alarm.boot
            status.alarm_counter = self._alarm.counter
            status.events_held = self._journal.count
            status.online = self._uplink.state == ONLINE
            status.welcomed = self._uplink.welcomed
            status.clips_held = self._spool.count
            status.free_bytes = self._spool.free_bytes
            status.battery_percent = self._battery.percent
        return status

    # -- alarm ------------------------------------------------------------------------------------------------------

    def _raise_alarm(self, kind: int, now_ms: int, flags: int = 0) -> None:
        self._calls.raise_alarm(kind, now_ms, flags)
        self._display.silent = bool(self._settings.current.silent)

    def on_event_receipted(self, boot: int, counter: int) -> None:
        """The gateway has this event."""
        self._alarm.receipted(boot, counter)
        self._parts.receipted(boot, counter)

    # -- slow work --------------------------------------------------------------------------------------------------

    def _work(self, now_ms: int) -> None:
        cut = self._spool.work()
        if cut is not None:
            self._board.log("clip %d was cut; %d segments are whole" % (cut.clip, cut.segments))
            if self._report_cut(cut, now_ms):
                self._spool.settled(cut)
            return
        # Wrapping takes a third of a second: not while recording, and not while a button is being held.
        if self._recording.state != recording.IDLE or self._calls.clip_due or self._mask:
            return
        if now_ms < self.stage_ms or not self._records:
            return
        try:
            if not self._seeds.ready:
                self._seeds.stage()
            elif not self._probed:
                self.report(PROBE, Probe(*self._seeds.draw()).encode(), now_ms)
                self._probed = True
        except MemoryError:
            # A heap that is cut up now: no reason to restart, and none to try at every poll.
            self.stage_ms = now_ms + _STAGE_AGAIN_MS

    def _report_cut(self, cut: "SpoolClip", now_ms: int) -> bool:
        report = ClipCut(cut.clip, cut.segments, cut.why, cut.head).encode()
        return self._uplink.publish_event(self._identity.seal(CLIP_CUT, report, now_ms), now_ms)

    def _housekeep(self, now_ms: int) -> None:
        try:
            if self._battery.poll(now_ms):
                self._recording.battery(self._battery.level, now_ms)
        except OSError:
            self.complain("the battery gauge does not answer")
        try:
            self._alarm.keep()
        except OSError:
            self.complain("the alarm's latch cannot be kept")
        if self._tamper:
            self._calls.watch_case(self._case_open, now_ms)
        self._parts.housekeep(self._battery.low, now_ms)
        self._time.poll(now_ms)
        if self._uplink.welcomed:
            self._answered_ms = now_ms
        display = self._display
        display.switch(feedback.NO_LINK, now_ms - self._answered_ms >= NO_LINK_MS, now_ms)
        display.switch(feedback.LOW_BATTERY, self._battery.low, now_ms)
        display.switch(feedback.STORAGE_NEARLY_FULL, self._guard.nearly_full(), now_ms)

    # -- what the parts ask of the device ---------------------------------------------------------------------------

    def report(self, kind: int, payload: bytes, now_ms: int) -> None:
        """Seal an event of this boot, journal it and send it in its turn."""
        if not self._uplink.publish_event(self._identity.seal(kind, payload, now_ms), now_ms):
            self.complain("events cannot be journalled")

    def fill_hello(self, hello: "Hello", now_ms: int) -> None:
        """The device's part of a hello."""
        hello.firmware = FIRMWARE
        hello.battery_percent = self._battery.percent
        hello.battery_minutes = self._battery.minutes
        hello.storage_free_kib = max(0, self._spool.free_bytes) >> 10
        hello.storage_total_kib = self._spool.total_bytes >> 10
        hello.tail = self._parts.release

    def fill_heartbeat(self, beat: "Heartbeat", now_ms: int) -> None:
        """The device's part of a heartbeat."""
        if self._recording.recording:
            beat.flags |= HEART_RECORDING
        if self._guard.full:
            beat.flags |= HEART_STORAGE_FULL
        beat.battery_percent = self._battery.percent
        beat.battery_minutes = self._battery.minutes
        beat.storage_free_kib = max(0, self._spool.free_bytes) >> 10
        if self._alarm.latched:
            beat.alarm_boot = self._alarm.boot
            beat.alarm_counter = self._alarm.counter
            beat.alarm_state = self._alarm.state

    def on_alarm_sent(self, boot: int, counter: int, now_ms: int) -> None:
        """The broker has the alarm."""
        if (boot, counter) == (self._alarm.boot, self._alarm.counter):
            self._alarm.sent(now_ms)

    @property
    def resting(self) -> bool:
        """Whether nobody needs the device now: no notice, no recording, no button held."""
        return self._recording.state == recording.IDLE and not self._calls.clip_due and not self._mask

    def on_man_down(self, now_ms: int) -> None:
        """The wearer did not answer a man-down warning."""
        self._raise_alarm(ALARM_MAN_DOWN, now_ms)

    def on_accelerometer_failed(self, now_ms: int) -> None:
        """The accelerometer does not answer; it will be started again."""
        self._board.log("the accelerometer does not answer")
        self._recording.note("accelerometer: does not answer", now_ms)

    def on_command(self, kind: int, body: "Any", now_ms: int) -> None:
        """A command that the link found authentic and fresh."""
        if kind == commands.ALARM_RECEIPT:
            self._alarm.answer(alarms.RECEIPT, body.boot, body.counter, now_ms)
        elif kind == commands.ALARM_ACK:
            if self._alarm.answer(alarms.ACKNOWLEDGE, body.boot, body.counter, now_ms):
                self._recording.note("alarm: acknowledged by %s" % body.name, now_ms)
        elif kind == commands.ALARM_RESOLVED:
            if self._alarm.answer(alarms.RESOLVE, body.boot, body.counter, now_ms):
                self._display.silent = False
        elif kind == commands.STOP_RECORDING:
            self._recording.remote(recording.STOP, body.clip, now_ms)
        elif kind == commands.WANT and body.parts & WANT_END:
            # A gateway that came back from an older backup: a cut clip has no end record but the report of its cut.
            cut = self._spool.find(body.clip)
            if cut is not None and cut.settled and not cut.ended:
                self._report_cut(cut, now_ms)
        elif kind == commands.UNOPENABLE:
            self._board.log("clip %d cannot be opened by the gateway" % body.clip)
            self._recording.remote(recording.REPLACE, body.clip, now_ms)
        elif kind == commands.VISIT_STATE:
            self._parts.told_visit(body, now_ms)
        elif kind in (commands.UPDATE_OFFER, commands.UPDATE_BLOCK):
            self._parts.told_update(kind, body, now_ms)
        elif kind == commands.SETTINGS:
            try:
                self._settings.change(body)
            except OSError:
                self.complain("settings cannot be kept")
            self._apply_settings()

    def _apply_settings(self) -> None:
        settings = self._settings.current
        self._uplink.conversation.heartbeat_s = settings.heartbeat_s
        self._spool.delete_level = settings.delete_level

    def complain(self, what: str) -> None:
        """Log a storage trouble once a boot: it comes with every attempt."""
        if not self._storage_complained:
            self._storage_complained = True
            self._board.log(what)
