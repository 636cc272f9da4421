"""lapel report response, over a gateway that holds a handful of alarms: table, CSV, JSON, and what it refuses."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import pytest
import sqlalchemy as sa

from lapel_gateway.alarms.book import note_step
from lapel_gateway.alarms.kinds import DISK_LOW, VISIT_OVERDUE
from lapel_gateway.ledger import fresh_ledger, open_ledger, writing
from lapel_gateway.ledger.schema import alarm as alarms
from lapel_gateway.settings.policies import find_zone
from lapel_gateway.viewing.assembly import Views
from lapel_gateway.web.installed import Installed
from lapel_gateway.web.server import WebRole
from lapel_protocol.clip import TRUST_GATEWAY, TRUST_NONE
from lapel_protocol.reports import ALARM_MAN_DOWN, ALARM_PANIC
from tests.tools.command import Lapel

PERIOD = ("--from", "2026-05-01", "--to", "2026-06-30")


def at_ms(text: str) -> int:
    """Unix milliseconds of a time in UTC."""
    return int(datetime.fromisoformat(f"{text}Z").timestamp() * 1000)


def enter(engine: sa.Engine, received: str, **changes: Any) -> None:
    """An alarm as the roles leave it; ``_ms`` values of ``changes`` count from its reception."""
    received_ms = at_ms(received)
    values: dict[str, Any] = {
        "id": f"gateway-{received_ms}-0",
        "kind": ALARM_PANIC,
        "about": "",
        "detail": "",
        "test": False,
        "state": "notifying",
        "person": "Zoë Quinn",
        "team": "housing",
        "device_state": "active",
        "raised_wall_ms": -400,
        "raised_mono_ms": 60_000,
        "trust": TRUST_GATEWAY,
        "untold": False,
        # A device's own counter; that there is no such device does not matter here.
        "boot": 1,
        **changes,
    }
    for name in [name for name in values if name.endswith("_ms") and name != "raised_mono_ms"]:
        values[name] += received_ms
    with writing(engine) as connection:
        connection.execute(sa.insert(alarms).values(received_ms=received_ms, **values))
        if "notified_ms" in values:
            note_step(connection, values["id"], "notifying", "webhook:desk", "", values["notified_ms"])


@pytest.fixture
def engine(lapel: Lapel) -> Iterator[sa.Engine]:
    """A ledger with five alarms of people in two teams, a drill and a technical one, May and June 2026."""
    path = lapel.folder / "data" / "ledger.sqlite"
    path.parent.mkdir(exist_ok=True)
    if not path.exists():
        fresh_ledger(path)
    engine = open_ledger(path)
    answer = {"notified_ms": 120, "acknowledged_ms": 10_000, "acknowledged_by": "Sam"}
    enter(engine, "2026-05-10T08:00:00", **answer, resolution="true", resolved_ms=60_000)
    enter(
        engine, "2026-05-11T08:00:00", **{**answer, "acknowledged_ms": 12_345}, resolution="false", resolved_ms=99_000
    )
    enter(engine, "2026-05-31T23:30:00", **answer, cancelled_ms=4_000, trust=TRUST_NONE)
    enter(engine, "2026-06-02T08:00:00", kind=ALARM_MAN_DOWN, team="repairs", raised_wall_ms=50, notified_ms=200)
    enter(engine, "2026-06-03T08:00:00", kind=VISIT_OVERDUE, team="", boot=None, raised_wall_ms=0)
    enter(engine, "2026-06-04T08:00:00", test=True)
    enter(engine, "2026-06-05T08:00:00", kind=DISK_LOW, team="", boot=None)
    yield engine
    engine.dispose()


def report(lapel: Lapel, *arguments: object) -> Any:
    result = lapel("report", "response", *PERIOD, *arguments, "--json")
    assert result.status == 0, result.err
    return result.json


@pytest.mark.usefixtures("engine")
def test_the_table_holds_answers_against_the_targets(lapel: Lapel) -> None:
    result = lapel("report", "response", *PERIOD)
    assert result.status == 0, result.err
    lines = result.out.splitlines()
    assert lines[1] == "alarms of people: 5; apart from these drills: 1, technical alarms: 1"
    assert lines[2] == "acknowledged within 10 s: 2 of 5, 40.0 %; target 80 %: missed"
    assert lines[3] == "acknowledged within 40 s: 3 of 5, 60.0 %; target 98.5 %: missed"
    cells = [line.split() for line in lines]
    assert ["press", "→", "received", "3", "0.400", "0.400", "0.400", "0.400", "0.400", "1"] in cells
    assert ["received", "→", "acknowledged", "3", "10", "12.3", "12.3", "12.3", "12.3", "0"] in cells
    assert ["housing", "3", "66.6", "%", "100.0", "%", "10", "12.3", "0", "0"] in cells
    assert ["housing", "1", "1", "0", "1", "50.0", "%", "1", "0"] in cells
    assert ["webhook:desk", "4"] in cells
    assert ["nobody", "was", "notified", "1"] in cells
    assert "of these with no trusted time of the press: 1; with none at all: 1" in lines


@pytest.mark.usefixtures("engine")
def test_json_has_every_division_of_the_figures(lapel: Lapel) -> None:
    words = report(lapel)
    assert words["total"]["alarms"] == 5
    assert {team: found["alarms"] for team, found in words["by_team"].items()} == {"": 1, "housing": 3, "repairs": 1}
    assert list(words["by_kind"]) == ["man_down", "panic", "visit_overdue"]
    assert list(words["by_month"]) == ["2026-05", "2026-06"]
    assert words["total"]["targets"][0] == {
        "within_ms": 10_000,
        "target": 0.8,
        "within": 2,
        "alarms": 5,
        "share": 0.4,
        "verdict": "missed",
    }
    assert words["by_team"]["repairs"]["press_to_received"]["clock_ahead"] == 1
    assert words["total"]["false_alarm_rate"] == 0.5


@pytest.mark.usefixtures("engine")
def test_csv_has_the_figures_of_json_a_line_for_each(lapel: Lapel) -> None:
    words = report(lapel)
    for by in ("team", "kind", "month"):
        result = lapel("report", "response", *PERIOD, "--by", by, "--csv", "-")
        assert result.status == 0
        *groups, total = csv.DictReader(io.StringIO(result.out))
        assert [line[by] for line in groups] == list(words[f"by_{by}"])
        assert (total[by], total["drills"], total["technical"]) == ("total", "1", "1")
        for line, found in zip([*groups, total], [*words[f"by_{by}"].values(), words["total"]], strict=True):
            assert line["alarms"] == str(found["alarms"])
            assert line["within_10000_ms_verdict"] == found["targets"][0]["verdict"]
            slowest = found["received_to_acknowledged"]["max"]
            assert line["received_to_acknowledged_max"] == ("" if slowest is None else str(slowest))
            assert line["first_notified_by webhook:desk"] == str(found["first_notified_by"].get("webhook:desk", 0))
            assert line["cancelled_alarms"] == str(found["cancelled_by_wearer"]["alarms"])


@pytest.mark.usefixtures("engine")
def test_csv_goes_to_a_file_that_spreadsheets_read(lapel: Lapel) -> None:
    result = lapel("report", "response", *PERIOD, "--csv", "report.csv")
    assert (result.status, result.out) == (0, "")
    content = (lapel.folder / "report.csv").read_bytes()
    assert content.startswith(b"\xef\xbb\xbfteam,from,to,alarms,")
    assert content.decode("utf-8-sig") == lapel("report", "response", *PERIOD, "--csv", "-").out


@pytest.mark.usefixtures("engine")
def test_days_and_months_are_those_of_the_configured_zone(lapel: Lapel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAPEL_ALARMS__TIME_ZONE", "Europe/London")
    words = report(lapel)
    assert words["from"]["utc"] == "2026-04-30T23:00:00.000Z"
    assert {month: found["alarms"] for month, found in words["by_month"].items()} == {"2026-05": 2, "2026-06": 3}
    monkeypatch.setenv("LAPEL_ALARMS__TIME_ZONE", "UTC")
    assert report(lapel)["by_month"]["2026-05"]["alarms"] == 3


@pytest.mark.usefixtures("engine")
def test_a_team_has_a_report_of_its_own(lapel: Lapel) -> None:
    words = report(lapel, "--team", "repairs")
    assert (words["team"], words["total"]["alarms"], words["drills"]) == ("repairs", 1, 0)
    assert "team repairs" in lapel("report", "response", *PERIOD, "--team", "repairs").out


@pytest.mark.usefixtures("engine")
def test_what_cannot_be_reported_is_refused_with_what_to_write(lapel: Lapel) -> None:
    def refused(*arguments: object) -> tuple[int, str]:
        result = lapel("report", "response", *arguments)
        return result.status, result.err

    assert refused(*PERIOD, "--team", "hosing") == (3, "lapel: there is no team hosing: did you mean housing?\n")
    status, words = refused("--from", "2026-06-02", "--to", "2026-06-01")
    assert (status, words) == (2, "lapel: from (2026-06-02) is not before to (2026-06-01)\n")
    assert refused("--from", "soon")[0] == 2
    assert "no time zone" in refused("--to", "2026-06-01T10:00")[1]
    assert refused("--json", "--csv", "-")[0] == 2
    assert refused("--by", "person")[0] == 2


def test_a_period_without_alarms_has_nothing_to_tell(lapel: Lapel, engine: sa.Engine) -> None:
    result = lapel("report", "response", "--from", "2025-01-01", "--to", "2025-01-31")
    assert result.status == 0
    assert "acknowledged within 10 s: no alarms; target 80 %: too few to tell" in result.out
    assert result.out.endswith("nobody was notified\n")


def test_with_a_token_the_gateway_answers_with_the_same_words(
    lapel: Lapel, engine: sa.Engine, free_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LAPEL_ALARMS__TIME_ZONE", "Europe/London")
    of_ledger = report(lapel, "--team", "housing")
    of_trial = lapel("report", "trial", *PERIOD, "--json").json
    monkeypatch.setenv("LAPEL_WEB__PORT", str(free_port))
    monkeypatch.setenv("LAPEL_TOKEN", lapel.token("Ann Boyle"))
    views = Views(lapel.folder / "data" / "views")
    role = WebRole(engine, views, "127.0.0.1", free_port, installed=Installed(zone=find_zone("Europe/London")))
    role.start()
    try:
        assert report(lapel, "--team", "housing") == of_ledger
        assert lapel("report", "trial", *PERIOD, "--json").json == of_trial
        unknown = lapel("report", "response", *PERIOD, "--team", "hosing")
        assert (unknown.status, "did you mean housing?" in unknown.err) == (3, True)
        backwards = lapel("report", "response", "--from", "2026-06-02", "--to", "2026-06-01")
        assert (backwards.status, "is not before to" in backwards.err) == (2, True)
    finally:
        assert role.stop()
