"""Clips in a real browser: found, asked for with a reason, played frame by frame, passed on, and who saw them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Literal

import pytest
import sqlalchemy as sa
from playwright.sync_api import Browser, Page, expect

from lapel_gateway.ledger import writing
from lapel_gateway.ledger.schema import clip as clips
from lapel_gateway.settings.accounts import AccountsSection
from lapel_gateway.viewing.assembly import Assembler
from lapel_gateway.viewing.packing import ExportArea, Packer
from lapel_tools.evidence import verify_export
from lapel_tools.export_archive import unpacked
from tests.browser.desks import Desk, scrolls_sideways, severe_faults, shoot
from tests.gateway.accounts.office import Office, opened
from tests.gateway.footage import Clip, jpegs, ordinary_clip, tone
from tests.gateway.sealed import NOW_MS, SealedClip, Site, public_half

WEARER = "Zoë Quinn"
Scheme = Literal["light", "dark"]


def eventful() -> bytes:
    """Six seconds of footage with an alarm and dropped frames, as a device writes it."""
    times = [137 + 67 * number for number in range(88)]
    events = [
        (
            0,
            2000,
            b"recording: notice confirmed, prompted 4000 ms and confirmed 1500 ms before the start",
        ),
        (2500, 2000, b"alarm: 4/2"),
        (4100, 2000, b"frames dropped: larger than 24576 bytes (3 so far)"),
        (5900, 2000, b"end: stopped, 88 frames, 3 dropped"),
    ]
    frames = list(zip(times, jpegs(88, 640, 360), strict=True))
    return Clip(frames, tone(60, 5900), events, 640, 360).matroska()


@pytest.fixture
def site(desk: Desk, tmp_path: Path) -> Site:
    """Clips of one wearer: one of an alarm, a short one, one sealed for good, one that is still arriving."""
    site = Site(tmp_path, desk.office.engine)
    keys, locked = site.keys(), site.keys(public_half(site.organisation))
    first = made(site, eventful(), 5, None)
    assemble(site, first, keys)
    second = made(site, ordinary_clip().matroska(), 6, first)
    assemble(site, second, keys)
    third = made(site, b"plain" * 2000, 7, second)
    assemble(site, third, locked)
    fourth = site.seal(b"plain" * 20_000, 8, third)
    site.hold(fourth, 9, cut=True)
    with writing(site.engine) as connection:
        connection.execute(sa.update(clips).where(clips.c.clip == 5).values(alarm=True))
        for number, ago_min in ((5, 3000), (6, 190), (7, 65), (8, 1)):
            began = {"start_ms": NOW_MS - ago_min * 60_000}
            connection.execute(sa.update(clips).where(clips.c.clip == number).values(began))
        arriving: dict[str, Any] = {"state": "open", "settled_by": None, "settled_segments": 24, "assembled_ms": None}
        arriving |= {"extents": bytes([0, 0, 0, 12, 0, 0, 0, 4]), "receipt_segments": None}
        connection.execute(sa.update(clips).where(clips.c.clip == 8).values(arriving))
    return site


def made(site: Site, plain: bytes, number: int, before: SealedClip | None) -> SealedClip:
    sealed = site.seal(plain, number, before)
    site.hold(sealed)
    return sealed


def assemble(site: Site, sealed: SealedClip, keys: object) -> None:
    assembler = Assembler(site.engine, site.vault, site.views, keys)  # type: ignore[arg-type]
    assert assembler.assemble(sealed.device, sealed.clip, NOW_MS)


def look(page: Page, site: Site, number: int = 5) -> None:
    page.goto(f"/clips/{site.device}-{number}")
    page.get_by_label("A complaint").check()
    page.get_by_label("In words").fill("Mr Carter says that he was pushed")
    page.locator("#reference").fill("C-2031")
    page.get_by_role("button", name="Look at the clip").click()
    expect(page.get_by_role("button", name="Play", exact=True)).to_be_visible()
    ready(page)


def ready(page: Page) -> None:
    expect(page.locator("video")).to_have_js_property("readyState", 4)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("phone", [True, False], ids=["phone", "desktop"])
def test_clips_and_one_of_them_keep_nobody_out(desk: Desk, site: Site, phone: bool, scheme: Scheme) -> None:
    page = desk.sit("Eve Evans", ["evidence", "wearer"], phone=phone, scheme=scheme)
    kind = f"{'phone' if phone else 'desktop'}-{scheme}"

    def judge(name: str) -> None:
        shoot(page, f"{name}-{kind}")
        assert severe_faults(page) == []
        assert not scrolls_sideways(page)

    page.goto("/clips")
    expect(page.get_by_role("link", name=WEARER)).to_have_count(4)
    for picture in page.locator(".picture img").all():
        picture.scroll_into_view_if_needed()
        expect(picture).to_have_js_property("complete", True)
    judge("clips")
    page.goto(f"/clips/{site.device}-5")
    judge("clip-asks")
    look(page, site)
    judge("clip")
    page.goto(f"/clips/{site.device}-8")
    judge("clip-arriving")
    page.goto("/clips?mine")
    judge("clips-mine-empty")
    wearer = desk.sit(WEARER, ["wearer"], phone=phone, scheme=scheme)
    wearer.goto("/clips?mine")
    expect(wearer.get_by_text("Eve Evans")).to_be_visible()
    assert severe_faults(wearer) == []
    assert not scrolls_sideways(wearer)
    shoot(wearer, f"clips-mine-{kind}")


def test_a_clip_plays_and_is_stepped_through_frame_by_frame_with_the_keyboard(desk: Desk, site: Site) -> None:
    page = desk.sit("Eve Evans", ["evidence"])
    look(page, site)

    def at() -> float:
        return float(page.evaluate("document.getElementById('video').currentTime"))

    where = page.locator("#where")
    page.keyboard.press("Space")
    expect(where).to_have_text(re.compile(r"^0:0[1-5]"))
    expect(page.get_by_role("button", name="Pause")).to_be_visible()
    page.keyboard.press("Space")
    expect(page.get_by_role("button", name="Play", exact=True)).to_be_visible()
    page.get_by_role("link", name="0:02.5").click()
    expect(where).to_have_text(re.compile(r"^0:02\.5"))
    page.evaluate("document.activeElement.blur()")

    page.keyboard.press(".")
    expect(where).to_contain_text("frame 37 of 88")
    page.keyboard.press(".")
    expect(where).to_contain_text("frame 38 of 88")
    assert at() == pytest.approx((137 + 67 * 37) / 1000, abs=0.005)
    page.keyboard.press(",")
    expect(where).to_contain_text("frame 37 of 88")
    page.keyboard.press("ArrowLeft")
    expect(page.locator("video")).to_have_js_property("currentTime", 0)
    page.keyboard.press("ArrowRight")
    expect(page.locator("video")).to_have_js_property("currentTime", 5)
    page.get_by_label("Speed").select_option("0.25")
    assert page.evaluate("document.getElementById('video').playbackRate") == 0.25


def test_a_clip_is_played_without_any_script(desk: Desk, site: Site) -> None:
    desk.office.add("Eve Evans", ["evidence"])
    context = desk.browser.new_context(base_url=desk.office.url, java_script_enabled=False)
    desk.contexts.append(context)
    cookie = {"name": "lapel-session", "value": desk.office.session("Eve Evans"), "url": desk.office.url}
    context.add_cookies([cookie])  # type: ignore[list-item]
    page = context.new_page()
    page.goto(f"/clips/{site.device}-5")
    page.get_by_label("A request for evidence").check()
    page.locator("#reference").fill("P-7")
    page.get_by_role("button", name="Look at the clip").click()

    assert page.locator("video[controls]").count() == 1
    expect(page.locator("#controls")).to_be_hidden()
    expect(page.get_by_role("link", name="0:02.5")).to_have_attribute(
        "href", f"/api/v1/clips/{site.device}-5/media/mp4#t=2.5"
    )


def test_pictures_are_blurred_until_a_reason_is_given_and_none_is_shown_to_auditors(desk: Desk, site: Site) -> None:
    page = desk.sit("Eve Evans", ["evidence"])
    page.goto("/clips")
    expect(page.locator(".picture.is-blurred img")).to_have_count(2)

    look(page, site)
    page.goto("/clips")

    expect(page.locator(".picture.is-blurred img")).to_have_count(1)
    expect(page.locator(".picture:not(.is-blurred) img")).to_have_count(1)
    auditor = desk.sit("Otto Olsen", ["auditor"])
    auditor.goto("/clips")
    expect(auditor.get_by_role("link", name=WEARER)).to_have_count(4)
    expect(auditor.locator(".picture img")).to_have_count(0)


def test_the_wearer_sees_who_saw_their_clip_and_needs_no_reason_for_it(desk: Desk, site: Site) -> None:
    look(desk.sit("Eve Evans", ["evidence"]), site)

    page = desk.sit(WEARER, ["wearer"])
    page.goto("/clips?mine")
    expect(page.get_by_role("listitem").filter(has_text="Eve Evans")).to_contain_text(
        "A complaint: Mr Carter says that he was pushed (C-2031)"
    )
    page.get_by_role("link", name="your clip of").click()
    expect(page.get_by_role("button", name="Play", exact=True)).to_be_visible()
    ready(page)
    page.reload()
    looked = page.get_by_role("region", name="Who looked")
    expect(looked).to_contain_text("Eve Evans")
    expect(looked).to_contain_text("Their own clip")


def test_a_clip_is_found_by_words_and_filters_and_what_cannot_be_looked_for_is_said(desk: Desk, site: Site) -> None:
    page = desk.sit("Eve Evans", ["evidence"])
    page.goto("/clips")
    page.get_by_text("More filters").click()
    page.get_by_label("Started by").select_option("An alarm")
    page.get_by_role("button", name="Find").click()
    expect(page.get_by_role("link", name=WEARER)).to_have_count(1)
    page.get_by_label("Started by").select_option("Any")
    page.get_by_label("Condition").select_option("Sealed")
    page.get_by_role("button", name="Find").click()
    expect(page.get_by_text("Sealed: the key is elsewhere")).to_be_visible()
    page.goto("/clips?words=zo%C3%AB")
    expect(page.get_by_role("link", name=WEARER)).to_have_count(4)
    page.goto("/clips?words=nobody+like+that")
    expect(page.get_by_text("No clip is like that.")).to_be_visible()
    desk.expected.append("422")
    page.goto("/clips?from=yesterday")
    expect(page.get_by_role("alert")).to_contain_text("neither a date")


def test_that_a_clip_was_passed_on_is_entered_on_its_page(desk: Desk, site: Site) -> None:
    page = desk.sit("Eve Evans", ["evidence"])
    page.goto(f"/clips/{site.device}-5")
    page.get_by_text("Enter that it was passed on").click()
    page.get_by_label("Who has it now").fill("Thames Valley Police, PC Ward")
    page.get_by_label("Their reference").fill("43250012")
    page.get_by_role("button", name="Enter it").click()

    expect(page.get_by_role("region", name="Passed on")).to_contain_text("Thames Valley Police, PC Ward (43250012)")
    page.goto("/clips?words=43250012")
    expect(page.get_by_role("link", name=WEARER)).to_have_count(1)


def test_an_export_waits_on_the_clips_page_for_a_second_person_and_is_fetched_there(
    chromium: Browser, tmp_path: Path
) -> None:
    rule = AccountsSection(requests_per_min=100_000, two_person_export=True)
    with opened(tmp_path, accounts=rule) as office:
        site = Site(tmp_path, office.engine)
        sealed = made(site, ordinary_clip().matroska(), 5, None)
        assemble(site, sealed, site.keys())
        desk = Desk(chromium, office)
        page = desk.sit("Eve Evans", ["evidence"])
        look(page, site)
        assert page.get_by_role("heading", name="Files").count() == 0, "nobody takes a file of it alone"
        page.get_by_text("Ask for an export").click()
        page.get_by_label("Why", exact=True).fill("A hearing on 12 May")
        page.get_by_role("button", name="Ask for it").click()
        section = page.get_by_role("region", name="Export")
        expect(section).to_contain_text("Somebody else has to agree.")
        assert section.get_by_role("button", name="Agree to this export").count() == 0

        other = desk.sit("Emil Ek", ["evidence"], phone=True)
        other.goto(f"/clips/{site.device}-5")
        other.get_by_role("button", name="Agree to this export").click()

        section = other.get_by_role("region", name="Export")
        expect(section).to_contain_text("Emil Ek agreed")
        expect(section).to_contain_text("Is being made")
        packer(site, office, two_needed=True).turn()
        expect(section).to_contain_text("Ready")
        assert severe_faults(other) == []
        assert not scrolls_sideways(other)
        shoot(other, "clip-export-phone-light")
        fetched = fetch(other, tmp_path / "fetched.zip")
        with unpacked(fetched) as folder:
            assert all(check.ok is not False for check in verify_export(folder, sealed.heads[-1].hex()))
        other.reload()
        expect(other.get_by_role("region", name="Who looked")).to_contain_text("A hearing on 12 May")
        desk.close()


def test_one_person_makes_an_export_where_that_is_enough_and_the_player_goes_on(
    desk: Desk, site: Site, tmp_path: Path
) -> None:
    page = desk.sit("Eve Evans", ["evidence"], scheme="dark")
    look(page, site)
    page.get_by_text("Make an export").click()
    page.get_by_label("Why", exact=True).fill("A request of the police")
    page.get_by_role("button", name="Make it").click()
    section = page.get_by_role("region", name="Export")
    expect(section).to_contain_text("Is being made")
    ready(page)
    page.evaluate("document.querySelector('video').dataset.kept = 'yes'")

    full = packer(site, desk.office, keep_free_bytes=1 << 60)
    full.turn()
    expect(section).to_contain_text("too little room")
    expect(section).to_contain_text("It is tried again every minute.")
    packer(site, desk.office).turn()

    expect(section).to_contain_text("Ready")
    assert page.evaluate("document.querySelector('video').dataset.kept") == "yes", "the page was not loaded anew"
    assert severe_faults(page) == []
    shoot(page, "clip-export-desktop-dark")
    assert fetch(page, tmp_path / "fetched.zip").stat().st_size > 0


def packer(site: Site, office: Office, *, two_needed: bool = False, keep_free_bytes: int = 0) -> Packer:
    """What makes exports in the role that delivers."""
    area, keys = ExportArea(site.views.root), site.keys()
    return Packer(
        site.engine,
        site.vault,
        site.views,
        area,
        keys,
        lambda: office.clock[0],
        two_needed=two_needed,
        keep_free_bytes=keep_free_bytes,
    )


def fetch(page: Page, path: Path) -> Path:
    """Press Download; returns where the file is."""
    with page.expect_download() as under_way:
        page.get_by_role("link", name="Download").click()
    under_way.value.save_as(path)
    return path
