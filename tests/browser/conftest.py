"""One Chromium for the tests of a module; a gateway and its people for each."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser

from lapel_gateway.settings.accounts import AccountsSection
from tests.browser.desks import Desk, chromium_running
from tests.gateway.accounts.office import Office, opened


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with chromium_running() as browser:
        yield browser


@pytest.fixture
def office(tmp_path: Path) -> Iterator[Office]:
    with opened(tmp_path, accounts=AccountsSection(requests_per_min=100_000)) as office:
        yield office


@pytest.fixture
def desk(chromium: Browser, office: Office) -> Iterator[Desk]:
    desk = Desk(chromium, office)
    yield desk
    desk.close()
