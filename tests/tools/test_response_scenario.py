"""`lapel report response` on six months of alarms agrees in every figure with what the raw journal alone gives."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from tests.tools import journal_figures
from tests.tools.command import Lapel
from tests.tools.six_months import SixMonths, read_journal

ZONE = "Europe/London"
LONDON = ZoneInfo(ZONE)


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SixMonths]:
    """The six months, over."""
    months = SixMonths(tmp_path_factory.mktemp("months"))
    months.play()
    yield months
    months.pair.stop()


@pytest.fixture(scope="module")
def journal(played: SixMonths) -> list[dict[str, Any]]:
    return read_journal(played.journal.path)


@pytest.fixture
def config(played: SixMonths, tmp_path: Path) -> Path:
    path = tmp_path / "months.toml"
    path.write_text(f'[gateway]\ndata_dir = "{played.pair.folder}"\n[alarms]\ntime_zone = "{ZONE}"\n')
    return path


def day_ms(text: str) -> int:
    """The first moment of a day in London."""
    return int(datetime.fromisoformat(text).replace(tzinfo=LONDON).timestamp()) * 1000


def test_the_six_months_hold_something_of_everything(journal: list[dict[str, Any]]) -> None:
    found = journal_figures.report(journal, 0, 1 << 60, None, LONDON)
    total = found["total"]
    assert total["alarms"] + found["drills"] > 200
    assert min(found["drills"], found["technical"]) > 5
    assert set(found["by_team"]) == {"", "housing", "paramedics", "repairs"}
    assert {"panic", "duress", "man_down", "tamper", "visit_overdue", "contact_lost", "unknown"} == set(
        found["by_kind"]
    )
    assert len(found["by_month"]) == 7
    for name in ("unanswered", "resolved_only", "no_press", "no_trusted_press", "notified_nobody"):
        assert total[name] > 0, name
    assert min(total["resolved"].values()) > 0
    assert total["press_to_received"]["clock_ahead"] > 0
    assert 0 < total["sent_to_received"]["count"] < total["press_to_sent"]["count"] < total["alarms"]
    assert set(total["first_notified_by"]) == {"one", "two", "three"}
    assert total["cancelled_by_wearer"]["true"] > 0
    verdicts = {share["verdict"] for group in found["by_team"].values() for share in group["targets"]}
    assert verdicts >= {"met", "missed"}
    happened = Counter(line["what"] for line in journal)
    assert min(happened["refused"], happened["dead"], happened["silent"]) > 5


@pytest.mark.parametrize("team", [None, "housing", "paramedics", "repairs", ""])
def test_every_figure_of_six_months_agrees_with_the_raw_journal(
    bare: Lapel, config: Path, played: SixMonths, journal: list[dict[str, Any]], team: str | None
) -> None:
    whose = () if team is None else ("--team", team)
    result = bare("report", "response", "-c", config, "--from", "2023-11-01", "--to", "2024-05-31", "--json", *whose)
    assert result.status == 0, result.err
    words = result.json
    assert (words.pop("from")["ms"], words.pop("to")["ms"]) == (day_ms("2023-11-01"), day_ms("2024-06-01"))
    assert words == journal_figures.report(journal, day_ms("2023-11-01"), day_ms("2024-06-01"), team, LONDON)


@pytest.mark.parametrize(
    ("first", "last", "end"),
    [
        ("2023-11-14", "2023-12-31", "2024-01-01"),
        ("2024-01-01", "2024-01-31", "2024-02-01"),
        ("2024-02-10", "2024-02-17", "2024-02-18"),
        # The clocks change on the last day.
        ("2024-03-01", "2024-03-31", "2024-04-01"),
        ("2024-03-31", "2024-04-30", "2024-05-01"),
        ("2023-01-01", "2023-01-31", "2023-02-01"),
    ],
)
def test_every_figure_of_a_part_agrees_with_the_raw_journal(
    bare: Lapel, config: Path, journal: list[dict[str, Any]], first: str, last: str, end: str
) -> None:
    result = bare("report", "response", "-c", config, "--from", first, "--to", last, "--json")
    words = {name: value for name, value in result.json.items() if name not in ("from", "to")}
    assert words == journal_figures.report(journal, day_ms(first), day_ms(end), None, LONDON)
