"""``lapel report``: figures over a period, as tables for people, CSV and JSON.

With a user's token they come from the gateway's API; otherwise they are read from the ledger, which works on the
gateway's machine only.
"""

from __future__ import annotations

import csv
import sys
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, TextIO

import typer

from lapel_gateway.ledger import reading
from lapel_gateway.reports.period import PeriodError, parse_period
from lapel_gateway.reports.response import UnknownTeam, read_report
from lapel_gateway.reports.response_words import response_words, unknown_team_words
from lapel_gateway.settings.policies import find_zone
from lapel_tools.api import Api, TokenFileOption, UrlOption, read_token
from lapel_tools.console import (
    NOT_FOUND,
    CommandError,
    ConfigOption,
    JsonOption,
    now_ms,
    print_json,
    print_table,
    when,
)
from lapel_tools.site import Site

app = typer.Typer(help="Reports: figures over a period.", no_args_is_help=True)

STANDARD_OUTPUT = "-"
DURATIONS = (
    "press_to_sent",
    "sent_to_received",
    "press_to_received",
    "received_to_notified",
    "received_to_acknowledged",
    "press_to_acknowledged",
)
PERCENTILES = ("p50", "p90", "p95", "p99", "max")


class By(StrEnum):
    """What alarms are put together by."""

    TEAM = "team"
    KIND = "kind"
    MONTH = "month"


@app.callback()
def reports() -> None:
    """Reports: figures over a period."""


