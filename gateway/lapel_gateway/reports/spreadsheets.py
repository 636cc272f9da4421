"""Lines of figures as CSV (RFC 4180) for spreadsheets.

Rules that hold here
- A name or note that a spreadsheet would take for a formula is written with an apostrophe before it, and is text then.
- The columns are those of the last line, which is the one for all where there is one.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from typing import Any, TextIO

MARK = "\ufeff"
"""Before the first line of a file: spreadsheets read names as they are then."""

_FORMULAS = ("=", "+", "-", "@", "\t", "\r")


def write_lines(file: TextIO, lines: Sequence[Mapping[str, Any]], columns: Sequence[str] = ()) -> None:
    """Write the lines below their columns; with ``columns`` there may be no line at all."""
    writer = csv.DictWriter(file, list(columns or lines[-1]), lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: _cell(value) for name, value in line.items()} for line in lines)


def csv_bytes(lines: Sequence[Mapping[str, Any]], columns: Sequence[str] = ()) -> bytes:
    """The lines as the contents of a file."""
    text = io.StringIO(newline="")
    write_lines(text, lines, columns)
    return (MARK + text.getvalue()).encode()


def _cell(value: Any) -> Any:
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULAS) else value
