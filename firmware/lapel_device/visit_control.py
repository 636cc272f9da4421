"""The wearer's side of a visit: what the gateway says of it, shown and kept, and what the wearer says (SPEC 7.9, 8.8).

Loaded on a device whose gateway has told it of visits. Rules that hold here:

- What the wearer says is journalled and counts here at once, with or without a link. Until the gateway has receipted a
  start or an end, what it says of the time before is not listened to.
- `number`, by which location begins, is there only while the gateway has said, in this boot, which visit this is.
- Amber and overdue are the gateway's words: they stay until it takes them back, since people may be on their way. So
  does the reminder of the end after an extension: by how much it moves, and whether anybody knows yet, it says too.
- Three presses are two and one more: the check-in of the first two stands, the third asks for more time. Where the
  first two began the visit, the third says nothing.
"""

import struct

from lapel_protocol.event import VISIT
from lapel_protocol.orders import VISIT_ACTIVE, VISIT_AMBER, VISIT_NONE, VISIT_OVERDUE, VisitState
from lapel_protocol.reports import VISIT_CHECK_IN, VISIT_END, VISIT_EXTEND, VISIT_START, VisitNote

from . import feedback
from .twofold import TwofoldFile

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Protocol

    from .alarm_calls import AlarmCalls
    from .boards.contract import Storage
    from .feedback import Feedback
    from .identity import Identity
    from .journal import Journal

    class Host(Protocol):
        """What is asked of the device."""

        def report(self, kind: int, payload: bytes, now_ms: int) -> None:
            """Seal an event, journal it and send it in its turn."""
            ...


VISIT_PATH = "/visit."
REMIND_MS = 120_000
"""Before a check-in or the end is due."""
_LAYOUT = ">IBBHQQII"  # a VisitState with what is unanswered and _LOW in its zero, and that event's boot and counter
_LOW = 0x80


