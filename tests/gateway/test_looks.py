"""Why people look at clips: asked before anything is seen, kept for ever, told to whoever is seen."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import av
import httpx
import pytest
import sqlalchemy as sa

from lapel_gateway.ledger import reading, writing
from lapel_gateway.ledger.schema import clip as clips
from lapel_gateway.ledger.schema import clip_view
from lapel_gateway.viewing import thumbnail
from lapel_gateway.viewing.assembly import Assembler
from lapel_gateway.viewing.media import survey
from tests.gateway.accounts.office import HOUR_MS, NOW_MS, Office, opened
from tests.gateway.footage import FRAMES_MS, Clip, jpegs, ordinary_clip
from tests.gateway.sealed import Site
from tests.support.accounts import token_of

WEARER = "Zoë Quinn"
REASON = {"X-Lapel-Reason": "incident 7"}


@dataclass
class Hall:
    """A gateway with an alarm's clip of one wearer, and people who look."""

    office: Office
    site: Site
    client: httpx.Client

    @property
    def path(self) -> str:
        return f"/api/v1/clips/{self.site.device}-5"

    def token(self, name: str, role: str) -> dict[str, str]:
        return {"authorization": f"Bearer {token_of(self.office.engine, name, NOW_MS, [role])}"}

    def session(self, name: str) -> dict[str, str]:
        cookie = self.office.session(name)
        form = self.office.installed.seal.form_token(cookie)
        return {"cookie": f"lapel-session={cookie}", "x-form-token": form, "origin": self.office.url}

    def media(self, headers: dict[str, str], kind: str = "mp4") -> httpx.Response:
        return self.client.get(f"{self.path}/media/{kind}", headers=headers)

    def entered(self) -> list[tuple[str, str, str, str, str]]:
        with reading(self.office.engine) as connection:
            rows = connection.execute(sa.select(clip_view).order_by(clip_view.c.id))
            return [(row.by, row.how, row.kind, row.reason, row.reference) for row in rows]


@pytest.fixture
def hall(tmp_path: Path) -> Iterator[Hall]:
    with opened(tmp_path) as office:
        site = Site(tmp_path, office.engine)
        site.hold(site.seal(ordinary_clip().matroska()))
        Assembler(office.engine, site.vault, site.views, site.keys()).assemble(site.device, 5, NOW_MS)
        with writing(office.engine) as connection:
            connection.execute(sa.update(clips).values(alarm=True))
        with httpx.Client(base_url=office.url, trust_env=False, timeout=30) as client:
            yield Hall(office, site, client)


def test_a_program_sees_nothing_of_somebody_elses_clip_before_it_said_why(hall: Hall) -> None:
    eve = hall.token("Eve", "evidence")
    for path in ("media/mp4", "media/mkv", "media/vtt", "frames"):
        refused = hall.client.get(f"{hall.path}/{path}", headers=eve)
        assert refused.status_code == 403
        assert "X-Lapel-Reason" in refused.json()["detail"]
        assert f"POST {hall.path}/views" in refused.json()["detail"]
    assert hall.entered() == []

    assert hall.media(eve | REASON).status_code == 200
    assert hall.client.get(f"{hall.path}/frames", headers=eve).json() == {"frames_ms": list(FRAMES_MS)}
    assert hall.media(eve | REASON).status_code == 200
    assert hall.entered() == [("Eve", "token", "other", "incident 7", "")]


def test_a_reason_holds_twelve_hours_and_for_one_session(hall: Hall) -> None:
    hall.office.add("Eve", ["evidence"])
    eve, elsewhere = hall.session("Eve"), hall.session("Eve")
    given = {"kind": "complaint", "reference": "C-9"}
    assert hall.client.post(f"{hall.path}/views", headers=eve, json=given).status_code == 201

    assert hall.media(eve).status_code == 200
    assert hall.media(elsewhere).status_code == 403
    assert hall.media(hall.token("Eve", "evidence")).status_code == 403
    for hour in range(1, 13):
        hall.office.clock[0] = NOW_MS + hour * HOUR_MS - HOUR_MS // 2
        assert hall.media(eve).status_code == 200
    hall.office.clock[0] = NOW_MS + 12 * HOUR_MS
    assert hall.media(eve).status_code == 403
    assert hall.entered() == [("Eve", "session", "complaint", "", "C-9")]


def test_a_header_is_no_reason_within_a_session(hall: Hall) -> None:
    hall.office.add("Eve", ["evidence"])
    assert hall.media(hall.session("Eve") | REASON).status_code == 403


def test_a_wearers_look_at_their_own_clip_needs_no_reason_and_is_entered_once(hall: Hall) -> None:
    zoe = hall.token(WEARER, "wearer")
    assert [hall.media(zoe, kind).status_code for kind in ("mp4", "vtt", "mp4")] == [200, 200, 200]
    assert hall.entered() == [(WEARER, "token", "own", "", "")]


@pytest.mark.parametrize(
    "given",
    [{}, {"kind": "complaint"}, {"kind": "boredom", "reason": "x"}, {"kind": "other", "reference": "C-9"}],
    ids=str,
)
def test_a_reason_that_is_none_is_refused_and_enters_nothing(hall: Hall, given: dict[str, str]) -> None:
    eve = hall.token("Eve", "evidence")
    refused = hall.client.post(f"{hall.path}/views", headers=eve, json=given)
    assert refused.status_code == 422
    assert hall.media(eve | {"X-Lapel-Reason": ""}).status_code == 422
    assert hall.entered() == []


