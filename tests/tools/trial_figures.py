"""The report of a trial once more, from the raw journal alone: a second mind, which shares no code with the first.

It says what the figures mean in the plainest way that it can, and is slow.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import date, datetime, timedelta
from functools import partial
from typing import Any
from zoneinfo import ZoneInfo

from tests.tools import journal_figures

Line = dict[str, Any]
DAY_MS = 86_400_000
HOUR_MS = 3_600_000


class Story:
    """What happened, put together from the lines: lists of things with their team and time."""

    def __init__(self, journal: list[Line], zone: ZoneInfo) -> None:
        self.zone = zone
        self.teams = {line["person"]: line["team"] for line in journal if line["what"] == "moved"}
        self.journal = journal
        self.uses: list[tuple[str, int]] = []  # camera, when
        self.things: list[tuple[str, str, int]] = []  # what, team, when
        self.alarms: list[Line] = []
        self.incidents: dict[str, Line] = {}
        self._spans()
        self._clips()
        self._notes()
        self._visits()
        self._alarms()
        self._passed()

    def own_time(self, line: Line, came: int) -> int:
        """A camera's clock is believed where the gateway or NTP set it, unless it is more than a day ahead."""
        good = line["clock_set_by"] in ("gateway", "ntp") and line["clock_says"] <= came + DAY_MS
        return int(line["clock_says"] if good else came)

    def holder(self, camera: str, at: int) -> str:
        """Who had a camera."""
        for one, person, begin, end in self.spans:
            if one == camera and begin <= at and (end is None or at < end):
                return person
        return ""

    def _spans(self) -> None:
        self.spans: list[tuple[str, str, int, int | None]] = []
        for number, line in enumerate(self.journal):
            if line["what"] == "provisioned" and line["person"]:
                self.spans.append((line["camera"], line["person"], line["at"], None))
            if line["what"] == "handed out":
                ends = [
                    later["at"]
                    for later in self.journal[number:]
                    if later["what"] == "taken back" and later["camera"] == line["camera"]
                ]
                self.spans.append((line["camera"], line["person"], line["at"], ends[0] if ends else None))

    def _clips(self) -> None:
        came = {(line["camera"], line["clip"]): line["at"] for line in self.journal if line["what"] == "clip came"}
        self.clip_team: dict[tuple[str, int], str] = {}
        for line in self.journal:
            key = (line.get("camera"), line.get("clip"))
            if line["what"] != "recorded" or key not in came:
                continue
            at = self.own_time(line, came[key])
            team = self.clip_team[key] = self.teams.get(self.holder(line["camera"], at), "")
            self.uses.append((line["camera"], at))
            if line["notice"] != "continued":
                self.things.append(("recording " + line["notice"], team, at))
            if line["ending"] == "end":
                self.things += [("second recorded", team, at)] * 3
            if line["ending"] == "cut":
                self.things.append(("fault clip_cut_short", team, at))

    def _notes(self) -> None:
        names = {
            "prompted": "prompt",
            "prompt given up": "prompt in vain",
            "refused": "fault recording_refused",
            "storage": "fault storage",
            "rolled back": "fault update",
        }
        for line in self.journal:
            what = line["what"]
            if what in (*names, "noted", "updated"):
                at = self.own_time(line, line["at"])
                self.uses.append((line["camera"], at))
                if what in names:
                    self.things.append((names[what], self.teams.get(self.holder(line["camera"], at), ""), at))
            elif what == "cut came":
                self.uses.append((line["camera"], self.own_time(line, line["at"])))
            elif what == "switched on":
                self.uses.append((line["camera"], line["at"]))
            elif what == "self-test" and line["outcome"] == "failed":
                person = self.holder(line["camera"], line["at"])
                self.things.append(("fault self_test", self.teams.get(person, ""), line["at"]))
            elif what == "lost":
                self.things.append(("fault device_lost", self.teams[line["person"]], line["at"]))

    def _visits(self) -> None:
        then: dict[str, str] = {}
        for line in self.journal:
            if line["what"] == "moved":
                then[line["person"]] = line["team"]
            if line["what"] != "visit":
                continue
            after = {one["what"]: one for one in self.journal if one.get("number") == line["number"]}
            begun = after.get("visit begun")
            at = begun["at"] if begun else line["begins"]
            at -= at % HOUR_MS
            team = then[line["person"]]
            happened = {
                "planned": line["planned"],
                "started": begun is not None,
                "cancelled": "visit cancelled" in after,
                "overdue": "visit overdue" in after,
                "contact_lost": "contact lost" in after,
            }
            self.things += [("visit " + name, team, at) for name, true in happened.items() if true]

    def _alarms(self) -> None:
        then: dict[str, str] = {}
        clips = {
            line["alarm"]: f"{line['camera']}-{line['clip']}"
            for line in self.journal
            if line["what"] == "recorded" and "alarm" in line
        }
        for line in self.journal:
            if line["what"] == "moved":
                then[line["person"]] = line["team"]
            if line["what"] not in ("pressed", "drilled", "raised"):
                continue
            team = then[line["person"]]
            one: Line = {
                "received": line["at"],
                "team": team,
                "drill": line["what"] == "drilled",
                "name": line["alarm"],
            }
            for later in self.journal:
                if later.get("alarm") == line["alarm"] and later["what"] == "acknowledged":
                    one.setdefault("acknowledged", later["at"])
                if later.get("alarm") == line["alarm"] and later["what"] == "resolved":
                    one["ending"], one["resolved"] = later["ending"], later["at"]
            if line["what"] == "pressed":
                self.uses.append((line["camera"], self.own_time(line, line["at"])))
                one["kind"] = "panic"
            if one["drill"]:
                self.things.append(("drill", team, line["at"]))
            else:
                self.alarms.append(one)
            one["clip"] = clips.get(line["alarm"])

    def _passed(self) -> None:
        seen: set[tuple[object, ...]] = set()
        for line in sorted(self.journal, key=lambda one: one["at"]):
            if line["what"] != "passed on":
                continue
            clip = (line["camera"], line["clip"])
            for what, of in (("passed on", True), ("passed to police", line["kind"] == "police")):
                if of and (what, clip) not in seen:
                    seen.add((what, clip))
                    self.things.append((what, self.clip_team[clip], line["at"]))

    # -- days -------------------------------------------------------------------------------------------------------

    def day(self, at: int) -> date:
        """The date of a time."""
        return datetime.fromtimestamp(at / 1000, self.zone).date()

    def month(self, at: int) -> str:
        """The month of a time."""
        return datetime.fromtimestamp(at / 1000, self.zone).strftime("%Y-%m")

    def person_days(self, from_ms: int, to_ms: int) -> tuple[set[tuple[str, date]], set[tuple[str, date]]]:
        """On which days who had a camera, and on which of them they used it."""
        had, used = set(), set()
        for _, person, begin, end in self.spans:
            at = max(begin, from_ms)
            last = min(to_ms if end is None else end, to_ms) - 1
            if at > last:
                continue
            day = self.day(at)
            while day <= self.day(last):
                had.add((person, day))
                day += timedelta(days=1)
        for camera, at in self.uses:
            person = self.holder(camera, at)
            if from_ms <= at < to_ms and person:
                used.add((person, self.day(at)))
        return had, used


