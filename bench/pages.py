"""The live page in a real browser: from a press to its alarm on the screen, and from a death to the page's word on it.

Debian's Chromium, driven by Playwright; a real Mosquitto and the real gateway. The time of an alarm runs from the press
on its device until the browser has drawn it: the page's own observer notes the first frame after the alarm is there, by
the clock that both share. The time of a death runs from the SIGKILL until the page says so in words.
"""

from __future__ import annotations

import asyncio
import signal
import tempfile
import time
from pathlib import Path

import sqlalchemy as sa
import structlog
from playwright.async_api import Browser, Page, async_playwright

from bench.report import Report
from lapel_gateway.accounts.sessions import Browser as Seat
from lapel_gateway.accounts.sessions import begin_session
from lapel_gateway.alarms import core as gateway_alarms
from lapel_gateway.ledger import open_ledger, writing
from lapel_gateway.shells import wall_ms
from lapel_sim.fleet.tally import percentile
from lapel_tools.demo.installation import free_port
from lapel_tools.fleet_run import make_fleet
from lapel_tools.load_site import LoadSite
from tests.gateway.metrics.installation import installation
from tests.rings import find_program
from tests.support.accounts import token_of

RESPONDER = "Rita Rowe"
DEVICES, QUICK_DEVICES = 200, 20
ALARMS, QUICK_ALARMS = 100, 5
SAID_MS = 5_000.0
"""How soon a page says that what it shows is not what is."""

KILLED = ("alarms", "ingest", "deliver", "web", "broker")
ROUNDS, QUICK_ROUNDS = 3, 1
_WAIT_MS = 60_000

_OBSERVE = """() => {
  window.drawn = {};
  const look = () => {
    for (const node of document.querySelectorAll('article[data-alarm]')) {
      const id = node.dataset.alarm;
      if (!id || id in window.drawn) continue;
      window.drawn[id] = 0;
      requestAnimationFrame(() => setTimeout(() => { window.drawn[id] = Date.now(); }));
    }
  };
  const all = { subtree: true, childList: true, attributes: true };
  new MutationObserver(look).observe(document.getElementById('live'), all);
}"""


def measure(report: Report) -> None:
    """Look at the page; prints nothing but a note where there is no Chromium."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(40))
    devices, alarms = (QUICK_DEVICES, QUICK_ALARMS) if report.quick else (DEVICES, ALARMS)
    report.group("pages", f"the live page in Chromium: {alarms} alarms of {devices} devices; then everything is killed")
    program = find_program("chromium")
    if program is None:
        print("  left out: there is no chromium on this machine (make system-deps)")
        return
    with tempfile.TemporaryDirectory(prefix="lapel-pages-", dir=Path.cwd()) as folder:
        (Path(folder) / "killed").mkdir()
        asyncio.run(_measure(report, program, devices, alarms, Path(folder)))


async def _measure(report: Report, program: str, devices: int, alarms: int, folder: Path) -> None:
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        with LoadSite(folder / "site", tls=False) as site:
            await _presses(report, browser, site, devices, alarms)
        await _deaths(report, browser, folder / "killed", QUICK_ROUNDS if report.quick else ROUNDS)
        await browser.close()


async def _presses(report: Report, browser: Browser, site: LoadSite, devices: int, alarms: int) -> None:
    packages = site.provision(devices)
    token_of(site.site.engine, RESPONDER, wall_ms(), ["responder"])
    await asyncio.to_thread(site.start)
    fleet = make_fleet(site, list(packages))
    await fleet.switch_on(2.0)
    await fleet.settled(60.0)
    page = await _look(browser, site.site.config.web.port, _session(site.site.engine))
    await page.evaluate(_OBSERVE)
    took: list[float] = []
    for number in range(alarms):
        known = set(await page.evaluate("Object.keys(window.drawn)"))
        pressed = time.time() * 1000
        fleet.members[number % devices].press()
        wanted = "(known) => Object.entries(window.drawn).find(([id, at]) => at && !known.includes(id))"
        found = await (await page.wait_for_function(wanted, arg=sorted(known), timeout=_WAIT_MS)).json_value()
        took.append(found[1] - pressed)
        gateway_alarms.resolve(site.site.engine, found[0], RESPONDER, "test", "", wall_ms())
    await page.context.close()
    await fleet.switch_off()
    report.figure("press to page, p50", percentile(took, 0.5), "ms", f"{len(took)} alarms")
    report.figure("press to page, p99", percentile(took, 0.99), "ms", f"longest {max(took):.0f}")


async def _deaths(report: Report, browser: Browser, folder: Path, rounds: int) -> None:
    said: dict[str, list[float]] = {what: [] for what in KILLED}
    back: dict[str, list[float]] = {what: [] for what in KILLED}
    with installation(folder, [free_port() for _ in range(3)]) as site:
        await asyncio.to_thread(site.wait_until_ready, 60.0)
        engine = open_ledger(site.config.ledger_file)
        token_of(engine, RESPONDER, wall_ms(), ["responder"])
        page = await _look(browser, site.config.web.port, _session(engine))
        engine.dispose()
        await page.wait_for_function(_TROUBLES + " === ''", timeout=_WAIT_MS)
        for what in KILLED * rounds:
            began = time.monotonic()
            if what == "broker":
                site.broker.kill()
            else:
                await asyncio.to_thread(site.send, what, signal.SIGKILL)
            await page.wait_for_function(_TROUBLES + " !== ''", timeout=_WAIT_MS, polling=50)
            said[what].append((time.monotonic() - began) * 1000)
            began = time.monotonic()
            if what == "broker":
                await asyncio.to_thread(site.broker.start)
            else:
                site.start(what)
            await page.wait_for_function(_TROUBLES + " === ''", timeout=_WAIT_MS, polling=50)
            back[what].append(time.monotonic() - began)
        await page.context.close()
    for what in KILLED:
        name = what if what == "broker" else f"{what} role"
        report.at_most(f"{name} killed, until the page says so, longest", max(said[what]), "ms", SAID_MS)
        report.figure(f"{name}: well again", max(back[what]), "s", "from its start again")


_TROUBLES = "document.querySelector('[data-part=\"troubles\"]').textContent"


def _session(engine: sa.Engine) -> str:
    with writing(engine) as connection:
        return begin_session(connection, RESPONDER, "open", "password", Seat("127.0.0.1", "bench"), wall_ms())


async def _look(browser: Browser, port: int, session: str) -> Page:
    url = f"http://127.0.0.1:{port}"
    context = await browser.new_context(base_url=url, bypass_csp=True)
    await context.add_cookies([{"name": "lapel-session", "value": session, "url": url}])
    page = await context.new_page()
    await page.goto("/live")
    await page.wait_for_selector(".state.is-good", timeout=_WAIT_MS)
    return page
