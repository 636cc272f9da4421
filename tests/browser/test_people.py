"""The pages of people, teams and accounts in a real browser."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import pytest
import sqlalchemy as sa
from playwright.sync_api import Page, expect

from lapel_gateway.accounts.users import find_user
from lapel_gateway.alarms.policies import Hours, Policies, Policy, Step
from lapel_gateway.ledger import reading, writing
from lapel_gateway.ledger.schema import device
from lapel_gateway.people import find_person
from lapel_gateway.settings.accounts import AccountsSection
from tests.browser.desks import Desk, scrolls_sideways, severe_faults, shoot
from tests.browser.lone_workers import BO, RITA, SAM, ZOE, working_day
from tests.gateway.accounts.office import PASSWORD, Office, opened
from tests.gateway.sealed import Site

Scheme = Literal["light", "dark"]
OTTO = "Otto Oakes"
CHANNELS = {"sms:sam": SAM, "webhook:control-room": "", "email:duty": ""}
POLICIES = Policies(
    [
        Policy(
            "north-by-day",
            (Step((f"person:{SAM}",), 60_000), Step(("webhook:control-room", "pager:gone"), 120_000)),
            repeat=1,
            teams=frozenset({"North"}),
            hours=Hours(frozenset(range(5)), 8 * 60, 18 * 60),
        ),
        Policy("lost-contact", (Step(("pager:gone",), 300_000),), kinds=frozenset({"contact_lost"})),
    ]
)
shapes = pytest.mark.parametrize(
    ("phone", "scheme"), [(True, "light"), (True, "dark"), (False, "light"), (False, "dark")], ids=str
)


@pytest.fixture
def office(tmp_path: Path) -> Iterator[Office]:
    plenty = AccountsSection(requests_per_min=100_000)
    with opened(tmp_path, accounts=plenty, policies=POLICIES, channels=CHANNELS) as office:
        yield office


def give_device(office: Office, folder: Path, person: str) -> None:
    """A device in use that somebody has."""
    site = Site(folder, office.engine)
    with writing(office.engine) as connection:
        connection.execute(sa.update(device).where(device.c.device == site.device).values(person=person))


def looked_at(page: Page, name: str, phone: bool, scheme: str) -> None:
    assert severe_faults(page) == []
    assert not scrolls_sideways(page)
    shoot(page, f"{name}-{'phone' if phone else 'desktop'}-{scheme}")


@shapes
def test_the_pages_of_people_keep_nobody_out(desk: Desk, tmp_path: Path, phone: bool, scheme: Scheme) -> None:
    working_day(desk.office)
    give_device(desk.office, tmp_path, ZOE)
    desk.office.add(ZOE, ["wearer"])
    page = desk.sit(OTTO, ["operator", "auditor"], phone=phone, scheme=scheme)
    page.goto("/people")
    expect(page.get_by_role("row")).to_have_count(5)
    looked_at(page, "people", phone, scheme)
    page.goto("/people/teams")
    expect(page.get_by_role("article", name="north-by-day")).to_contain_text("Monday to Friday, 08:00 to 18:00")
    looked_at(page, "teams", phone, scheme)
    page.goto("/people/new")
    looked_at(page, "user-new", phone, scheme)
    page.goto("/people")
    page.get_by_role("link", name=ZOE).click()
    expect(page.get_by_role("heading", name="Visits of late")).to_be_visible()
    page.get_by_role("button", name="Make a set-up link").click()
    expect(page.get_by_text("shown this once")).to_be_visible()
    looked_at(page, "person", phone, scheme)


def test_an_account_is_given_set_up_by_its_link_and_taken_away_again(desk: Desk) -> None:
    page = desk.sit(OTTO, ["operator"])
    desk.expected.append("status of 4")
    page.goto("/people")
    page.get_by_role("link", name="Give somebody an account").click()
    page.get_by_label("Name").fill("Ann Archer")
    page.get_by_role("button", name="Give the account").click()
    expect(page.get_by_role("alert")).to_contain_text("one role or more")
    expect(page.get_by_label("Name")).to_have_value("Ann Archer")
    page.get_by_label("wearer").check()
    page.get_by_role("button", name="Give the account").click()
    link = page.locator("code.secret").inner_text()
    page.reload()
    expect(page.locator("code.secret")).to_have_count(0)

    ann = desk.sit("Ann Archer")
    ann.context.clear_cookies()
    ann.goto(link)
    ann.get_by_label("Password").fill(PASSWORD)
    ann.get_by_label("The same again").fill(PASSWORD)
    ann.get_by_role("button", name="Set the password").click()
    ann.get_by_label("Name").fill("Ann Archer")
    ann.get_by_label("Password").fill(PASSWORD)
    ann.get_by_role("button", name="Log in").click()
    expect(ann.get_by_role("heading", name="Visits", exact=True)).to_be_visible()

    page.goto("/people/person?name=Ann+Archer")
    page.get_by_label("responder").check()
    page.get_by_role("button", name="Set the roles").click()
    expect(page.get_by_text("The roles are set")).to_be_visible()
    ann.goto("/people")
    expect(ann.get_by_role("heading", name="People")).to_be_visible()
    page.get_by_text("Disable the account").click()
    page.get_by_role("button", name="Disable it now").click()
    expect(page.get_by_text("The account is disabled")).to_be_visible()
    ann.goto("/visits")
    expect(ann).to_have_title("Log in – Lapel")
    page.get_by_role("button", name="Enable the account").click()
    with reading(desk.office.engine) as connection:
        found = find_user(connection, "Ann Archer")
    assert (found.roles, found.disabled_ms) == (("responder", "wearer"), None)
    done = [what for who, what, outcome in desk.office.lines() if who == OTTO and outcome == "done"]
    assert done == ["add user", "make set-up link", "set roles", "disable user", "enable user"]


def test_an_operator_cannot_disable_their_own_account_by_a_slip(desk: Desk) -> None:
    page = desk.sit(OTTO, ["operator"])

    page.goto("/people/person?name=Otto+Oakes")

    expect(page.get_by_text("another operator disables your account")).to_be_visible()
    expect(page.get_by_text("Disable the account")).to_have_count(0)


def test_a_responder_sets_a_team_without_scripts_and_sees_no_account(desk: Desk) -> None:
    desk.office.add(ZOE, ["wearer"])
    page = desk.sit(RITA, ["responder"], phone=True, scripts=False)
    page.goto("/people")
    page.get_by_role("link", name=ZOE).click()
    expect(page.get_by_role("heading", name="Account")).to_have_count(0)
    page.get_by_label("Team", exact=True).fill("North")
    page.get_by_label("Telephone", exact=True).fill("0113 496 0001")
    page.get_by_role("button", name="Save").click()

    expect(page.get_by_text("Saved.")).to_be_visible()

    with reading(desk.office.engine) as connection:
        found = find_person(connection, ZOE)
    assert (found.team, found.phone) == ("North", "0113 496 0001")
    assert (RITA, "set person", "done") in desk.office.lines()


def test_what_somebody_may_not_see_of_a_person_is_not_on_the_page(desk: Desk) -> None:
    working_day(desk.office)
    page = desk.sit("Tess Tully", ["technician"])
    desk.expected.append("status of 404")
    page.goto("/people/person?name=Bo+Lund")

    expect(page.get_by_role("heading", name=BO)).to_be_visible()
    for name in ("Visits of late", "Clips", "Account"):
        expect(page.get_by_role("heading", name=name)).to_have_count(0)
    expect(page.get_by_label("Team", exact=True)).to_have_count(0)
    answer = page.goto("/people/person?name=Nobody")
    assert answer is not None
    assert answer.status == 404


def test_a_ladder_says_when_whom_and_that_a_target_reaches_nobody(desk: Desk) -> None:
    working_day(desk.office)
    page = desk.sit(RITA, ["responder"])
    page.goto("/people/teams")

    ladder = page.get_by_role("article", name="north-by-day").get_by_role("listitem")
    expect(ladder.nth(0)).to_contain_text(f"at once {SAM}")
    expect(ladder.nth(1)).to_contain_text("after 1 min webhook:control-room, pager:gone by webhook:control-room")
    expect(ladder.nth(2)).to_contain_text("the same again, 1 time")
    expect(ladder.nth(3)).to_contain_text("after 6 min everyone")
    expect(page.get_by_role("article", name="lost-contact")).to_contain_text("reaches nobody")
    south = page.get_by_role("listitem").filter(has=page.get_by_role("heading", name="South"))
    expect(south).not_to_contain_text("north-by-day")
    expect(south).to_contain_text("lost-contact: alarms contact lost")
