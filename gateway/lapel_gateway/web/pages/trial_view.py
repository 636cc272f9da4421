"""What the page of a trial's report shows: its figures as cards, charts and tables, made from the report's words.

Rules that hold here
- Nothing is counted here: every figure is one of the report's words (`reports.trial_words`), and carries it exactly.
- Of few alarms there is no percentile: what is told instead is how many there were.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from lapel_gateway.reports.figure_words import duration, percent, seconds, share_percent
from lapel_gateway.web import charts
from lapel_gateway.web.charts import Chart, Level, Plan, Series

Words = dict[str, Any]

LEAST = {"p50": 5, "p95": 20}
"""Of how many answers a percentile is told: below these it is one of the ends of what was measured."""

FEW = 10
"""Of fewer, a share says little, and is said to."""

MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
NO_TEAM = "no team"

NOTICES = (
    ("confirmed", "told and confirmed", 1),
    ("prompted", "begun after the prompt", 2),
    ("no_time", "no time", 3),
    ("alarm", "by an alarm", 4),
    ("unknown", "not known", 5),
)
ENDINGS = (("true", "true", 1), ("false", "false", 2), ("test", "test", 3), ("unresolved", "unresolved", 5))
FAULTS = (
    ("self_test", "self-test failed"),
    ("clip_missing", "clip missing"),
    ("clip_lost", "clip lost"),
    ("clip_cut_short", "clip cut short"),
    ("clip_unopenable", "clip unopenable"),
    ("recording_refused", "refused to record"),
    ("storage", "storage"),
    ("update", "update"),
    ("device_lost", "device lost"),
)


@dataclass(frozen=True)
class Cell:
    """A figure: its words, and what the report has; ``path`` names it among a group's figures."""

    path: str
    text: str
    value: Any = None


@dataclass(frozen=True)
class Row:
    """The figures of one group; ``place`` names it within the report."""

    name: str
    place: tuple[str, ...]
    cells: list[Cell]


@dataclass(frozen=True)
class Card:
    """A figure that the trial is judged by."""

    title: str
    figure: str
    words: str
    state: str = ""
    verdict: str = ""


@dataclass(frozen=True)
class Part:
    """One question of the report, with its answer."""

    key: str
    title: str
    words: str
    charts: list[Chart]
    titles: list[str]
    bodies: list[list[Row]]
    """All of it, then each team; each by month below the sum."""


@dataclass(frozen=True)
class _Column:
    title: str
    path: str


_COLUMNS: dict[str, tuple[_Column, ...]] = {
    "uptake": (
        _Column("people", "uptake.people"),
        _Column("with a camera", "uptake.people_issued"),
        _Column("wore it", "uptake.people_worn"),
        _Column("days with it", "uptake.days_issued"),
        _Column("days worn", "uptake.days_worn"),
        _Column("share", "uptake.worn_share"),
    ),
    "notice": (
        _Column("prompts", "notice.prompts"),
        _Column("of these no recording", "notice.prompts_without_recording"),
        _Column("told share", "notice.confirmed_share"),
    ),
    "recordings": (
        _Column("recordings", "recordings.count"),
        *(_Column(title, f"recordings.{name}") for name, title, _ in NOTICES),
        _Column("length", "recordings.duration_ms"),
    ),
    "visits": (
        _Column("planned", "visits.planned"),
        _Column("begun", "visits.started"),
        _Column("cancelled", "visits.cancelled"),
        _Column("overdue", "visits.overdue"),
        _Column("contact lost", "visits.contact_lost"),
    ),
    "alarms": (
        _Column("alarms", "alarms.count"),
        *(_Column(title, f"alarms.{name}") for name, title, _ in ENDINGS),
        _Column("drills", "alarms.drills"),
        _Column("false rate", "alarms.false_alarm_rate"),
        _Column("unanswered", "alarms.unanswered"),
        _Column("in 10 s", "alarms.targets.0.share"),
        _Column("in 40 s", "alarms.targets.1.share"),
        _Column("answered p50", "alarms.received_to_acknowledged.p50"),
        _Column("p95", "alarms.received_to_acknowledged.p95"),
    ),
    "clips_passed_on": (
        _Column("clips passed on", "clips_passed_on.count"),
        _Column("to the police", "clips_passed_on.police"),
    ),
    "faults": tuple(_Column(title, f"faults.{name}") for name, title in FAULTS),
}