class VisitControl:
    """The device's visit, if it has one."""

    def __init__(
        self,
        display: "Feedback",
        storage: "Storage",
        identity: "Identity",
        journal: "Journal",
        calls: "AlarmCalls",
        host: "Host",
    ) -> None:
        self._display = display
        self._file = TwofoldFile(storage, VISIT_PATH)
        self._identity = identity
        self._journal = journal
        self._calls = calls
        self._host = host
        self._visit = VisitState(0, VISIT_NONE, 0, 0, 0)
        self._heard = False
        self._kept = True
        self._unanswered = 0  # VISIT_START or VISIT_END
        self._boot = 0
        self._counter = 0
        self._low = False
        self._began = False

    @property
    def state(self) -> int:
        """VISIT_* of lapel_protocol.orders, by what both ends have said."""
        return self._visit.state

    @property
    def active(self) -> bool:
        """Whether the wearer is in a visit."""
        return self._visit.state >= VISIT_ACTIVE

    @property
    def number(self) -> int:
        """The visit that location belongs to, 0 = none."""
        return self._visit.visit if self._heard and self.active else 0

    def load(self, now_ms: int) -> None:
        """Take up what a restart interrupted. Raises OSError when storage fails."""
        record = self._file.read()
        if len(record) != struct.calcsize(_LAYOUT):
            return
        visit, state, flags, check_in_s, due_ms, next_ms, boot, counter = struct.unpack(_LAYOUT, record)
        if state > VISIT_OVERDUE:
            return
        self._visit = VisitState(visit, state, check_in_s, due_ms, next_ms)
        self._low = bool(flags & _LOW)
        if self._journal.row_of(boot, counter) >= 0:
            self._unanswered = flags & ~_LOW
            self._boot = boot
            self._counter = counter
        self._show(now_ms)

    def keep(self) -> None:
        """Make it outlive a restart, if it does not yet; raises OSError when storage fails."""
        if self._kept:
            return
        visit, state, check_in_s, due_ms, next_ms = _fields(self._visit)
        flags = self._unanswered | (_LOW if self._low else 0)
        self._file.write(
            struct.pack(_LAYOUT, visit, state, flags, check_in_s, due_ms, next_ms, self._boot, self._counter)
        )
        self._kept = True

    def told(self, visit: VisitState, now_ms: int) -> None:
        """The gateway's word, authentic and fresh."""
        if self._unanswered and (visit.state >= VISIT_ACTIVE) != (self._unanswered == VISIT_START):
            return
        self._heard = True
        if _fields(visit) != _fields(self._visit):  # said again after every hello, and not worth a write
            self._change(visit, now_ms)

    def receipted(self, boot: int, counter: int) -> None:
        """The gateway has this event: from here on it knows what the wearer said."""
        if self._unanswered and (boot, counter) == (self._boot, self._counter):
            self._unanswered = 0
            self._kept = False

    def double_press(self, wall_ms: int, now_ms: int) -> None:
        """A check-in, or the start of a visit where there is none. `wall_ms` as in `poll`."""
        visit = self._visit
        self._began = not self.active
        if self._began:
            self._say(VISIT_START, now_ms)
            self._change(
                VisitState(visit.visit, VISIT_ACTIVE, visit.check_in_s, visit.due_ms, visit.next_check_in_ms), now_ms
            )
            return
        self._say(VISIT_CHECK_IN, now_ms)
        visit.next_check_in_ms = wall_ms + visit.check_in_s * 1000 if wall_ms and visit.check_in_s else 0
        self._kept = False
        self._display.switch(feedback.CHECK_IN_DUE, False, now_ms)

    def triple_press(self, now_ms: int) -> None:
        """More time than was thought, as much as the policy gives; its first two presses were a `double_press`."""
        if self.active and not self._began:
            self._say(VISIT_EXTEND, now_ms)

    def double_hold(self, now_ms: int) -> None:
        """The end of the visit."""
        if self.active:
            self._say(VISIT_END, now_ms)
            self._change(VisitState(0, VISIT_NONE, 0, 0, 0), now_ms)

    def poll(self, wall_ms: int, low_battery: bool, now_ms: int) -> None:
        """Once a second; `wall_ms` is 0 while the clock is not the gateway's."""
        visit = self._visit
        due = False
        if wall_ms and visit.state == VISIT_ACTIVE:
            for at_ms in (visit.next_check_in_ms, visit.due_ms):
                due = due or 0 < at_ms <= wall_ms + REMIND_MS
        self._display.switch(feedback.CHECK_IN_DUE, due, now_ms)
        if self.active and low_battery and not self._low:
            self._low = True
            self._kept = False
            self._calls.send_low_battery(now_ms)

    def _say(self, what: int, now_ms: int) -> None:
        note = VisitNote(what, 0, self._visit.visit)
        self._host.report(VISIT, note.encode(), now_ms)
        if what in (VISIT_START, VISIT_END):
            self._unanswered = what
            self._boot = self._identity.boot
            self._counter = self._identity.counter
        self._display.show(feedback.VISIT_LONGER if what == VISIT_EXTEND else feedback.VISIT_NOTED, now_ms)

    def _change(self, visit: VisitState, now_ms: int) -> None:
        if visit.visit != self._visit.visit and self._visit.visit:
            self._low = False
        self._visit = visit
        self._low = self._low and self.active
        self._kept = False
        self._show(now_ms)

    def _show(self, now_ms: int) -> None:
        state = self._visit.state
        self._display.switch(feedback.VISIT_ON, self.active, now_ms)
        self._display.switch(feedback.VISIT_AMBER, state == VISIT_AMBER, now_ms)
        self._display.switch(feedback.VISIT_OVERDUE, state == VISIT_OVERDUE, now_ms)
        if state != VISIT_ACTIVE:
            self._display.switch(feedback.CHECK_IN_DUE, False, now_ms)


def _fields(visit: VisitState) -> "tuple[int, int, int, int, int]":
    return visit.visit, visit.state, visit.check_in_s, visit.due_ms, visit.next_check_in_ms
