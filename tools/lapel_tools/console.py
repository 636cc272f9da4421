"""What every command shares: exit codes, errors that say what to do, tables for people and JSON for scripts."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

OK = 0
FAILED = 1
"""A check found something wrong: a configuration, a bundle, a scenario."""
USAGE = 2
"""Wrong arguments or configuration; nothing was done."""
NOT_FOUND = 3
UNREACHABLE = 4
"""The gateway or the broker cannot be reached."""
INTERNAL = 70
"""A fault of the program itself (sysexits' EX_SOFTWARE)."""

JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for scripts.")]
ConfigOption = Annotated[
    Path | None,
    typer.Option("--config", "-c", help="The gateway's lapel.toml; otherwise LAPEL_CONFIG, ./lapel.toml, /etc/lapel."),
]

PLAIN_WIDTH = 1000
"""Columns of a table that goes to a file or pipe: nothing is cut or wrapped there."""


class CommandError(Exception):
    """A command cannot do what was asked; the message says what to do, ``code`` is the exit status."""

    def __init__(self, message: str, code: int = USAGE) -> None:
        super().__init__(message)
        self.code = code


def now_ms() -> int:
    """Wall time, Unix milliseconds."""
    return time.time_ns() // 1_000_000


def print_json(value: object) -> None:
    """One JSON document on standard output."""
    json.dump(value, sys.stdout, ensure_ascii=False, indent=2)
    sys.stdout.write("\n")


def print_table(titles: Sequence[str], rows: Iterable[Sequence[object]], empty: str) -> None:
    """Rows in columns on standard output; ``empty`` is said when there are none."""
    table = Table(*titles, box=None, pad_edge=False, header_style="bold")
    count = 0
    for row in rows:
        # Text of devices and people is shown as it is, never read as markup.
        table.add_row(*(_cell(value) for value in row))
        count += 1
    if not count:
        typer.echo(empty)
        return
    console = Console() if sys.stdout.isatty() else Console(width=PLAIN_WIDTH, no_color=True)
    console.print(table)


def print_facts(facts: Any, indent: int = 0) -> None:
    """A nested mapping as indented ``name: value`` lines."""
    for name, value in facts.items():
        title = f"{'  ' * indent}{str(name).replace('_', ' ')}:"
        if isinstance(value, dict) and set(value) >= {"utc", "ms"}:
            typer.echo(f"{title} {value['utc'] or value['ms']}{_extra(value)}")
        elif isinstance(value, dict):
            typer.echo(title)
            print_facts(value, indent + 1)
        elif isinstance(value, list):
            typer.echo(f"{title} {', '.join(map(str, value)) or '-'}")
        else:
            typer.echo(f"{title} {plain(value)}")


def plain(value: object) -> str:
    """A value for people: nothing is ``-``, truth is yes or no."""
    if value is None or value == "":
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(value)


def when(moment: Any) -> str:
    """One of `describe.moment`'s times, to the second."""
    if not moment:
        return "-"
    text = moment["utc"]
    return f"{text[:10]} {text[11:19]}" if text else str(moment["ms"])


def warn(message: str) -> None:
    """A remark on standard error that ends nothing."""
    typer.echo(f"note: {message}", err=True)


def _cell(value: object) -> Text:
    return Text(plain(value))


def _extra(moment: dict[str, Any]) -> str:
    rest = [str(moment[key]) for key in ("trust", "by") if moment.get(key)]
    return f" ({', '.join(rest)})" if rest else ""