def figure(found: Words, path: str) -> Any:
    """One figure of a group by its path: ``uptake.days_worn``, ``alarms.targets.0.share``."""
    value: Any = found
    for step in path.split("."):
        value = value[int(step)] if isinstance(value, list) else value[step]
    return value


def month_name(month: str) -> str:
    """``2026-05`` as May 2026."""
    year, _, number = month.partition("-")
    return f"{MONTHS[int(number) - 1]} {year}"


def cards(words: Words) -> list[Card]:
    """What a trial is judged by first."""
    total = words["total"]
    uptake, alarms, recordings, visits = total["uptake"], total["alarms"], total["recordings"], total["visits"]
    by_wearer = sum(recordings[name] for name in ("confirmed", "prompted", "no_time", "unknown"))
    found = [
        Card(
            "Worn",
            share_percent(uptake["worn_share"]) or "–",
            f"{uptake['days_worn']} of {uptake['days_issued']} days on which somebody had a camera; "
            f"{uptake['people_worn']} of {uptake['people']} people wore one",
        ),
        Card(
            "Told and confirmed",
            share_percent(total["notice"]["confirmed_share"]) or "–",
            f"{recordings['confirmed']} of {by_wearer} recordings that a wearer began",
        ),
    ]
    for target in alarms["targets"]:
        state = {"met": "is-good", "missed": "is-bad"}.get(target["verdict"], "is-over")
        within = seconds(target["within_ms"])
        few = f" Only {target['alarms']}: this says little." if 0 < target["alarms"] < FEW else ""
        found.append(
            Card(
                f"Answered within {within} s",
                percent(target["within"], target["alarms"]) or "–",
                f"{target['within']} of {target['alarms']} alarms.{few}",
                state,
                f"target {target['target'] * 100:g} %: {target['verdict']}",
            )
        )
    judged = alarms["true"] + alarms["false"]
    found += [
        Card("Incidents", str(alarms["true"]), f"alarms in earnest; {alarms['false']} of {judged} judged were false"),
        Card(
            "Visits begun",
            str(visits["started"]),
            f"{visits['overdue']} overdue, {visits['contact_lost']} lost contact",
        ),
        Card(
            "Clips to the police",
            str(total["clips_passed_on"]["police"]),
            f"{total['clips_passed_on']['count']} clips passed on to anybody",
        ),
        Card("Faults of devices", str(sum(total["faults"].values())), "self-tests, clips, storage, updates, losses"),
    ]
    return found


def parts(words: Words) -> list[Part]:
    """The questions, in the order in which they are asked."""
    drawn = _Drawn(words)
    texts = (
        (
            "uptake",
            "Are the cameras worn?",
            "Days on which a camera was switched on or used, of the days on which somebody had one. Nobody has to.",
            [
                drawn.shares("uptake", "Days worn", "uptake.worn_share", "uptake.days_issued"),
                drawn.by_team("uptake", "Days worn, by team", "uptake.days_worn", "uptake.days_issued"),
            ],
        ),
        (
            "notice",
            "Are those who are filmed told?",
            "Notice given and confirmed, of the recordings that a wearer began; those that an alarm began are in none.",
            [drawn.told_shares(), drawn.told_by_team()],
        ),
        (
            "recordings",
            "What is recorded?",
            "Recordings by how the notice went.",
            [drawn.stacked("recordings", "Recordings", "recordings", NOTICES)],
        ),
        (
            "visits",
            "Are visits watched over?",
            "Visits count in the month in which they began.",
            [drawn.visits()],
        ),
        (
            "alarms",
            "Does somebody come?",
            "Alarms of people; drills are counted apart. An alarm that nobody answered is in every share, as one "
            "that was not answered in time.",
            [drawn.answers(), drawn.in_time(), drawn.stacked("alarms", "Alarms by how they ended", "alarms", ENDINGS)],
        ),
        (
            "clips_passed_on",
            "What came of the recordings?",
            "Clips that were passed on, and of them those to the police; a clip counts once.",
            [drawn.passed_on()],
        ),
        (
            "faults",
            "Can the devices be relied on?",
            "What went wrong with devices and clips.",
            [drawn.faults()],
        ),
    )
    return [
        Part(key, title, text, pictures, [one.title for one in _COLUMNS[key]], list(_bodies(words, key)))
        for key, title, text, pictures in texts
    ]