def is_of(team: str | None, month: str | None, whose: str, when: str) -> bool:
    """Whether something is of a team and of a month; None = of any."""
    return team in (None, whose) and month in (None, when)


def report(journal: Iterable[Line], from_ms: int, to_ms: int, team: str | None, zone: ZoneInfo) -> Line:
    """The whole report of a period and, unless it is None, of a team, without its first lines."""
    story = Story(list(journal), zone)
    had, used = story.person_days(from_ms, to_ms)

    def of(group: Callable[[str, str], bool]) -> Line | None:
        """The figures of what is of a team and month; None where there is nothing."""

        def mine(days: set[tuple[str, date]]) -> set[tuple[str, date]]:
            return {one for one in days if group(story.teams[one[0]], one[1].strftime("%Y-%m"))}

        things = [what for what, whose, at in story.things if from_ms <= at < to_ms and group(whose, story.month(at))]
        alarms = [
            one
            for one in story.alarms
            if from_ms <= one["received"] < to_ms and group(one["team"], story.month(one["received"]))
        ]
        if not (mine(had) or mine(used) or things or alarms):
            return None
        return figures(mine(had), mine(used), things, alarms)

    def everything(group: Callable[[str, str], bool], people: int) -> Line:
        found = of(group) or figures(set(), set(), [], [])
        found["uptake"]["people"] = people
        return found

    def in_team(name: str) -> int:
        return list(story.teams.values()).count(name)

    months = sorted({story.month(at) for at in range(from_ms, to_ms, DAY_MS)} | {story.month(to_ms - 1)})
    names = sorted({*story.teams.values(), *(one["team"] for one in story.alarms)})
    names = [name for name in names if team in (None, name)]
    everybody = sum(in_team(name) for name in names)

    def monthly(whose: str | None, people: int) -> Line:
        """The figures of each month in which there was anything; of a team, None = all."""
        groups = {month: partial(is_of, whose, month) for month in months}
        return {month: everything(group, people) for month, group in groups.items() if of(group)}

    return {
        "team": team,
        "total": everything(partial(is_of, team, None), everybody),
        "by_team": {name: everything(partial(is_of, name, None), in_team(name)) for name in names},
        "by_month": monthly(team, everybody),
        "by_team_and_month": {name: monthly(name, in_team(name)) for name in names},
        "answers": answers_of(
            [one for one in story.alarms if from_ms <= one["received"] < to_ms and team in (None, one["team"])]
        ),
        "incidents": [
            {
                "alarm": one["name"],
                "team": one["team"],
                "kind": "panic",
                "acknowledged_after_ms": one["acknowledged"] - one["received"] if "acknowledged" in one else None,
                "resolved_after_ms": one["resolved"] - one["received"],
                "note": "as true as can be",
                "clip": one["clip"],
            }
            for one in sorted(story.alarms, key=lambda one: (one["received"], one["name"]))
            if one.get("ending") == "true" and from_ms <= one["received"] < to_ms and team in (None, one["team"])
        ],
    }


