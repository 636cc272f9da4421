"""The live page in a real browser: an alarm is impossible to miss, answered in one press, and nothing old looks new."""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import Any, Literal

import pytest
import sqlalchemy as sa
from playwright.sync_api import Browser, Locator, Page, expect

from lapel_gateway.accounts.users import disable_user
from lapel_gateway.alarms.core import acknowledge, resolve
from lapel_gateway.ledger import reading
from lapel_gateway.ledger.schema import alarm as alarms
from lapel_gateway.ledger.schema import alarm_log
from lapel_gateway.overview.surroundings import Surroundings
from lapel_gateway.settings.accounts import AccountsSection
from lapel_gateway.viewing.live_pictures import LiveArea, LivePictures
from lapel_gateway.web.api import live as live_api
from lapel_gateway.web.pages import frame
from lapel_protocol.reports import ALARM_MAN_DOWN
from tests.browser.desks import Desk, scrolls_sideways, severe_faults, shoot
from tests.browser.scene import Scene
from tests.gateway.accounts.office import Office, opened, serving
from tests.gateway.footage import ordinary_clip
from tests.gateway.sealed import BOOT, public_half
from tests.support.accounts import BY

RITA, SAM, ZOE = "Rita Rowe", "Sam Ortega", "Zoë Quinn"
PIXELS = "canvas => canvas.toDataURL()"
LIVE = re.compile(r"^Live \d")
STILL_S = 0.9
"""Within the second that the page holds still while it is pressed (live-press.js)."""
TRIES = 10


@pytest.fixture
def scene(tmp_path: Path, office: Office) -> Scene:
    return Scene(tmp_path, office)


def open_live(desk: Desk, name: str = RITA, roles: tuple[str, ...] = ("responder",)) -> Page:
    """The page, once it is live."""
    page = desk.sit(name, roles)
    page.goto("/live")
    expect(page.get_by_text(LIVE)).to_be_visible()
    return page


def card(page: Page, identifier: str) -> Locator:
    return page.locator(f'[data-alarm="{identifier}"]')


def clock_of(page: Page) -> str:
    """The time that the page shows itself to be as of."""
    return (page.locator('[data-part="standing"]').text_content() or "").rpartition(" ")[2]


def row_of(scene: Scene, identifier: str) -> sa.Row[Any]:
    with reading(scene.engine) as connection:
        return connection.execute(sa.select(alarms).where(alarms.c.id == identifier)).one()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("phone", [True, False], ids=["phone", "desktop"])
def test_the_page_with_alarms_keeps_nobody_out(
    desk: Desk, scene: Scene, phone: bool, scheme: Literal["light", "dark"]
) -> None:
    zoe, max_m, liv = scene.worker(ZOE), scene.worker("Max Mustermann", "South"), scene.worker("Liv Berg", "")
    scene.visit(zoe)
    scene.pass_time(17 * 60_000)
    drill = scene.alarm(liv, test=True)
    scene.pass_time(30_000)
    second = scene.alarm(max_m, kind=ALARM_MAN_DOWN)
    scene.pass_time(65_000)
    first = scene.alarm(zoe)
    scene.walk(zoe, first)
    scene.pass_time(42_000)
    for one in (zoe, liv):
        scene.contact(one, 61)
    scene.contact(max_m, 12)
    page = desk.sit(RITA, ["responder"], phone=phone, scheme=scheme)
    page.goto("/live")
    card(page, second).get_by_role("button", name="Acknowledge").click()
    expect(page.get_by_text("Acknowledged by Rita Rowe", exact=True)).to_be_visible()

    assert [one.get_attribute("data-alarm") for one in page.locator(".alarm").all()] == [first, drill, second]
    assert severe_faults(page) == []
    assert not scrolls_sideways(page)
    shoot(page, f"live-{'phone' if phone else 'desktop'}-{scheme}")