def small_teams(words: Words) -> list[str]:
    """The teams of one or two: their figures are about single people."""
    return [name or NO_TEAM for name, found in words["by_team"].items() if 0 < found["uptake"]["people"] < 3]


# -- tables -----------------------------------------------------------------------------------------------------------


def _bodies(words: Words, key: str) -> Iterator[list[Row]]:
    def row(name: str, found: Words, *place: str) -> Row:
        return Row(name, place, [_cell(found, one.path) for one in _COLUMNS[key]])

    months = words["by_month"].items()
    yield [
        row("All teams" if words["team"] is None else words["team"] or NO_TEAM, words["total"], "total"),
        *(row(month_name(month), found, "by_month", month) for month, found in months),
    ]
    if words["team"] is not None:
        return
    for team, found in words["by_team"].items():
        by_month = words["by_team_and_month"][team].items()
        yield [
            row(team or NO_TEAM, found, "by_team", team),
            *(row(month_name(month), each, "by_team_and_month", team, month) for month, each in by_month),
        ]


def _cell(found: Words, path: str) -> Cell:
    value = figure(found, path)
    last = path.rpartition(".")[2]
    if value is None:
        return Cell(path, "–")
    if last in LEAST:
        count = found["alarms"]["received_to_acknowledged"]["count"]
        if count < LEAST[last]:
            return Cell(path, f"{count} answer{'' if count == 1 else 's'}: no percentile")
        return Cell(path, f"{seconds(value)} s", value)
    if last.endswith(("share", "rate")):
        return Cell(path, share_percent(value) or "–", value)
    if last == "duration_ms":
        return Cell(path, duration(value), value)
    return Cell(path, f"{value:,}", value)


# -- charts -----------------------------------------------------------------------------------------------------------


