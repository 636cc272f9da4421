"""Words, colours and rhythms of the feedback patterns, for observers: the simulator and tests. A device does not carry
them.
"""

from .feedback import COUNT, FIRST, LASTS, PULSES, REPEAT, ROWS, STARTS

PATTERN_NAMES = (
    "alarm raised",
    "alarm sent",
    "alarm received",
    "alarm acknowledged",
    "alarm resolved",
    "alarm is a test",
    "cancel sent",
    "man-down warning",
    "visit overdue",
    "visit amber",
    "check-in due",
    "refused, storage full",
    "error",
    "visit extended",
    "visit noted",
    "notice",
    "recording",
    "recording stopped",
    "low battery",
    "storage nearly full",
    "no link",
    "in a visit",
    "idle",
)


class Pattern:
    """One row: `colour` 0xRRGGBB, `light` lit, dark ... and `pulses` pitch, duration ... in milliseconds."""

    def __init__(self, index: int) -> None:
        start = STARTS[index]
        steps = start + FIRST + ROWS[start + PULSES]
        self.colour = ROWS[start] << 8 | ROWS[start + 1]
        self.pulses = tuple(ROWS[start + FIRST : steps])
        self.light = tuple(ROWS[steps : STARTS[index + 1]])
        self.repeat_ms = ROWS[start + REPEAT] * 100
        self.lasts_ms = ROWS[start + LASTS]


PATTERNS = tuple(Pattern(index) for index in range(COUNT))

PATTERN_OF_COLOUR = {pattern.colour: PATTERN_NAMES[index] for index, pattern in enumerate(PATTERNS)}
"""Every pattern has a colour that no other has: one lit step names it."""
