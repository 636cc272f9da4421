"""Devices in a real browser: which want a look, how one fared, and how it is handed out and taken back."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import pytest
from playwright.sync_api import expect

from lapel_gateway.devices.self_tests import keep_self_test
from lapel_gateway.people import set_person
from lapel_gateway.settings.accounts import AccountsSection
from lapel_gateway.viewing.assembly import Views
from lapel_gateway.web.installed import Installed
from lapel_gateway.web.server import WebRole
from lapel_protocol.updating import RELEASE_FIXED, RunningRelease
from tests.browser.desks import Desk, scrolls_sideways, severe_faults, shoot
from tests.gateway.accounts.office import Office
from tests.gateway.test_device_health import beat
from tests.support.device import TrueDevice
from tests.support.pair import DevicePair

HOUR_MS = 3_600_000
PASSED = [
    {"name": "camera", "outcome": "passed", "found": "12.4 pictures a second", "remedy": ""},
    {"name": "microphone", "outcome": "passed", "found": "hears", "remedy": ""},
    {"name": "location", "outcome": "absent", "found": "", "remedy": ""},
]
FAILED = [
    *PASSED,
    {"name": "card", "outcome": "failed", "found": "4 of 64 blocks differ", "remedy": "put in another card"},
]


class Depot:
    """A gateway with four cameras and a week behind it."""

    def __init__(self, folder: Path) -> None:
        self.pair = DevicePair(folder / "gateway", devices=0)
        pair = self.pair
        for person, team in (("Ann Archer", "housing"), ("Bo Chen", "paramedics"), ("Cem Demir", "repairs")):
            set_person(pair.engine, person, team, "", pair.now_ms)
        self.worn = pair.provision(1, "Camera 01", "Ann Archer")
        self.full = pair.provision(2, "Camera 02", "Bo Chen")
        self.free = pair.provision(3, "Camera 03", "")
        self.lost = pair.provision(4, "Camera 04", "Cem Demir")
        for device in (self.worn, self.full, self.free, self.lost):
            device.wall_ms = pair.now_ms
            pair.greet(device)
        for hour in range(7 * 24):
            pair.now_ms += HOUR_MS - 400
            if 70 < hour < 84:
                continue  # nobody was in reach
            charge = round(58 + 38 * math.cos(hour / 24 * 2 * math.pi))
            self.say(self.worn, charge, free_kib=14_000_000 - 40_000 * (hour % 24), held=max(0, hour % 24 - 16))
        self.say(self.full, 9, free_kib=1200, held=31, flags=4)
        self.say(self.free, 97, free_kib=15_000_000)
        keep_self_test(pair.engine, self.worn.name, "e66141", PASSED, "Tess", pair.now_ms - 3 * 24 * HOUR_MS)
        keep_self_test(pair.engine, self.full.name, "e66142", PASSED, "Tess", pair.now_ms - 50 * 24 * HOUR_MS)
        keep_self_test(pair.engine, self.free.name, "e66143", FAILED, "Tess", pair.now_ms - HOUR_MS)
        pair.registry.mark_lost(self.lost.name, pair.now_ms)

    def say(self, device: TrueDevice, battery: int, *, free_kib: int, held: int = 0, flags: int = 0) -> None:
        """The device is heard, with these figures."""
        self.pair.send(beat(device, battery, free_kib=free_kib, held=held, flags=flags), device=device)
        # Its next heartbeat answers the challenge that this one brought.
        self.pair.send(beat(device, battery, free_kib=free_kib, held=held, flags=flags), device=device)


@pytest.fixture
def depot(tmp_path: Path) -> Iterator[Depot]:
    depot = Depot(tmp_path)
    yield depot
    depot.pair.stop()


@pytest.fixture
def office(depot: Depot, tmp_path: Path) -> Iterator[Office]:
    """The desk's people sit at this gateway."""
    installed = Installed(accounts=AccountsSection(requests_per_min=100_000))
    clock = [depot.pair.now_ms + 30_000]
    role = WebRole(depot.pair.engine, Views(tmp_path / "views"), "127.0.0.1", 0, lambda: clock[0], installed)
    role.start()
    yield Office(depot.pair.engine, role.url, installed, clock)
    assert role.stop()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("phone", [True, False], ids=["phone", "desktop"])
