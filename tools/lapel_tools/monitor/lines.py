"""What changes, a line each: for pipes, and for whoever watches a trial.

Rules that hold here
- A line tells what is new and no more: what only ages, and figures that change all the time, are left out.
- Where somebody is, their number and their visit's place are in no line; `--json` has them as the API does.
- What devices, people and brokers wrote is one line without control characters.
"""

from __future__ import annotations

import json
from collections.abc import Callable

from lapel_gateway.describe import utc
from lapel_tools.monitor.live import Change, Words
from lapel_tools.monitor.rows import line, size

BEGUN = "begun"
CHANGED = "changed"
ENDED = "ended"

BATTERY_STEP = 5
"""Percent: less is no news."""


def describe(change: Change, now_ms: int) -> str | None:
    """One change as a line; None where it is no news."""
    section, key, old, new = change
    told = _TOLD.get(section)
    text = told(key, old, new) if told is not None else None
    return None if text is None else f"{_time(now_ms)} {text}"


def as_json(change: Change, now_ms: int) -> str:
    """One change as a JSON document in one line: everything there is to it."""
    section, key, old, new = change
    what = BEGUN if old is None else ENDED if new is None else CHANGED
    words = {"time": utc(now_ms), "section": section, "key": key, "what": what, "words": new if new else old}
    return json.dumps(words, ensure_ascii=False)


def _time(now_ms: int) -> str:
    text = utc(now_ms) or ""
    return f"{text[:10]} {text[11:19]}"


def _news(old: Words | None, new: Words | None, names: tuple[str, ...]) -> list[str]:
    """``name value`` of those that have changed, with what they were where that is known."""
    if new is None:
        return []
    if old is None:
        return [f"{name.replace('_', ' ')} {_plain(new[name])}" for name in names if new[name] not in (None, "", False)]
    return [
        f"{name.replace('_', ' ')} {_plain(old[name])} -> {_plain(new[name])}"
        for name in names
        if old[name] != new[name]
    ]


def _plain(value: object) -> str:
    if isinstance(value, dict):
        return line(f"by {value['by']}" if value.get("by") else value.get("utc") or "-")
    return "no" if value is False else "yes" if value is True else "-" if value in (None, "") else line(value)


def _alarm(key: str, old: Words | None, new: Words | None) -> str | None:
    if new is None:
        return f"alarm {key} is no longer open"
    names = ("state", "acknowledged", "cancelled_by_wearer", "clip_id")
    news = _news(old, new, names)
    before = {one["channel"]: one for one in old["told"]} if old else {}
    for told in new["told"]:
        was = before.get(told["channel"])
        if was is None or (was["state"], was["error"]) != (told["state"], told["error"]):
            error = f" ({line(told['error'], 80)})" if told["error"] else ""
            news.append(f"{line(told['channel'], 40)} {told['state']}{error}")
    whose = line(new["person"] or new["about"] or "nobody known", 60)
    test = " drill" if new["test"] else ""
    return f"alarm {key} {new['kind']}{test} of {whose}: {', '.join(news)}" if news else None


def _visit(key: str, old: Words | None, new: Words | None) -> str | None:
    if new is None:
        return f"visit {key} is over"
    news = _news(old, new, ("state", "late", "contact_lost"))
    return f"visit {key} of {line(new['person'], 60)}: {', '.join(news)}" if news else None


def _clip(key: str, old: Words | None, new: Words | None) -> str | None:
    if new is None:
        return f"clip {key} is here whole, or is not waited for any more"
    if old is not None and all(old[name] == new[name] for name in ("state", "segments", "segments_settled")):
        return None
    settled = new["segments_settled"]
    of = f" of {settled}" if settled is not None else ""
    alarm = " of an alarm" if new["alarm"] else ""
    return f"clip {key}{alarm}: {new['state']}, {new['segments']}{of} segments, {size(new['bytes'])}"


def _device(key: str, old: Words | None, new: Words | None) -> str | None:
    if new is None:
        return f"device {key} is not in service any more"
    names: tuple[str, ...] = ("state", "link", "person", "recording", "unsent_clips", "storage_full", "firmware")
    battery = new["battery_percent"]
    was = old["battery_percent"] if old else None
    if battery is not None and (was is None or abs(battery - was) >= BATTERY_STEP):
        names = (*names, "battery_percent")
    news = _news(old, new, (*names, "update_step"))
    return f"device {key} ({line(new['name'], 40)}): {', '.join(news)}" if news else None


def _channel(key: str, old: Words | None, new: Words | None) -> str | None:
    news = _news(old, new, ("state",))
    return f"channel {line(key, 60)}: {', '.join(news)}" if news else None


def _role(key: str, old: Words | None, new: Words | None) -> str | None:
    names = ("alive", "connected", "late_with")
    if new is None or (old is not None and all(old[name] == new[name] for name in names)):
        return None
    alive = "silent" if not new["alive"] else "alive, without the broker" if new["connected"] is False else "alive"
    late = f", late with {new['late_with']}" if new["late_with"] else ""
    return f"role {key}: {alive}{late}"


def _broker(_key: str, old: Words | None, new: Words | None) -> str | None:
    if new is None or new["connected"] is None or (old is not None and old["connected"] == new["connected"]):
        return None
    return "broker: here" if new["connected"] else f"broker: away ({line(new['trouble'] or '-', 80)})"


def _disk(key: str, old: Words | None, new: Words | None) -> str | None:
    if new is None or (old is not None and old["low"] == new["low"]):
        return None
    return f"disk of {key}: {'low, ' if new['low'] else ''}{size(new['free_bytes'])} free"


_TOLD: dict[str, Callable[[str, Words | None, Words | None], str | None]] = {
    "alarms": _alarm,
    "visits": _visit,
    "clips": _clip,
    "devices": _device,
    "channels": _channel,
    "roles": _role,
    "broker": _broker,
    "storage": _disk,
}
