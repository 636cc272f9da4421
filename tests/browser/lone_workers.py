"""A day of lone workers in the ledger of an office, made by the real cores: for pages to show."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import sqlalchemy as sa

from lapel_gateway.ledger import reading, writing
from lapel_gateway.ledger.visit_tables import position, visit
from lapel_gateway.people import set_person
from lapel_gateway.settings.visits import DAY_MS, DEFAULT_RULES, HOUR_MS, MINUTE_MS
from lapel_gateway.visits import plans
from lapel_gateway.visits.plans import Wanted
from lapel_gateway.visits.risk_register import add_risk
from lapel_gateway.visits.timers import NO_REACH, advance
from tests.gateway.accounts.office import Office
from tests.gateway.sealed import Site

ZOE, SAM, BO, RITA = "Zoë Quinn", "Sam Ortega", "Bo Lund", "Rita Rowe"
PLACE = "4 High Street, Leeds LS1 4AB"


def begin(office: Office, person: str, place: str = PLACE, **more: Any) -> int:
    """A visit that begins now, or is planned; returns its number."""
    wanted = Wanted(person, place, **{"expected_min": 60, **more})
    return plans.plan(office.engine, wanted, person, office.clock[0], DEFAULT_RULES).visit


def pass_time(office: Office, minutes: int) -> None:
    """Let the office's clock go on, and what is due be done."""
    for _ in range(minutes):
        office.clock[0] += MINUTE_MS
        with writing(office.engine) as connection:
            advance(connection, DEFAULT_RULES, NO_REACH, office.clock[0])


def working_day(office: Office) -> dict[str, int]:
    """People of two teams, some planned, under way, late, at an end; returns the visits' numbers by whose they are."""
    for name, team, phone in ((ZOE, "North", "0113 496 0001"), (SAM, "North", "0113 496 0002"), (BO, "South", "")):
        set_person(office.engine, name, team, phone, office.clock[0])
    now_ms = office.clock[0]
    add_risk(office.engine, PLACE, "", "a dog that bites; ring before you open the gate", SAM, now_ms + DAY_MS, now_ms)
    found = {"ended": begin(office, BO, "12 Mill Lane", purpose="gas check", expected_min=30)}
    late = begin(office, SAM, "Unit 7, Canal Road", purpose="inspection", buddy=ZOE, expected_min=40)
    pass_time(office, 25)
    plans.end(office.engine, found["ended"], BO, "all well", office.clock[0], DEFAULT_RULES)
    pass_time(office, 20)
    found |= {"late": late, "bo": begin(office, BO, "The Old Mill", expected_min=90, check_in_min=20)}
    about: dict[str, Any] = {"purpose": "boiler service", "buddy": SAM, "present": "Mr Brown", "check_in_min": 30}
    found["zoe"] = begin(office, ZOE, **about, risk="steep stairs to the cellar")
    planned_ms = office.clock[0] + 3 * HOUR_MS
    found["planned"] = begin(office, ZOE, "9 Park Row", planned_ms=planned_ms, expected_min=45, buddy=SAM)
    pass_time(office, 18)
    return found


def walk(office: Office, folder: Path, number: int) -> None:
    """Positions within a visit."""
    site = Site(folder, office.engine)
    around = [(0, 0), (2_400, 4_100), (5_100, 6_900), (7_700, 6_300), (9_300, 12_400)]
    rows = [
        {
            "device": site.device,
            "boot": 0,
            "counter": count,
            "visit": number,
            "measured_ms": office.clock[0] - (len(around) - count) * 4 * MINUTE_MS,
            "received_ms": office.clock[0],
            "latitude_e7": 537_970_000 + north,
            "longitude_e7": -15_430_000 + east,
            "accuracy_m": 12,
        }
        for count, (north, east) in enumerate(around)
    ]
    with writing(office.engine) as connection:
        connection.execute(sa.insert(position), rows)


def visit_of(office: Office, number: int) -> dict[str, Any]:
    """A row of the visit table."""
    with reading(office.engine) as connection:
        return dict(connection.execute(sa.select(visit).where(visit.c.id == number)).mappings().one())
