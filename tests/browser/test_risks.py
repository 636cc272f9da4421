"""The risk register's page in a real browser."""

from __future__ import annotations

from typing import Literal

import pytest
from playwright.sync_api import expect

from lapel_gateway.settings.visits import DAY_MS
from lapel_gateway.visits.risk_register import add_risk, list_risks
from tests.browser.desks import Desk, scrolls_sideways, severe_faults, shoot
from tests.browser.lone_workers import PLACE, RITA, SAM
from tests.gateway.accounts.office import Office

Scheme = Literal["light", "dark"]


def fill_register(office: Office) -> None:
    """One entry that is late, one that is not."""
    now_ms = office.clock[0]
    note = "9 March: the dog got out and bit a visitor; ring first, wait until it is shut away"
    add_risk(office.engine, PLACE, "", note, SAM, now_ms - 3 * DAY_MS, now_ms - 90 * DAY_MS)
    note = "2 May: shouted and threw a cup; go in pairs"
    add_risk(office.engine, "9 Park Row", "Mr Brown", note, RITA, now_ms + DAY_MS, now_ms)


@pytest.mark.parametrize(
    ("phone", "scheme"), [(True, "light"), (True, "dark"), (False, "light"), (False, "dark")], ids=str
)
def test_the_register_keeps_nobody_out(desk: Desk, phone: bool, scheme: Scheme) -> None:
    fill_register(desk.office)
    page = desk.sit(RITA, ["responder"], phone=phone, scheme=scheme)
    page.goto("/risks")

    expect(page.get_by_role("listitem").filter(has_text="Review is late")).to_contain_text(PLACE)

    assert severe_faults(page) == []
    assert not scrolls_sideways(page)
    shoot(page, f"risks-{'phone' if phone else 'desktop'}-{scheme}")


@pytest.mark.parametrize("scripts", [True, False], ids=["with scripts", "without"])
def test_an_entry_is_added_found_reviewed_and_ended(desk: Desk, scripts: bool) -> None:
    page = desk.sit(RITA, ["responder"], phone=True, scripts=scripts)
    desk.expected.append("status of 422")
    page.goto("/risks")
    page.get_by_label("Place", exact=True).fill(PLACE)
    page.get_by_label("What is known", exact=True).fill("a dog that bites")
    page.get_by_label("Looked at again on").fill("2020-01-01")
    page.get_by_role("button", name="Add it").click()
    expect(page.get_by_role("alert")).to_have_text("The next review is a day in the coming five years.")
    expect(page.get_by_label("What is known", exact=True)).to_have_value("a dog that bites")
    page.get_by_label("Looked at again on").fill("2026-01-31")
    page.get_by_role("button", name="Add it").click()
    expect(page.get_by_text("The entry is in the register")).to_be_visible()

    page.get_by_label("What is known of a place").fill("4 high st. ls1 4ab")
    page.get_by_role("button", name="Show").click()
    entry = page.get_by_role("listitem").filter(has_text="a dog that bites")
    expect(entry).to_contain_text("Holds")
    entry.locator("summary", has_text="Review").click()
    entry.get_by_label("What holds now").fill("two dogs")
    entry.get_by_role("button", name="It was reviewed").click()
    expect(page.get_by_text("The review is noted.")).to_be_visible()
    (found,) = list_risks(desk.office.engine, desk.office.clock[0])
    assert (found.note, found.owner, found.overdue) == ("two dogs", RITA, False)

    page.locator("summary", has_text="End").click()
    page.get_by_role("button", name="End the entry").click()
    expect(page.get_by_text("The entry has ended")).to_be_visible()
    expect(page.get_by_text("The register is empty.")).to_be_visible()
    (ended,) = list_risks(desk.office.engine, desk.office.clock[0], every=True)
    assert ended.ended_by == RITA


def test_a_wearer_reads_the_register_and_is_offered_no_change(desk: Desk) -> None:
    fill_register(desk.office)
    page = desk.sit("Ann Archer", ["wearer"])

    page.goto("/risks")

    expect(page.get_by_text("go in pairs")).to_be_visible()
    expect(page.get_by_role("button", name="Add it")).to_have_count(0)
    expect(page.locator("summary")).to_have_count(0)
