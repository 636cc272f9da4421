"""What kinds of alarm there are: those that devices raise, by the protocol's numbers, and the gateway's own.

The ledger holds the numbers. They are never given to another kind.
"""

from __future__ import annotations

from lapel_protocol.names import ALARM_KIND_NAMES

UNKNOWN = 0
"""Of an alarm that only its device's heartbeats name: they do not say the kind, nor does the device know any more."""

# --- about a person on a visit ---
VISIT_OVERDUE = 128
CONTACT_LOST = 129
VISIT_LOW_BATTERY = 130

# --- about the gateway and what it depends on ---
DELIVERY_FAILED = 160
CLIP_MISSING = 161
DISK_LOW = 162
CENTRE_SILENT = 163

_OWN = {
    VISIT_OVERDUE: "visit_overdue",
    CONTACT_LOST: "contact_lost",
    VISIT_LOW_BATTERY: "visit_low_battery",
    DELIVERY_FAILED: "delivery_failed",
    CLIP_MISSING: "clip_missing",
    DISK_LOW: "disk_low",
    CENTRE_SILENT: "centre_silent",
}

KIND_NAMES: dict[int, str] = {UNKNOWN: "unknown", **dict(enumerate(ALARM_KIND_NAMES[1:], 1)), **_OWN}
"""In one word each, for people, channels and settings."""

TECHNICAL_KINDS = frozenset({DELIVERY_FAILED, CLIP_MISSING, DISK_LOW, CENTRE_SILENT})
"""Nobody is in danger by these alone; somebody may be when they are not seen to."""

TECHNICAL_NAMES = frozenset(KIND_NAMES[kind] for kind in TECHNICAL_KINDS)


def kind_name(kind: int) -> str:
    """The kind in one word."""
    return KIND_NAMES.get(kind, KIND_NAMES[UNKNOWN])
