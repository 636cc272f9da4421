"""How a worn device is moved: acceleration by time for people who stand, walk, run, sit down, drive, fall and lie, and
for a device that is dropped or laid on a table.

The axes are the device's on a chest: x to the wearer's left, y up along the trunk, z away from the chest. What is felt
is the force that holds the device up: 1,000 mg upwards while it rests, nothing in free fall. Physics, in the words that
the functions repeat: a body falls as a rod that tips over (the force at the chest sinks to a third of the weight and
turns by a right angle), hits within 100 ms with a peak of 3 to 6 times its weight and bounces once; a dropped device
falls freely for sqrt(2 h / g) and rings at the sensor's limit for 20 ms. Every figure has Gaussian noise on top, from a
seed.
"""

import math
import random
from collections.abc import Callable

Vector = tuple[float, float, float]
Reading = tuple[int, int, int]
Phase = Callable[[float], Vector]
"""Acceleration in mg by seconds since the phase began."""

NOISE_MG = 4.0  # the LIS3DH at 50 Hz and +-8 g, its steps of 4 mg included
_G_M_S2 = 9.81
_UP: Vector = (0.0, 1000.0, 0.0)


def tilted(forward_degrees: float, left_degrees: float = 0.0) -> Vector:
    """What a device at rest feels when the trunk leans forwards and to the left (90 = lying)."""
    forward, left = math.radians(forward_degrees), math.radians(left_degrees)
    return (
        1000 * math.sin(-left),
        1000 * math.cos(forward) * math.cos(left),
        -1000 * math.sin(forward) * math.cos(left),
    )


def _plus(a: Vector, b: Vector) -> Vector:
    return a[0] + b[0], a[1] + b[1], a[2] + b[2]


def _times(a: Vector, factor: float) -> Vector:
    return a[0] * factor, a[1] * factor, a[2] * factor


def still(posture: Vector = _UP, breath_mg: float = 15.0) -> Phase:
    """At rest; breathing lifts the chest fifteen times a minute. 0 for a device that nobody wears."""
    return lambda t: _plus(posture, (0.0, 0.0, breath_mg * math.sin(2 * math.pi * 0.25 * t)))


def walk(steps_hz: float = 1.9, bounce_mg: float = 350.0, lean: float = 5.0) -> Phase:
    """Steps: the trunk bounces once a step and sways once in two, heel strikes adding the double frequency."""

    def felt(t: float) -> Vector:
        step = 2 * math.pi * steps_hz * t
        up = bounce_mg * math.sin(step) + 0.35 * bounce_mg * math.sin(2 * step + 0.7)
        return _plus(tilted(lean), (0.45 * bounce_mg * math.sin(step / 2), up, 0.3 * bounce_mg * math.cos(step)))

    return felt


def stairs(steps_hz: float = 1.8) -> Phase:
    """Downstairs: as walking, with heavier steps."""
    return walk(steps_hz, 620.0, 2.0)


def run(steps_hz: float = 2.8) -> Phase:
    """Running: a flight in which next to nothing is felt, and a landing of some three times the weight, each step."""

    def felt(t: float) -> Vector:
        step = (t * steps_hz) % 1.0
        up = 3000 * math.sin(math.pi * step / 0.6) if step < 0.6 else 60.0
        return 300 * math.sin(math.pi * steps_hz * t), up, -0.2 * up

    return felt


def car() -> Phase:
    """A ride: body bounce at 1.4 Hz, road at 11 Hz, a pothole every 7 s, braking every 20 s."""

    def felt(t: float) -> Vector:
        hole = math.exp(-((t % 7.0 - 3.0) ** 2) / 0.002)
        brake = 350.0 if t % 20.0 > 17.0 else 0.0
        up = 90 * math.sin(2 * math.pi * 1.4 * t) + 70 * math.sin(2 * math.pi * 11 * t) + 900 * hole
        return _plus(tilted(-15), (60 * math.sin(2 * math.pi * 0.9 * t), up, -brake))

    return felt


def vibration(posture: Vector = _UP, motor_hz: float = 175.0, force_mg: float = 450.0) -> Phase:
    """The device's own motor, on a wearer who is still."""

    def felt(t: float) -> Vector:
        turn = 2 * math.pi * motor_hz * t
        return _plus(posture, (force_mg * math.sin(turn), force_mg * math.cos(turn), 0.0))

    return felt


