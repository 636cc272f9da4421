"""``lapel report trial``: what a trial of the cameras shows by team and month, as tables for people, CSV and JSON."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import tzinfo
from typing import Annotated, Any

import sqlalchemy as sa
import typer

from lapel_gateway.reports.figure_words import percent, seconds, share_percent
from lapel_gateway.reports.period import Period
from lapel_gateway.reports.trial import read_trial
from lapel_gateway.reports.trial_lines import By, groups, trial_lines
from lapel_gateway.reports.trial_words import trial_words
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


def trial(
    begin: FromOption = None,
    end: ToOption = None,
    team: Annotated[str | None, typer.Option(help="This team's people only.")] = None,
    by: Annotated[By, typer.Option(help="Which lines the tables or CSV have; JSON has all of them.")] = By.TEAM,
    csv_file: CsvOption = None,
    token_file: TokenFileOption = None,
    url: UrlOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Whether the cameras add safety: worn, announced, recorded, answered, and what came of it.

    A share is of what there was; nothing is told where there was nothing. Visits count in the hour they began.
    """
    check_form(as_json, csv_file)
    words = fetch("trial", _read, (begin, end, team), token_file, url, config)
    if as_json:
        print_json(words)
    elif csv_file is None:
        _print(words, by)
    else:
        write_csv(csv_file, trial_lines(words, by))


def _read(connection: sa.Connection, period: Period, team: str | None, zone: tzinfo | None) -> dict[str, Any]:
    return trial_words(read_trial(connection, period, team, zone))


# -- for people -------------------------------------------------------------------------------------------------------


def _print(words: dict[str, Any], by: By) -> None:
    whose = "" if words["team"] is None else f", team {words['team'] or '-'}"
    typer.echo(f"{when(words['from'])} to {when(words['to'])} UTC{whose}")
    found_groups = list(groups(words, by))
    names = [" ".join(filter(None, (team, month))) or "-" for team, month, _ in found_groups]

    def table(titles: tuple[str, ...], part: str, *columns: str) -> None:
        typer.echo("")
        rows = [(name, *_cells(found, part, columns)) for name, (_, _, found) in zip(names, found_groups, strict=True)]
        print_table((by.value if by != By.BOTH else "team, month", *titles), rows, "")

    table(
        ("people", "with a camera", "wore it", "days with it", "days worn", "share"),
        "uptake",
        "people",
        "people_issued",
        "people_worn",
        "days_issued",
        "days_worn",
        "worn_share",
    )
    table(
        ("prompts", "of these no recording", "recordings", "told", "prompted", "no time", "alarm", "told share"),
        "",
        "notice.prompts",
        "notice.prompts_without_recording",
        "recordings.count",
        "recordings.confirmed",
        "recordings.prompted",
        "recordings.no_time",
        "recordings.alarm",
        "notice.confirmed_share",
    )
    table(
        ("visits begun", "planned", "overdue", "contact lost", "cancelled"),
        "visits",
        "started",
        "planned",
        "overdue",
        "contact_lost",
        "cancelled",
    )
    table(
        ("alarms", "true", "false", "test", "unresolved", "drills", "answered p50 s", "p95 s", "in 10 s", "in 40 s"),
        "alarms",
        "count",
        "true",
        "false",
        "test",
        "unresolved",
        "drills",
        "received_to_acknowledged.p50",
        "received_to_acknowledged.p95",
        "targets.0",
        "targets.1",
    )
    faults = list(words["total"]["faults"])
    table((*(name.replace("_", " ") for name in faults),), "faults", *faults)
    table(("clips passed on", "to the police"), "clips_passed_on", "count", "police")
    typer.echo("")
    print_table(
        ("incident", "received", "team", "kind", "answered after s", "clip", "outcome"),
        [
            (
                one["alarm"],
                when(one["received"]),
                one["team"],
                one["kind"],
                seconds(one["acknowledged_after_ms"]),
                one["clip"],
                one["note"],
            )
            for one in words["incidents"]
        ],
        "no incident",
    )


def _cells(found: dict[str, Any], part: str, columns: tuple[str, ...]) -> Iterator[object]:
    """What a line says of one part of the figures; where ``part`` is "", each column begins with its own."""
    for column in columns:
        value: Any = found[part] if part else found
        for step in column.split("."):
            value = value[int(step)] if isinstance(value, list) else value[step]
        yield _told(column, value)


def _told(column: str, value: Any) -> object:
    if isinstance(value, dict):
        return percent(value["within"], value["alarms"])
    if column.endswith("_share"):
        return share_percent(value)
    return seconds(value) if column.startswith("received_to") else value
