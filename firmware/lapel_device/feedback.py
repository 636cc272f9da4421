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

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from .boards.contract import Indicator

    Pattern = tuple[int, tuple[int, ...], tuple[int, ...], int, int]

ALARM_RAISED = 0
ALARM_SENT = 1
ALARM_RECEIVED = 2
ALARM_ACKNOWLEDGED = 3
ALARM_RESOLVED = 4
MAN_DOWN = 5
REFUSED = 6
ERROR = 7
NOTICE = 8
RECORDING = 9
STOPPED = 10
LOW_BATTERY = 11
STORAGE_NEARLY_FULL = 12
NO_LINK = 13
IDLE = 14

VIBRATE = 0x10000
"""Added to a pulse's pitch (Hz, 0 = silent) when it is also felt."""

# The index is the urgency: a lower one goes first. One row, all times in milliseconds:
#   colour    0xRRGGBB
#   light     lit, dark, lit, dark ... one cycle
#   pulses    pitch, duration, pitch, duration ... a pitch of 0 without VIBRATE is the gap between two
#   repeat    from the start of the pulses to the next time; 0 = when it comes on only
#   lasts     until it goes off by itself; 0 = until it is taken off
PATTERNS: "tuple[Pattern, ...]" = (
    # alarm raised, not with the broker yet: hurried white flicker, one long pulse, again every 10 s
    (0xFFFFFF, (100, 100, 100, 100, 100, 100), (VIBRATE, 600), 10000, 0),
    # sent, one short pulse: "it has left"
    (0x8000FF, (200, 400), (VIBRATE, 150), 0, 0),
    # received, two: "the gateway has it"
    (0x0000FF, (200, 150, 200, 300), (VIBRATE, 150, 0, 150, VIBRATE, 150), 0, 0),
    # acknowledged, three long: "somebody has seen it"
    (0x00FF00, (700, 200), (VIBRATE, 400, 0, 200, VIBRATE, 400, 0, 200, VIBRATE, 400), 0, 0),
    # resolved
    (0x00FFFF, (500, 100), (VIBRATE, 800), 0, 3000),
    # man-down: "are you all right? press a button", loud and long
    (0xFF00FF, (400, 100, 100, 100), (VIBRATE + 2400, 300, 0, 100, VIBRATE + 1200, 300), 1500, 0),
    # refused
    (
        0xFF0080,
        (120, 80, 120, 80),
        (VIBRATE + 220, 250, 0, 100, VIBRATE + 220, 250, 0, 100, VIBRATE + 180, 500),
        0,
        2500,
    ),
    # error
    (0xFF4000, (80, 80, 80, 80, 80, 200), (VIBRATE + 300, 900), 0, 3000),
    # notice: the prompt that the person being filmed hears
    (0xFFA000, (250, 250), (880, 150, 0, 100, 1320, 200), 2000, 0),
    # recording: steady, for everybody to see; a reminder to the wearer twice a minute
    (0xFF0000, (1000,), (VIBRATE + 1760, 120), 30000, 0),
    # stopped
    (0x808080, (300, 100), (VIBRATE + 660, 100, 0, 80, VIBRATE + 440, 200), 0, 1000),
    # low battery
    (0xFFFF00, (60, 240, 60, 240), (VIBRATE + 520, 80, 0, 80, VIBRATE + 520, 80), 60000, 0),
    # storage nearly full
    (0xFF8080, (60, 140, 260, 140), (VIBRATE, 60, 0, 60, VIBRATE, 200), 60000, 0),
    # no link
    (0x0060A0, (60, 540), (VIBRATE, 60), 300000, 0),
    # idle
    (0x002000, (40, 4960), (), 0, 0),
)
COLOUR: "Final" = 0
LIGHT: "Final" = 1
PULSES: "Final" = 2
REPEAT: "Final" = 3
LASTS: "Final" = 4

_LAST_ALARM = ALARM_RESOLVED
_NEVER = -1


class Feedback:
    """Plays the patterns that are on, at times given by `poll`; IDLE always is. `silent` is the profile for duress."""

    def __init__(self, indicator: "Indicator") -> None:
        self._indicator = indicator
        self.silent = False
        self._on = 1 << IDLE
        self._until_ms = [_NEVER] * len(PATTERNS)
        self._pulse_due_ms = [_NEVER] * len(PATTERNS)
        self._light = -1
        self._first = _NEVER
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
        """Whether `pattern` (an index of PATTERNS) is being shown, alone or in turn."""
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
        lasts_ms = PATTERNS[pattern][LASTS]
        self._until_ms[pattern] = now_ms + lasts_ms if lasts_ms else _NEVER
        if PATTERNS[pattern][PULSES]:
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
        for pattern in range(len(PATTERNS)):
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
            steps = PATTERNS[self._light][LIGHT]
            self._light_step += 1
            if self._light_step < len(steps):
                self._light_end_ms = now_ms + steps[self._light_step]
            else:
                self._begin_light(self._next_light(self._light), now_ms)
        elif self._light < 0:
            first = self._first
            self._first = _NEVER
            self._begin_light(first if first >= 0 and self.is_on(first) else self._next_light(-1), now_ms)
        return 0 if self._light_step & 1 else PATTERNS[self._light][COLOUR]

    def _begin_light(self, pattern: int, now_ms: int) -> None:
        self._light = pattern
        self._light_step = 0
        self._light_end_ms = now_ms + PATTERNS[pattern][LIGHT][0]

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
            pulses = PATTERNS[self._pulse][PULSES]
            self._pulse_step += 2
            if self._pulse_step < len(pulses):
                self._pulse_end_ms = now_ms + pulses[self._pulse_step + 1]
            else:
                self._pulse = -1
        if self._pulse < 0:
            for pattern in range(len(PATTERNS)):
                if 0 <= self._pulse_due_ms[pattern] <= now_ms:
                    repeat_ms = PATTERNS[pattern][REPEAT]
                    self._pulse_due_ms[pattern] = now_ms + repeat_ms if repeat_ms else _NEVER
                    self._pulse = pattern
                    self._pulse_step = 0
                    self._pulse_end_ms = now_ms + PATTERNS[pattern][PULSES][1]
                    break
        return PATTERNS[self._pulse][PULSES][self._pulse_step] if self._pulse >= 0 else 0
