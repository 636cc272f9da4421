"""The API of visits, risks and people: what colleagues see, and what is done in whose name."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
import sqlalchemy as sa

from lapel_gateway.ledger import reading, writing
from lapel_gateway.ledger.account_tables import audit
from lapel_gateway.ledger.visit_tables import position, visit
from lapel_gateway.viewing.assembly import Views
from lapel_gateway.web.server import WebRole
from tests.gateway.ledgers import new_ledger
from tests.gateway.sealed import Site
from tests.support.accounts import token_of

NOW_MS = round(datetime(2026, 10, 24, 12, 0, tzinfo=UTC).timestamp() * 1000)


@dataclass
class Desk:
    """The API, used by Ann."""

    engine: sa.Engine
    client: httpx.Client
    ann: dict[str, str]

    def get(self, path: str, **query: Any) -> Any:
        answer = self.client.get(f"/api/v1/{path}", headers=self.ann, params=query)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def send(self, path: str, status: int = 200, **body: Any) -> Any:
        answer = self.client.post(f"/api/v1/{path}", headers=self.ann, json=body)
        assert answer.status_code == status, answer.text
        return answer.json()

    def plan(self, **body: Any) -> Any:
        return self.send("visits", 201, **{"place": "4 High Street", **body})


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    with new_ledger(tmp_path) as engine:
        token = token_of(engine, "Ann Archer", NOW_MS)
        role = WebRole(engine, Views(tmp_path / "views"), "127.0.0.1", 0, now_ms=lambda: NOW_MS)
        role.start()
        try:
            with httpx.Client(base_url=role.url, trust_env=False, timeout=30) as client:
                yield Desk(engine, client, {"authorization": f"Bearer {token}"})
        finally:
            assert role.stop()


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "visits"),
        ("GET", "visits/1"),
        ("POST", "visits"),
        ("POST", "visits/1/start"),
        ("POST", "visits/1/check-in"),
        ("POST", "visits/1/extend"),
        ("POST", "visits/1/end"),
        ("POST", "visits/1/cancel"),
        ("GET", "risks"),
        ("POST", "risks"),
        ("POST", "risks/1/review"),
        ("POST", "risks/1/end"),
        ("GET", "people"),
        ("PUT", "people/x"),
    ],
)
def test_nothing_is_told_or_done_without_a_token(desk: Desk, method: str, path: str) -> None:
    bodies: dict[str, Any] = {
        "visits": {"place": "x"},
        "risks": {"note": "x", "review": "2027-01-01"},
        "review": {"review": "2027-01-01"},
    }
    body = bodies.get(path.rpartition("/")[2], {}) if method != "GET" else None
    assert desk.client.request(method, f"/api/v1/{path}", json=body).status_code == 401
    with reading(desk.engine) as connection:
        assert connection.execute(sa.select(visit)).all() == []


def test_a_visit_from_plan_to_end_is_seen_by_colleagues_with_every_step(desk: Desk) -> None:
    made = desk.plan(
        person="Zoë Quinn",
        purpose="boiler",
        present="Mr Brown",
        risk="steep stairs",
        buddy="Sam",
        expected_min=45,
        check_in_min=15,
        planned="2026-10-24T15:00",
        zone="Europe/London",
    )
    assert (made["id"], made["state"], made["planned"]["utc"]) == (1, "planned", "2026-10-24T14:00:00.000Z")
    assert made["made"]["by"] == "Ann Archer"
    (listed,) = desk.get("visits")["visits"]
    assert (listed["person"], listed["place"], listed["purpose"]) == ("Zoë Quinn", "4 High Street", "boiler")
    started = desk.send("visits/1/start")
    assert (started["state"], started["due"]["ms"]) == ("active", NOW_MS + 45 * 60_000)
    assert desk.send("visits/1/check-in")["next_check_in"]["ms"] == NOW_MS + 15 * 60_000
    assert desk.send("visits/1/extend", minutes=10)["due"]["ms"] == NOW_MS + 55 * 60_000
    assert desk.send("visits/1/extend")["due"]["ms"] == NOW_MS + 85 * 60_000
    ended = desk.send("visits/1/end", note="all well")
    assert (ended["state"], ended["ended"]["by"]) == ("ended", "Ann Archer")
    steps = [(step["step"], step["who"]) for step in ended["log"]]
    assert steps == [
        (step, "Ann Archer") for step in ("planned", "started", "checked in", "extended", "extended", "ended")
    ]
    assert desk.get("visits")["visits"] == []
    assert [one["id"] for one in desk.get("visits", every=True)["visits"]] == [1]
    assert [one["id"] for one in desk.get("visits", state="ended", person="Zoë Quinn")["visits"]] == [1]
    assert desk.get("visits/1")["alarms"] == []


def test_whoever_names_nobody_goes_themselves_and_at_once(desk: Desk) -> None:
    made = desk.plan()
    assert (made["person"], made["state"], made["expected_min"]) == ("Ann Archer", "active", 60)


def test_a_visit_across_the_end_of_summer_time_lasts_as_long_as_it_takes(desk: Desk) -> None:
    made = desk.plan(planned="2026-10-25T00:30", zone="Europe/London", expected_min=120)
    assert made["planned"]["utc"] == "2026-10-24T23:30:00.000Z"
    twice = desk.plan(person="Bo", planned="2026-10-25T01:30", zone="Europe/London")
    assert twice["planned"]["utc"] == "2026-10-25T00:30:00.000Z"


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"place": ""}, "a place is at most"),
        ({"place": "x" * 201}, "a place is at most"),
        ({"place": "x" * 501}, ""),
        ({"expected_min": 0}, "1 to 1440"),
        ({"expected_min": 1441}, ""),
        ({"check_in_min": 721}, "check-ins are"),
        ({"planned": "soon", "zone": "UTC"}, "a time is written as"),
        ({"planned": "2026-10-25T12:00"}, "needs its zone"),
        ({"planned": "2027-03-28T01:30", "zone": "Europe/London"}, "the clocks skip it"),
        ({"planned": "2026-10-24T10:59Z"}, "the coming 366 days"),
        ({"planned": "2030-10-24T10:59Z"}, "the coming 366 days"),
        ({"team": "x"}, ""),
    ],
)
def test_what_is_out_of_bounds_is_refused_in_words(desk: Desk, body: dict[str, Any], words: str) -> None:
    answer = desk.send("visits", 422, **{"place": "x", **body})
    assert words in answer["detail"]
    assert desk.get("visits", every=True)["visits"] == []


def test_what_the_state_does_not_allow_is_a_conflict_and_an_unknown_visit_is_not_found(desk: Desk) -> None:
    desk.plan()
    assert "has begun already" in desk.send("visits/1/start", 409)["detail"]
    assert "has begun: end it" in desk.send("visits/1/cancel", 409)["detail"]
    assert "end that one first" in desk.send("visits", 409, place="x")["detail"]
    desk.send("visits/1/end")
    for act in ("check-in", "extend", "end", "start"):
        assert "ended" in desk.send(f"visits/1/{act}", 409)["detail"]
    planned = desk.plan(planned="2026-10-24T15:00Z")["id"]
    assert desk.send(f"visits/{planned}/cancel", note="moved")["state"] == "cancelled"
    for path in ("visits/77/check-in", "visits/77/end", "visits/9007199254740991/extend"):
        desk.send(path, 404)
    assert desk.client.get("/api/v1/visits/77", headers=desk.ann).status_code == 404
    assert desk.client.get("/api/v1/visits/99999999999999999999", headers=desk.ann).status_code == 422


def test_the_register_is_kept_and_shown_when_a_visit_is_planned(desk: Desk) -> None:
    entry = desk.send("risks", 201, place="4 High St.", note="a dog", review="2026-10-25", zone="Europe/London")
    person = desk.send("risks", 201, about="Mr Brown", note="shouts", owner="Bo", review="2027-01-01T00:00Z")
    assert (entry["owner"], entry["review"]["utc"]) == ("Ann Archer", "2026-10-24T23:00:00.000Z")
    made = desk.plan(present="mr brown")
    assert [risk["note"] for risk in made["risks"]] == ["a dog", "shouts"]
    reviewed = desk.send(f"risks/{entry['id']}/review", review="2027-10-25T00:00Z", note="two dogs")
    assert (reviewed["note"], reviewed["review_overdue"]) == ("two dogs", False)
    assert desk.send(f"risks/{person['id']}/end")["ended"]["by"] == "Ann Archer"
    assert [risk["id"] for risk in desk.get("risks")["risks"]] == [entry["id"]]
    assert len(desk.get("risks", every=True)["risks"]) == 2
    assert "has ended" in desk.send(f"risks/{person['id']}/end", 422)["detail"]
    assert "coming five years" in desk.send("risks", 422, place="x", note="x", review="2020-01-01T00:00Z")["detail"]


def test_people_have_a_team_and_a_telephone_number(desk: Desk) -> None:
    answer = desk.client.put("/api/v1/people/Zoë Quinn", headers=desk.ann, json={"team": "North", "phone": "0113"})
    assert answer.json() == {"name": "Zoë Quinn", "team": "North", "phone": "0113"}
    assert desk.get("people")["people"] == [answer.json()]
    assert desk.plan(person="Zoë Quinn")["team"] == "North"
    refused = desk.client.put("/api/v1/people/x", headers=desk.ann, json={"phone": "9" * 65})
    assert refused.status_code == 422


def test_the_visits_of_a_day_are_those_that_any_of_it_is_part_of(desk: Desk) -> None:
    desk.client.put("/api/v1/people/Zoë Quinn", headers=desk.ann, json={"team": "North"})
    running = desk.plan(expected_min=30)["id"]
    late = desk.plan(person="Zoë Quinn", planned="2026-10-24T23:40Z", expected_min=60)["id"]
    ended = desk.plan(person="Bo")["id"]
    desk.send(f"visits/{ended}/end")
    cancelled = desk.plan(person="Bo", planned="2026-10-26T10:00Z")["id"]
    desk.send(f"visits/{cancelled}/cancel")

    def of(begin: str, end: str, **more: Any) -> set[int]:
        period = {"from": f"{begin}T00:00Z", "to": f"{end}T00:00Z"}
        return {one["id"] for one in desk.get("visits", **period, **more)["visits"]}

    assert of("2026-10-24", "2026-10-25") == {running, late, ended}
    assert of("2026-10-25", "2026-10-26") == {late}
    assert of("2026-10-26", "2026-10-27") == {cancelled}
    assert of("2026-10-23", "2026-10-24") == set()
    assert of("2026-10-24", "2026-10-25", team="North") == {late}
    assert of("2026-10-24", "2026-10-25", person="Bo", state="ended") == {ended}
    answer = desk.client.get("/api/v1/visits", headers=desk.ann, params={"from": "yesterday"})
    assert answer.status_code == 422
    assert "neither a date" in answer.json()["detail"]


def test_whoever_sees_their_own_visits_only_is_told_of_no_other_of_a_day(desk: Desk) -> None:
    desk.plan(person="Zoë Quinn")
    sam = {"authorization": f"Bearer {token_of(desk.engine, 'Sam', NOW_MS, ['wearer'])}"}
    for query in ({"from": "2026-10-24"}, {"from": "2026-10-24", "person": "Zoë Quinn"}, {"every": "true"}):
        answer = desk.client.get("/api/v1/visits", headers=sam, params=query)
        assert answer.json() == {"visits": []}


def test_a_running_visit_says_when_a_check_in_is_wanted_and_when_it_is_overdue(desk: Desk) -> None:
    made = desk.plan(expected_min=60, check_in_min=20)
    assert (made["amber"]["ms"], made["deadline"]["ms"]) == (NOW_MS + 20 * 60_000, NOW_MS + 25 * 60_000)
    assert made["late"] is False
    planned = desk.plan(person="Bo", planned="2026-10-25T10:00Z")
    assert (planned["amber"], planned["deadline"], planned["late"]) == (None, None, False)


def test_what_is_known_of_a_place_is_asked_for_before_a_visit_there(desk: Desk) -> None:
    desk.send("risks", 201, place="4 High St. Leeds LS1 4AB", note="a dog", review="2027-01-01T00:00Z")
    desk.send("risks", 201, about="Mr Brown", note="shouts", review="2027-01-01T00:00Z")

    def known(**query: str) -> list[str]:
        return [risk["note"] for risk in desk.get("risks", **query)["risks"]]

    assert known(place="4 high street, LS1 4AB") == ["a dog"]
    assert known(present="Mrs Green, mr brown") == ["shouts"]
    assert known(place="5 High Street") == []


def test_a_look_without_positions_shows_none_and_leaves_no_line(tmp_path: Path, desk: Desk) -> None:
    number = desk.plan()["id"]
    put_position(desk, Site(tmp_path, desk.engine), number)

    def lines() -> int:
        with reading(desk.engine) as connection:
            query = sa.select(sa.func.count()).where(audit.c.what == "see positions")
            return int(connection.execute(query).scalar_one())

    assert desk.get(f"visits/{number}", positions=False)["positions"] == []
    assert desk.send(f"visits/{number}/check-in")["positions"] == []
    assert lines() == 0
    assert len(desk.get(f"visits/{number}")["positions"]) == 1
    assert lines() == 1


def put_position(desk: Desk, site: Site, number: int) -> None:
    values = {"device": site.device, "boot": 0, "counter": 1, "visit": number, "accuracy_m": 8}
    values |= {"measured_ms": NOW_MS, "received_ms": NOW_MS, "latitude_e7": 515_000_000, "longitude_e7": -1_000_000}
    with writing(desk.engine) as connection:
        connection.execute(sa.insert(position).values(values))


def test_positions_are_shown_with_their_visit(tmp_path: Path, desk: Desk) -> None:
    site = Site(tmp_path, desk.engine)
    number = desk.plan()["id"]
    put_position(desk, site, number)
    (shown,) = desk.get(f"visits/{number}")["positions"]
    assert (shown["latitude"], shown["longitude"], shown["accuracy_m"]) == (51.5, -0.1, 8)
