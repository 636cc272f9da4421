"""Man-down: from accelerations to "the wearer may be lying hurt", as a table of states and integers. No I/O.

A fall is a dip (the body is falling, so less than its weight is felt), an impact, and then stillness in another
posture than before; a warning follows, which the wearer has 30 s to cancel. Apart from falls, stillness alone for some
minutes can be made to warn. Rules that hold here:

- A sample allocates nothing and needs no float; only an event, of which a stride has one or two, builds a key.
- What is felt while the device itself vibrates says nothing about stillness, in either direction.
- A gap in the samples ends a fall that has not hit yet and restarts the time of stillness. It never ends a warning:
  a sensor that dies cannot cancel what it has begun.
- A device that lies still without an impact before is no man-down, unless `no_movement` is on. A device that was
  dropped and left lying warns: nothing tells it from a wearer who no longer moves.
- Ticks may wrap at 2^30; what is kept are durations, never times.

Where the thresholds come from (defaults in `lapel_protocol.orders`):

- dip 600 mg and impact 2,000 mg within a second, at the waist or chest: Kangas et al., "Comparison of low-complexity
  fall detection algorithms for body attached accelerometers", Gait & Posture 28 (2008) 285-291. Impact thresholds up
  to 3,520 mg, above everything that elderly people did of themselves: Bourke, O'Brien, Lyons, "Evaluation of a
  threshold-based tri-axial accelerometer fall detection algorithm", Gait & Posture 26 (2007) 194-199.
- dip, strike, stillness, another orientation than at first, and a long time motionless (10 s) as the order of a fall,
  and how small the movements of somebody lying still are (187 mg): N. Jia, "Detecting Human Falls with a 3-Axis
  Digital Accelerometer", Analog Dialogue 43-07 (2009). Its turn of 700 mg on one axis is about 45 degrees.
- 50 samples a second: "Wearable Embedded Intelligence for Detection of Falls Independently of on-Body Location",
  Sensors 19 (2019) 2426, doi 10.3390/s19112426.
"""

from lapel_protocol.limits import TICKS_PERIOD
from lapel_protocol.machine import Machine

TYPE_CHECKING = False
if TYPE_CHECKING:
    from lapel_protocol.orders import SettingsChange

WATCHING = 0
FALLING = 1  # less than the weight is felt; an impact must follow
STRUCK = 2  # hit; stillness in another posture must follow
WARNING = 3  # the wearer is being asked
RAISED = 4  # the alarm was raised; nothing more until somebody moves

DIP = 0
IMPACT = 1
EXPIRED = 2  # the state has lasted as long as it may
LYING = 3  # still for long enough, and turned
UNMOVED = 4  # no movement for the minutes that the setting says
CANCEL = 5  # the wearer pressed a button
MOVED = 6
GAP = 7  # samples are missing

KEEP_POSTURE = 1  # what was up before, to compare with afterwards
WARN = 2
STOP_WARNING = 4
RAISE = 8

TRANSITIONS = {
    (WATCHING, DIP): (FALLING, (KEEP_POSTURE,)),
    (WATCHING, UNMOVED): (WARNING, (WARN,)),
    (FALLING, DIP): (FALLING, (KEEP_POSTURE,)),
    (FALLING, IMPACT): (STRUCK, ()),
    (FALLING, EXPIRED): (WATCHING, ()),
    (FALLING, GAP): (WATCHING, ()),
    (STRUCK, DIP): (STRUCK, (KEEP_POSTURE,)),
    (STRUCK, IMPACT): (STRUCK, ()),
    (STRUCK, LYING): (WARNING, (WARN,)),
    (STRUCK, EXPIRED): (WATCHING, ()),
    (WARNING, CANCEL): (WATCHING, (STOP_WARNING,)),
    (WARNING, EXPIRED): (RAISED, (STOP_WARNING, RAISE)),
    (RAISED, MOVED): (WATCHING, ()),
}

WARNING_MS = 30_000
FALL_MS = 1000
"""From the end of the dip to the impact: a body that tips over feels the ground within this."""
SETTLE_MS = 20_000
"""Who was hit may still move so long before lying still counts no more as a consequence."""
DIP_SAMPLES = 2
"""At 50 Hz 40 ms: a footstep's single low sample is not a fall."""
STILL_MG = 190
"""Least difference within a second, on any axis, that is a movement."""
BLOCK_MS = 1000
GAP_MS = 300
LEAST_SAMPLES = 10
"""Fewer in a second (the device vibrated) say nothing."""
POSTURES = 4
"""Seconds of postures that are kept: the oldest is from before the stumble and from before the fall down the stairs."""

_MASK = TICKS_PERIOD - 1
_MOST_MS = 0x1FFFFFFF
_CHORD_MG = (0, 261, 518, 765, 1000, 1218, 1414)
"""How far apart the ends of two forces of 1,000 mg are, by every 15 degrees between them: 2 sin(a / 2)."""


