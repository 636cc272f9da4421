"""What whoever looks at an alarm is to do next: one sentence, by its kind and by what has been done already."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lapel_gateway.alarms.book import ACKNOWLEDGED
from lapel_gateway.alarms.kinds import TECHNICAL_NAMES

_REACT = {
    "panic": "listen to the clip and call {whom}; no answer or any doubt: send help to where they are",
    "duress": "do not call {whom}, who may be watched: send help to where they are",
    "man_down": "call {whom}; no answer: send somebody to where they are",
    "low_battery": "call {whom}: the device will soon be silent, agree how they check in",
    "tamper": "call {whom} and ask what became of the device",
    "visit_overdue": "call {whom}, then their buddy; no answer: send somebody to the visit's place",
    "contact_lost": "call {whom}; no answer: send somebody to the visit's place",
    "visit_low_battery": "call {whom}: the device will not last the visit, agree how they check in",
}
_ANY = "call {whom}; no answer or any doubt: send somebody to where they are"


def next_thing(alarm: Mapping[str, Any], phone: str) -> str:
    """What to do about an open alarm (`describe.alarm_words`), its person reachable at ``phone``, "" = not known."""
    if alarm["test"]:
        return "a drill: acknowledge it, then resolve it as a test"
    done = alarm["state"] == ACKNOWLEDGED
    if alarm["kind"] in TECHNICAL_NAMES:
        return "mend what it says, then resolve it" if done else "acknowledge it and mend what it says"
    if done:
        return "see it through, then resolve it with what happened"
    whom = (alarm["person"] or "its wearer") + (f" ({phone})" if phone else "")
    if alarm["cancelled_by_wearer"] and alarm["kind"] != "duress":
        return f"acknowledge it; {whom} has cancelled it: hear it from them before you resolve it"
    return f"acknowledge it; {_REACT.get(alarm['kind'], _ANY).format(whom=whom)}"
