"""Recording as the wearer, the policy and the alarm want it: `lapel_protocol.recording` decides, this carries it out.

Rules that hold here:

- Camera and microphone are wanted in RECORDING only, and only while a clip is open.
- A clip that may not start (storage, battery) is refused before the table is asked: the wearer feels it, the
  gateway is told. An alarm goes out whether or not its clip may start.
- A clip begins before anything about it is journalled: seconds of a conversation do not wait for flash.
- Storage that fails ends the clip; what was sealed stays and is settled by the spool.
- A heap that is too cut up for a clip is no reason to restart, least of all in an alarm: the clip is tried once more
  after a collection, then refused as by failing storage, and an alarm's is tried again later.
"""

import gc

from lapel_protocol import recording as table
from lapel_protocol.clip import (
    END_BATTERY,
    END_LIMIT,
    END_REMOTE,
    END_STORAGE,
    END_UNOPENABLE,
    END_WEARER,
    NOTICE_ALARM,
    NOTICE_CONFIRMED,
    NOTICE_CONTINUED,
    NOTICE_NO_TIME,
    NOTICE_PROMPTED,
    ClipHeader,
)
from lapel_protocol.event import RECORDING_NOTE, STORAGE_NOTE
from lapel_protocol.machine import Machine
from lapel_protocol.orders import POLICY_START
from lapel_protocol.reports import (
    NOTE_CANCELLED,
    NOTE_CONFIRMED,
    NOTE_PROMPTED,
    NOTE_REFUSED,
    NOTE_SKIPPED,
    NOTE_STARTED,
    NOTE_STOPPED,
    NOTE_TIMED_OUT,
    WHY_ALARM,
    WHY_BATTERY,
    WHY_NONE,
    WHY_POLICY,
    WHY_REMOTE,
    WHY_STORAGE_ERROR,
    WHY_STORAGE_FULL,
    WHY_UNOPENABLE,
    WHY_WEARER,
    RecordingNote,
    StorageNote,
)

from . import feedback
from .keystore import KeyStoreFault

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Protocol

    from .feedback import Feedback
    from .recorder import Recorder
    from .seeds import Seeds
    from .settings import Settings
    from .spool import Spool
    from .storage_guard import StorageGuard

    class Reporter(Protocol):
        """Seals, journals and queues an event of this boot. Never raises for storage."""

        def report(self, kind: int, payload: bytes, now_ms: int) -> None: ...


BATTERY_GOOD = 0
BATTERY_ALARMS_ONLY = 1  # ordinary clips stop
BATTERY_RADIO_ONLY = 2  # an alarm's clip stops, too: the alarm itself must still go out and be answered

_NO_SPACE = 28  # ENOSPC
_AGAIN_MS = 5000  # until an alarm's clip, for which there was no memory, is tried again

# Rows: (effect of the table, notice outcome in the header, what is noted about the notice, why).
_BEGIN = (
    (table.BEGIN_CONFIRMED, NOTICE_CONFIRMED, NOTE_CONFIRMED, WHY_WEARER),
    (table.BEGIN_NO_TIME, NOTICE_NO_TIME, NOTE_SKIPPED, WHY_WEARER),
    (table.BEGIN_TIMED_OUT, NOTICE_PROMPTED, NOTE_TIMED_OUT, WHY_POLICY),
    (table.BEGIN_ALARM, NOTICE_ALARM, NOTE_SKIPPED, WHY_ALARM),
    (table.BEGIN_CONTINUED, NOTICE_CONTINUED, 0, WHY_POLICY),
)
# Rows: (effect of the table, reason in the end record, why in the note).
_END = (
    (table.END_WEARER, END_WEARER, WHY_WEARER),
    (table.END_REMOTE, END_REMOTE, WHY_REMOTE),
    (table.END_STORAGE, END_STORAGE, WHY_STORAGE_FULL),
    (table.END_BATTERY, END_BATTERY, WHY_BATTERY),
    (table.END_LIMIT, END_LIMIT, WHY_POLICY),
    (table.END_UNOPENABLE, END_UNOPENABLE, WHY_UNOPENABLE),
)
# Rows: (event that cancels a notice, why in the note).
_CANCEL = (
    (table.TIMEOUT_CANCEL, WHY_POLICY),
    (table.STOP, WHY_REMOTE),
    (table.STORAGE, WHY_STORAGE_FULL),
    (table.BATTERY, WHY_BATTERY),
)


