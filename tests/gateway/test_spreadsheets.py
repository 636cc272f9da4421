"""Lines for spreadsheets: read back as they were written, and never as formulas."""

from __future__ import annotations

import csv
import io

from lapel_gateway.reports.spreadsheets import csv_bytes


def read(contents: bytes) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(contents.decode("utf-8-sig"))))


def test_lines_are_read_back_as_they_were_written() -> None:
    contents = csv_bytes([{"team": 'Zoë, "North"', "count": 3, "share": None, "less": -2}])
    assert contents.startswith(b"\xef\xbb\xbfteam,")
    assert read(contents) == [{"team": 'Zoë, "North"', "count": "3", "share": "", "less": "-2"}]


def test_a_note_that_would_be_a_formula_is_text() -> None:
    notes = ["=1+1", "+44 20", "-", "@SUM(A1)", "\t=1", "plain = text"]
    assert [one["note"] for one in read(csv_bytes([{"note": note} for note in notes]))] == [
        *(f"'{note}" for note in notes[:-1]),
        notes[-1],
    ]


def test_a_table_without_lines_has_its_columns() -> None:
    assert csv_bytes([], ["alarm", "team"]) == b"\xef\xbb\xbfalarm,team\n"