def turning(before: Vector, after: Vector, over_s: float, weight: float = 1.0) -> Phase:
    """From one posture to another, while `weight` of the body's weight is felt."""

    def felt(t: float) -> Vector:
        share = min(1.0, max(0.0, t / over_s))
        mixed = _plus(_times(before, 1 - share), _times(after, share))
        size = math.sqrt(sum(part * part for part in mixed)) or 1.0
        return _times(mixed, 1000 * weight / size)

    return felt


def blow(posture: Vector, peak: float, over_s: float = 0.1) -> Phase:
    """An impact: half a sine of `peak` times the weight."""
    return lambda t: _times(posture, 1.0 + (peak - 1.0) * math.sin(math.pi * min(1.0, max(0.0, t / over_s))))


class Motion:
    """Phases one after another. Times are microseconds of any clock; readings are asked for in rising time."""

    def __init__(self, seed: int | str = 1, noise_mg: float = NOISE_MG) -> None:
        self._rng = random.Random(seed)
        self._noise_mg = noise_mg
        self._phases: list[tuple[int, Phase]] = [(0, still())]
        self.posture = _UP

    def begin(self, at_us: int, phase: Phase) -> None:
        """From this time on; what was to come later is dropped."""
        self._phases = [row for row in self._phases if row[0] < at_us] + [(at_us, phase)]

    def play(self, at_us: int, phases: list[tuple[float, Phase]], last: Phase) -> int:
        """Phases with their seconds, then `last` for good; returns when that begins."""
        for seconds, phase in phases:
            self.begin(at_us, phase)
            at_us += round(seconds * 1_000_000)
        self.begin(at_us, last)
        return at_us

    def fall(self, at_us: int, down: Vector | None = None, peak: float = 4.0, breath_mg: float = 15.0) -> int:
        """A body tips over, hits the ground, bounces and lies; returns when it lies."""
        lying = tilted(85, 10) if down is None else down
        before = self.posture
        self.posture = lying
        half = _times(_plus(before, lying), 0.5)
        return self.play(
            at_us,
            [
                (0.30, turning(before, _plus(before, _times(lying, 0.3)), 0.30, 0.85)),
                (0.35, turning(half, lying, 0.35, 0.33)),
                (0.10, blow(lying, peak)),
                (0.15, still(_times(lying, 0.7), 0)),
                (0.10, blow(lying, 1 + peak / 4)),
                (0.60, walk(3.0, 120.0, 85)),
            ],
            still(lying, breath_mg),
        )

    def sit_down_hard(self, at_us: int, peak: float = 2.7) -> int:
        """Dropping into a chair: the seat takes the weight back at once; the trunk leans back. Returns when seated."""
        self.posture = tilted(-20)
        lowering: list[tuple[float, Phase]] = [
            (0.30, turning(_UP, self.posture, 0.30, 0.45)),
            (0.08, blow(self.posture, peak, 0.08)),
        ]
        return self.play(at_us, [*lowering, (0.5, walk(3.0, 80.0, -20))], still(self.posture))

    def drop(self, at_us: int, height_m: float = 0.75, rest: Vector = (0.0, 0.0, 1000.0)) -> int:
        """The device alone falls on a table and stays there; returns when it lies."""
        falling_s = math.sqrt(2 * height_m / _G_M_S2)
        self.posture = rest
        return self.play(
            at_us,
            [
                (falling_s, still((0.0, 0.0, 0.0), 0)),
                (0.02, blow(rest, 12.0, 0.02)),
                (0.6 * falling_s, still((0.0, 0.0, 0.0), 0)),
                (0.02, blow(rest, 5.0, 0.02)),
            ],
            still(rest, 0),
        )

    def at(self, at_us: int) -> Reading:
        """What the sensor's case feels, in mg."""
        phases = self._phases  # another thread may put others in their place
        started, phase = phases[0]
        for row in phases:
            if row[0] > at_us:
                break
            started, phase = row
        x, y, z = phase((at_us - started) / 1_000_000)
        noise = [self._rng.gauss(0.0, self._noise_mg) for _ in range(3)]
        return round(x + noise[0]), round(y + noise[1]), round(z + noise[2])
