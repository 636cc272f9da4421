"""One Chromium for all tests of a process; a gateway and its people for each."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect, sync_playwright

from lapel_gateway.settings.accounts import AccountsSection
from tests.browser.desks import TIMEOUT_MS, Desk
from tests.gateway.accounts.office import Office, opened
from tests.rings import find_program


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    program = find_program("chromium")
    assert program is not None
    expect.set_options(timeout=TIMEOUT_MS)
    with sync_playwright() as playwright:
        # No sandbox: tests may run as root, and open nothing but our own pages.
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox", "--disable-dev-shm-usage"])
        yield browser
        browser.close()


@pytest.fixture
def office(tmp_path: Path) -> Iterator[Office]:
    with opened(tmp_path, accounts=AccountsSection(requests_per_min=100_000)) as office:
        yield office


@pytest.fixture
def desk(chromium: Browser, office: Office) -> Iterator[Desk]:
    desk = Desk(chromium, office)
    yield desk
    desk.close()
