"""What all pages share, in a real browser: the way in, the way between them, by eye, keyboard and screen reader."""

from __future__ import annotations

from typing import Literal

import pytest
from playwright.sync_api import expect

from tests.browser.desks import Desk, scrolls_sideways, severe_faults, shoot
from tests.gateway.accounts.office import PASSWORD


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("phone", [True, False], ids=["phone", "desktop"])
def test_the_account_keeps_nobody_out(desk: Desk, phone: bool, scheme: Literal["light", "dark"]) -> None:
    page = desk.sit("Rita Rowe", ["responder", "wearer"], phone=phone, scheme=scheme)

    page.goto("/account")

    expect(page.get_by_role("heading", name="Rita Rowe")).to_be_visible()
    assert severe_faults(page) == []
    assert not scrolls_sideways(page)
    shoot(page, f"account-{'phone' if phone else 'desktop'}-{scheme}")


def test_somebody_logs_in_with_the_keyboard_alone_and_is_shown_the_sections_of_their_roles(desk: Desk) -> None:
    desk.office.add("Ann Archer", ["wearer"], PASSWORD)
    page = desk.sit("Ann Archer")
    page.context.clear_cookies()
    page.goto("/")
    expect(page).to_have_title("Log in – Lapel")
    assert severe_faults(page) == []

    page.get_by_label("Name").focus()
    page.keyboard.type("Ann Archer")
    page.keyboard.press("Tab")
    page.keyboard.type(PASSWORD)
    page.keyboard.press("Enter")

    expect(page.get_by_role("navigation", name="Yourself")).to_contain_text("Ann Archer")
    assert page.get_by_role("navigation", name="Sections").get_by_role("link", name="Audit").count() == 0


def test_the_first_thing_that_tab_reaches_leads_past_the_head(desk: Desk) -> None:
    page = desk.sit("Rita Rowe", ["responder"])
    page.goto("/account")

    page.keyboard.press("Tab")

    assert page.evaluate("document.activeElement.textContent") == "Skip to the content"
    page.keyboard.press("Enter")
    assert page.evaluate("location.hash") == "#main"
