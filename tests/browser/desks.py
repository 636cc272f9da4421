"""People at real browsers: Debian's Chromium, driven by Playwright, each person in a profile of their own.

A page that writes an error to its console, or breaks its content security policy, fails the test that looked at it.
``LAPEL_SHOTS`` = a folder: every `shoot` leaves a picture there, for people to look at.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, ViewportSize, expect, sync_playwright

from tests.gateway.accounts.office import Office
from tests.rings import find_program

PHONE: ViewportSize = {"width": 390, "height": 844}
DESKTOP: ViewportSize = {"width": 1280, "height": 900}
SEVERE = ("serious", "critical")
"""What axe calls what keeps somebody out."""

TIMEOUT_MS = 30_000
"""For anything to appear: only a test that fails waits so long."""


@dataclass
class Desk:
    """Opens pages of one gateway for its users."""

    browser: Browser
    office: Office
    contexts: list[BrowserContext] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    expected: list[str] = field(default_factory=list)
    """Parts of console messages that a test brings about on purpose."""

    def sit(
        self,
        name: str,
        roles: Iterable[str] = (),
        *,
        phone: bool = False,
        scheme: Literal["dark", "light"] = "light",
        scripts: bool = True,
    ) -> Page:
        """A page of somebody who is logged in; with ``roles`` they are added first."""
        if roles:
            self.office.add(name, roles)
        shape: Any = {"viewport": PHONE, "has_touch": True, "is_mobile": True} if phone else {"viewport": DESKTOP}
        context = self.browser.new_context(
            base_url=self.office.url, color_scheme=scheme, java_script_enabled=scripts, **shape
        )
        context.set_default_timeout(TIMEOUT_MS)
        self.contexts.append(context)
        cookie = {"name": "lapel-session", "value": self.office.session(name), "url": self.office.url}
        context.add_cookies([cookie])  # type: ignore[list-item]
        page = context.new_page()
        page.on("console", self._said)
        page.on("pageerror", lambda error: self.faults.append(f"{page.url}: {error}"))
        return page

    def close(self) -> None:
        """Everybody goes; what a page complained of is a failure."""
        for context in self.contexts:
            context.close()
        told = [fault for fault in self.faults if not any(part in fault for part in self.expected)]
        assert told == []

    def _said(self, message: ConsoleMessage) -> None:
        if message.type == "error":
            self.faults.append(f"{message.location.get('url')}: {message.text}")


@contextmanager
def chromium_running() -> Iterator[Browser]:
    """Debian's Chromium, until the block ends.

    Playwright keeps an event loop running in the thread that asked for it, in which nothing else can run one: a fixture
    of this belongs to one module, so that tests of other modules find the thread as it was.
    """
    program = find_program("chromium")
    assert program is not None
    expect.set_options(timeout=TIMEOUT_MS)
    with sync_playwright() as playwright:
        # No sandbox: tests may run as root, and open nothing but our own pages.
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox", "--disable-dev-shm-usage"])
        yield browser
        browser.close()


def severe_faults(page: Page) -> list[str]:
    """What axe-core (WCAG 2.2 A and AA, best practices) finds on a page that keeps somebody out."""
    # Words are there before the style sheet is: without it, axe judges colours that nobody gets to see.
    page.wait_for_load_state("load")
    found = Axe().run(page).response["violations"]
    return [
        f"{one['id']} ({one['impact']}): {one['help']}: {[node['html'][:120] for node in one['nodes']][:3]}"
        for one in found
        if one["impact"] in SEVERE
    ]


def scrolls_sideways(page: Page) -> bool:
    """Whether the page is wider than what it is looked at through."""
    return bool(page.evaluate("document.documentElement.scrollWidth > document.documentElement.clientWidth"))


def shoot(page: Page, name: str) -> None:
    """Leave a picture of the whole page, where pictures are asked for."""
    if folder := os.environ.get("LAPEL_SHOTS"):
        Path(folder).mkdir(parents=True, exist_ok=True)
        page.screenshot(path=Path(folder) / f"{name}.png", full_page=True)