def test_an_alarm_is_in_the_title_the_icon_and_the_ears_until_it_is_acknowledged(desk: Desk, scene: Scene) -> None:
    zoe = scene.worker(ZOE)
    page = open_live(desk)
    expect(page).to_have_title("Live – Lapel")
    expect(page.get_by_text("No open alarm")).to_be_visible()
    expect(page.get_by_role("status").get_by_text("keeps this page silent until you press Sound on")).to_be_visible()
    page.get_by_role("button", name="Sound on").click()
    expect(page.locator("#live")).to_have_attribute("data-sound", "ready")

    identifier = scene.alarm(zoe)

    expect(page).to_have_title("▲ 1 ALARM – Lapel")
    expect(page.locator("#live")).to_have_attribute("data-sound", "alarm")
    expect(page.locator('link[rel="icon"]')).to_have_attribute("href", re.compile("live-alarm.svg"))
    expect(page.locator('[aria-live="assertive"]')).to_contain_text("New alarm: Panic, Zoë Quinn.")
    card(page, identifier).get_by_role("button", name="Acknowledge").press("Enter")
    expect(page).to_have_title("Live – Lapel")
    expect(page.locator("#live")).to_have_attribute("data-sound", "ready")
    assert row_of(scene, identifier).acknowledged_by == RITA
    assert page.evaluate("document.activeElement.dataset.alarm") == identifier


def test_a_press_that_first_lets_the_page_sound_is_not_lost(desk: Desk, scene: Scene) -> None:
    identifier = scene.alarm(scene.worker(ZOE))
    page = open_live(desk)
    expect(page.locator("#live")).to_have_attribute("data-sound", "blocked")
    button = card(page, identifier).get_by_role("button", name="Acknowledge")
    button.hover()
    page.mouse.down()
    page.wait_for_timeout(400)  # as long as a finger is on it
    assert page.locator("#live").get_attribute("data-sound") == "blocked"
    page.mouse.up()
    expect(card(page, identifier).get_by_text("Acknowledged by Rita Rowe")).to_be_visible()
    expect(page.locator("#live")).to_have_attribute("data-sound", "ready")


def test_an_alarm_that_comes_in_above_does_not_take_the_button_from_under_a_finger(desk: Desk, scene: Scene) -> None:
    page = open_live(desk)
    for _ in range(TRIES):
        below = scene.alarm(scene.worker(ZOE))
        card(page, below).get_by_role("button", name="Acknowledge").hover()
        another = scene.worker(SAM)
        scene.pass_time(1_000)
        title = page.title()
        pressed_s = time.monotonic()
        page.mouse.down()
        above = scene.alarm(another)
        expect(page).not_to_have_title(title)  # it is known here, and called for
        shown = card(page, above).count()
        page.mouse.up()
        if time.monotonic() - pressed_s < STILL_S:
            break
    else:
        pytest.fail(f"no press was shorter than {STILL_S} s")
    assert shown == 0
    expect(card(page, below).get_by_text("Acknowledged by Rita Rowe")).to_be_visible()
    expect(card(page, above)).to_be_visible()
    assert row_of(scene, above).acknowledged_by is None


def test_a_finger_that_stays_on_the_page_keeps_no_alarm_from_being_shown(desk: Desk, scene: Scene) -> None:
    page = open_live(desk)
    page.get_by_text("No open alarm").hover()
    page.mouse.down()
    expect(card(page, scene.alarm(scene.worker(ZOE)))).to_be_visible(timeout=4_000)
    page.mouse.up()


def test_sound_that_was_turned_off_stays_off_in_this_browser(desk: Desk, scene: Scene) -> None:
    page = open_live(desk)
    page.get_by_role("button", name="Sound on").click()
    page.get_by_role("button", name="Sound off").click()

    page.reload()

    expect(page.locator("#live")).to_have_attribute("data-sound", "off")
    expect(page.get_by_text("Silent: alarms are only seen.")).to_be_visible()


def test_what_one_person_does_another_sees_without_loading_the_page_again(desk: Desk, scene: Scene) -> None:
    identifier = scene.alarm(scene.worker(ZOE))
    rita, sam = open_live(desk), open_live(desk, SAM)

    card(rita, identifier).get_by_role("button", name="Acknowledge").click()
    expect(card(sam, identifier).get_by_text("Acknowledged by Rita Rowe")).to_be_visible()
    expect(card(sam, identifier).get_by_role("button", name="Acknowledge")).to_be_hidden()

    card(rita, identifier).get_by_text("Add a note").click()
    card(rita, identifier).get_by_label("What others should know").fill("Police are on their way\nETA five minutes")
    card(rita, identifier).get_by_role("button", name="Add the note").click()
    expect(card(sam, identifier).get_by_text("Police are on their way ETA five minutes")).to_be_visible()

    card(sam, identifier).locator("summary", has_text="What was done so far").press("Enter")
    expect(card(sam, identifier).locator(".log")).to_contain_text("acknowledged – Rita Rowe")

    card(sam, identifier).get_by_text("Resolve", exact=True).click()
    card(sam, identifier).get_by_label("True: help was needed").check()
    card(sam, identifier).get_by_label("What happened, for the record").fill("Escorted out")
    card(sam, identifier).get_by_role("button", name="Resolve the alarm").click()
    expect(card(rita, identifier)).to_have_count(0)
    row = row_of(scene, identifier)
    assert (row.resolved_by, row.resolution, row.note) == (SAM, "true", "Escorted out")
    assert ("Rita Rowe", "add_note", "allowed") in scene.office.lines()


