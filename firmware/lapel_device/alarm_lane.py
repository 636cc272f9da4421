"""Alarms on their way: repeated byte for byte until the gateway's authenticated receipt (SPEC section 10.2).

Rules that hold here:

- an alarm is here, and can go out, before anything is written to storage;
- a PUBACK stops nothing: it only means that the broker has it;
- after every reconnection all of them go out again at once.
"""

REPEAT_MS = 2_000  # first repeat; doubles up to
MAX_REPEAT_MS = 10_000
MAX_ALARMS = 8  # raises and cancels without receipt; more wait in the journal


class Alarm:
    """One sealed alarm event, raised or cancelled."""

    def __init__(self, boot: int, counter: int, record: bytes, journaled: bool) -> None:
        self.boot = boot
        self.counter = counter
        self.record = record
        self.journaled = journaled
        self.journal_tried = journaled
        self.drill = False
        self.with_broker = False  # PUBACK, at any time
        self.waiting = True  # to be sent now
        self.in_flight = False  # sent on this connection, PUBACK outstanding
        self.next_ms = 0
        self.delay_ms = REPEAT_MS
        self.raised_ms = -1  # and the board's ticks then; -1: raised in another boot, or a cancel
        self.raised_ticks = 0
        self.after_ms = -1  # from then until the link had taken all of it for the first time
        self.tries = 0  # how often it was handed to the connection


class AlarmLane:
    """The alarms that the gateway has not receipted, oldest first."""

    def __init__(self) -> None:
        self.alarms: list[Alarm] = []

    def add(self, boot: int, counter: int, record: bytes, journaled: bool) -> bool:
        """Queue an alarm; False when there is no room for it, True also when it is here already.

        A new alarm displaces one that the journal and the broker have: that one comes back when there is room.
        """
        if self.find(boot, counter) is not None:
            return True
        if len(self.alarms) >= MAX_ALARMS:
            for alarm in self.alarms:
                if not journaled and alarm.journaled and alarm.with_broker:
                    self.alarms.remove(alarm)
                    break
            else:
                return False
        self.alarms.append(Alarm(boot, counter, record, journaled))
        return True

    @property
    def full(self) -> bool:
        """Whether there is no room."""
        return len(self.alarms) >= MAX_ALARMS

    def find(self, boot: int, counter: int) -> "Alarm | None":
        """The alarm with this name, None when it is receipted or was never here."""
        for alarm in self.alarms:
            if alarm.counter == counter and alarm.boot == boot:
                return alarm
        return None

    def due(self, now_ms: int) -> "Alarm | None":
        """The alarm to send now: one that never went out on this connection, else one whose repeat is due."""
        for alarm in self.alarms:
            if alarm.waiting:
                return alarm
        for alarm in self.alarms:
            if not alarm.in_flight and now_ms >= alarm.next_ms:
                return alarm
        return None

    @property
    def urgent(self) -> bool:
        """Whether an alarm is still to reach the broker on this connection: bulk stops meanwhile."""
        return any(alarm.waiting or (alarm.in_flight and not alarm.with_broker) for alarm in self.alarms)

    def sent(self, alarm: Alarm, now_ms: int) -> None:
        """It was handed to the connection."""
        alarm.waiting = False
        alarm.in_flight = True
        alarm.tries += 1
        alarm.next_ms = now_ms + alarm.delay_ms
        alarm.delay_ms = min(2 * alarm.delay_ms, MAX_REPEAT_MS)

    def acked(self, boot: int, counter: int) -> bool:
        """PUBACK; True when it is the first for this alarm."""
        alarm = self.find(boot, counter)
        if alarm is None:
            return False
        first = not alarm.with_broker
        alarm.in_flight = False
        alarm.with_broker = True
        return first

    def reconnected(self, resumed: bool) -> None:
        """A new connection: what is not being resumed goes out at once."""
        for alarm in self.alarms:
            if not (resumed and alarm.in_flight):
                alarm.waiting = True
                alarm.in_flight = False
            alarm.delay_ms = REPEAT_MS

    def receipted(self, boot: int, counter: int) -> "Alarm | None":
        """The gateway has it durably: the alarm, None when it is not here."""
        alarm = self.find(boot, counter)
        if alarm is not None:
            self.alarms.remove(alarm)
        return alarm

    def unjournaled(self) -> "Alarm | None":
        """The oldest alarm that the journal was not asked to take yet."""
        for alarm in self.alarms:
            if not alarm.journal_tried:
                return alarm
        return None
