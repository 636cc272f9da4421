"""The audit log in a real browser: what stands out, what is asked of it, and that it does not move while one reads."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Literal

import pytest
from playwright.sync_api import expect

from lapel_gateway.accounts.audit import ALLOWED, DONE, REFUSED, Actor, note
from lapel_gateway.ledger import writing
from tests.browser.desks import Desk, scrolls_sideways, severe_faults, shoot
from tests.gateway.accounts.office import NOW_MS, Office

DAY_MS = 86_400_000


@pytest.fixture
def filled(office: Office) -> Office:
    """A log of three days, in which one was refused what they asked for."""
    rita = Actor("Rita Rowe", "session", "192.0.2.9")
    with writing(office.engine) as connection:
        for number in range(120):
            about = f"0123456789abcdef-3-{number}"
            note(connection, rita, NOW_MS - 2 * DAY_MS + number, "acknowledge", about, ALLOWED)
        note(
            connection,
            Actor("Walt Wren", "token", "203.0.113.77"),
            NOW_MS - DAY_MS,
            "list_users",
            "",
            REFUSED,
            "needs keep-users",
        )
        note(connection, Actor("", "log-in", "198.51.100.4"), NOW_MS, "log in", "", REFUSED, "nobody has that name")
        note(connection, Actor("root", "command"), NOW_MS, "add user", "=Ann Archer", DONE, "wearer")
    return office


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("phone", [True, False], ids=["phone", "desktop"])
def test_the_log_keeps_nobody_out(desk: Desk, filled: Office, phone: bool, scheme: Literal["light", "dark"]) -> None:
    page = desk.sit("Olga Orr", ["auditor"], phone=phone, scheme=scheme)
    page.goto("/audit")
    expect(page.get_by_role("heading", name="Who did what")).to_be_visible()
    expect(page.locator("tr.refused")).to_have_count(2)
    expect(page.get_by_text("nobody can change or remove one")).to_be_visible()
    assert severe_faults(page) == []
    assert not scrolls_sideways(page)
    shoot(page, f"audit-{'phone' if phone else 'desktop'}-{scheme}")


def test_somebody_asks_for_who_what_and_outcome_and_reads_on_below_where_they_were(desk: Desk, filled: Office) -> None:
    page = desk.sit("Olga Orr", ["operator"])
    page.goto("/audit")
    page.get_by_label("Outcome").select_option("refused")
    page.get_by_role("button", name="Show").click()
    expect(page.locator(".log tbody tr")).to_have_count(2)
    page.get_by_role("link", name="All lines").click()
    page.get_by_label("Who").fill("Rita Rowe")
    page.get_by_label("What", exact=True).fill("Acknow")
    page.get_by_role("button", name="Show").click()
    expect(page.locator(".log tbody tr")).to_have_count(100)
    expect(page.locator(".log tbody tr").first).to_contain_text("cdef-3-119")
    page.get_by_role("link", name="Older lines").click()
    expect(page.locator(".log tbody tr")).to_have_count(20)
    expect(page.locator(".log tbody tr").last).to_contain_text("cdef-3-0")
    expect(page.get_by_role("link", name="Older lines")).to_have_count(0)
    page.get_by_role("link", name="Newest").click()
    expect(page.locator(".log tbody tr").first).to_contain_text("cdef-3-119")


def test_the_lines_are_taken_along_for_a_spreadsheet_and_that_is_a_line_too(desk: Desk, filled: Office) -> None:
    page = desk.sit("Olga Orr", ["operator"])
    page.goto("/audit?about=ann")
    with page.expect_download() as waited:
        page.get_by_role("link", name="These lines (CSV)").click()
    (line,) = csv.DictReader(io.StringIO(Path(waited.value.path()).read_text("utf-8-sig")))
    assert (line["who"], line["what"], line["about"]) == ("root", "add user", "'=Ann Archer")
    assert filled.lines()[-1] == ("Olga Orr", "take_audit_log", "allowed")


def test_everybody_sees_what_they_did_and_nothing_of_others(desk: Desk, filled: Office) -> None:
    page = desk.sit("Walt Wren", ["wearer"])
    page.goto("/account")
    page.get_by_role("link", name="What I did").click()
    expect(page.locator(".log tbody tr")).to_have_count(1)
    expect(page.locator(".log")).to_contain_text("needs keep-users")
    expect(page.locator(".log")).not_to_contain_text("Rita")
    assert severe_faults(page) == []


def test_a_day_that_is_none_is_said(desk: Desk, filled: Office) -> None:
    page = desk.sit("Olga Orr", ["operator"])
    desk.expected.append("422")
    page.goto("/audit?from=soon")
    expect(page.get_by_role("alert")).to_contain_text("soon is neither a date")
