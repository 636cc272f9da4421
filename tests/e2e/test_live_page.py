"""The live page before real eyes: a real device, a real broker, the real gateway, a real browser.

An alarm comes onto the page, is answered there, and the device shows it; whatever is killed, the page says so, shows
nothing old as if it were now, and finds back by itself.
"""

from __future__ import annotations

import re
import signal
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from lapel_gateway.accounts.sessions import Browser as Seat
from lapel_gateway.accounts.sessions import begin_session
from lapel_gateway.ledger import open_ledger, writing
from lapel_gateway.ledger.schema import alarm
from lapel_gateway.service import Gateway
from lapel_gateway.settings.config import ROLES
from lapel_sim.hardware import ESP32S3_CAM
from lapel_sim.provision import provision
from lapel_sim.world import World
from lapel_tools.gateway_commands import init
from lapel_tools.provisioning import provision_device
from lapel_tools.site import Site
from tests.browser.desks import DESKTOP, PHONE, chromium_running, severe_faults, shoot
from tests.gateway.metrics.installation import installation
from tests.scenarios.conftest import assert_sound
from tests.scenarios.site import wall_ms
from tests.support.accounts import token_of

pytestmark = pytest.mark.needs("mosquitto", "chromium")

WEARER, RESPONDER = "Alex Okafor", "Rita Rowe"
WAIT_S = 60
WAIT_MS = WAIT_S * 1000


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with chromium_running() as browser:
        yield browser


@contextmanager
def looking(chromium: Browser, ledger: Path, port: int, *, phone: bool = False, dark: bool = False) -> Iterator[Page]:
    """The live page of a responder who is logged in."""
    engine = open_ledger(ledger)
    token_of(engine, RESPONDER, wall_ms(), ["responder"])
    with writing(engine) as connection:
        session = begin_session(connection, RESPONDER, "open", "password", Seat("127.0.0.1", "test"), wall_ms())
    engine.dispose()
    url = f"http://127.0.0.1:{port}"
    context = chromium.new_context(
        base_url=url, viewport=PHONE if phone else DESKTOP, color_scheme="dark" if dark else "light"
    )
    context.set_default_timeout(WAIT_MS)
    context.add_cookies([{"name": "lapel-session", "value": session, "url": url}])
    page = context.new_page()
    page.goto("/live")
    yield page
    context.close()


def troubles(page: Page) -> Locator:
    """What the page says is in the way."""
    return page.locator('[data-part="troubles"]')


@pytest.mark.needs("micropython")
def test_an_alarm_comes_onto_the_page_is_answered_there_and_the_device_shows_it(
    tmp_path: Path, free_ports: list[int], chromium: Browser
) -> None:
    config = tmp_path / "lapel.toml"
    broker, web = free_ports[:2]
    init(config, organisation="Riverside", data_dir=tmp_path / "data", broker="mosquitto", port=broker)
    config.write_text(config.read_text().replace("port = 8480", f"port = {web}"))
    site = Site(config)
    with ExitStack() as stack:
        stack.callback(site.engine.dispose)
        gateway = Gateway(site.config, ROLES)
        gateway.start()
        stack.callback(gateway.stop)
        world = stack.enter_context(World(tmp_path / "world", seed=11))
        device = world.add_device("camera-1", ESP32S3_CAM)
        provision_device(site, "camera-1", WEARER, tmp_path / "package", wall_ms(), None)
        provision(device, tmp_path / "package")
        device.power_on()
        device.wait_shown("idle", timeout_s=WAIT_S)
        pages = {
            (phone, dark): stack.enter_context(looking(chromium, site.config.ledger_file, web, phone=phone, dark=dark))
            for phone in (False, True)
            for dark in (False, True)
        }
        page = pages[False, False]
        expect(page.get_by_text("No open alarm")).to_be_visible()

        device.hold("ALARM", 2200)

        card = page.locator("article[data-alarm]").filter(has_text=WEARER)
        expect(card).to_be_visible()
        expect(page).to_have_title(re.compile("ALARM"))
        # Its clip comes in, and what the camera sees can be seen while it does.
        expect(card.get_by_role("img", name="Newest picture")).to_be_visible()
        for (phone, dark), one in pages.items():
            expect(one.locator("article[data-alarm]")).to_be_visible()
            expect(one.get_by_role("img", name="Newest picture")).to_be_visible()
            assert severe_faults(one) == []
            shoot(one, f"incident-{'phone' if phone else 'desktop'}-{'dark' if dark else 'light'}")

        card.get_by_role("button", name="Acknowledge").click()

        device.wait_shown("alarm acknowledged", timeout_s=WAIT_S)
        for one in pages.values():
            expect(one.locator("article[data-alarm]")).to_contain_text(f"Acknowledged by {RESPONDER}")
        card.get_by_text("Resolve", exact=True).click()
        card.get_by_label("False").check()
        card.get_by_label("What happened").fill("pressed in the bag")
        card.get_by_role("button", name="Resolve the alarm").click()
        device.wait_shown("alarm resolved", timeout_s=WAIT_S)
        for one in pages.values():
            expect(one.locator("article[data-alarm]")).to_have_count(0)
        assert_sound(world)
        with site.engine.connect() as connection:
            (row,) = connection.execute(alarm.select()).mappings().all()
    assert (row["acknowledged_by"], row["resolution"], row["note"]) == (RESPONDER, "false", "pressed in the bag")


def test_whatever_dies_the_page_says_so_and_finds_back_by_itself(
    tmp_path: Path, free_ports: list[int], chromium: Browser
) -> None:
    with installation(tmp_path, free_ports) as site:
        site.wait_until_ready(WAIT_S)
        with looking(chromium, site.config.ledger_file, site.config.web.port) as page:
            expect(page.locator('[data-part="standing"]')).to_contain_text("Live")
            expect(troubles(page)).to_be_empty()
            for role in ("alarms", "ingest", "deliver"):
                site.send(role, signal.SIGKILL)
                expect(troubles(page)).to_contain_text(f"{role} role is silent")
                site.start(role)
                expect(troubles(page)).to_be_empty()

            site.broker.kill()
            expect(troubles(page)).to_contain_text("broker")
            site.broker.start()
            expect(troubles(page)).to_be_empty()

            site.send("web", signal.SIGKILL)
            expect(troubles(page)).to_contain_text("Not live")
            expect(page.locator('[data-part="standing"]')).to_contain_text("as of")
            expect(page).to_have_title(re.compile("NOT LIVE"))
            site.start("web")
            expect(troubles(page)).to_be_empty()
            expect(page.locator('[data-part="standing"]')).not_to_contain_text("as of")
