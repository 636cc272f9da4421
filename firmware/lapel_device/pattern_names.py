"""Words and colours of the feedback patterns, for observers: the simulator and tests. A device does not carry them."""

from .feedback import COLOUR, PATTERNS

PATTERN_NAMES = (
    "alarm raised",
    "alarm sent",
    "alarm received",
    "alarm acknowledged",
    "alarm resolved",
    "man-down warning",
    "refused, storage full",
    "error",
    "notice",
    "recording",
    "recording stopped",
    "low battery",
    "storage nearly full",
    "no link",
    "idle",
)

PATTERN_OF_COLOUR = {row[COLOUR]: PATTERN_NAMES[index] for index, row in enumerate(PATTERNS)}
"""Every pattern has a colour that no other has: one lit step names it."""
