"""``lapel report response``: how fast alarms were answered, as tables for people, CSV and JSON."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import tzinfo
from enum import StrEnum
from typing import Annotated, Any

import sqlalchemy as sa
import typer

from lapel_gateway.reports.figure_words import percent, seconds
from lapel_gateway.reports.period import Period
from lapel_gateway.reports.response import read_report
from lapel_gateway.reports.response_words import response_words
from lapel_tools.api import TokenFileOption, UrlOption
from lapel_tools.console import ConfigOption, JsonOption, print_json, print_table, when
from lapel_tools.report_lines import (
    CsvOption,
    FromOption,
    ToOption,
    check_form,
    fetch,
    write_csv,
)

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


def response(
    begin: FromOption = None,
    end: ToOption = None,
    team: Annotated[str | None, typer.Option(help="Alarms of this team's people only.")] = None,
    by: Annotated[By, typer.Option(help="Which lines the table or CSV has; JSON has all of them.")] = By.TEAM,
    csv_file: CsvOption = None,
    token_file: TokenFileOption = None,
    url: UrlOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """How fast alarms reached people and were answered, held against the targets, and how they ended.

    Percentiles are by nearest rank. An alarm that nobody acknowledged counts as not acknowledged in time.
    """
    check_form(as_json, csv_file)
    words = fetch("response", _read, (begin, end, team), token_file, url, config)
    if as_json:
        print_json(words)
    elif csv_file is None:
        _print(words, by)
    else:
        write_csv(csv_file, _lines(words, by))


def _read(connection: sa.Connection, period: Period, team: str | None, zone: tzinfo | None) -> dict[str, Any]:
    return response_words(read_report(connection, period, team, zone))


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
        typer.echo(f"acknowledged within {seconds(target['within_ms'])} s: {_held(target)}")
    typer.echo("")
    print_table(
        ("seconds", "alarms", *PERCENTILES, "clock ahead"),
        [
            (
                name.replace("_to_", " → "),
                total[name]["count"],
                *(seconds(total[name][each]) for each in PERCENTILES),
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
    within = [f"within {seconds(target['within_ms'])} s" for target in total["targets"]]
    print_table(
        (by, "alarms", *within, "acknowledged p50 s", "p95 s", "unanswered", "only resolved"),
        [
            (
                name,
                found["alarms"],
                *(percent(target["within"], target["alarms"]) for target in found["targets"]),
                *(seconds(found["received_to_acknowledged"][each]) for each in ("p50", "p95")),
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
                percent(found["resolved"]["false"], found["resolved"]["true"] + found["resolved"]["false"]),
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
    share = percent(target["within"], target["alarms"])
    return f"{target['within']} of {target['alarms']}, {share}; target {aim}: {target['verdict']}"


# -- for spreadsheets -------------------------------------------------------------------------------------------------


def _lines(words: dict[str, Any], by: By) -> list[dict[str, Any]]:
    """One line for each group and one for all, which alone has what is counted apart; a channel has a column."""
    channels = list(words["total"]["first_notified_by"])
    lines = [
        {by.value: name, "from": words["from"]["utc"], "to": words["to"]["utc"], **_line(found, channels)}
        for name, found in _groups(words, by)
    ]
    lines[-1] |= {"drills": words["drills"], "technical": words["technical"]}
    return lines


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
