"""What the wearer and the people around see, feel and hear: one table of patterns and the player that composes them.

Rules that hold here:

- Every pattern has a colour that no other has, and a rhythm of its own for those who do not see colours. So an
  observer (a person, or the simulator's world) tells from the indicator alone what the device says.
- Patterns that are on together take turns on the light, in order of urgency, one cycle each: an alarm's state
  and the recording light are both seen, whatever else is on. Idle shows only when nothing else does.
- Vibration and buzzer play when a pattern comes on and at its own interval afterwards, the most urgent first.
- The silent profile (duress) shows no light and makes no sound; only the alarm's own states vibrate.
- The indicator is called on changes only, and playing allocates nothing.
"""

from array import array

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .boards.contract import Indicator

ALARM_RAISED = 0
ALARM_SENT = 1
ALARM_RECEIVED = 2
ALARM_ACKNOWLEDGED = 3
ALARM_RESOLVED = 4
ALARM_TEST = 5
CANCEL_SENT = 6
MAN_DOWN = 7
VISIT_OVERDUE = 8
VISIT_AMBER = 9
CHECK_IN_DUE = 10
REFUSED = 11
ERROR = 12
VISIT_LONGER = 13
VISIT_NOTED = 14
NOTICE = 15
RECORDING = 16
STOPPED = 17
LOW_BATTERY = 18
STORAGE_NEARLY_FULL = 19
NO_LINK = 20
VISIT_ON = 21
IDLE = 22

VIBRATE = 0x8000
"""Added to a pulse's pitch (Hz, 0 = silent) when it is also felt."""

# One row for each pattern. The index is the urgency: a lower one goes first. All times in milliseconds:
#   colour    rrggbb
#   light     lit,dark,lit,dark ... one cycle
#   pulses    pitch:duration,pitch:duration ... with "v" before the pitch when it is also felt; no pitch is silence
#   repeat    from the start of the pulses to the next time; 0 = when it comes on only
#   lasts     until it goes off by itself; 0 = until it is taken off
# It is text because text stays in flash: as tuples the rows would take 180 bytes of heap each.
_TABLE = """\
ffffff 100,100,100,100,100,100 v:600 10000 0 alarm raised: not with the broker yet, hurried
8000ff 200,400 v:150 0 0 alarm sent: one short pulse, it has left
0000ff 200,150,200,300 v:150,:150,v:150 0 0 alarm received: two, the gateway has it
00ff00 700,200 v:400,:200,v:400,:200,v:400 0 0 alarm acknowledged: three long, somebody has seen it
00ffff 500,100 v:800 0 3000 alarm resolved
8080ff 60,60,60,60,300,120 v880:60,:60,v880:60 60000 0 this alarm is a test, in turn with how far it got
ffc0ff 300,300,60,300 v:60,:60,v:60,:60,v:60 0 0 a cancel is on its way, in turn with the alarm that it names
ff00ff 400,100,100,100 v2400:300,:100,v1200:300 1500 0 man-down: are you all right? press a button
c04000 150,80,150,80,150,300 v1000:400,:100,v1000:400 30000 0 visit overdue: people have been told
ffc000 400,120,60,120 v1400:200,:100,v1400:200 20000 0 visit amber: a check-in is wanted
c0ff00 120,120,120,600 v1400:100 30000 0 a check-in or the end is due soon
ff0080 120,80,120,80 v220:250,:100,v220:250,:100,v180:500 0 2500 refused
ff4000 80,80,80,80,80,200 v300:900 0 3000 error
80ff00 100,60,100,60,400,60 v:80,:60,v:80,:60,v:300 0 1500 more time is asked for: two short and a long one
00ff80 150,60,400,60 v:80,:60,v:300 0 1200 a step of a visit is written down, and goes out when it can
ffa000 250,250 880:150,:100,1320:200 2000 0 notice: what the person being filmed hears
ff0000 1000 v1760:120 30000 0 recording: steady, for everybody to see; a reminder to the wearer twice a minute
808080 300,100 v660:100,:80,v440:200 0 1000 recording stopped
ffff00 60,240,60,240 v520:80,:80,v520:80 60000 0 low battery
ff8080 60,140,260,140 v:60,:60,v:200 60000 0 storage nearly full
0060a0 60,540 v:60 300000 0 no link
004040 40,160,40,2760 - 0 0 in a visit: location is known to the gateway
002000 40,4960 - 0 0 idle
"""

# A row of ROWS, from STARTS[pattern] on: colour in two numbers, then
REPEAT = 2  # tenths of a second
LASTS = 3  # milliseconds
PULSES = 4  # how many numbers of pulses follow: pitch with VIBRATE, milliseconds, pitch ...
FIRST = 5  # the pulses, and behind them up to the next row the steps of the light