def test_the_pages_keep_nobody_out(desk: Desk, depot: Depot, phone: bool, scheme: Literal["light", "dark"]) -> None:
    page = desk.sit("Tess Tully", ["technician"], phone=phone, scheme=scheme)
    shape = f"{'phone' if phone else 'desktop'}-{scheme}"
    page.goto("/devices")
    expect(page.get_by_role("heading", name="Camera 01")).to_be_visible()
    assert severe_faults(page) == []
    assert not scrolls_sideways(page)
    shoot(page, f"devices-{shape}")

    page.get_by_role("link", name="Camera 01").click()
    expect(page.get_by_role("img", name="Battery")).to_be_visible()
    page.get_by_text("The figures, day by day").click()
    assert severe_faults(page) == []
    assert not scrolls_sideways(page)
    shoot(page, f"device-{shape}")
    page.goto(f"/devices/{depot.free.name}?days=1")
    assert severe_faults(page) == []
    shoot(page, f"device-free-{shape}")


def test_those_that_want_a_look_are_first_and_say_why(desk: Desk, depot: Depot) -> None:
    page = desk.sit("Tess Tully", ["technician"])
    page.goto("/devices")
    names = page.locator(".device h2")
    expect(names).to_have_text(["Camera 02", "Camera 03", "Camera 04", "Camera 01"])
    expect(page.locator(".device").nth(0)).to_contain_text("its storage is full")
    expect(page.locator(".device").nth(1)).to_contain_text("its last self-test failed")
    expect(page.locator(".device").nth(3)).to_contain_text("in contact")
    page.get_by_label("Name, wearer, team or id").fill("housing")
    page.get_by_role("button", name="Show").click()
    expect(names).to_have_text(["Camera 01"])
    page.get_by_label("Name, wearer, team or id").fill("")
    page.get_by_label("Show", exact=True).select_option("attention")
    page.get_by_role("button", name="Show").click()
    expect(names).to_have_count(3)


def test_a_device_is_taken_back_and_handed_to_the_next_with_the_keyboard(desk: Desk, depot: Depot) -> None:
    page = desk.sit("Rita Rowe", ["responder"])
    page.goto(f"/devices/{depot.worn.name}")
    # It is Ann's since it was provisioned: it is handed to Bo.
    page.get_by_label("Hand it to").focus()
    page.keyboard.type("Bo Chen")
    if page.get_by_label("Why, in spite of what speaks against it").count():
        page.keyboard.press("Tab")
        page.keyboard.type("the only one here")
    page.keyboard.press("Enter")
    hands = page.locator("section[aria-labelledby='hands-title']")
    expect(hands).to_contain_text("Bo Chen, paramedics")
    page.get_by_label("What was said or seen").fill("strap is torn")
    page.get_by_role("button", name="Take it back").click()
    expect(page.get_by_role("group", name="Who had it")).to_contain_text("strap is torn")
    expect(page.get_by_role("group", name="Who had it")).to_contain_text("by Rita Rowe")
    assert ("Rita Rowe", "hand_out", "allowed") in desk.office.lines()
    assert ("Rita Rowe", "take_back", "allowed") in desk.office.lines()


def test_what_speaks_against_handing_it_out_is_shown_and_a_reason_is_kept(desk: Desk, depot: Depot) -> None:
    page = desk.sit("Tess Tully", ["technician"])
    page.goto(f"/devices/{depot.free.name}")
    expect(page.locator(".checks .is-warn")).to_have_count(1)
    expect(page.locator(".checks")).to_contain_text("its last self-test failed")
    page.get_by_label("Hand it to").fill("Cem Demir")
    reason = page.get_by_label("Why, in spite of what speaks against it")
    reason.fill(" ")
    desk.expected.append("409")
    page.get_by_role("button", name="Hand it out all the same").click()
    expect(page.get_by_role("alert")).to_contain_text("is not handed out")
    expect(page.get_by_label("Hand it to")).to_have_value("Cem Demir")
    reason.fill("only the card is poor, and he needs the button")
    page.get_by_role("button", name="Hand it out all the same").click()
    expect(page.get_by_role("group", name="Who had it")).to_contain_text("only the card is poor")


def test_who_may_only_look_has_nothing_to_press(desk: Desk, depot: Depot) -> None:
    page = desk.sit("Olga Orr", ["auditor"])
    page.goto(f"/devices/{depot.free.name}")
    expect(page.get_by_role("heading", name="Camera 03")).to_be_visible()
    assert page.get_by_label("Hand it to").count() == 0
    expect(page.get_by_text(f"lapel device lost {depot.free.name}")).to_be_visible()


