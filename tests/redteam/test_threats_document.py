"""docs/threats.md names every property, every threat and every test of the red team, and no test that is not there."""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from functools import cache
from pathlib import Path

import pytest

from tests.protocol.test_spec import CODE, section, tables

TESTS = Path(__file__).parents[1]
DOCUMENT = (TESTS.parent / "docs" / "threats.md").read_text()
NAMED = re.compile(r"`([\w/]+\.py)::(test_\w+)`")
PROPERTIES, THREATS, PEOPLE = (table[1:] for table in tables(DOCUMENT)[:3])


@cache
def functions_of(file: str) -> frozenset[str]:
    """The test functions of a file below tests/, as Python reads it."""
    tree = ast.parse((TESTS / file).read_text())
    functions = (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))
    return frozenset(node.name for node in functions if node.name.startswith("test_"))


def test_every_property_of_the_specification_has_its_row() -> None:
    text = re.findall(r"^(\d+)\. (.+(?:\n {3,4}.+)*)", section("11"), re.MULTILINE)
    wanted = [(number, " ".join(words.split())) for number, words in text]
    assert len(wanted) >= 18
    assert [(row[0], row[1]) for row in PROPERTIES] == wanted


def test_every_threat_of_the_specification_has_its_row_with_the_tests_that_are_named_there() -> None:
    (table,) = tables(section("12"))
    assert [row[0] for row in THREATS] == [row[0] for row in table[1:]]
    for mine, row in zip(THREATS, table[1:], strict=True):
        assert set(CODE.findall(row[2])) <= {name for _, name in NAMED.findall(mine[1])}, row[0]


@pytest.mark.parametrize("row", [*PROPERTIES, *THREATS, *PEOPLE], ids=lambda row: row[0][:40])
def test_each_row_names_tests_that_exist_and_says_what_remains(row: list[str]) -> None:
    shown = NAMED.findall(row[-2])
    assert shown
    assert len(shown) == row[-2].count("`") // 2, "something in backquotes is no test"
    for file, name in shown:
        assert (TESTS / file).is_file(), file
        assert name in functions_of(file), (file, name)
    assert row[-1]


def test_every_test_of_the_red_team_is_named() -> None:
    named = defaultdict(set)
    for file, name in NAMED.findall(DOCUMENT):
        named[file].add(name)
    for path in sorted((TESTS / "redteam").glob("test_*.py")):
        file = str(path.relative_to(TESTS))
        if path.name != Path(__file__).name:
            assert functions_of(file) <= named[file], file
