"""The rule of two for exports: asked for by one, agreed to by another, for a day and for that clip alone."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from lapel_gateway.ledger import reading
from lapel_gateway.viewing.approvals import (
    HOLDS_MS,
    ApprovalError,
    NoSuchRequest,
    Standing,
    approve_export,
    ask_export,
    check_export,
    check_made,
    list_requests,
    note_made,
    note_trouble,
    standing_exports,
)
from tests.gateway.ledgers import new_ledger
from tests.gateway.sealed import NOW_MS, Site

EVE, EMIL = "Eve Evans", "Emil Ek"


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with new_ledger(tmp_path) as engine:
        site = Site(tmp_path, engine)
        for number in (5, 6):
            site.hold(site.seal(b"plain", number))
        yield site


def ask(site: Site, now_ms: int = NOW_MS, *, two_needed: bool = True) -> int:
    asked = ask_export(site.engine, (site.device, 5), "hearing", "", EVE, now_ms, two_needed=two_needed)
    number: int = asked["number"]
    return number


def check(site: Site, number: int, now_ms: int, clip: int = 5, *, two_needed: bool = True) -> None:
    with reading(site.engine) as connection:
        check_export(connection, (site.device, clip), number, now_ms, two_needed=two_needed)


def due(site: Site, now_ms: int = NOW_MS, *, two_needed: bool = True) -> list[int]:
    with reading(site.engine) as connection:
        standing = standing_exports(connection, now_ms, two_needed=two_needed)
    return [one.number for one in standing if one.due]


def test_what_a_second_person_agreed_to_can_be_exported_for_a_day(site: Site) -> None:
    number = ask(site)
    with pytest.raises(ApprovalError, match="nobody has agreed"):
        check(site, number, NOW_MS)

    agreed = approve_export(site.engine, (site.device, 5), number, EMIL, NOW_MS + HOLDS_MS - 1)

    assert (agreed["state"], agreed["asked"]["by"], agreed["approved"]["by"]) == ("approved", EVE, EMIL)
    check(site, number, NOW_MS + 2 * HOLDS_MS - 2)
    with pytest.raises(ApprovalError, match="more than a day old"):
        check(site, number, NOW_MS + 2 * HOLDS_MS - 1)


@pytest.mark.parametrize("name", [EVE, "eve  evans", "EVE EVANS"])
def test_nobody_agrees_to_what_they_asked_for_themselves(site: Site, name: str) -> None:
    number = ask(site)
    with pytest.raises(ApprovalError, match="yourself"):
        approve_export(site.engine, (site.device, 5), number, name, NOW_MS)
    assert list_requests(site.engine, (site.device, 5), NOW_MS)[0]["state"] == "waiting"


def test_a_request_is_for_one_clip_alone(site: Site) -> None:
    number = ask(site)
    approve_export(site.engine, (site.device, 5), number, EMIL, NOW_MS)
    for clip, named in ((6, number), (5, number + 1)):
        with pytest.raises(NoSuchRequest):
            check(site, named, NOW_MS, clip)
        with pytest.raises(NoSuchRequest):
            approve_export(site.engine, (site.device, clip), named, EMIL, NOW_MS)
    assert list_requests(site.engine, (site.device, 6), NOW_MS) == []


def test_what_was_agreed_to_or_is_over_is_agreed_to_no_more(site: Site) -> None:
    number = ask(site)
    approve_export(site.engine, (site.device, 5), number, EMIL, NOW_MS)
    with pytest.raises(ApprovalError, match="Emil Ek agreed"):
        approve_export(site.engine, (site.device, 5), number, "Otto", NOW_MS + 1)
    old = ask(site)
    for later_ms in (NOW_MS + HOLDS_MS, NOW_MS - HOLDS_MS):
        with pytest.raises(ApprovalError, match="ask anew"):
            approve_export(site.engine, (site.device, 5), old, EMIL, later_ms)


def test_a_request_needs_a_reason_and_a_clip_that_is_here(site: Site) -> None:
    with pytest.raises(ApprovalError, match="say in some words"):
        ask_export(site.engine, (site.device, 5), " ", "", EVE, NOW_MS, two_needed=False)
    with pytest.raises(ApprovalError, match="nothing to export"):
        ask_export(site.engine, (site.device, 7), "hearing", "", EVE, NOW_MS, two_needed=False)
    assert list_requests(site.engine, (site.device, 5), NOW_MS) == []


def test_where_one_person_is_enough_whoever_asks_has_agreed_until_two_are_needed(site: Site) -> None:
    number = ask(site, two_needed=False)
    check(site, number, NOW_MS, two_needed=False)
    assert due(site, two_needed=False) == [number]
    with pytest.raises(ApprovalError, match="two are needed now"):
        check(site, number, NOW_MS)
    assert due(site) == []


def test_what_two_agreed_to_is_due_until_it_is_made_or_over(site: Site) -> None:
    waiting, number = ask(site), ask(site)
    approve_export(site.engine, (site.device, 5), number, EMIL, NOW_MS)
    assert due(site) == [number]
    with pytest.raises(ApprovalError, match="is being made"):
        check_made(site.engine, (site.device, 5), number, NOW_MS, two_needed=True)

    note_trouble(site.engine, number, "the disk is full")
    with pytest.raises(ApprovalError, match="the disk is full"):
        check_made(site.engine, (site.device, 5), number, NOW_MS, two_needed=True)
    assert due(site) == [number], "what failed is tried again"
    assert due(site, NOW_MS + HOLDS_MS) == []

    note_made(site.engine, number, 1234, "ab" * 32, NOW_MS + 5)
    [shown, other] = list_requests(site.engine, (site.device, 5), NOW_MS)
    assert (shown["file"]["bytes"], shown["file"]["sha256"], shown["trouble"]) == (1234, "ab" * 32, None)
    assert (other["number"], other["file"]) == (waiting, None)
    assert check_made(site.engine, (site.device, 5), number, NOW_MS, two_needed=True)["made_bytes"] == 1234
    assert due(site) == []
    with reading(site.engine) as connection:
        assert standing_exports(connection, NOW_MS, two_needed=True) == [Standing(number, (site.device, 5), due=False)]
        assert standing_exports(connection, NOW_MS + HOLDS_MS, two_needed=True) == []
