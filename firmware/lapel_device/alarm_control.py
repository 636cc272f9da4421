"""The wearer's side of an alarm: what `lapel_protocol.alarm` decides, shown and kept latched (SPEC section 10.2).

Rules that hold here:

- One alarm at a time. Holding ALARM again while one is latched raises no second one and says again how far it got;
  only a drill makes way, for whatever is real.
- A cancel changes no state: the alarm stays latched and shown, beside the word that its cancel is on its way.
- Only commands that name this alarm's boot and counter move it; others are ignored, because the gateway repeats
  its answers after every hello.
- The latch outlives a restart: which alarm it is and how far it got is kept, twice, until it is resolved. So are the
  names of what was told beside it (duress, a low battery), which a restart must not take for the latched one.
"""

import struct

from lapel_protocol.alarm import (
    ACKNOWLEDGE,
    ACKNOWLEDGED,
    BROKER_HAS_IT,
    QUIET,
    RAISE,
    RAISED,
    RECEIPT,
    RECEIVED,
    RESOLVED,
    SHOW_ACKNOWLEDGED,
    SHOW_RAISED,
    SHOW_RECEIVED,
    SHOW_RESOLVED,
    SHOW_SENT,
    TRANSITIONS,
)
from lapel_protocol.machine import Machine

from . import feedback
from .twofold import TwofoldFile

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .boards.contract import Storage
    from .feedback import Feedback

LATCH_PATH = "/alarm."
_LAYOUT = ">IIB"  # boot, counter (0: none is latched), state with
_TEST = 0x80
_CANCELLED = 0x40
_STATE = 0x3F
_NAME = ">II"  # behind it, for each word that was told beside it
_NAME_BYTES = 8
_MOST_BESIDE = 8

# Pairs: (what the table wants shown, the pattern that shows it).
_SHOWN = (
    (SHOW_RAISED, feedback.ALARM_RAISED),
    (SHOW_SENT, feedback.ALARM_SENT),
    (SHOW_RECEIVED, feedback.ALARM_RECEIVED),
    (SHOW_ACKNOWLEDGED, feedback.ALARM_ACKNOWLEDGED),
    (SHOW_RESOLVED, feedback.ALARM_RESOLVED),
)


