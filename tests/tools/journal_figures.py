"""The response report once more, from the raw journal alone: a second mind, which shares no code with the first.

It says what the figures mean in the plainest way that it can, and is slow.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

Line = dict[str, Any]
Alarm = dict[str, Any]


def replay(journal: Iterable[Line]) -> tuple[list[Alarm], list[int]]:
    """What became of each alarm that reached the gateway, and when the gateway had to raise technical ones."""
    team: dict[str, str] = {}
    alarms: dict[str, Alarm] = {}
    technical: list[int] = []
    wrong: set[tuple[str, str]] = set()
    for line in journal:
        at, what = line["at"], line["what"]
        one = alarms.setdefault(line["alarm"], {}) if "alarm" in line else {}
        if what == "moved":
            team[line["person"]] = line["team"]
        elif what == "pressed":
            one.update(person=line["person"], true_kind=line["kind"], drill=False)
            one["clock"] = line["clock_says"] if line["clock_set_by"] in ("gateway", "ntp") else "not trusted"
        elif what == "shown":
            one.update(received=at, team=team[one["person"]], kind="unknown", press="none")
        elif what == "came":
            # A repeat says nothing new; the record of an alarm that a heartbeat showed says what it was.
            one.setdefault("received", at)
            one.setdefault("team", team[one["person"]])
            one.update(kind=one["true_kind"], press=one["clock"])
        elif what == "said sent":
            one.setdefault("sent", line["after"])  # said of what the gateway has; a second word is not believed
        elif what == "raised":
            one.update(received=at, team=team[line["person"]], kind=line["kind"], press="none")
            one.update(person=line["person"], drill=line["drill"])
        elif what == "cancelled" and "ending" not in one:
            one["cancelled"] = at  # of an alarm that is over a cancel says nothing
        elif what == "rang":
            one.setdefault("notified", (at, line["channel"]))
        elif what in ("dead", "silent") and (what, line["channel"]) not in wrong:
            # For one fault of one channel there is one alarm, until somebody has seen to it.
            wrong.add((what, line["channel"]))
            technical.append(at)
        elif what == "mended":
            wrong.clear()
        elif what in ("acknowledge", "resolve"):
            answer(one, line)
    # Bells ring for technical alarms too, which nobody pressed.
    return [one for one in alarms.values() if "received" in one], technical


def answer(one: Alarm, line: Line) -> None:
    """Somebody answers: not the person whom the alarm is about, unless another has before; and the first one counts."""
    own = line["who"].lower() == one["person"].lower()
    if line["what"] == "acknowledge":
        if not own and "acknowledged" not in one and "ending" not in one:
            one["acknowledged"] = line["at"]
    elif "ending" not in one and not (own and "acknowledged" not in one):
        one["ending"] = line["ending"]


def at_percent(values: list[int], percent: int) -> int | None:
    """The least value that is at least as large as so many per cent of them."""
    for value in sorted(values):
        if 100 * len([other for other in values if other <= value]) >= percent * len(values):
            return value
    return None


def duration(values: list[int]) -> Line:
    """Percentiles of some durations."""
    return {
        "count": len(values),
        **{f"p{percent}": at_percent(values, percent) for percent in (50, 90, 95, 99)},
        "max": max(values) if values else None,
        "clock_ahead": len([value for value in values if value < 0]),
    }


def endings(group: list[Alarm]) -> dict[str, int]:
    """How some alarms ended."""
    found = {"true": 0, "false": 0, "test": 0, "unresolved": 0}
    for one in group:
        found[one.get("ending", "unresolved")] += 1
    return found


def target(group: list[Alarm], within_ms: int, per_mille: int) -> Line:
    """How many were acknowledged in time, of all of them."""
    within = len([one for one in group if "acknowledged" in one and one["acknowledged"] - one["received"] <= within_ms])
    verdict = "too few to tell"
    if group:
        verdict = "met" if 1000 * within >= per_mille * len(group) else "missed"
    return {
        "within_ms": within_ms,
        "target": per_mille / 1000,
        "within": within,
        "alarms": len(group),
        "share": within / len(group) if group else None,
        "verdict": verdict,
    }


def figures(group: list[Alarm]) -> Line:
    """Every figure of some alarms, in the report's words."""
    pressed = [one for one in group if isinstance(one["press"], int)]
    answered = [one for one in group if "acknowledged" in one]
    notified = [one for one in group if "notified" in one]
    cancelled = [one for one in group if "cancelled" in one]
    ends = endings(group)
    channels = sorted({one["notified"][1] for one in notified})
    judged = ends["true"] + ends["false"]
    return {
        "alarms": len(group),
        "acknowledged": len(answered),
        "unanswered": len([one for one in group if "acknowledged" not in one and "ending" not in one]),
        "resolved_only": len([one for one in group if "acknowledged" not in one and "ending" in one]),
        "no_press": len([one for one in group if one["press"] == "none"]),
        "no_trusted_press": len([one for one in group if one["press"] == "not trusted"]),
        "targets": [target(group, 10_000, 800), target(group, 40_000, 985)],
        "press_to_sent": duration([one["sent"] for one in group if "sent" in one]),
        "sent_to_received": duration(
            [one["received"] - one["press"] - one["sent"] for one in pressed if "sent" in one]
        ),
        "press_to_received": duration([one["received"] - one["press"] for one in pressed]),
        "received_to_notified": duration([one["notified"][0] - one["received"] for one in notified]),
        "received_to_acknowledged": duration([one["acknowledged"] - one["received"] for one in answered]),
        "press_to_acknowledged": duration(
            [one["acknowledged"] - one["press"] for one in pressed if "acknowledged" in one]
        ),
        "resolved": ends,
        "false_alarm_rate": ends["false"] / judged if judged else None,
        "cancelled_by_wearer": {
            "alarms": len(cancelled),
            "acknowledged": len([one for one in cancelled if "acknowledged" in one]),
            **endings(cancelled),
        },
        "first_notified_by": {name: [one["notified"][1] for one in notified].count(name) for name in channels},
        "notified_nobody": len(group) - len(notified),
    }


def report(journal: Iterable[Line], from_ms: int, to_ms: int, team: str | None, zone: ZoneInfo) -> Line:
    """The whole report of a period and, unless it is None, of a team, without its first lines."""
    alarms, technical = replay(journal)
    found = [one for one in alarms if from_ms <= one["received"] < to_ms and (team is None or one["team"] == team)]
    people = [one for one in found if not one["drill"]]

    def by(name: Callable[[Alarm], str]) -> Line:
        return {each: figures([one for one in people if name(one) == each]) for each in sorted(set(map(name, people)))}

    return {
        "team": team,
        "drills": len(found) - len(people),
        # What is wrong with a channel is of no team.
        "technical": len([at for at in technical if from_ms <= at < to_ms]) if team in (None, "") else 0,
        "total": figures(people),
        "by_team": by(lambda one: str(one["team"])),
        "by_kind": by(lambda one: str(one["kind"])),
        "by_month": by(lambda one: datetime.fromtimestamp(one["received"] / 1000, zone).strftime("%Y-%m")),
    }