@app.command()
def response(
    begin: Annotated[
        str | None,
        typer.Option("--from", help="First day, or a time with its zone.", show_default="30 days before the end"),
    ] = None,
    end: Annotated[
        str | None, typer.Option("--to", help="Last day, or a time with its zone.", show_default="now")
    ] = None,
    team: Annotated[str | None, typer.Option(help="Alarms of this team's people only.")] = None,
    by: Annotated[By, typer.Option(help="Which lines the table or CSV has; JSON has all of them.")] = By.TEAM,
    csv_file: Annotated[
        str | None, typer.Option("--csv", metavar="FILE", help="Write CSV to this file instead, - for standard output.")
    ] = None,
    token_file: TokenFileOption = None,
    url: UrlOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """How fast alarms reached people and were answered, held against the targets, and how they ended.

    Percentiles are by nearest rank. An alarm that nobody acknowledged counts as not acknowledged in time.
    """
    if as_json and csv_file is not None:
        raise CommandError("--json or --csv, not both")
    token = read_token(token_file)
    if token is None:
        words = _from_ledger(begin, end, team, config)
    else:
        asked = {"from": begin, "to": end, "team": team}
        query = {name: value for name, value in asked.items() if value is not None}
        words = Api(url, token, config).get("reports", "response", **query)
    if as_json:
        print_json(words)
    elif csv_file is None:
        _print(words, by)
    elif csv_file == STANDARD_OUTPUT:
        _write_csv(sys.stdout, words, by)
    else:
        # The csv module ends lines itself; the mark lets spreadsheets read names as they are.
        with Path(csv_file).open("w", encoding="utf-8-sig", newline="") as file:
            _write_csv(file, words, by)


def _from_ledger(begin: str | None, end: str | None, team: str | None, config: Path | None) -> dict[str, Any]:
    site = Site(config)
    zone = find_zone(site.config.alarms.time_zone)
    try:
        period = parse_period(begin, end, zone, now_ms())
        with reading(site.engine) as connection:
            return response_words(read_report(connection, period, team, zone))
    except PeriodError as error:
        raise CommandError(str(error)) from None
    except UnknownTeam as error:
        raise CommandError(unknown_team_words(error), NOT_FOUND) from None


def _groups(words: dict[str, Any], by: By) -> Iterator[tuple[str, dict[str, Any]]]:
    """Each line of a table or CSV: its name and its figures."""
    yield from words[f"by_{by}"].items()
    yield "total", words["total"]


# -- for people -------------------------------------------------------------------------------------------------------


def _print(words: dict[str, Any], by: By) -> None:
    total = words["total"]
    whose = "" if words["team"] is None else f", team {words['team'] or '-'}"
    typer.echo(f"{when(words['from'])} to {when(words['to'])} UTC{whose}")
    typer.echo(
        f"alarms of people: {total['alarms']}; apart from these drills: {words['drills']}, technical alarms: "
        f"{words['technical']}"
    )
    for target in total["targets"]:
        typer.echo(f"acknowledged within {_seconds(target['within_ms'])} s: {_held(target)}")
    typer.echo("")
    print_table(
        ("seconds", "alarms", *PERCENTILES, "clock ahead"),
        [
            (
                name.replace("_to_", " → "),
                total[name]["count"],
                *(_seconds(total[name][each]) for each in PERCENTILES),
                total[name]["clock_ahead"],
            )
            for name in DURATIONS
        ],
        "",
    )
    typer.echo(
        f"of these with no trusted time of the press: {total['no_trusted_press']}; with none at all: "
        f"{total['no_press']}"
    )
    typer.echo("")
    within = [f"within {_seconds(target['within_ms'])} s" for target in total["targets"]]
    print_table(
        (by, "alarms", *within, "acknowledged p50 s", "p95 s", "unanswered", "only resolved"),
        [
            (
                name,
                found["alarms"],
                *(_percent(target["within"], target["alarms"]) for target in found["targets"]),
                *(_seconds(found["received_to_acknowledged"][each]) for each in ("p50", "p95")),
                found["unanswered"],
                found["resolved_only"],
            )
            for name, found in _groups(words, by)
        ],
        "",
    )
    typer.echo("")
    print_table(
        (by, "true", "false", "test", "unresolved", "false-alarm rate", "cancelled by wearer", "of these true"),
        [
            (
                name,
                *found["resolved"].values(),
                _percent(found["resolved"]["false"], found["resolved"]["true"] + found["resolved"]["false"]),
                found["cancelled_by_wearer"]["alarms"],
                found["cancelled_by_wearer"]["true"],
            )
            for name, found in _groups(words, by)
        ],
        "",
    )
    typer.echo("")
    reached = [*total["first_notified_by"].items()]
    if total["notified_nobody"]:
        reached.append(("nobody was notified", total["notified_nobody"]))
    print_table(("first notified by", "alarms"), reached, "nobody was notified")


def _held(target: dict[str, Any]) -> str:
    aim = f"{target['target'] * 100:g} %"
    if target["share"] is None:
        return f"no alarms; target {aim}: {target['verdict']}"
    share = _percent(target["within"], target["alarms"])
    return f"{target['within']} of {target['alarms']}, {share}; target {aim}: {target['verdict']}"


def _percent(part: int, whole: int) -> str | None:
    """A share rounded down, so that what has just missed a target is not shown as having met it."""
    return f"{part * 1000 // whole / 10:.1f} %" if whole else None


def _seconds(time_ms: int | None) -> str | None:
    """Milliseconds as seconds: to the millisecond below ten seconds."""
    if time_ms is None:
        return None
    if time_ms % 1000 == 0:
        return str(time_ms // 1000)
    return f"{time_ms / 1000:.3f}" if abs(time_ms) < 10_000 else f"{time_ms / 1000:.1f}"


# -- for spreadsheets -------------------------------------------------------------------------------------------------


def _write_csv(file: TextIO, words: dict[str, Any], by: By) -> None:
    """One line for each group and one for all; a channel has a column of its own."""
    channels = list(words["total"]["first_notified_by"])
    lines = [
        {by.value: name, "from": words["from"]["utc"], "to": words["to"]["utc"], **_line(found, channels)}
        for name, found in _groups(words, by)
    ]
    apart = {"drills": words["drills"], "technical": words["technical"]}
    writer = csv.DictWriter(file, [*lines[-1], *apart], lineterminator="\n")
    writer.writeheader()
    writer.writerows([*lines[:-1], {**lines[-1], **apart}])


def _line(found: dict[str, Any], channels: list[str]) -> dict[str, Any]:
    """The figures of one group by column; durations in milliseconds, shares from 0 to 1."""
    line = {
        name: found[name]
        for name in ("alarms", "acknowledged", "unanswered", "resolved_only", "no_press", "no_trusted_press")
    }
    for target in found["targets"]:
        stem = f"within_{target['within_ms']}_ms"
        line |= {stem: target["within"], f"{stem}_share": target["share"], f"{stem}_verdict": target["verdict"]}
    for name in DURATIONS:
        line |= {f"{name}_{each}": value for each, value in found[name].items()}
    line |= {f"resolved_{name}": count for name, count in found["resolved"].items()}
    line["false_alarm_rate"] = found["false_alarm_rate"]
    line |= {f"cancelled_{name}": count for name, count in found["cancelled_by_wearer"].items()}
    line |= {f"first_notified_by {channel}": found["first_notified_by"].get(channel, 0) for channel in channels}
    line["notified_nobody"] = found["notified_nobody"]
    return line
