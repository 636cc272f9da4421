"""Clips that were passed on: entered once they are here, shown to whoever may see the clip, never changed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from lapel_gateway.viewing.disclosures import Disclosure, DisclosureError, enter_disclosure, list_disclosures
from tests.gateway.footage import ordinary_clip
from tests.gateway.ledgers import new_ledger
from tests.gateway.sealed import NOW_MS, SealedClip, Site
from tests.gateway.test_web import Desk, desk

__all__ = ["desk"]

POLICE = Disclosure("police", "Kent Police, DC Hale", "CR-17", NOW_MS)


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with new_ledger(tmp_path) as engine:
        yield Site(tmp_path, engine)


@pytest.fixture
def clip(site: Site) -> SealedClip:
    sealed = site.seal(ordinary_clip().matroska())
    site.hold(sealed)
    return sealed


def test_entries_are_listed_the_newest_first(site: Site, clip: SealedClip) -> None:
    enter_disclosure(site.engine, (site.device, clip.clip), POLICE, "Vic", NOW_MS)
    court = Disclosure("court", "Maidstone", "", NOW_MS + 5)
    enter_disclosure(site.engine, (site.device, clip.clip), court, "Vic", NOW_MS + 9)
    newest, oldest = list_disclosures(site.engine, (site.device, clip.clip))
    assert (newest["kind"], newest["reference"], newest["entered"]["ms"]) == ("court", None, NOW_MS + 9)
    assert (oldest["recipient"], oldest["reference"]) == ("Kent Police, DC Hale", "CR-17")
    assert oldest["entered"]["by"] == "Vic"
    assert list_disclosures(site.engine, (site.device, clip.clip + 1)) == []


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        (Disclosure("paper", "The Gazette", "", NOW_MS), "one of police, court"),
        (Disclosure("police", "  ", "", NOW_MS), "say who has the clip"),
        (Disclosure("police", "x" * 201, "", NOW_MS), "at most 200"),
        (Disclosure("police", "DC\x1b[2J", "", NOW_MS), "printable"),
        (Disclosure("police", "DC Hale", "r" * 101, NOW_MS), "at most 100"),
        (Disclosure("police", "DC Hale", "", NOW_MS + 1), "after it was"),
    ],
)
def test_an_entry_that_says_nothing_is_refused(site: Site, clip: SealedClip, entry: Disclosure, words: str) -> None:
    with pytest.raises(DisclosureError, match=words):
        enter_disclosure(site.engine, (site.device, clip.clip), entry, "Vic", NOW_MS)
    assert list_disclosures(site.engine) == []


@pytest.mark.parametrize("by", ["", " ", "Vic\x1b[2J", "v" * 129])
def test_whoever_passed_it_on_has_a_name(site: Site, clip: SealedClip, by: str) -> None:
    with pytest.raises(DisclosureError, match="whoever passed it on"):
        enter_disclosure(site.engine, (site.device, clip.clip), POLICE, by, NOW_MS)
    assert list_disclosures(site.engine) == []


def test_a_clip_that_is_not_here_cannot_have_been_passed_on(site: Site, clip: SealedClip) -> None:
    with pytest.raises(DisclosureError, match="there is no clip"):
        enter_disclosure(site.engine, (site.device, clip.clip + 1), POLICE, "Vic", NOW_MS)


def test_the_api_enters_it_in_the_users_name(desk: Desk) -> None:
    sealed = desk.site.seal(ordinary_clip().matroska())
    desk.site.hold(sealed)
    path = f"/api/v1/clips/{sealed.name}/disclosures"
    made = desk.client.post(path, json={"kind": "police", "recipient": "DC Hale"}, headers=desk.ann)
    assert made.status_code == 201, made.text
    [entry] = desk.get(path).json()["disclosures"]
    assert entry["entered"]["by"] == "Ann Archer"
    refused = desk.client.post(path, json={"kind": "paper", "recipient": "x"}, headers=desk.ann)
    assert (refused.status_code, "one of police" in refused.json()["detail"]) == (422, True)
    assert desk.client.post(path, json={"kind": "police", "recipient": "x"}).status_code == 401
    assert desk.get("/api/v1/clips/nothing/disclosures").status_code == 404
