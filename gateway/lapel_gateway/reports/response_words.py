"""The response report in words: one form for the API, the command line and its CSV.

Times and durations are in milliseconds, shares from 0 to 1; None where there is nothing to tell.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from lapel_gateway.describe import moment
from lapel_gateway.log import printable
from lapel_gateway.reports.response import Endings, Figures, ResponseReport, Share, UnknownTeam


def response_words(report: ResponseReport) -> dict[str, Any]:
    """The whole report."""
    return {
        "from": moment(report.period.from_ms),
        "to": moment(report.period.to_ms),
        "team": report.team,
        "drills": report.drills,
        "technical": report.technical,
        "total": figures_words(report.total),
        "by_team": _groups(report.by_team),
        "by_kind": _groups(report.by_kind),
        "by_month": _groups(report.by_month),
    }


def unknown_team_words(error: UnknownTeam) -> str:
    """What to tell of a team that there is not: the closest name, or all there are."""
    closest = difflib.get_close_matches(error.team, error.known, n=1, cutoff=0.5)
    if closest:
        hint = f"did you mean {printable(closest[0])}?"
    elif error.known:
        hint = f"there are {', '.join(map(printable, error.known))}"
    else:
        hint = "nobody is in a team"
    return f"there is no team {printable(error.team)}: {hint}"


def _groups(groups: Mapping[str, Figures]) -> dict[str, Any]:
    return {name: figures_words(group) for name, group in groups.items()}


def figures_words(found: Figures) -> dict[str, Any]:
    """The figures of one group."""
    return {
        "alarms": found.alarms,
        "acknowledged": found.acknowledged,
        "unanswered": found.unanswered,
        "resolved_only": found.resolved_only,
        "no_press": found.no_press,
        "no_trusted_press": found.no_trusted_press,
        "targets": [_share(share) for share in found.shares],
        "press_to_sent": asdict(found.press_to_sent),
        "sent_to_received": asdict(found.sent_to_received),
        "press_to_received": asdict(found.press_to_received),
        "received_to_notified": asdict(found.received_to_notified),
        "received_to_acknowledged": asdict(found.received_to_acknowledged),
        "press_to_acknowledged": asdict(found.press_to_acknowledged),
        "resolved": _endings(found.endings),
        "false_alarm_rate": found.endings.false_rate,
        "cancelled_by_wearer": {
            "alarms": found.cancelled.alarms,
            "acknowledged": found.cancelled.acknowledged,
            **_endings(found.cancelled.endings),
        },
        "first_notified_by": found.first_notified_by,
        "notified_nobody": found.notified_nobody,
    }


def _share(share: Share) -> dict[str, Any]:
    return {
        "within_ms": share.target.within_ms,
        "target": share.target.share,
        "within": share.within,
        "alarms": share.alarms,
        "share": share.share,
        "verdict": share.verdict,
    }


def _endings(endings: Endings) -> dict[str, int]:
    return asdict(endings)