class AlarmControl:
    """The alarm that is latched, named by `boot` and `counter` (0, 0 while there is none).

    `test`: it is a drill, so that a real alarm takes its place.
    """

    def __init__(self, display: "Feedback", storage: "Storage") -> None:
        self._display = display
        self._latch = TwofoldFile(storage, LATCH_PATH)
        self._machine = Machine(TRANSITIONS, QUIET)
        self._kept = False
        self._pattern = feedback.ALARM_RESOLVED
        self.boot = 0
        self.counter = 0
        self.test = False
        self.cancelled = False
        self._beside = b""

    @property
    def state(self) -> int:
        """A state of `lapel_protocol.alarm`; QUIET or RESOLVED when nothing is latched."""
        return self._machine.state

    @property
    def latched(self) -> bool:
        """Whether an alarm is waiting to be resolved by the gateway."""
        return self._machine.state not in (QUIET, RESOLVED)

    def raised(self, boot: int, counter: int, now_ms: int, test: bool = False) -> None:
        """A new alarm has been sealed and queued. Only while none is latched, or a drill."""
        self._machine = Machine(TRANSITIONS, QUIET)
        self.boot = boot
        self.counter = counter
        self.test = test
        self.cancelled = False
        self._kept = False
        self._handle(RAISE, now_ms)
        self._display.switch(feedback.CANCEL_SENT, False, now_ms)
        self._display.switch(feedback.ALARM_TEST, test, now_ms)

    def cancel(self, now_ms: int) -> None:
        """The wearer has said so, or somebody who forces the wearer: shown until a human has answered."""
        if not self.cancelled:
            self.cancelled = True
            self._kept = False
        if self._machine.state != ACKNOWLEDGED:
            self._display.show(feedback.CANCEL_SENT, now_ms)

    def show_again(self, now_ms: int) -> None:
        """ALARM was held while one is latched: play its state from the beginning."""
        self._display.show(self._pattern, now_ms)

    def sent(self, now_ms: int) -> None:
        """The broker acknowledged the publish."""
        if self._machine.state == RAISED:
            self._handle(BROKER_HAS_IT, now_ms)

    def answer(self, event: int, boot: int, counter: int, now_ms: int) -> bool:
        """RECEIPT, ACKNOWLEDGE or RESOLVE, by the gateway's authenticated word; False when another alarm is meant."""
        if (boot, counter) != (self.boot, self.counter) or not self._machine.allows(event):
            return False
        self._handle(event, now_ms)
        return True

    def beside(self, boot: int, counter: int) -> None:
        """An alarm, or a word about one, was told that is not to be latched and shown."""
        self._beside = self._beside[-(_MOST_BESIDE - 1) * _NAME_BYTES :] + struct.pack(_NAME, boot, counter)
        self._kept = False

    def is_beside(self, boot: int, counter: int) -> bool:
        """Whether this was told beside the alarm that is, or was, latched."""
        return self._place_of(boot, counter) >= 0

    def receipted(self, boot: int, counter: int) -> None:
        """The gateway has this event: what was told beside needs to be known no longer."""
        at = self._place_of(boot, counter)
        if at >= 0:
            self._beside = self._beside[:at] + self._beside[at + _NAME_BYTES :]
            self._kept = False

    def keep(self) -> None:
        """Make the latch outlive a restart, if it does not yet; raises OSError when storage fails."""
        if self._kept:
            return
        if self.latched:
            flags = (_TEST if self.test else 0) | (_CANCELLED if self.cancelled else 0)
            record = struct.pack(_LAYOUT, self.boot, self.counter, self._machine.state | flags)
            self._latch.write(record + self._beside)
        elif self._beside:
            self._latch.write(struct.pack(_LAYOUT, 0, 0, QUIET) + self._beside)
        else:
            self._latch.remove()
        self._kept = True

    def load(self, now_ms: int) -> bool:
        """Latch again what a restart interrupted; returns whether there was an alarm. Raises OSError."""
        record = self._latch.read()
        size = struct.calcsize(_LAYOUT)
        if len(record) < size or (len(record) - size) % _NAME_BYTES:
            return False
        boot, counter, state = struct.unpack_from(_LAYOUT, record, 0)
        self._beside = record[size:]
        if not counter:
            self._kept = True
            return False
        self.raised(boot, counter, now_ms, bool(state & _TEST))
        if state & _CANCELLED:
            self.cancel(now_ms)
        state &= _STATE
        # A broker of the boot before proves nothing now, so SENT starts again at RAISED.
        if state >= RECEIVED:
            self._handle(RECEIPT, now_ms)
        if state == ACKNOWLEDGED:
            self._handle(ACKNOWLEDGE, now_ms)
        self._kept = True
        return True

    def _handle(self, event: int, now_ms: int) -> None:
        before = self._machine.state
        effects = self._machine.handle(event)
        for effect, pattern in _SHOWN:
            if effect in effects:
                self._display.switch(self._pattern, False, now_ms)
                self._display.show(pattern, now_ms)
                self._pattern = pattern
        if self._machine.state != before:
            self._kept = False
            if self._machine.state >= ACKNOWLEDGED:
                self._display.switch(feedback.CANCEL_SENT, False, now_ms)
                self._display.switch(feedback.ALARM_TEST, self.test and self.latched, now_ms)

    def _place_of(self, boot: int, counter: int) -> int:
        for at in range(0, len(self._beside), _NAME_BYTES):
            if struct.unpack_from(_NAME, self._beside, at) == (boot, counter):
                return at
        return -1
