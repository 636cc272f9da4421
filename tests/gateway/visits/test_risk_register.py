"""The risk register: found however an address is written, and silent about every other address."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st

from lapel_gateway.ledger import reading
from lapel_gateway.settings.visits import DAY_MS
from lapel_gateway.visits import risk_register
from lapel_gateway.visits.risk_register import RiskError, about_key, place_key
from tests.gateway.ledgers import new_ledger

NOW_MS = 1_790_000_000_000


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[sa.Engine]:
    with new_ledger(tmp_path) as engine:
        yield engine


def add(engine: sa.Engine, place: str = "", about: str = "", days: int = 30) -> int:
    review_ms = NOW_MS + days * DAY_MS
    return risk_register.add_risk(engine, place, about, "beware", "Ann", review_ms, NOW_MS).id


def found(engine: sa.Engine, place: str, present: str = "", now_ms: int = NOW_MS) -> list[int]:
    with reading(engine) as connection:
        return [risk.id for risk in risk_register.find_risks(connection, place, present, now_ms)]


@pytest.mark.parametrize(
    "written",
    [
        "12 High Street, Leeds LS1 4AB",
        "12 high st leeds ls14ab",
        "12, HIGH ST., LEEDS; LS1 4AB",
        "12  High\tStreet Leeds  ls1 4ab",
        "12 High Street LS1 4AB",
        "LS1 4AB",
    ],
)
def test_a_place_is_found_however_it_is_written(engine: sa.Engine, written: str) -> None:
    number = add(engine, "12 High Street, Leeds LS1 4AB")
    assert found(engine, written) == [number]


@pytest.mark.parametrize(
    "other",
    [
        "14 High Street, Leeds LS1 4AB",
        "12 High Street, Leeds LS1 4AC",
        "12 High Road, York",
        "112 High Street",
        "High Street",
        "",
        "?!",
    ],
)
def test_other_places_are_not_warned_of(engine: sa.Engine, other: str) -> None:
    add(engine, "12 High Street, Leeds LS1 4AB")
    add(engine, "", "John Smith")
    assert found(engine, other) == []


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("5 Mill Rd", "5 mill road"),
        ("Apt 3, 9 Park Ave", "Flat 3 9 Park Avenue"),
        ("St. Mary's Cl", "st marys close"),
        ("Çelik Sq. 4", "celik square 4"),
        ("No. 7 Elm Gdns", "7 elm gardens"),
    ],
)
def test_usual_abbreviations_accents_and_apostrophes_make_no_difference(one: str, other: str) -> None:
    assert place_key(one) == place_key(other)


def test_an_entry_of_a_postcode_alone_stands_for_every_house_there(engine: sa.Engine) -> None:
    number = add(engine, "LS1 4AB")
    assert found(engine, "99 Any Street ls14ab") == [number]
    assert found(engine, "99 Any Street") == []


@pytest.mark.parametrize(
    "present", ["John Smith", "Mary, mr JOHN  smith", "Mary and Dr. John Smith; Bo", "bo/john smith"]
)
def test_a_person_is_found_among_those_who_are_expected(engine: sa.Engine, present: str) -> None:
    number = add(engine, "", "Mr John Smith")
    assert found(engine, "anywhere", present) == [number]
    assert found(engine, "anywhere", "John Smithson") == []


def test_a_person_who_is_known_at_one_place_is_warned_of_at_another(engine: sa.Engine) -> None:
    number = add(engine, "12 High Street", "John Smith")
    assert found(engine, "3 Mill Road", "John Smith") == found(engine, "12 High Street") == [number]


def test_a_review_that_is_late_is_said_and_the_warning_still_shown(engine: sa.Engine) -> None:
    number = add(engine, "12 High Street", days=2)
    with reading(engine) as connection:
        for days, late in ((1, False), (3, True)):
            (risk,) = risk_register.find_risks(connection, "12 high st", "", NOW_MS + days * DAY_MS)
            assert (risk.id, risk.overdue) == (number, late)
    later_ms = NOW_MS + 3 * DAY_MS
    reviewed = risk_register.review_risk(engine, number, later_ms + DAY_MS, "a quieter dog", "Bo", later_ms)
    assert (reviewed.overdue, reviewed.note, reviewed.owner) == (False, "a quieter dog", "Bo")
    assert risk_register.review_risk(engine, number, later_ms + DAY_MS, None, "Bo", later_ms).note == "a quieter dog"


def test_an_ended_entry_is_kept_and_not_shown(engine: sa.Engine) -> None:
    number = add(engine, "12 High Street")
    ended = risk_register.end_risk(engine, number, "Bo", NOW_MS + 5)
    assert (ended.ended_by, ended.ended_ms, ended.overdue) == ("Bo", NOW_MS + 5, False)
    assert found(engine, "12 High Street") == []
    assert risk_register.list_risks(engine, NOW_MS) == []
    assert [risk.id for risk in risk_register.list_risks(engine, NOW_MS, every=True)] == [number]
    with pytest.raises(RiskError, match="has ended"):
        risk_register.end_risk(engine, number, "Bo", NOW_MS)


@pytest.mark.parametrize(
    ("place", "about", "note", "owner", "days"),
    [
        ("", "", "x", "Ann", 1),
        ("!", "?", "x", "Ann", 1),
        ("x" * 201, "", "x", "Ann", 1),
        ("x", "y" * 81, "x", "Ann", 1),
        ("x", "", "", "Ann", 1),
        ("x", "", "n" * 501, "Ann", 1),
        ("x", "", "\x1b[2J", "Ann", 1),
        ("x", "", "x", "", 1),
        ("x", "", "x", "Ann", 0),
        ("x", "", "x", "Ann", 6 * 366),
    ],
)
def test_what_is_out_of_bounds_is_refused(
    engine: sa.Engine, place: str, about: str, note: str, owner: str, days: int
) -> None:
    with pytest.raises(RiskError):
        risk_register.add_risk(engine, place, about, note, owner, NOW_MS + days * DAY_MS, NOW_MS)
    with pytest.raises(RiskError, match="no entry 7"):
        risk_register.end_risk(engine, 7, "Ann", NOW_MS)
    assert risk_register.list_risks(engine, NOW_MS) == []


@given(st.text(max_size=60))
def test_any_text_has_a_key_that_is_its_own_key(text: str) -> None:
    key, postcode = place_key(text)
    again = place_key(f"{key} {postcode}")
    assert about_key(about_key(text)) == about_key(text)
    assert (key == "") <= (place_key(key) == ("", ""))
    assert again[1] in ("", postcode) or postcode == ""