def test_whoever_is_seen_is_told_who_looked_and_why_and_others_are_not(hall: Hall) -> None:
    hall.media(hall.token("Eve", "evidence") | REASON)
    hall.media(hall.token("Rita", "responder") | {"X-Lapel-Reason": "the alarm"})
    zoe = hall.token(WEARER, "wearer")
    hall.media(zoe)

    def told(headers: dict[str, str], path: str = f"{hall.path}/views") -> Any:
        answer = hall.client.get(path, headers=headers)
        assert answer.status_code == 200
        return [(one["seen"]["by"], one["reason"]) for one in answer.json()["views"]]

    others = [("Rita", "the alarm"), ("Eve", "incident 7")]
    assert told(zoe) == [(WEARER, None), *others]
    assert told(zoe, "/api/v1/clip-views") == others
    assert told(hall.token("Wim", "wearer"), "/api/v1/clip-views") == []
    assert told(hall.token("Olive", "operator")) == told(hall.token("Otto", "auditor")) == told(zoe)
    assert hall.client.get(f"{hall.path}/views", headers=hall.token("Wim", "wearer")).status_code == 404


def test_who_looked_is_never_changed_or_removed(hall: Hall) -> None:
    hall.media(hall.token("Eve", "evidence") | REASON)
    for change in ("UPDATE clip_view SET reason = ''", "DELETE FROM clip_view"):
        added = pytest.raises(sa.exc.IntegrityError, match="only ever added to")
        with added, writing(hall.office.engine) as connection:
            connection.exec_driver_sql(change)
    assert len(hall.entered()) == 1


def test_the_small_picture_is_sharp_after_a_reason_blurred_before_and_not_for_who_may_not_play(hall: Hall) -> None:
    def picture(headers: dict[str, str]) -> bytes:
        answer = hall.client.get(f"{hall.path}/thumbnail", headers=headers)
        assert (answer.status_code, answer.headers["content-type"]) == (200, "image/jpeg")
        return answer.content

    folder = hall.site.views.folder(hall.site.device, 5)
    sharp, blurred = ((folder / name).read_bytes() for name in (thumbnail.THUMBNAIL, thumbnail.BLURRED))
    eve = hall.token("Eve", "evidence")
    assert picture(eve) == blurred
    hall.media(eve | REASON)
    assert picture(eve) == picture(hall.token(WEARER, "wearer")) == sharp
    for name, role in (("Otto", "auditor"), ("Wim", "wearer")):
        assert hall.client.get(f"{hall.path}/thumbnail", headers=hall.token(name, role)).status_code == 404


def test_small_pictures_are_no_part_of_what_is_forwarded(hall: Hall) -> None:
    words = hall.client.get(hall.path, headers=hall.token("Eve", "evidence")).json()
    assert set(words["assembly"]["files"]) == {"clip.mkv", "clip.mp4", "clip.vtt"}


def test_the_picture_that_shows_most_is_taken_and_nobody_can_be_told_on_the_blurred_one(tmp_path: Path) -> None:
    shown = jpegs(3)[2]
    dark = _black(320, 180)
    matroska = tmp_path / "clip.mkv"
    matroska.write_bytes(Clip(frames=[(100 * at, dark) for at in range(1, 5)] + [(500, shown)]).matroska())
    thumbnail.write_thumbnails(matroska, survey(matroska), tmp_path)

    sharp, blurred = (_spread(tmp_path / name) for name in (thumbnail.THUMBNAIL, thumbnail.BLURRED))
    assert sharp[0] == (320, 180)
    assert sharp[1] > 20
    assert blurred[0] == (320, 180)
    assert blurred[1] < sharp[1] / 4


def _black(width: int, height: int) -> bytes:
    encoder: Any = av.CodecContext.create("mjpeg", "w")
    encoder.width, encoder.height, encoder.pix_fmt, encoder.time_base = width, height, "yuvj422p", Fraction(1, 1000)
    frame = av.VideoFrame(width, height, "yuvj422p")
    for number, plane in enumerate(frame.planes):
        plane.update(bytes([0 if number == 0 else 128]) * plane.buffer_size)
    frame.pts = 0
    return b"".join(bytes(packet) for packet in [*encoder.encode(frame), *encoder.encode(None)])


def _spread(path: Path) -> tuple[tuple[int, int], float]:
    """A picture's size, and how much neighbouring pixels differ at most along a line."""
    with av.open(str(path)) as container:
        frame = next(container.decode(video=0)).reformat(format="gray")
    plane = frame.planes[0]
    data = bytes(plane)
    lines = [data[at : at + frame.width] for at in range(0, len(data), plane.line_size)]
    steps = [abs(a - b) for line in lines for a, b in pairwise(line)]
    return (frame.width, frame.height), float(sorted(steps)[-len(steps) // 200])


@pytest.mark.parametrize(("width", "height"), [(16, 2000), (2000, 16), (2, 2)])
def test_a_picture_of_an_odd_shape_keeps_no_clip_from_being_assembled(tmp_path: Path, width: int, height: int) -> None:
    matroska = tmp_path / "clip.mkv"
    clip = Clip(frames=[(100, _black(width, height))], width=width, height=height)
    matroska.write_bytes(clip.matroska())

    thumbnail.write_thumbnails(matroska, survey(matroska), tmp_path)

    assert (tmp_path / thumbnail.THUMBNAIL).exists() == (tmp_path / thumbnail.BLURRED).exists()
