"""lapel visit, lapel risk and lapel person, against the API as it is really served."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
import sqlalchemy as sa

from lapel_gateway.ledger import fresh_ledger, open_ledger
from lapel_gateway.viewing.assembly import Views
from lapel_gateway.web.server import WebRole
from tests.tools.command import Lapel

THIS_YEAR = datetime.now(UTC).year
NEXT_YEAR, YEAR_AFTER = f"{THIS_YEAR + 1}-09-30", f"{THIS_YEAR + 2}-09-30"


@pytest.fixture
def api(lapel: Lapel, free_port: int, monkeypatch: pytest.MonkeyPatch) -> Iterator[sa.Engine]:
    """The gateway's API on the port that the configuration says, and Ann's token in the environment."""
    monkeypatch.setenv("LAPEL_WEB__PORT", str(free_port))
    monkeypatch.setenv("TZ", "Europe/London")
    ledger = lapel.folder / "data" / "ledger.sqlite"
    ledger.parent.mkdir(exist_ok=True)
    fresh_ledger(ledger)
    engine = open_ledger(ledger)
    role = WebRole(engine, Views(lapel.folder / "data" / "views"), "127.0.0.1", free_port)
    role.start()
    monkeypatch.setenv("LAPEL_TOKEN", lapel.token("Ann Boyle"))
    yield engine
    assert role.stop()
    engine.dispose()


@pytest.mark.usefixtures("api")
def test_a_visit_is_started_checked_in_to_extended_and_ended(lapel: Lapel) -> None:
    started = lapel(
        *("visit", "start", "4 High Street", "--person", "Zoë Quinn", "--buddy", "Sam", "--purpose", "boiler"),
        *("--minutes", "45", "--check-in", "15"),
    )
    assert started.status == 0, started.err
    assert started.out.startswith("visit 1 (Zoë Quinn, 4 High Street): active, due ")
    assert "Zoë Quinn" in lapel("visit", "list").out
    assert lapel("visit", "check-in", "1").status == 0
    assert lapel("visit", "extend", "1", "--minutes", "20", "--json").json["expected_min"] == 65
    assert lapel("visit", "end", "1", "--note", "all well").out.strip().endswith(": ended")
    shown = lapel("visit", "show", "1")
    for words in ("started", "checked in", "extended", "all well", "Ann Boyle"):
        assert words in shown.out
    assert "nobody is on a visit" in lapel("visit", "list").out
    assert [one["state"] for one in lapel("visit", "list", "--all", "--json").json] == ["ended"]
    refused = lapel("visit", "check-in", "1")
    assert (refused.status, "visit 1 is ended" in refused.err) == (1, True)
    assert lapel("visit", "show", "9").status == 3


@pytest.mark.usefixtures("api")
def test_a_visit_is_planned_in_local_time_begun_by_its_number_or_taken_back(lapel: Lapel) -> None:
    at = (datetime.now(UTC) + timedelta(days=2)).astimezone(ZoneInfo("Europe/London")).replace(microsecond=0, second=0)
    local = at.replace(tzinfo=None).isoformat()
    planned = lapel("visit", "plan", "4 High Street", "--at", local, "--json").json
    assert planned["planned"]["ms"] == at.timestamp() * 1000
    assert (planned["person"], planned["state"]) == ("Ann Boyle", "planned")
    abroad = lapel("visit", "plan", "x", "--at", local, "--zone", "Asia/Tokyo", "--json").json
    assert abroad["planned"]["ms"] < planned["planned"]["ms"]
    assert lapel("visit", "start", "1").out.startswith("visit 1 (Ann Boyle, 4 High Street): active")
    assert lapel("visit", "cancel", "2", "--note", "moved").out.strip().endswith(": cancelled")
    refused = lapel("visit", "plan", "x", "--at", "soon")
    assert (refused.status, "a time is written as" in refused.err) == (2, True)


@pytest.mark.usefixtures("api")
def test_a_risk_is_shown_before_the_visit_that_it_is_about(lapel: Lapel) -> None:
    added = lapel("risk", "add", "a dog that bites", "--place", "4 High St", "--review", NEXT_YEAR)
    assert (added.status, added.out.strip()) == (0, "entry 1 (4 High St): holds, owner Ann Boyle")
    started = lapel("visit", "start", "4 high street")
    assert started.out.splitlines()[0] == "RISK 1: 4 High St: a dog that bites (owner Ann Boyle)"
    assert NEXT_YEAR[:8] in lapel("risk", "list").out
    assert (
        lapel("risk", "review", "1", "--review", YEAR_AFTER, "--note", "two dogs", "--json").json["note"] == "two dogs"
    )
    assert "ended by Ann Boyle" in lapel("risk", "end", "1").out
    assert "the risk register is empty" in lapel("risk", "list").out
    assert len(lapel("risk", "list", "--all", "--json").json) == 1
    refused = lapel("risk", "add", "x", "--review", NEXT_YEAR)
    assert (refused.status, "about a place, a person, or both" in refused.err) == (2, True)


@pytest.mark.usefixtures("api")
def test_people_are_entered_and_listed(lapel: Lapel) -> None:
    assert "nobody yet" in lapel("person", "list").out
    told = lapel("person", "set", "Zoë Quinn", "--team", "North", "--phone", "+44 113 496 0000")
    assert told.out.strip() == "Zoë Quinn: team North, phone +44 113 496 0000"
    assert lapel("person", "list", "--json").json == [
        {"name": "Zoë Quinn", "team": "North", "phone": "+44 113 496 0000"}
    ]
    assert "North" in lapel("person", "list").out


@pytest.mark.parametrize("arguments", [("visit", "list"), ("risk", "list"), ("person", "list"), ("visit", "end", "1")])
def test_a_token_is_needed(lapel: Lapel, arguments: tuple[str, ...]) -> None:
    refused = lapel(*arguments)
    assert (refused.status, "LAPEL_TOKEN" in refused.err) == (2, True)