class _Drawn:
    """The charts of one report."""

    def __init__(self, words: Words) -> None:
        self._words = words
        self._months = list(_all_months(words["by_month"]))
        self._found = [words["by_month"].get(month) for month in self._months]
        self._labels = [MONTHS[int(month[5:]) - 1] for month in self._months]
        self._years = {
            index: month[:4] for index, month in enumerate(self._months) if index == 0 or month.endswith("-01")
        }

    def _plan(self, key: str, title: str, **more: Any) -> Plan:
        return Plan(f"chart-{key}", title, self._labels, lower_labels=self._years, **more)

    def _series(self, name: str, path: str, look: int) -> Series:
        return Series(name, [figure(found, path) if found else 0 for found in self._found], look)

    def shares(self, key: str, title: str, share: str, whole: str) -> Chart:
        """A share by month."""
        few = [bool(found and 0 < figure(found, whole) < FEW) for found in self._found]
        plan = self._plan(f"{key}-months", f"{title}, by month", told=charts.percent, most=100)
        if not self._found:
            return charts.columns(plan, [])
        return charts.columns(plan, [Series(title, [_hundredfold(found, share) for found in self._found])], few)

    def by_team(self, key: str, title: str, part: str, whole: str) -> Chart:
        """A share by team, with what it is a share of."""
        teams = self._words["by_team"]
        counts = [(figure(found, part), figure(found, whole)) for found in teams.values()]
        return self._team_bars(key, title, counts)

    def _team_bars(self, key: str, title: str, counts: Sequence[tuple[int, int]]) -> Chart:
        plan = Plan(f"chart-{key}-teams", title, [name or NO_TEAM for name in self._words["by_team"]], most=100)
        words = [f"{percent(part, whole)} · {part} of {whole}" if whole else "none" for part, whole in counts]
        return charts.bars(plan, [100 * part / whole if whole else None for part, whole in counts], words)

    def told_shares(self) -> Chart:
        """The share of recordings before which notice was given and confirmed, by month."""
        few = [bool(found and 0 < _by_wearer(found) < FEW) for found in self._found]
        plan = self._plan("notice-months", "Told and confirmed, by month", told=charts.percent, most=100)
        values = [_hundredfold(found, "notice.confirmed_share") for found in self._found]
        return charts.columns(plan, [Series("Told and confirmed", values)], few)

    def told_by_team(self) -> Chart:
        """The same by team."""
        counts = [(found["recordings"]["confirmed"], _by_wearer(found)) for found in self._words["by_team"].values()]
        return self._team_bars("notice", "Told and confirmed, by team", counts)

    def stacked(self, key: str, title: str, part: str, names: Sequence[tuple[str, str, int]]) -> Chart:
        """How many there were each month, and of what kinds."""
        plan = self._plan(f"{key}-months", f"{title}, by month")
        total = self._words["total"][part]
        series = [self._series(words, f"{part}.{name}", look) for name, words, look in names if total[name]]
        return charts.columns(plan, series)

    def visits(self) -> Chart:
        """Visits by month."""
        shown = (("started", "begun", 1), ("overdue", "overdue", 2), ("contact_lost", "contact lost", 4))
        plan = self._plan("visits-months", "Visits, by month")
        return charts.groups(plan, [self._series(words, f"visits.{name}", look) for name, words, look in shown])

    def answers(self) -> Chart:
        """How many alarms were answered by when."""
        steps, count = self._words["answers"], self._words["total"]["alarms"]["count"]
        labels = [_step_words(one["within_ms"]) for one in steps]
        within = [one["within_ms"] for one in steps]
        levels = [
            Level(100 * one["target"], f"{one['target'] * 100:g} %", within.index(one["within_ms"]))
            for one in self._words["total"]["alarms"]["targets"]
        ]
        title = "Answered by then, of all alarms"
        note = f"{count} alarms; the lines are the targets." if count else ""
        plan = Plan("chart-answers", title, labels, charts.percent, 100, levels, note)
        return charts.columns(plan, [Series(title, [100 * one["alarms"] / count if count else None for one in steps])])

    def in_time(self) -> Chart:
        """How far the targets were met each month."""
        targets = self._words["total"]["alarms"]["targets"]
        levels = [Level(100 * one["target"], f"{one['target'] * 100:g} %") for one in targets]
        series = [
            Series(
                f"within {seconds(one['within_ms'])} s (target {one['target'] * 100:g} %)",
                [_hundredfold(found, f"alarms.targets.{index}.share") for found in self._found],
                index + 1,
            )
            for index, one in enumerate(targets)
        ]
        plan = self._plan("in-time", "Answered in time, by month", told=charts.percent, most=100, levels=levels)
        return charts.lines(plan, series)

    def passed_on(self) -> Chart:
        """Clips passed on by month."""
        plan = self._plan("passed-on", "Clips passed on, by month")
        series = [
            self._series("to anybody", "clips_passed_on.count", 1),
            self._series("to the police", "clips_passed_on.police", 2),
        ]
        return charts.groups(plan, series)

    def faults(self) -> Chart:
        """What went wrong, by what it was."""
        found = self._words["total"]["faults"]
        plan = Plan("chart-faults", "Faults of devices", [title for _, title in FAULTS])
        return charts.bars(plan, [found[name] for name, _ in FAULTS], [f"{found[name]:,}" for name, _ in FAULTS])


def _by_wearer(found: Words) -> int:
    return sum(found["recordings"][name] for name in ("confirmed", "prompted", "no_time", "unknown"))


def _hundredfold(found: Words | None, path: str) -> float | None:
    value = figure(found, path) if found else None
    return None if value is None else 100 * value


def _all_months(found: Words) -> Iterator[str]:
    """Every month from the first to the last one that there is something of."""
    if not found:
        return
    year, month = map(int, min(found).split("-"))
    while (name := f"{year}-{month:02}") <= max(found):
        yield name
        year, month = (year, month + 1) if month < 12 else (year + 1, 1)


def _step_words(time_ms: int) -> str:
    whole = time_ms // 1000
    if whole < 60:
        return f"{whole} s"
    return f"{whole // 60} m" if whole < 3600 else f"{whole // 3600} h"