def test_nobody_acknowledges_their_own_alarm_and_is_told_why(desk: Desk, scene: Scene) -> None:
    identifier = scene.alarm(scene.worker(ZOE))
    page = open_live(desk, ZOE)
    desk.expected.append("403")

    card(page, identifier).get_by_role("button", name="Acknowledge").click()

    expect(card(page, identifier).get_by_role("alert")).to_contain_text("cannot acknowledge an alarm of their own")
    expect(page).to_have_title("▲ 1 ALARM – Lapel")
    assert row_of(scene, identifier).acknowledged_by is None


def test_words_that_are_being_written_outlive_what_others_do(desk: Desk, scene: Scene) -> None:
    identifier = scene.alarm(scene.worker(ZOE))
    page = open_live(desk)
    card(page, identifier).get_by_text("Add a note").click()
    field = card(page, identifier).get_by_label("What others should know")
    field.fill("She says that")

    acknowledge(scene.engine, identifier, SAM, scene.now_ms)
    other = scene.alarm(scene.worker("Max Mustermann"))

    expect(card(page, other)).to_be_visible()
    expect(card(page, identifier).get_by_text("Acknowledged by Sam Ortega")).to_be_visible()
    expect(field).to_be_focused()
    expect(field).to_have_value("She says that")


def test_without_scripts_the_page_is_read_and_alarms_are_answered(desk: Desk, scene: Scene) -> None:
    zoe = scene.worker(ZOE)
    scene.visit(zoe)
    identifier = scene.alarm(zoe)
    page = desk.sit(RITA, ["responder"], scripts=False)
    page.goto("/live")
    expect(page.get_by_text("it does not change by itself")).to_be_visible()
    expect(card(page, identifier)).to_contain_text("4 High Street")

    card(page, identifier).get_by_role("button", name="Acknowledge").click()
    expect(card(page, identifier).get_by_text("Acknowledged by Rita Rowe")).to_be_visible()
    card(page, identifier).get_by_text("Add a note").click()
    card(page, identifier).get_by_label("What others should know").fill("Called, no answer")
    card(page, identifier).get_by_role("button", name="Add the note").click()
    card(page, identifier).get_by_text("Resolve", exact=True).click()
    card(page, identifier).get_by_label("False: it was not").check()
    card(page, identifier).get_by_role("button", name="Resolve the alarm").click()

    expect(page.get_by_text("No open alarm")).to_be_visible()
    with reading(scene.engine) as connection:
        steps = connection.execute(sa.select(alarm_log.c.step, alarm_log.c.detail).order_by(alarm_log.c.id)).all()
    assert ("note", "Called, no answer") in [tuple(step) for step in steps]
    assert row_of(scene, identifier).resolution == "false"


def test_without_scripts_a_refusal_is_the_page_with_words(desk: Desk, scene: Scene) -> None:
    identifier = scene.alarm(scene.worker(ZOE))
    page = desk.sit(RITA, ["responder"], scripts=False)
    page.goto("/live")
    acknowledge(scene.engine, identifier, SAM, scene.now_ms)
    desk.expected.append("409")

    card(page, identifier).get_by_role("button", name="Acknowledge").click()

    expect(page.get_by_role("alert").get_by_text("Sam Ortega acknowledged this alarm")).to_be_visible()
    assert row_of(scene, identifier).acknowledged_by == SAM


