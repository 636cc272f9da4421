"""The pages of visits in a real browser: a lone worker's telephone, with scripts and without; the team's day."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal

import pytest
import sqlalchemy as sa
from playwright.sync_api import Page, expect

from lapel_gateway.ledger import reading
from lapel_gateway.ledger.visit_tables import visit_log
from lapel_gateway.settings.visits import MINUTE_MS
from tests.browser.desks import TIMEOUT_MS, Desk, scrolls_sideways, severe_faults, shoot
from tests.browser.lone_workers import PLACE, RITA, SAM, ZOE, begin, pass_time, visit_of, walk, working_day

Scheme = Literal["light", "dark"]
SHAPES = [(True, "light"), (True, "dark"), (False, "light"), (False, "dark")]
shapes = pytest.mark.parametrize(("phone", "scheme"), SHAPES, ids=lambda value: str(value))


def looked_at(page: Page, name: str, phone: bool, scheme: str) -> None:
    assert severe_faults(page) == []
    assert not scrolls_sideways(page)
    shoot(page, f"{name}-{'phone' if phone else 'desktop'}-{scheme}")


def steps(desk: Desk, number: int) -> list[tuple[str, str]]:
    """The log of a visit in the ledger."""
    query = sa.select(visit_log.c.step, visit_log.c.who).where(visit_log.c.visit == number).order_by(visit_log.c.id)
    with reading(desk.office.engine) as connection:
        return [(row.step, row.who) for row in connection.execute(query)]


@pytest.mark.parametrize("scripts", [True, False], ids=["with scripts", "without"])
def test_a_visit_is_planned_started_checked_extended_and_ended_on_a_telephone(desk: Desk, scripts: bool) -> None:
    working_day(desk.office)
    page = desk.sit("Ann Archer", ["wearer"], phone=True, scripts=scripts)
    page.goto("/")
    page.get_by_role("link", name="New visit").click()
    page.get_by_label("Place").fill("4 high st leeds ls1 4ab")
    page.get_by_label("What for").fill("boiler")
    page.get_by_label("Buddy").fill(SAM)
    page.get_by_label("Later").check()
    page.get_by_label("Day and time").fill("2025-10-09T14:30")
    page.get_by_label("Time zone").fill("Europe/London")
    page.get_by_role("button", name="Check and go on").click()
    expect(page.get_by_role("alert")).to_contain_text("a dog that bites")
    assert severe_faults(page) == [] if scripts else True
    shoot(page, "new-known-phone-light")
    page.get_by_role("button", name="Plan it, knowing this").first.click()
    expect(page.get_by_text("The visit is planned.")).to_be_visible()
    number = int(page.url.partition("?")[0].rpartition("/")[2])
    assert visit_of(desk.office, number)["planned_ms"] == 1_760_016_600_000

    page.get_by_role("button", name="Start now").click()
    expect(page.get_by_text("Running")).to_be_visible()
    page.goto("/visits")
    page.get_by_role("button", name="Check in").click()
    expect(page.get_by_text("Checked in.")).to_be_visible()
    page.get_by_text("Extend", exact=True).click()
    page.get_by_role("button", name="30 min").click()
    expect(page.get_by_text("Extended.")).to_be_visible()
    row = visit_of(desk.office, number)
    assert (row["state"], row["due_ms"]) == ("active", desk.office.clock[0] + 90 * MINUTE_MS)
    page.get_by_text("End", exact=True).click()
    page.get_by_label("Anything to remember?").fill("filter next time")
    page.get_by_role("button", name="End the visit").click()
    expect(page.get_by_text("The visit has ended.")).to_be_visible()
    assert visit_of(desk.office, number)["ended_by"] == "Ann Archer"
    who = "Ann Archer"
    assert [step for step in steps(desk, number) if step[0] != "risks known"] == [
        ("planned", who),
        ("started", who),
        ("checked in", who),
        ("extended", who),
        ("ended", who),
    ]


def test_a_form_that_is_refused_says_why_and_keeps_what_was_typed(desk: Desk) -> None:
    begin(desk.office, "Ann Archer", "9 Park Row")
    page = desk.sit("Ann Archer", ["wearer"], phone=True)
    desk.expected.append("status of 4")
    page.goto("/visits/new")
    page.get_by_label("Place").fill("12 Mill Lane")
    page.get_by_label("Minutes it takes").fill("9999")

    page.get_by_role("button", name="Check and go on").click()

    expect(page.get_by_role("alert")).to_have_text("A visit takes 1 to 1440 minutes.")
    expect(page.get_by_label("Place")).to_have_value("12 Mill Lane")
    page.get_by_label("Minutes it takes").fill("30")
    page.get_by_role("button", name="Check and go on").click()
    expect(page.get_by_role("alert")).to_have_text("Ann Archer is on visit 1: end that one first.")


def test_a_page_that_is_open_follows_what_others_do_and_says_so(desk: Desk) -> None:
    number = begin(desk.office, "Ann Archer")
    page = desk.sit("Ann Archer", ["wearer"], phone=True)
    page.goto("/visits")
    expect(page.get_by_role("article")).to_contain_text("Running")

    pass_time(desk.office, 57)

    expect(page.locator("#news")).to_have_text("Now: Check-in wanted.", timeout=TIMEOUT_MS)
    expect(page.get_by_role("article")).to_contain_text("Check in now: overdue in")
    page.get_by_role("button", name="Check in").click()
    expect(page.get_by_text("Running")).to_be_visible()
    assert visit_of(desk.office, number)["state"] == "active"


def test_somebody_elses_visit_is_not_there_for_a_wearer(desk: Desk) -> None:
    number = working_day(desk.office)["zoe"]
    page = desk.sit("Ann Archer", ["wearer"])
    desk.expected.append("status of 404")

    answer = page.goto(f"/visits/{number}")
    assert answer is not None
    assert answer.status == 404
    page.goto("/visits")
    assert ZOE not in page.content()
    page.goto("/visits/new")
    assert SAM not in page.content()


@shapes
def test_the_pages_of_visits_keep_nobody_out(desk: Desk, tmp_path: Path, phone: bool, scheme: Scheme) -> None:
    found = working_day(desk.office)
    walk(desk.office, tmp_path, found["zoe"])
    worker = desk.sit(ZOE, ["wearer"], phone=phone, scheme=scheme)
    worker.goto("/visits")
    expect(worker.get_by_role("article").first).to_contain_text(PLACE)
    looked_at(worker, "own", phone, scheme)
    worker.goto("/visits/new")
    looked_at(worker, "new", phone, scheme)
    page = desk.sit(RITA, ["responder"], phone=phone, scheme=scheme)
    page.goto("/visits")
    expect(page.get_by_role("row")).to_have_count(6)
    looked_at(page, "team", phone, scheme)
    page.goto(f"/visits/{found['late']}")
    expect(page.get_by_text("Overdue for")).to_be_visible()
    looked_at(page, "late", phone, scheme)
    page.goto(f"/visits/{found['zoe']}")
    page.get_by_role("link", name="Show where it was").click()
    expect(page.get_by_role("img", name="Sketch of 5 positions")).to_be_visible()
    looked_at(page, "where", phone, scheme)
    assert (RITA, "see positions", "allowed") in desk.office.lines()


def test_a_look_that_asks_for_no_position_leaves_no_line(desk: Desk, tmp_path: Path) -> None:
    found = working_day(desk.office)
    walk(desk.office, tmp_path, found["zoe"])
    page = desk.sit(RITA, ["responder"])

    page.goto(f"/visits/{found['zoe']}")

    expect(page.get_by_text("5 positions are kept")).to_be_visible()
    assert not [line for line in desk.office.lines() if line[1] == "see positions"]


def test_a_responder_chooses_a_team_and_a_day_and_checks_in_for_somebody(desk: Desk) -> None:
    found = working_day(desk.office)
    page = desk.sit(RITA, ["responder"])
    page.goto("/visits")
    page.get_by_label("Team", exact=True).select_option("South")
    page.get_by_role("button", name="Show").click()
    expect(page.get_by_role("row")).to_have_count(3)
    page.get_by_role("link", name="Day after").click()
    expect(page.get_by_text("No visit on this day of those chosen.")).to_be_visible()
    page.goto("/visits")

    page.get_by_role("button", name=f"Check in for {SAM}").click()

    expect(page.get_by_text("Checked in.")).to_be_visible()
    assert ("checked in", RITA) in steps(desk, found["late"])
    assert visit_of(desk.office, found["late"])["state"] == "active"


def test_a_responder_starts_a_visit_for_somebody_who_is_then_on_it(desk: Desk) -> None:
    working_day(desk.office)
    page = desk.sit(RITA, ["responder"])
    page.goto("/visits/new")
    page.get_by_label("Who goes").fill("Ann Archer")
    page.get_by_label("Place").fill("12 Mill Lane")
    page.get_by_label("Check in every, minutes").fill("15")
    page.get_by_role("button", name="Check and go on").click()
    expect(page.get_by_text("The visit runs")).to_be_visible()

    ann = desk.sit("Ann Archer", ["wearer"], phone=True)
    ann.goto("/visits")

    expect(ann.get_by_role("article")).to_contain_text("12 Mill Lane")
    expect(ann.get_by_role("article")).to_contain_text(re.compile(r"Check in within\s+1[45] min"))