def figures(had: set[tuple[str, date]], used: set[tuple[str, date]], things: list[str], alarms: list[Line]) -> Line:
    """Every figure of some things, in the report's words, but how many people there are."""
    notices = ("confirmed", "prompted", "no_time", "unknown", "alarm")
    recordings = {name: things.count("recording " + name) for name in notices}
    by_wearer = sum(recordings.values()) - recordings["alarm"]
    ends = journal_figures.endings(alarms)
    judged = ends["true"] + ends["false"]
    faults = ("self_test", "clip_missing", "clip_lost", "clip_cut_short", "clip_unopenable", "recording_refused")
    return {
        "uptake": {
            "people_issued": len({person for person, _ in had}),
            "people_worn": len({person for person, _ in used}),
            "days_issued": len(had),
            "days_worn": len(used),
            "worn_share": len(used) / len(had) if had else None,
        },
        "visits": {
            name: things.count("visit " + name)
            for name in ("planned", "started", "cancelled", "overdue", "contact_lost")
        },
        "notice": {
            "prompts": things.count("prompt"),
            "prompts_without_recording": things.count("prompt in vain"),
            "confirmed_share": recordings["confirmed"] / by_wearer if by_wearer else None,
        },
        "recordings": {
            "count": sum(recordings.values()),
            **recordings,
            "duration_ms": 1000 * things.count("second recorded"),
        },
        "alarms": {
            "count": len(alarms),
            **ends,
            "false_alarm_rate": ends["false"] / judged if judged else None,
            "unanswered": len([one for one in alarms if "acknowledged" not in one and "ending" not in one]),
            "drills": things.count("drill"),
            "received_to_acknowledged": journal_figures.duration(
                [one["acknowledged"] - one["received"] for one in alarms if "acknowledged" in one]
            ),
            "targets": [
                journal_figures.target(alarms, 10_000, 800),
                journal_figures.target(alarms, 40_000, 985),
            ],
        },
        "clips_passed_on": {"count": things.count("passed on"), "police": things.count("passed to police")},
        "faults": {name: things.count("fault " + name) for name in (*faults, "storage", "update", "device_lost")},
    }


def answers_of(alarms: list[Line]) -> list[Line]:
    """How many alarms were acknowledged within each of some times."""
    took = [one["acknowledged"] - one["received"] for one in alarms if "acknowledged" in one]
    steps = [5, 10, 20, 40, 60, 120, 300, 600, 3600]
    return [{"within_ms": 1000 * step, "alarms": len([each for each in took if each <= 1000 * step])} for step in steps]