class ManDown:
    """One wearer's movements. `feed` and the others return what is to be done: WARN, STOP_WARNING, RAISE as bits."""

    def __init__(self, settings: "SettingsChange") -> None:
        self._machine = Machine(TRANSITIONS, WATCHING)
        self._falls = settings.man_down
        self._unmoved_most_ms = settings.no_movement_min * 60_000
        self._dip = settings.fall_dip_mg * settings.fall_dip_mg
        self._impact = settings.fall_impact_mg * settings.fall_impact_mg
        turn = settings.fall_turn_deg
        low = _CHORD_MG[turn // 15]
        chord = low + (_CHORD_MG[min(turn // 15 + 1, 6)] - low) * (turn % 15) // 15
        self._turn = chord * chord
        self._still_least_ms = settings.fall_still_s * 1000
        self._ticks = -1
        self._sample_ticks = -1
        self._state_ms = 0
        self._still_ms = 0
        self._unmoved_ms = 0
        self._low = 0
        self._hit = False
        self._block_ms = 0
        self._count = 0
        self._sum = [0, 0, 0]
        self._least = [0, 0, 0]
        self._most = [0, 0, 0]
        self._postures = [0] * (3 * POSTURES)  # a ring of means
        self._oldest = 0
        self._known = 0
        self._before = [0, 0, 0]

    @property
    def state(self) -> int:
        """WATCHING, FALLING, STRUCK, WARNING or RAISED."""
        return self._machine.state

    def cancel(self) -> int:
        """The wearer pressed a button: a sign of life, and no to a warning."""
        self._still_ms = 0
        self._unmoved_ms = 0
        return self._happen(CANCEL)

    def tick(self, ticks: int) -> int:
        """Time passes, with or without samples. `ticks` in milliseconds, wrapping or not."""
        if self._ticks < 0:
            self._ticks = ticks
        passed = (ticks - self._ticks) & _MASK
        if passed > TICKS_PERIOD >> 1:
            return 0  # the time of a sample from before the last tick
        self._ticks = ticks
        self._state_ms = min(self._state_ms + passed, _MOST_MS)
        state = self._machine.state
        if state == FALLING:
            most_ms = FALL_MS
        elif state == STRUCK:
            most_ms = SETTLE_MS + self._still_least_ms
        elif state == WARNING:
            most_ms = WARNING_MS
        else:
            return 0
        return self._happen(EXPIRED) if self._state_ms >= most_ms else 0

    def feed(self, x: int, y: int, z: int, ticks: int, own: bool) -> int:
        """One sample in mg, taken at `ticks`; `own` while the device's motor may be in it."""
        if self._sample_ticks < 0:
            self._sample_ticks = ticks
        since = (ticks - self._sample_ticks) & _MASK
        if since > TICKS_PERIOD >> 1:
            since = 0
        else:
            self._sample_ticks = ticks
        todo = self.tick(ticks)
        if since > GAP_MS:
            self._still_ms = 0
            self._low = 0
            self._hit = False
            self._begin_block()
            todo |= self._happen(GAP)
            since = 0
        if self._falls:
            todo |= self._judge_force(x * x + y * y + z * z)
        self._block_ms += since
        if not own:
            self._note(0, x)
            self._note(1, y)
            self._note(2, z)
            self._count += 1
        if self._block_ms >= BLOCK_MS:
            todo |= self._end_block()
        return todo

    def _judge_force(self, force: int) -> int:
        if force >= self._dip:
            self._low = 0
            before = self._hit
            self._hit = force >= self._impact
            return self._happen(IMPACT) if self._hit and not before else 0
        self._hit = False
        self._low += 1
        if self._low == DIP_SAMPLES:
            return self._happen(DIP)
        if self._low > DIP_SAMPLES and self._machine.state == FALLING:
            self._state_ms = 0  # from a height one falls for longer
        return 0

    def _happen(self, event: int) -> int:
        machine = self._machine
        if not machine.allows(event):
            return 0
        self._state_ms = 0
        todo = 0
        for effect in machine.handle(event):
            todo |= effect
        if event == IMPACT:
            self._still_ms = 0
        elif event == EXPIRED and todo & RAISE:
            self._unmoved_ms = 0
        if todo & KEEP_POSTURE:
            for axis in range(3):
                self._before[axis] = self._postures[3 * self._oldest + axis]
        return todo & ~KEEP_POSTURE

    # -- stillness and posture, second by second --

    def _note(self, axis: int, value: int) -> None:
        if not self._count or value < self._least[axis]:
            self._least[axis] = value
        if not self._count or value > self._most[axis]:
            self._most[axis] = value
        self._sum[axis] += value

    def _begin_block(self) -> None:
        self._block_ms = 0
        self._count = 0
        for axis in range(3):
            self._sum[axis] = 0

    def _end_block(self) -> int:
        todo = 0
        count = self._count
        if count >= LEAST_SAMPLES:
            moved = False
            turned = 0
            for axis in range(3):
                mean = self._sum[axis] // count
                moved = moved or self._most[axis] - self._least[axis] > STILL_MG
                turned += (mean - self._before[axis]) * (mean - self._before[axis])
                self._keep(axis, mean)
            self._oldest = (self._oldest + 1) % POSTURES
            self._known = 1
            todo = self._judge_stillness(moved, turned >= self._turn)
        self._begin_block()
        return todo

    def _keep(self, axis: int, mean: int) -> None:
        """Put a mean in the oldest one's place; the first one ever is in all places."""
        if self._known:
            self._postures[3 * self._oldest + axis] = mean
        else:
            for at in range(POSTURES):
                self._postures[3 * at + axis] = mean

    def _judge_stillness(self, moved: bool, turned: bool) -> int:
        if moved:
            self._still_ms = 0
            self._unmoved_ms = 0
            return self._happen(MOVED)
        self._still_ms = min(self._still_ms + self._block_ms, _MOST_MS)
        self._unmoved_ms = min(self._unmoved_ms + self._block_ms, _MOST_MS)
        if self._machine.state == STRUCK:
            return self._happen(LYING) if turned and self._still_ms >= self._still_least_ms else 0
        if self._unmoved_most_ms and self._unmoved_ms >= self._unmoved_most_ms:
            return self._happen(UNMOVED)
        return 0
