"""The report of a trial in words: one form for the API, the page, the command line and its CSV.

Times and durations are in milliseconds, shares from 0 to 1; None where there is nothing to tell.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lapel_gateway.alarms.kinds import kind_name
from lapel_gateway.describe import clip_name, moment
from lapel_gateway.reports import facts
from lapel_gateway.reports.response_words import figures_words
from lapel_gateway.reports.trial import Incident, Trial, TrialReport
from lapel_gateway.visits.counts import COUNTS


def trial_words(report: TrialReport) -> dict[str, Any]:
    """The whole report."""
    return {
        "from": moment(report.period.from_ms),
        "to": moment(report.period.to_ms),
        "team": report.team,
        "total": _trial(report.total),
        "by_team": _groups(report.by_team),
        "by_month": _groups(report.by_month),
        "by_team_and_month": {team: _groups(months) for team, months in report.by_team_and_month.items()},
        "answers": [{"within_ms": step, "alarms": count} for step, count in report.answers.items()],
        "incidents": [_incident(one) for one in report.incidents],
    }


def _groups(groups: Mapping[str, Trial]) -> dict[str, Any]:
    return {name: _trial(group) for name, group in groups.items()}


def _trial(found: Trial) -> dict[str, Any]:
    response = figures_words(found.alarms)
    return {
        "uptake": {
            "people": found.people,
            "people_issued": found.people_issued,
            "people_worn": found.people_worn,
            "days_issued": found.count(facts.DAYS_ISSUED),
            "days_worn": found.count(facts.DAYS_WORN),
            "worn_share": found.worn_share,
        },
        "visits": {name: found.count(facts.VISITS + name) for name in COUNTS},
        "notice": {
            "prompts": found.count(facts.PROMPTS),
            "prompts_without_recording": found.count(facts.PROMPTS_WITHOUT_RECORDING),
            "confirmed_share": found.notice_share,
        },
        "recordings": {
            "count": sum(found.recordings.values()),
            **found.recordings,
            "duration_ms": found.count(facts.RECORDING_MS),
        },
        "alarms": {
            "count": response["alarms"],
            **response["resolved"],
            "false_alarm_rate": response["false_alarm_rate"],
            "unanswered": response["unanswered"],
            "drills": found.count(facts.DRILLS),
            "received_to_acknowledged": response["received_to_acknowledged"],
            "targets": response["targets"],
        },
        "clips_passed_on": {"count": found.count(facts.PASSED_ON), "police": found.count(facts.TO_POLICE)},
        "faults": found.faults,
    }


def _incident(one: Incident) -> dict[str, Any]:
    return {
        "alarm": one.alarm,
        "team": one.team,
        "kind": kind_name(one.kind),
        "received": moment(one.received_ms),
        "acknowledged_after_ms": None if one.acknowledged_ms is None else one.acknowledged_ms - one.received_ms,
        "resolved_after_ms": one.resolved_ms - one.received_ms,
        "note": one.note,
        "clip": None if one.clip is None else clip_name(*one.clip),
    }
