"""What about a device wants a look, the worst first: pure, from what is known of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lapel_gateway.ledger.schema import DEVICE_ACTIVE, DEVICE_LOST
from lapel_gateway.settings.devices import DevicesSection

BAD = "bad"
WARN = "warn"

IN_CONTACT = "in contact"
SILENT = "silent"
NEVER = "never heard"
"""How a device's link stands."""

LOW_BATTERY_PERCENT = 15
DAY_MS = 86_400_000
_FAILED_STEPS = ("failed", "rolled_back")


@dataclass(frozen=True)
class Concern:
    """One thing to look at, and what to do about it. ``level``: `BAD` or `WARN`."""

    level: str
    words: str


def link_of(contact_ms: int | None, now_ms: int, late_ms: int) -> str:
    """How its link stands, of a device that is silent after ``late_ms``."""
    if contact_ms is None:
        return NEVER
    return IN_CONTACT if now_ms - contact_ms < late_ms else SILENT


def concerns(words: Mapping[str, Any], rules: DevicesSection, now_ms: int) -> list[Concern]:
    """Of a device in words (`devices.states`), without those of a device that is out of service."""
    found: list[Concern] = []
    if words["state"] == DEVICE_LOST:
        if words["found"] is None:
            return [Concern(BAD, "lost: whoever finds it brings it back, or retire it")]
        return [Concern(WARN, "found again: look at it, then provision it anew or retire it")]
    if words["state"] != DEVICE_ACTIVE:
        return []
    status = words["status"] or {}
    held, battery = status.get("clips_held") or 0, status.get("battery_percent")
    worn, silent = bool(words["person"]), words["link"] == SILENT
    if silent and worn:
        found.append(Concern(BAD, f"silent in the hands of {words['person']}: ask whether it is switched on"))
    if held and silent:
        found.append(Concern(WARN, f"{held} clips are still on it: switch it on where it has a link"))
    if status.get("storage_full"):
        found.append(Concern(BAD, "its storage is full: keep it where it has a link until its clips are in"))
    if battery is not None and battery < LOW_BATTERY_PERCENT:
        found.append(Concern(BAD if worn else WARN, f"battery at {battery} %: charge it"))
    found += _tested(words["self_test"], rules, now_ms)
    update = words["update"]
    if update is not None and update["step"] in _FAILED_STEPS:
        found.append(
            Concern(WARN, f"its last update {update['step'].replace('_', ' ')}: {update['why'] or 'nobody said why'}")
        )
    return sorted(found, key=lambda one: one.level != BAD)


def _tested(last: Mapping[str, Any] | None, rules: DevicesSection, now_ms: int) -> list[Concern]:
    if not rules.self_test_days:
        return []
    if last is None:
        return [Concern(WARN, "no self-test is on record: lapel device selftest")]
    if not last["passed"]:
        return [Concern(BAD, "its last self-test failed: mend it, then lapel device selftest")]
    days = (now_ms - last["at"]["ms"]) // DAY_MS
    if days >= rules.self_test_days:
        return [Concern(WARN, f"its last self-test is {days} days old: lapel device selftest")]
    return []
