"""`lapel report trial` on a trial of six months agrees in every figure with what the raw journal alone gives."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from tests.tools import trial_figures
from tests.tools.command import Lapel
from tests.tools.six_months import read_journal
from tests.tools.trial_months import TrialMonths

ZONE = "Europe/London"
LONDON = ZoneInfo(ZONE)


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TrialMonths]:
    """The six months, over."""
    months = TrialMonths(tmp_path_factory.mktemp("trial"))
    months.play()
    yield months
    months.pair.stop()


@pytest.fixture(scope="module")
def journal(played: TrialMonths) -> list[dict[str, Any]]:
    return read_journal(played.journal.path)


@pytest.fixture
def config(played: TrialMonths, tmp_path: Path) -> Path:
    path = tmp_path / "trial.toml"
    path.write_text(f'[gateway]\ndata_dir = "{played.pair.folder}"\n[alarms]\ntime_zone = "{ZONE}"\n')
    return path


def day_ms(text: str) -> int:
    """The first moment of a day in London."""
    return int(datetime.fromisoformat(text).replace(tzinfo=LONDON).timestamp()) * 1000


def test_the_trial_holds_something_of_everything(played: TrialMonths, journal: list[dict[str, Any]]) -> None:
    total = trial_figures.report(journal, day_ms("2023-11-01"), day_ms("2024-06-01"), None, LONDON)["total"]
    assert 0 < total["uptake"]["days_worn"] < total["uptake"]["days_issued"]
    assert min(total["visits"].values()) > 3
    recordings = {name: count for name, count in total["recordings"].items() if name != "unknown"}
    assert min(recordings.values()) > 3
    assert min(total["notice"].values()) > 0
    assert min(total["alarms"][name] for name in ("true", "false", "test", "unresolved", "drills")) > 1
    assert total["clips_passed_on"]["count"] > total["clips_passed_on"]["police"] > 3
    faults = total["faults"]
    assert {name for name, count in faults.items() if not count} <= {"clip_missing", "clip_lost", "clip_unopenable"}
    # Half of the visits are gone already, and are counted all the same.
    assert 10 < played.pair.count("visit") < total["visits"]["planned"] + total["visits"]["started"]
    assert played.pair.count("visit_count") > 10
    assert Counter(line["what"] for line in journal)["handed out"] > 20


@pytest.mark.parametrize("team", [None, "housing", "paramedics", "repairs", ""])
def test_every_figure_of_six_months_agrees_with_the_raw_journal(
    bare: Lapel, config: Path, journal: list[dict[str, Any]], team: str | None
) -> None:
    whose = () if team is None else ("--team", team)
    result = bare("report", "trial", "-c", config, "--from", "2023-11-01", "--to", "2024-05-31", "--json", *whose)
    assert result.status == 0, result.err
    assert words_of(result.json) == trial_figures.report(
        journal, day_ms("2023-11-01"), day_ms("2024-06-01"), team, LONDON
    )


@pytest.mark.parametrize(
    ("first", "last", "end"),
    [
        ("2023-11-14", "2023-12-31", "2024-01-01"),
        ("2024-02-10", "2024-02-17", "2024-02-18"),
        # The clocks change on the last day.
        ("2024-03-01", "2024-03-31", "2024-04-01"),
        ("2023-01-01", "2023-01-31", "2023-02-01"),
    ],
)
def test_every_figure_of_a_part_agrees_with_the_raw_journal(
    bare: Lapel, config: Path, journal: list[dict[str, Any]], first: str, last: str, end: str
) -> None:
    result = bare("report", "trial", "-c", config, "--from", first, "--to", last, "--json")
    assert words_of(result.json) == trial_figures.report(journal, day_ms(first), day_ms(end), None, LONDON)


def test_a_spreadsheet_has_a_line_for_each_team_and_month_and_the_figures_add_up(bare: Lapel, config: Path) -> None:
    period = ("--from", "2023-11-01", "--to", "2024-05-31")
    result = bare("report", "trial", "-c", config, *period, "--by", "both", "--csv", "-")
    *lines, total = csv.DictReader(io.StringIO(result.out))
    assert len(lines) > 20
    for column in ("uptake_days_worn", "visits_started", "recordings_count", "alarms_count", "faults_storage"):
        assert sum(int(line[column]) for line in lines) == int(total[column]) > 0


def test_people_read_tables(bare: Lapel, config: Path) -> None:
    result = bare("report", "trial", "-c", config, "--from", "2023-11-01", "--to", "2024-05-31", "--by", "month")
    assert result.status == 0
    for word in ("days worn", "told share", "overdue", "in 10 s", "device lost", "to the police", "as true as can be"):
        assert word in result.out


def words_of(words: dict[str, Any]) -> dict[str, Any]:
    """The report without what the journal does not have."""
    incidents = [{key: value for key, value in one.items() if key != "received"} for one in words["incidents"]]
    return {**{key: value for key, value in words.items() if key not in ("from", "to")}, "incidents": incidents}
