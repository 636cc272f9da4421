"""What every report of the command line has in common: its options, where it comes from, and how figures are told."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from datetime import tzinfo
from pathlib import Path
from typing import Annotated, Any

import sqlalchemy as sa
import typer

from lapel_gateway.ledger import reading
from lapel_gateway.reports.period import Period, PeriodError, parse_period
from lapel_gateway.reports.response import UnknownTeam
from lapel_gateway.reports.response_words import unknown_team_words
from lapel_gateway.reports.spreadsheets import write_lines
from lapel_gateway.settings.policies import find_zone
from lapel_tools.api import Api, read_token
from lapel_tools.console import NOT_FOUND, CommandError, now_ms
from lapel_tools.site import Site

STANDARD_OUTPUT = "-"

FromOption = Annotated[
    str | None,
    typer.Option("--from", help="First day, or a time with its zone.", show_default="30 days before the end"),
]
ToOption = Annotated[str | None, typer.Option("--to", help="Last day, or a time with its zone.", show_default="now")]
CsvOption = Annotated[
    str | None, typer.Option("--csv", metavar="FILE", help="Write CSV to this file instead, - for standard output.")
]

Read = Callable[[sa.Connection, Period, str | None, tzinfo | None], dict[str, Any]]


def fetch(
    name: str,
    read: Read,
    asked: tuple[str | None, str | None, str | None],
    token_file: Path | None,
    url: str | None,
    config: Path | None,
) -> dict[str, Any]:
    """The words of a report on (from, to, team): from the API with a user's token, else from the ledger.

    Raises CommandError.
    """
    begin, end, team = asked
    token = read_token(token_file)
    if token is not None:
        query = {key: value for key, value in zip(("from", "to", "team"), asked, strict=True) if value is not None}
        words: dict[str, Any] = Api(url, token, config).get("reports", name, **query)
        return words
    site = Site(config)
    zone = find_zone(site.config.alarms.time_zone)
    try:
        period = parse_period(begin, end, zone, now_ms())
        with reading(site.engine) as connection:
            return read(connection, period, team, zone)
    except PeriodError as error:
        raise CommandError(str(error)) from None
    except UnknownTeam as error:
        raise CommandError(unknown_team_words(error), NOT_FOUND) from None


def check_form(as_json: bool, csv_file: str | None) -> None:
    """Raise CommandError where two forms are wanted at once."""
    if as_json and csv_file is not None:
        raise CommandError("--json or --csv, not both")


def write_csv(target: str, lines: Sequence[dict[str, Any]]) -> None:
    """Write lines as CSV to a file, or to standard output for ``-``; the columns are those of the last one."""
    if target == STANDARD_OUTPUT:
        write_lines(sys.stdout, lines)
        return
    try:
        # The csv module ends lines itself; the mark lets spreadsheets read names as they are.
        with Path(target).open("w", encoding="utf-8-sig", newline="") as file:
            write_lines(file, lines)
    except OSError as error:
        raise CommandError(f"{target}: {error.strerror}") from None
