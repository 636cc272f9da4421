"""Which boards become which devices: one that was named, or the rows of a technician's CSV file.

    board,name,person,team
    e6614c311b7a0001,camera 1,Dana Osei,North
    /dev/ttyACM1,camera 2,,

`board` is a port or a USB serial number. A file is checked whole before anything is done.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from lapel_tools.console import CommandError

if TYPE_CHECKING:
    from .provision import Provisioned

COLUMNS = ("board", "name", "person", "team")
_NEEDED = ("board", "name")
MAX_ROWS = 200
"""More boards than a bench has ports for."""


@dataclass(frozen=True)
class Row:
    """One board: its port or USB serial number, and who it is to be."""

    board: str
    name: str
    person: str = ""
    team: str = ""


@dataclass(frozen=True)
class Order:
    """How boards are to be provisioned. `before`: the device that the board is until now, empty for a new one."""

    again: bool = False
    lose_clips: bool = False
    even_busy: bool = False
    bearers: Mapping[str, bytes] = field(default_factory=dict, repr=False)
    settings: Mapping[str, int] = field(default_factory=dict)
    own: Mapping[str, str | bool] = field(default_factory=dict, repr=False)
    before: str = ""


@dataclass(frozen=True)
class Outcome:
    """What became of a board: `done`, or the words of what went wrong."""

    board: str
    name: str
    done: Provisioned | None = None
    trouble: str = ""


def read_batch(path: Path) -> list[Row]:
    """The rows of a file. Raises CommandError, which names the line."""
    try:
        with open(path, encoding="utf-8-sig", newline="") as source:
            reader = csv.DictReader(source, strict=True)
            titles = [title.strip() for title in reader.fieldnames or []]
            reader.fieldnames = titles
            lines = [(reader.line_num, line) for line in reader]
    except OSError as error:
        raise CommandError(f"{path}: {error.strerror or error}") from None
    except (csv.Error, UnicodeDecodeError):
        raise CommandError(f"{path} is no CSV file in UTF-8") from None
    if not set(_NEEDED) <= set(titles) <= set(COLUMNS) or len(set(titles)) != len(titles):
        raise CommandError(f"{path}: its first line names the columns: {','.join(COLUMNS)}")
    if not 0 < len(lines) <= MAX_ROWS:
        raise CommandError(f"{path}: it has 1 to {MAX_ROWS} boards")
    rows: list[Row] = []
    for number, line in lines:
        if None in line or None in line.values():
            raise CommandError(f"{path}, line {number}: it has another number of columns than the first line")
        row = Row(**{title: " ".join(line[title].split()) for title in titles})
        if not row.board or not row.name:
            raise CommandError(f"{path}, line {number}: board and name are needed")
        if any(row.board == other.board or row.name == other.name for other in rows):
            raise CommandError(f"{path}, line {number}: its board or its name is in the file already")
        if row.team and not row.person:
            raise CommandError(f"{path}, line {number}: a team is a person's: name the person, too")
        rows.append(row)
    return rows
