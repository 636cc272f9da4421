"""The newest picture of a clip that is coming in: from real footage, sealed by the protocol, and never too much."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import sqlalchemy as sa

from lapel_gateway.accounts.tokens import add_token
from lapel_gateway.accounts.users import add_user
from lapel_gateway.ledger import writing
from lapel_gateway.ledger.schema import alarm
from lapel_gateway.viewing.assembly import Assembler
from lapel_gateway.viewing.frames import FrameFinder, decodes
from lapel_gateway.viewing.live_pictures import ASKED_S, LiveArea, LivePictures
from lapel_gateway.viewing.looks import list_looks
from lapel_gateway.viewing.unseal import KeyRing
from lapel_gateway.web.api.clips import REASON_HEADER
from tests.gateway.accounts.office import Office, opened
from tests.gateway.footage import ordinary_clip
from tests.gateway.ledgers import new_ledger
from tests.gateway.sealed import NOW_MS, Site, organisation, public_half
from tests.support.accounts import BY


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with new_ledger(tmp_path) as engine:
        yield Site(tmp_path, engine)


def pictures(site: Site, keys: KeyRing | None = None) -> LivePictures:
    return LivePictures(site.engine, site.vault, LiveArea(site.views.root), keys or site.keys())


@pytest.mark.parametrize("piece", [1, 7, 4064, 1 << 20])
def test_the_newest_whole_picture_is_found_however_the_bytes_come(piece: int) -> None:
    matroska, whole = ordinary_clip().layout()
    frames = ordinary_clip().frames
    cut = whole[9][1] + 20
    finder = FrameFinder()

    for at in range(0, cut, piece):
        finder.write(matroska[at : min(cut, at + piece)])

    assert finder.frame == frames[9][1]


def test_a_reader_that_begins_in_the_middle_finds_the_pictures_from_the_next_cluster_on() -> None:
    matroska, _ = ordinary_clip().layout()
    clusters = [at for at in range(len(matroska)) if matroska.startswith(bytes.fromhex("1f43b67501ff"), at)]
    finder = FrameFinder()
    finder.resume()

    finder.write(matroska[clusters[0] + 100 :])

    assert finder.frame == ordinary_clip().frames[-1][1]


def test_bytes_that_are_no_matroska_give_no_picture_and_take_no_room() -> None:
    finder = FrameFinder()
    for piece in (bytes(100_000), b"\xa3\x08\xff\xff\xff\xff" + bytes(5000), os.urandom(200_000)):
        finder.write(piece)
    assert finder.frame == b""
    assert len(finder._waiting) < 2 << 20


def test_a_picture_that_is_torn_or_too_large_does_not_decode() -> None:
    frame = ordinary_clip().frames[0][1]
    size_at = frame.index(b"\xff\xc0") + 5
    assert decodes(frame)
    assert not decodes(frame[:3000])
    assert not decodes(frame[:size_at] + b"\xff\xff\xff\xff" + frame[size_at + 4 :])


def test_a_clip_that_comes_in_is_seen_as_far_as_it_is_here(site: Site) -> None:
    sealed = site.seal(ordinary_clip().matroska())
    area, looking = LiveArea(site.views.root), pictures(site)
    half = len(sealed.segments) // 2
    site.arrive(sealed, 0, half)
    looking.turn()
    assert area.see(sealed.name).picture == b""  # nobody has asked

    area.ask(sealed.name)
    looking.turn()
    first = area.see(sealed.name)
    site.arrive(sealed, half, len(sealed.segments), end=True)
    looking.turn()
    last = area.see(sealed.name)
    before = site.vault.path(site.device, sealed.clip).read_bytes()

    frames = [jpeg for _, jpeg in ordinary_clip().frames]
    assert first.picture in frames[1:-1]
    assert last.picture == frames[-1]
    assert first.tag != last.tag
    assert before == sealed.file()
    assert (area.root / f"{sealed.name}.jpg").stat().st_mode & 0o777 == 0o600


def test_a_picture_goes_when_nobody_looks_any_more_and_when_the_clip_has_its_copies(site: Site) -> None:
    sealed = site.seal(ordinary_clip().matroska())
    site.hold(sealed)
    area, looking = LiveArea(site.views.root), pictures(site)
    area.ask(sealed.name)
    looking.turn()
    assert area.see(sealed.name).picture
    os.utime(area.root / f"{sealed.name}.asked", (0, 0))
    looking.turn()
    assert os.listdir(area.root) == []

    area.ask(sealed.name)
    looking.turn()
    assert area.see(sealed.name).picture
    Assembler(site.engine, site.vault, site.views, site.keys()).assemble(site.device, sealed.clip, NOW_MS + 9000)
    looking.turn()
    assert not area.see(sealed.name).picture


@pytest.mark.parametrize("keys", ["public", "other"])
def test_a_clip_that_cannot_be_opened_here_says_why(site: Site, keys: str) -> None:
    sealed = site.seal(ordinary_clip().matroska())
    site.arrive(sealed, 0, 8)
    area = LiveArea(site.views.root)
    area.ask(sealed.name)

    pictures(site, site.keys(public_half(site.organisation) if keys == "public" else organisation(1))).turn()

    seen = area.see(sealed.name)
    assert (seen.picture, "organisation" in seen.why_not) == (b"", True)


def test_a_damaged_clip_shows_what_came_before_and_nothing_after(site: Site) -> None:
    sealed = site.seal(ordinary_clip().matroska())
    site.arrive(sealed, 0, len(sealed.segments))
    path = site.vault.path(site.device, sealed.clip)
    bent = bytearray(path.read_bytes())
    bent[len(bent) // 2] ^= 1
    path.write_bytes(bent)
    area = LiveArea(site.views.root)
    area.ask(sealed.name)

    pictures(site).turn()

    frames = [jpeg for _, jpeg in ordinary_clip().frames]
    assert area.see(sealed.name).picture in frames[:-1]


def test_a_clip_whose_original_is_gone_says_so_and_the_others_are_seen(site: Site) -> None:
    area = LiveArea(site.views.root)
    gone, here = (site.seal(ordinary_clip().matroska(), number) for number in (5, 6))
    for sealed in (gone, here):
        site.arrive(sealed, 0, 30)
        area.ask(sealed.name)
    site.vault.path(site.device, gone.clip).unlink()

    pictures(site).turn()

    assert area.see(gone.name).why_not == "its original is missing from the vault"
    assert area.see(here.name).picture


def test_a_clip_that_is_far_ahead_is_taken_up_near_its_end(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lapel_gateway.viewing.live_pictures.MAX_BEHIND", 30)
    sealed = site.seal(ordinary_clip().matroska())
    assert len(sealed.segments) > 30
    site.arrive(sealed, 0, len(sealed.segments))
    area = LiveArea(site.views.root)
    area.ask(sealed.name)

    pictures(site).turn()

    assert area.see(sealed.name).picture == ordinary_clip().frames[-1][1]


def test_no_more_clips_are_opened_at_once_than_there_are_places(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lapel_gateway.viewing.live_pictures.MAX_CLIPS", 2)
    area = LiveArea(site.views.root)
    names = []
    for number in (5, 6, 7):
        sealed = site.seal(ordinary_clip().matroska(), number)
        site.arrive(sealed, 0, 30)
        area.ask(sealed.name)
        names.append(sealed.name)
        os.utime(area.root / f"{sealed.name}.asked", (NOW_MS // 1000, NOW_MS // 1000 + number))
    looking = LivePictures(site.engine, site.vault, area, site.keys(), lambda: NOW_MS / 1000 + ASKED_S - 1)

    looking.turn()

    assert [bool(area.see(name).picture) for name in names] == [False, True, True]


class Gallery:
    """The API over a site with one clip, and those who ask for it."""

    def __init__(self, office: Office, site: Site, client: httpx.Client) -> None:
        self.office, self.site, self.client = office, site, client

    def get(self, name: str, clip: str, etag: str = "", why: str = "") -> httpx.Response:
        token = add_token(self.office.engine, name, f"t{len(self.office.lines())}", BY, NOW_MS)
        headers = {"authorization": f"Bearer {token}", **({"if-none-match": etag} if etag else {})}
        if why:
            headers[REASON_HEADER] = why
        return self.client.get(f"/api/v1/clips/{clip}/picture", headers=headers)


@pytest.fixture
def gallery(tmp_path: Path) -> Iterator[Gallery]:
    with opened(tmp_path) as office, httpx.Client(base_url=office.url, trust_env=False, timeout=30) as client:
        for name, role in (("Rita", "responder"), ("Eve", "evidence"), ("Zoë Quinn", "wearer"), ("Bob", "wearer")):
            add_user(office.engine, name, [role], BY, NOW_MS)
        yield Gallery(office, Site(tmp_path, office.engine), client)


def test_a_picture_is_given_once_and_every_look_is_in_the_audit_log_once(gallery: Gallery) -> None:
    site = gallery.site
    sealed = site.seal(ordinary_clip().matroska())
    site.arrive(sealed, 0, len(sealed.segments) // 2)
    looking = pictures(site)

    assert gallery.get("Zoë Quinn", sealed.name).status_code == 204
    looking.turn()
    found = gallery.get("Zoë Quinn", sealed.name)
    assert (found.status_code, found.headers["content-type"]) == (200, "image/jpeg")
    assert found.headers["cache-control"] == "no-store"
    assert decodes(found.content)
    assert gallery.get("Zoë Quinn", sealed.name, found.headers["etag"]).status_code == 304
    assert gallery.get("Eve", sealed.name, why="complaint C-2031").status_code == 200

    looks = [line for line in gallery.office.lines() if line[1] == "newest_picture"]
    assert looks == [("Zoë Quinn", "newest_picture", "allowed"), ("Eve", "newest_picture", "allowed")]
    gallery.office.clock[0] += 3_600_001
    gallery.get("Eve", sealed.name)
    assert len([line for line in gallery.office.lines() if line[1] == "newest_picture"]) == 3


def test_an_open_alarm_is_reason_enough_and_is_entered_as_that(gallery: Gallery) -> None:
    site = gallery.site
    sealed = site.seal(ordinary_clip().matroska())
    site.arrive(sealed, 0, len(sealed.segments) // 2)
    pictures(site).turn()
    refused = gallery.get("Eve", sealed.name)
    assert (refused.status_code, "say first why" in refused.json()["detail"]) == (403, True)
    name = f"{site.device}-4-2"
    raised = {"id": name, "device": site.device, "boot": 4, "counter": 2, "kind": 1, "about": "", "detail": ""}
    raised |= {"test": False, "state": "received", "person": "Zoë Quinn", "team": "", "device_state": "active"}
    raised |= {"raised_wall_ms": NOW_MS, "raised_mono_ms": 1, "trust": 3, "received_ms": NOW_MS, "untold": False}
    with writing(site.engine) as connection:
        connection.execute(sa.insert(alarm).values(raised | {"clip": sealed.clip}))

    assert [gallery.get("Eve", sealed.name).status_code for _ in range(2)] == [204, 204]

    looks = list_looks(site.engine, (site.device, sealed.clip))
    assert [(one["seen"]["by"], one["reason"]) for one in looks] == [("Eve", f"the alarm {name} is open")]


def test_whoever_may_not_see_a_clip_is_not_told_that_it_is_there(gallery: Gallery) -> None:
    sealed = gallery.site.seal(ordinary_clip().matroska())
    gallery.site.arrive(sealed, 0, 9)

    for name in ("Bob", "Rita"):  # no alarm's clip
        assert gallery.get(name, sealed.name).status_code == 404
    assert gallery.get("Eve", "../../etc/passwd").status_code == 404
    assert LiveArea(gallery.site.views.root).asked(NOW_MS) == []


def test_an_assembled_clip_gives_its_last_picture_and_a_sealed_one_says_why_not(gallery: Gallery) -> None:
    site = gallery.site
    first = site.seal(ordinary_clip().matroska())
    second = site.seal(ordinary_clip().matroska(), 6, first)
    for sealed, keys in ((first, site.keys()), (second, site.keys(public_half(site.organisation)))):
        site.hold(sealed)
        Assembler(site.engine, site.vault, site.views, keys).assemble(site.device, sealed.clip, NOW_MS + 9000)

    found, refused = (gallery.get("Eve", one.name, why="complaint C-2031") for one in (first, second))

    assert found.content == ordinary_clip().frames[-1][1]
    assert (refused.status_code, "kept elsewhere" in refused.json()["detail"]) == (409, True)