def test_a_gateway_that_is_gone_is_said_and_comes_back_by_itself(chromium: Browser, tmp_path: Path) -> None:
    settings = AccountsSection(requests_per_min=100_000)
    with opened(tmp_path, accounts=settings) as office:
        port = int(office.url.rpartition(":")[2])
        scene = Scene(tmp_path, office)
        identifier = scene.alarm(scene.worker(ZOE))
        desk = Desk(chromium, office)
        desk.expected.append("ERR_CONNECTION_REFUSED")
        desk.expected.append("ERR_INCOMPLETE_CHUNKED_ENCODING")
        page = open_live(desk)
        expect(card(page, identifier)).to_be_visible()

    # How soon the page says so is measured (`bench.pages`).
    expect(page.get_by_text(re.compile("Not live: nothing is heard from the gateway"))).to_be_visible()
    expect(page.locator("#live")).to_have_class("is-away")
    expect(page.get_by_text(re.compile("Not live: as of"))).to_be_visible()
    age = card(page, identifier).locator(".alarm-age time")
    stood = age.text_content()
    titles = [page.get_by_role("heading", name=name) for name in ("Alarms", "Devices")]
    assert [one.get_attribute("data-as-of") for one in titles] == [clock_of(page)] * 2
    shoot(page, "live-away")
    assert severe_faults(page) == []

    with serving(office, tmp_path, port):
        expect(page.get_by_text(LIVE)).to_be_visible()
        expect(page.get_by_text(re.compile("Not live"))).to_have_count(0)
        assert age.text_content() == stood
        resolve(office.engine, identifier, SAM, "test", "", scene.now_ms)
        expect(card(page, identifier)).to_have_count(0)
        desk.close()