class RecordingControl:
    """Drives one Recorder. `alarm` is the (boot, counter) of the alarm that new clips belong to, (0, 0) for none.

    `again_ms`: when an alarm's clip, for which there was no memory, should be tried again by `alarm_raised`; 0 = never.
    """

    def __init__(
        self,
        recorder: "Recorder",
        seeds: "Seeds",
        guard: "StorageGuard",
        spool: "Spool",
        settings: "Settings",
        display: "Feedback",
        reporter: "Reporter",
    ) -> None:
        self._recorder = recorder
        self._seeds = seeds
        self._guard = guard
        self._spool = spool
        self._settings = settings
        self._display = display
        self._reporter = reporter
        self._machine = Machine(table.TRANSITIONS, table.IDLE)
        self._prompted_ms = -1
        self._failure = WHY_NONE
        self._clip_alarm = (0, 0)
        self.alarm = (0, 0)
        self.again_ms = 0
        self._battery = BATTERY_GOOD

    @property
    def state(self) -> int:
        """IDLE, NOTICE or RECORDING."""
        return self._machine.state

    @property
    def recording(self) -> bool:
        """Whether a clip is open."""
        return self._recorder.active

    def wearer(self, event: int, now_ms: int) -> None:
        """RECORD was pressed (PRESS of the table) or held (HOLD)."""
        state = self._machine.state
        if state != table.RECORDING:
            why = self._refusal(False)
            if why:
                if state == table.NOTICE:
                    self._handle(table.BATTERY if why == WHY_BATTERY else table.STORAGE, now_ms)
                self._refuse(why, now_ms)
                return
        self._handle(event, now_ms)

    def alarm_raised(self, alarm: "tuple[int, int]", now_ms: int) -> None:
        """An alarm is out, or was held again: its clip starts without notice, or the running clip becomes its."""
        self.alarm = alarm
        self.again_ms = 0
        if self._machine.state != table.RECORDING:
            why = self._refusal(True)
            if why:
                self._refuse(why, now_ms)
                return
        self._handle(table.ALARM, now_ms)

    def remote(self, event: int, clip: int, now_ms: int) -> None:
        """STOP or REPLACE (of the table) by the gateway's word; nothing if `clip` is not the one being recorded."""
        if self._recorder.active and self._recorder.clip == clip:
            self._handle(event, now_ms)

    def battery(self, level: int, now_ms: int) -> None:
        """How far the battery is down (BATTERY_*): recording stops before the radio does; it starts again by hand."""
        self._battery = level
        if self._battery_refuses(self._clip_alarm != (0, 0)) and self._machine.allows(table.BATTERY):
            self._handle(table.BATTERY, now_ms)

    def frame(self, jpeg: memoryview, captured_ms: int, now_ms: int) -> None:
        """Pass a frame on to the open clip."""
        try:
            self._recorder.frame(jpeg, captured_ms, now_ms)
        except OSError as error:
            self._storage_failed(error, now_ms)

    def audio(self, pcm: memoryview, now_ms: int) -> None:
        """Pass samples on to the open clip."""
        try:
            self._recorder.audio(pcm, now_ms)
        except OSError as error:
            self._storage_failed(error, now_ms)

    def note(self, line: str, now_ms: int) -> None:
        """A line in the text track of the open clip, if there is one."""
        try:
            self._recorder.note(line, now_ms)
        except OSError as error:
            self._storage_failed(error, now_ms)

    def poll(self, now_ms: int) -> None:
        """Timers: the notice, the clip's limit, the storage limit, and what the recorder has to do now and then."""
        if self._machine.state == table.NOTICE:
            settings = self._settings.current
            if now_ms - self._prompted_ms >= settings.notice_timeout_ms:
                start = settings.notice_policy == POLICY_START and not self._refusal(False)
                self._handle(table.TIMEOUT_START if start else table.TIMEOUT_CANCEL, now_ms)
            return
        if not self._recorder.active:
            return
        try:
            self._recorder.poll(now_ms)
        except OSError as error:
            self._storage_failed(error, now_ms)
            return
        why = self._guard.stop_reason(self._clip_alarm != (0, 0))
        if why:
            self._failure = why
            self._handle(table.STORAGE, now_ms)
            return
        limit_ms = self._settings.current.clip_limit_s * 1000
        if self._recorder.at_limit or now_ms - self._recorder.started_ms >= limit_ms:
            self._handle(table.LIMIT, now_ms)

    def _refusal(self, alarm: bool) -> int:
        return WHY_BATTERY if self._battery_refuses(alarm) else self._guard.refusal(alarm)

    def _battery_refuses(self, alarm: bool) -> bool:
        return self._battery >= (BATTERY_RADIO_ONLY if alarm else BATTERY_ALARMS_ONLY)

    def _refuse(self, why: int, now_ms: int) -> None:
        self._display.show(feedback.REFUSED, now_ms)
        self._note(NOTE_REFUSED, why, 0, now_ms)
        if why != WHY_BATTERY:
            self._storage_note(why, 0, now_ms)

    def _handle(self, event: int, now_ms: int) -> None:
        for effect in self._machine.handle(event):
            for starts, notice, what, why in _BEGIN:
                if effect == starts:
                    self._begin(effect, notice, what, why, now_ms)
            for ends, reason, why in _END:
                if effect == ends:
                    self._end(reason, why, now_ms)
            if effect == table.PROMPT:
                self._prompted_ms = now_ms
                self._display.switch(feedback.NOTICE, True, now_ms)
                self._note(NOTE_PROMPTED, WHY_WEARER, 0, now_ms)
            elif effect == table.NOTE_CANCELLED:
                self._display.switch(feedback.NOTICE, False, now_ms)
                for cancels, why in _CANCEL:
                    if event == cancels:
                        self._note(NOTE_CANCELLED, why, 0, now_ms)
                self._prompted_ms = -1
            elif effect == table.MARK_ALARM:
                self._clip_alarm = self.alarm
                self._spool.mark_alarm(self._recorder.clip)
                self.note("alarm: %d/%d" % self.alarm, now_ms)

    def _begin(self, effect: int, notice: int, what: int, why: int, now_ms: int) -> None:
        alarm = (0, 0)
        if effect == table.BEGIN_ALARM:
            alarm = self.alarm
        elif effect == table.BEGIN_CONTINUED:
            alarm = self._clip_alarm
        self._display.switch(feedback.NOTICE, False, now_ms)
        failure = WHY_NONE
        try:
            self._open(notice, alarm, now_ms)
        except OSError as error:
            failure = _why(error)
        except KeyStoreFault:
            failure = WHY_STORAGE_ERROR
        except MemoryError:
            failure = WHY_STORAGE_ERROR
            if alarm[1]:
                self.again_ms = now_ms + _AGAIN_MS
        if failure:
            self._recorder.abandon(failure)
            self._failure = failure
            self._machine.handle(table.STORAGE)
            self._display.switch(feedback.RECORDING, False, now_ms)
            try:
                self._refuse(failure, now_ms)
            except MemoryError:
                gc.collect()  # then the wearer has felt it, and nobody else hears of it
        else:
            self._clip_alarm = alarm
            self._display.switch(feedback.RECORDING, True, now_ms)
            if what:
                self._note(what, why, self._recorder.clip, now_ms)
            self._note(NOTE_STARTED, why, self._recorder.clip, now_ms)
            if alarm[1]:
                self.note("alarm: %d/%d" % alarm, now_ms)
        self._prompted_ms = -1

    def _open(self, notice: int, alarm: "tuple[int, int]", now_ms: int) -> None:
        """Begin the clip, at the second try if memory is short. Raises OSError, KeyStoreFault, MemoryError."""
        header = seed = None
        for last in (False, True):
            try:
                if header is None:
                    header = ClipHeader()
                    header.notice = notice
                    header.alarm_boot, header.alarm_counter = alarm
                    if self._prompted_ms >= 0:
                        header.prompted_ms = now_ms - self._prompted_ms
                seed = seed or self._seeds.take()
                self._recorder.begin(header, bool(self._settings.current.audio), seed, now_ms)
                return
            except MemoryError:
                gc.collect()
                self._recorder.abandon(WHY_STORAGE_ERROR)
                if last:
                    raise
                if header is not None and self._spool.last()[0] == header.clip:
                    seed = None  # a header with it is in the spool

    def _end(self, reason: int, why: int, now_ms: int) -> None:
        if reason == END_STORAGE:
            why = self._failure
        clip = self._recorder.clip
        if self._recorder.active:
            try:
                self._recorder.finish(reason, now_ms)
            except OSError as error:
                why = _why(error)
                self._recorder.abandon(why)
        self._failure = WHY_NONE
        self._clip_alarm = (0, 0) if self._machine.state == table.IDLE else self._clip_alarm
        if self._machine.state == table.IDLE:
            self._display.switch(feedback.RECORDING, False, now_ms)
            self._display.show(feedback.STOPPED, now_ms)
        self._note(NOTE_STOPPED, why, clip, now_ms)
        if why in (WHY_STORAGE_FULL, WHY_STORAGE_ERROR):
            self._display.show(feedback.REFUSED, now_ms)
            self._storage_note(why, clip, now_ms)

    def _storage_failed(self, error: OSError, now_ms: int) -> None:
        """A write failed: a torn record may stand in the file, so the clip gets no end record and is settled as cut."""
        self._failure = _why(error)
        self._recorder.abandon(self._failure)
        if self._machine.allows(table.STORAGE):
            self._handle(table.STORAGE, now_ms)

    def _note(self, what: int, why: int, clip: int, now_ms: int) -> None:
        elapsed_ms = now_ms - self._prompted_ms if self._prompted_ms >= 0 else 0
        self._reporter.report(RECORDING_NOTE, RecordingNote(what, why, clip, elapsed_ms).encode(), now_ms)

    def _storage_note(self, why: int, clip: int, now_ms: int) -> None:
        free_kib = max(0, self._spool.free_bytes) >> 10
        self._reporter.report(STORAGE_NOTE, StorageNote(why, clip, free_kib).encode(), now_ms)


def _why(error: OSError) -> int:
    # Not `errno`: CPython leaves it unset in OSError(28), which MicroPython's drivers and the spool raise.
    return WHY_STORAGE_FULL if _NO_SPACE in error.args[:1] else WHY_STORAGE_ERROR