def test_a_gap_in_contact_is_seen_and_said(desk: Desk, depot: Depot) -> None:
    page = desk.sit("Tess Tully", ["technician"])
    page.goto(f"/devices/{depot.worn.name}?days=7")
    chart = page.get_by_role("img", name="Battery")
    assert chart.locator("rect[fill$='-gap)']").count() >= 1
    assert "heard in 1" in (chart.locator("desc").text_content() or "")
    page.get_by_role("link", name="24 hours").click()
    expect(page.locator(".periods [aria-current]")).to_have_text("24 hours")


def test_firmware_that_only_a_cable_changes_is_said_to_be_so(desk: Desk, depot: Depot) -> None:
    for device, flags in ((depot.worn, RELEASE_FIXED), (depot.free, 0)):
        device.tail = RunningRelease(7, b"release7", flags, "pico_w").encode()
        device.boot()
        depot.pair.send(device.hello(), device=device)
    page = desk.sit("Tess Tully", ["technician"])
    for device, fixed in ((depot.worn, True), (depot.free, False)):
        page.goto(f"/devices/{device.name}")
        firmware = page.locator("dt", has_text="Firmware").locator("xpath=following-sibling::dd[1]")
        expect(firmware).to_contain_text("firmware")
        assert ("changed by cable only" in firmware.inner_text()) is fixed


def test_a_device_that_there_is_not_is_a_page_of_its_own(desk: Desk) -> None:
    page = desk.sit("Tess Tully", ["technician"])
    desk.expected.append("404")
    page.goto("/devices/0000000000000000")
    expect(page.get_by_role("alert")).to_contain_text("there is no such device")


def test_settings_are_changed_on_a_devices_page_in_peoples_units(desk: Desk, depot: Depot) -> None:
    desk.expected.append("422")
    page = desk.sit("Tess Tully", ["technician"], phone=True)
    page.goto(f"/devices/{depot.worn.name}")
    settings = page.get_by_role("region", name="Settings")
    expect(settings).to_contain_text("it does not record")
    expect(settings).to_contain_text("They were sent to the device")
    settings.get_by_text("Change them").click()
    settings.get_by_label("When nobody confirms the notice").select_option("it records all the same")
    settings.get_by_label("Time to confirm it").fill("7.5")
    settings.get_by_label("Longest clip").fill("0")
    shoot(page, "device-settings-phone-light")
    settings.get_by_role("button", name="Set them").click()
    expect(settings.get_by_role("alert")).to_have_text("Longest clip: it is 1 to 240 min.")
    settings.get_by_label("Longest clip").fill("20")
    settings.get_by_role("button", name="Set them").click()

    expect(settings).to_contain_text("it records all the same")
    expect(settings).to_contain_text("7.5 s")
    expect(settings).to_contain_text("20 min")
    expect(settings).to_contain_text("They go to the device with its next sign of life")
    assert severe_faults(page) == []
    assert not scrolls_sideways(page)
    depot.say(depot.worn, 60, free_kib=10)
    page.reload()
    expect(settings).to_contain_text("They were sent to the device")

    other = desk.sit("Rita Rowe", ["responder"])
    other.goto(f"/devices/{depot.worn.name}")
    expect(other.get_by_role("region", name="Settings")).to_contain_text("it records all the same")
    assert other.get_by_text("Change them").count() == 0


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_notice_policy_is_set_on_all_devices_that_a_team_has(
    desk: Desk, depot: Depot, scheme: Literal["light", "dark"]
) -> None:
    page = desk.sit("Olive Orr", ["operator"], scheme=scheme)
    page.goto("/people/teams")
    card = page.locator("li.card", has=page.get_by_role("heading", name="paramedics"))
    expect(card).to_contain_text("it does not record")
    card.get_by_text("Set it on all of them").click()
    card.get_by_label("When nobody confirms it").select_option("it records all the same")
    assert severe_faults(page) == []
    shoot(page, f"teams-notice-desktop-{scheme}")
    card.get_by_role("button", name="Set it").click()

    expect(page.get_by_role("status")).to_contain_text("each device is told with its next sign of life")
    expect(card).to_contain_text("On 1 device that they have: it records all the same")
    other = page.locator("li.card", has=page.get_by_role("heading", name="housing"))
    expect(other).to_contain_text("it does not record")