def test_a_page_that_stayed_open_over_an_update_says_so_or_loads_itself_again(
    chromium: Browser, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever hears it is asked, because a page that was loaded anew is silent; whoever hears nothing loses nothing."""
    settings = AccountsSection(requests_per_min=100_000)
    with opened(tmp_path, accounts=settings) as office:
        port = int(office.url.rpartition(":")[2])
        desk = Desk(chromium, office)
        desk.expected += ["ERR_CONNECTION_REFUSED", "ERR_INCOMPLETE_CHUNKED_ENCODING"]
        heard, silent = open_live(desk), open_live(desk, SAM)
        heard.get_by_role("heading", name="Live").click()  # lets it sound
        expect(heard.locator("#live")).to_have_attribute("data-sound", "ready")
        expect(silent.locator("#live")).to_have_attribute("data-sound", "blocked")
        before = silent.locator("#live").get_attribute("data-edition")

    with serving(office, tmp_path, port):  # started again as it was
        for page in (heard, silent):
            expect(page.get_by_text(LIVE)).to_be_visible()
    monkeypatch.setattr(frame, "_edition", lambda: "another")
    with serving(office, tmp_path, port):
        told = heard.get_by_role("alert").filter(has_text="The gateway was updated")
        expect(told.get_by_role("link", name="Load it again")).to_be_visible()
        expect(silent.locator("#live")).to_have_attribute("data-edition", "another")
        expect(silent.get_by_text("The gateway was updated")).to_have_count(0)
        expect(heard.locator("#live")).to_have_attribute("data-edition", str(before))
        expect(heard.get_by_text("No open alarm is known; there may be some all the same")).to_be_visible()
        assert severe_faults(heard) == []
        shoot(heard, "live-updated")

        told.get_by_role("link", name="Load it again").click()
        expect(heard.locator("#live")).to_have_attribute("data-edition", "another")
        expect(heard.get_by_text(LIVE)).to_be_visible()
        expect(told).to_have_count(0)
        desk.close()


def test_the_clip_of_an_alarm_is_seen_as_it_comes_in(desk: Desk, scene: Scene) -> None:
    zoe = scene.zoe()
    sealed = scene.site.seal(ordinary_clip().matroska(), alarm=(BOOT, 2))
    identifier = scene.alarm(zoe, clip=sealed.clip)
    scene.site.arrive(sealed, 0, len(sealed.segments) // 2)
    looking = LivePictures(scene.engine, scene.site.vault, LiveArea(scene.site.views.root), scene.site.keys())
    looking.start()
    try:
        page = open_live(desk)
        picture = card(page, identifier).get_by_role("img", name=re.compile("Newest picture"))
        expect(picture).to_be_visible()
        expect(card(page, identifier).get_by_role("progressbar")).to_be_visible()
        first = picture.evaluate(PIXELS)
        scene.site.arrive(sealed, len(sealed.segments) // 2, len(sealed.segments))
        expect(card(page, identifier)).to_contain_text(f"{len(sealed.segments)} segments")
        page.wait_for_function(f"before => ({PIXELS})(document.querySelector('canvas')) !== before", arg=first)
        shoot(page, "live-picture")
        assert severe_faults(page) == []
        page.context.route(
            re.compile(r"/picture$"),
            lambda asked: asked.fulfill(status=200, content_type="image/jpeg", body=b"\xff\xd8 cut off"),
        )
        expect(card(page, identifier)).to_contain_text("The newest picture cannot be drawn; this one was shown at")
        expect(card(page, identifier).get_by_role("img", name=re.compile("^Picture, shown at"))).to_be_visible()
        page.reload()
        expect(card(page, identifier)).to_contain_text("The newest picture cannot be drawn.")
    finally:
        looking.stop()


def test_a_clip_that_cannot_be_opened_here_is_said_to_be_sealed(desk: Desk, scene: Scene) -> None:
    zoe = scene.zoe()
    sealed = scene.site.seal(ordinary_clip().matroska(), alarm=(BOOT, 2))
    identifier = scene.alarm(zoe, clip=sealed.clip)
    scene.site.arrive(sealed, 0, 9)
    keys = scene.site.keys(public_half(scene.site.organisation))
    looking = LivePictures(scene.engine, scene.site.vault, LiveArea(scene.site.views.root), keys)
    looking.start()
    desk.expected.append("409")
    try:
        page = open_live(desk)
        words = "No picture here: the organisation's private key is kept elsewhere."
        expect(card(page, identifier).get_by_text(words)).to_be_visible()
    finally:
        looking.stop()


def test_an_auditor_sees_alarms_and_cannot_answer_them_and_a_technician_sees_none(desk: Desk, scene: Scene) -> None:
    zoe = scene.worker(ZOE)
    scene.visit(zoe)
    identifier = scene.alarm(zoe)
    scene.walk(zoe, identifier)

    auditor = open_live(desk, "Ada Audit", ("auditor",))
    expect(card(auditor, identifier)).to_contain_text("4 High Street")
    expect(card(auditor, identifier)).to_contain_text("No position was sent")
    assert card(auditor, identifier).get_by_role("button").count() == 0
    assert severe_faults(auditor) == []

    technician = open_live(desk, "Tim Tech", ("technician",))
    expect(technician.get_by_role("heading", name="Devices")).to_be_visible()
    assert technician.get_by_role("heading", name="Alarms").count() == 0
    expect(technician).to_have_title("Live – Lapel")
    assert identifier not in technician.content()
    assert severe_faults(technician) == []


def test_what_is_wrong_with_the_gateway_is_said_above_everything(chromium: Browser, tmp_path: Path) -> None:
    broker = {"connected": False, "since": None, "trouble": "it cannot be reached", "figures": None}
    around = Surroundings(roles=("alarms",), broker=lambda: {**broker, "why_no_figures": "the broker is away"})
    with opened(tmp_path, accounts=AccountsSection(requests_per_min=100_000), around=around) as office:
        desk = Desk(chromium, office)
        page = open_live(desk)

        troubles = page.locator('[data-part="troubles"]')
        expect(troubles.get_by_text("The gateway's alarms role is silent: new alarms may not come in.")).to_be_visible()
        expect(troubles.get_by_text("The broker is away (it cannot be reached): devices are not heard")).to_be_visible()
        expect(page.get_by_text("No open alarm is known; there may be some all the same")).to_be_visible()
        assert severe_faults(page) == []
        shoot(page, "live-troubles")
        desk.close()


def test_whoever_is_logged_out_meanwhile_is_told_so_and_shown_nothing_as_live(
    desk: Desk, scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live_api, "STREAM_S", 1.0)
    page = open_live(desk)
    desk.expected.append("401")

    disable_user(scene.engine, RITA, BY, scene.now_ms)

    words = page.get_by_text("Not live: you are not logged in any more.")
    expect(words).to_be_visible(timeout=15_000)
    expect(page.get_by_role("link", name="Log in")).to_have_attribute("href", "/login?next=/live")


def test_two_thousand_devices_are_counted_found_and_not_all_drawn(desk: Desk, scene: Scene) -> None:
    scene.fleet(2_000)
    page = open_live(desk)

    expect(page.get_by_text("1,900 in contact")).to_be_visible()
    expect(page.get_by_text("60 of 100 shown.")).to_be_visible()
    page.get_by_label("Name, person or team").fill("wearer 1234")
    expect(page.get_by_role("row", name=re.compile("unit 1234"))).to_be_visible()
    assert page.locator(".devices tbody tr").count() == 1
    page.get_by_label("Name, person or team").fill("")
    page.get_by_role("button", name="Show more").click()
    expect(page.locator(".devices tbody tr")).to_have_count(100)
    shoot(page, "live-fleet")