def _read_table() -> "tuple[array[int], array[int]]":
    rows = array("H")
    starts = array("H")
    for line in _TABLE.split("\n")[:-1]:
        colour, light, pulses, repeat, lasts = line.split()[:5]
        pairs = [] if pulses == "-" else pulses.split(",")
        starts.append(len(rows))
        for number in (int(colour[:4], 16), int(colour[4:], 16), int(repeat) // 100, int(lasts), 2 * len(pairs)):
            rows.append(number)
        for pair in pairs:
            pitch, duration = pair.split(":")
            felt = pitch[:1] == "v"
            rows.append((VIBRATE if felt else 0) + int(pitch[felt:] or "0"))
            rows.append(int(duration))
        for step in light.split(","):
            rows.append(int(step))
    starts.append(len(rows))
    return rows, starts


ROWS, STARTS = _read_table()
COUNT = IDLE + 1

_LAST_ALARM = CANCEL_SENT
_NEVER = -1


class Feedback:
    """Plays the patterns that are on, at times given by `poll`; IDLE always is. `silent` is the profile for duress."""

    def __init__(self, indicator: "Indicator") -> None:
        self._indicator = indicator
        self.silent = False
        self._on = 1 << IDLE
        self._until_ms = [_NEVER] * COUNT
        self._pulse_due_ms = [_NEVER] * COUNT
        self._light = -1
        self._first = _NEVER
        self._light_at = 0
        self._light_step = 0
        self._light_end_ms = 0
        self._pulse = -1
        self._pulse_step = 0
        self._pulse_end_ms = 0
        self._rgb = 0
        self._vibrate = False
        self._buzzer_hz = 0

    @property
    def vibrating(self) -> bool:
        """Whether the motor is on now."""
        return self._vibrate

    def is_on(self, pattern: int) -> bool:
        """Whether `pattern` (an index of the table) is being shown, alone or in turn."""
        return bool(self._on & (1 << pattern))

    def switch(self, pattern: int, on: bool, now_ms: int) -> None:
        """Put a pattern on or take it off; no effect when it already is. Shown from the next `poll`."""
        if self.is_on(pattern) == on:
            return
        if on:
            self.show(pattern, now_ms)
            return
        self._on &= ~(1 << pattern)
        self._pulse_due_ms[pattern] = _NEVER
        self._until_ms[pattern] = _NEVER
        if self._light == pattern:
            self._light = -1
        if self._pulse == pattern:
            self._pulse = -1

    def show(self, pattern: int, now_ms: int) -> None:
        """Put a pattern on, from its beginning also if it was on; one that `lasts` goes off by itself."""
        self._on |= 1 << pattern
        start = STARTS[pattern]
        lasts_ms = ROWS[start + LASTS]
        self._until_ms[pattern] = now_ms + lasts_ms if lasts_ms else _NEVER
        if ROWS[start + PULSES]:
            self._pulse_due_ms[pattern] = now_ms
        # What is more urgent than the pattern being played does not wait for its turn, nor does an answer to a press
        # that is soon over: it would be over before its turn came.
        if lasts_ms:
            self._light = -1
            self._first = pattern
        elif self._light < 0 or pattern <= self._light or self._light == IDLE:
            self._light = -1
        if pattern <= self._pulse:
            self._pulse = -1

    def poll(self, now_ms: int) -> None:
        """Show what is due now. Call at least every 20 ms; late calls stretch a step, they skip none."""
        for pattern in range(COUNT):
            if 0 <= self._until_ms[pattern] <= now_ms:
                self.switch(pattern, False, now_ms)
        rgb = self._light_now(now_ms)
        pulse = self._pulse_now(now_ms)
        vibrate = bool(pulse & VIBRATE)
        buzzer_hz = pulse & ~VIBRATE
        if self.silent:
            rgb = 0
            buzzer_hz = 0
            vibrate = vibrate and self._pulse <= _LAST_ALARM
        if rgb != self._rgb or vibrate != self._vibrate or buzzer_hz != self._buzzer_hz:
            self._rgb = rgb
            self._vibrate = vibrate
            self._buzzer_hz = buzzer_hz
            self._indicator.set(rgb, vibrate, buzzer_hz)

    def _light_now(self, now_ms: int) -> int:
        if self._light >= 0 and now_ms >= self._light_end_ms:
            self._light_step += 1
            at = self._light_at + self._light_step
            if at < STARTS[self._light + 1]:
                self._light_end_ms = now_ms + ROWS[at]
            else:
                self._begin_light(self._next_light(self._light), now_ms)
        elif self._light < 0:
            first = self._first
            self._first = _NEVER
            self._begin_light(first if first >= 0 and self.is_on(first) else self._next_light(-1), now_ms)
        start = STARTS[self._light]
        return 0 if self._light_step & 1 else ROWS[start] << 8 | ROWS[start + 1]

    def _begin_light(self, pattern: int, now_ms: int) -> None:
        self._light = pattern
        self._light_step = 0
        pulses = STARTS[pattern] + PULSES
        self._light_at = pulses + 1 + ROWS[pulses]
        self._light_end_ms = now_ms + ROWS[self._light_at]

    def _next_light(self, after: int) -> int:
        """The next pattern in turn: the next less urgent one that is on, or else the most urgent."""
        for pattern in range(after + 1, IDLE):
            if self.is_on(pattern):
                return pattern
        for pattern in range(after + 1):
            if pattern != IDLE and self.is_on(pattern):
                return pattern
        return IDLE

    def _pulse_now(self, now_ms: int) -> int:
        """The pitch that sounds now, with VIBRATE; 0 = nothing."""
        if self._pulse >= 0 and now_ms >= self._pulse_end_ms:
            start = STARTS[self._pulse]
            self._pulse_step += 2
            if self._pulse_step < ROWS[start + PULSES]:
                self._pulse_end_ms = now_ms + ROWS[start + FIRST + self._pulse_step + 1]
            else:
                self._pulse = -1
        if self._pulse < 0:
            for pattern in range(COUNT):
                if 0 <= self._pulse_due_ms[pattern] <= now_ms:
                    start = STARTS[pattern]
                    repeat_ms = ROWS[start + REPEAT] * 100
                    self._pulse_due_ms[pattern] = now_ms + repeat_ms if repeat_ms else _NEVER
                    self._pulse = pattern
                    self._pulse_step = 0
                    self._pulse_end_ms = now_ms + ROWS[start + FIRST + 1]
                    break
        return ROWS[STARTS[self._pulse] + FIRST + self._pulse_step] if self._pulse >= 0 else 0
