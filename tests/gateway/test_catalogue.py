"""Finding clips: by each thing that people know of one, and never what is hidden; pages neither lose nor repeat any."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from lapel_gateway.accounts.permissions import permissions_of
from lapel_gateway.accounts.principal import Principal
from lapel_gateway.ledger import reading, writing
from lapel_gateway.ledger.schema import alarm
from lapel_gateway.ledger.schema import clip as clips
from lapel_gateway.ledger.schema import device as devices
from lapel_gateway.people import set_person
from lapel_gateway.settings.visits import DEFAULT_RULES
from lapel_gateway.viewing import catalogue
from lapel_gateway.viewing.catalogue import SearchError, Wanted, condition_of, find_clips, one_clip, people_with_clips
from lapel_gateway.viewing.disclosures import Disclosure, enter_disclosure
from lapel_gateway.visits import plans
from lapel_gateway.visits.plans import Wanted as Planned
from lapel_gateway.web.clip_search import ClipSearch
from tests.gateway.ledgers import new_ledger

NOW_MS = 1_760_000_000_000
CAMERA, OTHER = "00" * 7 + "01", "00" * 7 + "02"
ZOE, BEN = "Zoë Quinn", "Ben Bow"
MINUTE_MS = 60_000


def user(name: str, *roles: str) -> Principal:
    return Principal(name, roles, permissions_of(roles), "session", "", 1)


EVE, RITA = user("Eve", "evidence"), user("Rita", "responder")


@dataclass
class Shelf:
    """A ledger with two devices; a clip begins so many minutes before now."""

    engine: sa.Engine

    def put(self, number: int, device: str = CAMERA, person: str = ZOE, ago_min: int = 0, **changes: Any) -> None:
        values: dict[str, Any] = {
            "device": device,
            "clip": number,
            "person": person,
            "device_state": "active",
            "state": "assembled",
            "alarm": False,
            "chain": "linked",
            "opening": "proved",
            "contiguous": 3,
            "extents": b"",
            "sealed_bytes": 9,
            "settled_by": "end",
            "settled_segments": 3,
            "receipt_segments": 3,
            "notice": 1,
            "first_ms": NOW_MS,
            "start_ms": NOW_MS - ago_min * MINUTE_MS,
        }
        with writing(self.engine) as connection:
            connection.execute(sa.insert(clips).values(values | changes))

    def find(self, who: Principal = EVE, limit: int = 60, after: str = "", **wanted: Any) -> list[int]:
        with reading(self.engine) as connection:
            found = find_clips(connection, Wanted(**wanted), who, limit, after)
        return [row["clip"] for row in found.rows]


@pytest.fixture
def shelf(tmp_path: Path) -> Iterator[Shelf]:
    with new_ledger(tmp_path) as engine:
        with writing(engine) as connection:
            for device, name in ((CAMERA, "Camera Äpfel"), (OTHER, "Camera 8")):
                values = {"device": device, "name": name, "state": "active", "person": "", "minimum_suite": 1}
                values |= {"sealed_key": b"", "provisioned_ms": 1, "authenticated_epoch": 0, "boot_floor": 0}
                values |= {"ledger_to": 0, "command_counter": 0, "status": "{}", "settings": "{}"}
                connection.execute(sa.insert(devices).values(values))
        yield Shelf(engine)


def test_clips_come_in_the_order_in_which_they_began_and_pages_neither_lose_nor_repeat_any(shelf: Shelf) -> None:
    for number in range(1, 12):
        shelf.put(number, ago_min=10 * (number // 3))  # several began in the same millisecond
    everything = shelf.find()
    assert sorted(everything) == list(range(1, 12))
    seen: list[int] = []
    after = ""
    with reading(shelf.engine) as connection:
        while True:
            page = find_clips(connection, Wanted(), EVE, 4, after)
            seen += [row["clip"] for row in page.rows]
            after = page.next
            if not after:
                break
    assert seen == everything


def test_a_clip_that_comes_in_while_somebody_pages_moves_nothing(shelf: Shelf) -> None:
    for number in range(1, 7):
        shelf.put(number, ago_min=number)
    with reading(shelf.engine) as connection:
        first = find_clips(connection, Wanted(), EVE, 3)
    shelf.put(7, ago_min=0)
    assert shelf.find(limit=3, after=first.next) == [4, 5, 6]


def test_each_thing_that_is_known_of_a_clip_finds_it(shelf: Shelf) -> None:
    set_person(shelf.engine, BEN, "North", "", NOW_MS)
    shelf.put(1, ago_min=50)
    shelf.put(2, OTHER, BEN, ago_min=40, alarm=True, notice=4)
    shelf.put(3, ago_min=30, state="open", settled_by=None, settled_segments=None, receipt_segments=None)
    shelf.put(4, ago_min=20, receipt_segments=2)
    shelf.put(5, ago_min=10, settled_by="cut", assembly='{"form": "opened"}')
    shelf.put(6, ago_min=5, assembly='{"files": {}, "form": "verified, sealed"}', opening="untried")
    shelf.put(7, ago_min=1, settled_by="lost", settled_segments=1)

    assert shelf.find(person=BEN) == shelf.find(team="North") == shelf.find(device=OTHER) == [2]
    assert shelf.find(device="camera äpfel") == [7, 6, 5, 4, 3, 1]
    assert shelf.find(started_by="alarm") == shelf.find(notice="alarm") == [2]
    assert shelf.find(started_by="plain", notice="confirmed", to_ms=NOW_MS - 25 * MINUTE_MS) == [3, 1]
    assert shelf.find(from_ms=NOW_MS - 5 * MINUTE_MS) == [7, 6]
    assert shelf.find(state="open") == [3]
    for condition, numbers in {
        catalogue.PENDING: [3],
        catalogue.INCOMPLETE: [7, 4],
        catalogue.CUT_SHORT: [5],
        catalogue.SEALED: [6],
        catalogue.WHOLE: [2, 1],
    }.items():
        assert shelf.find(condition=condition) == numbers
        with reading(shelf.engine) as connection:
            rows = connection.execute(sa.select(clips).where(clips.c.clip.in_(numbers))).mappings()
            assert {condition_of(row) for row in rows} == {condition}


@pytest.mark.parametrize(
    "query",
    [
        {"from": "2025-10-09T08:50:00Z"},
        {"to": "2025-10-09T08:50:00Z"},
        {"person": BEN},
        {"team": "North"},
        {"device": OTHER},
        {"kind": "alarm"},
        {"condition": "cut"},
        {"notice": "alarm"},
        {"words": "ben"},
        {"after": f"{NOW_MS}.{CAMERA}.1"},
    ],
    ids=str,
)
def test_each_word_of_a_requests_query_is_looked_for(shelf: Shelf, query: dict[str, str]) -> None:
    set_person(shelf.engine, BEN, "North", "", NOW_MS)
    shelf.put(1)
    shelf.put(2, OTHER, BEN, ago_min=60, alarm=True, notice=4, settled_by="cut")
    found = ClipSearch.model_validate(query).find(shelf.engine, EVE, UTC, 60)
    assert [row["clip"] for row in found.rows] == [1 if "from" in query else 2]
    everything = ClipSearch().find(shelf.engine, EVE, UTC, 60)
    assert [row["clip"] for row in everything.rows] == [1, 2]


def test_words_find_people_devices_ids_alarms_places_and_disclosures(shelf: Shelf) -> None:
    shelf.put(1, ago_min=-20)
    shelf.put(2, OTHER, BEN, alarm=True)
    raised = {"id": f"{OTHER}-4-2", "device": OTHER, "boot": 4, "counter": 2, "kind": 1, "about": "", "detail": ""}
    raised |= {"test": False, "state": "received", "person": BEN, "team": "", "device_state": "active", "clip": 2}
    raised |= {"raised_wall_ms": NOW_MS, "raised_mono_ms": 1, "trust": 3, "received_ms": NOW_MS, "untold": False}
    with writing(shelf.engine) as connection:
        connection.execute(sa.insert(alarm).values(raised))
        connection.execute(sa.update(devices).where(devices.c.device == CAMERA).values(person=ZOE))
    plans.plan(shelf.engine, Planned(person=ZOE, place="4 High Street"), "Rita", NOW_MS, DEFAULT_RULES)
    passed = Disclosure("police", "Thames Valley Police", "43/25-0012", NOW_MS)
    enter_disclosure(shelf.engine, (OTHER, 2), passed, "Eve", NOW_MS)

    for words in ("ZOË", "äpfel", CAMERA, f"{CAMERA}-1", "high street"):
        assert shelf.find(words=words) == [1], words
    for words in ("ben", "camera 8", f"{OTHER}-2", f"{OTHER}-4-2", "43/25", "thames valley"):
        assert shelf.find(words=words) == [2], words
    assert (shelf.find(RITA, words="ben"), shelf.find(RITA, words="43/25")) == ([2], [])
    assert shelf.find(words="  camera ") == [1, 2]
    assert shelf.find(words="%") == shelf.find(words="_") == shelf.find(words="nobody") == []


def test_a_clip_that_ran_when_an_alarm_was_raised_is_shown_to_whoever_may_see_alarms_clips(shelf: Shelf) -> None:
    shelf.put(1)
    shelf.put(3)
    raised = {"id": f"{CAMERA}-4-2", "device": CAMERA, "boot": 4, "counter": 2, "kind": 1, "about": "", "detail": ""}
    raised |= {"test": False, "state": "received", "person": ZOE, "team": "", "device_state": "active", "clip": 3}
    raised |= {"raised_wall_ms": NOW_MS, "raised_mono_ms": 1, "trust": 3, "received_ms": NOW_MS, "untold": False}
    with writing(shelf.engine) as connection:
        connection.execute(sa.insert(alarm).values(raised))

    with reading(shelf.engine) as connection:
        shown = {
            (who.name, number): one_clip(connection, f"{CAMERA}-{number}", who) is not None
            for who in (RITA, user("Tess", "technician"), user(BEN, "wearer"))
            for number in (1, 3)
        }
    assert [key for key, seen in shown.items() if seen] == [("Rita", 3)]
    assert shelf.find(RITA) == []


def test_nobody_finds_what_they_may_not_know_of_whatever_they_look_for(shelf: Shelf) -> None:
    shelf.put(1)
    shelf.put(2, OTHER, BEN, alarm=True)
    ben = user(BEN, "wearer")
    assert shelf.find(user(ZOE, "wearer")) == [1]
    assert shelf.find(RITA) == shelf.find(ben) == [2]
    assert shelf.find(user(ZOE, "wearer", "responder")) == [2, 1]
    assert shelf.find(user("Tess", "technician")) == []
    hidden: list[dict[str, Any]] = [{"words": "zoë"}, {"words": f"{CAMERA}-1"}, {"person": ZOE}, {"device": CAMERA}]
    for wanted in hidden:
        assert shelf.find(ben, **wanted) == shelf.find(RITA, **wanted) == []


@pytest.mark.parametrize(
    "wanted",
    [{"started_by": "x"}, {"condition": "x"}, {"notice": "x"}, {"words": "x" * 201}, {"after": "1.2.3"}],
    ids=str,
)
def test_what_cannot_be_looked_for_is_refused(shelf: Shelf, wanted: dict[str, Any]) -> None:
    with pytest.raises(SearchError):
        shelf.find(**wanted)


def test_everybody_with_clips_is_named_once(shelf: Shelf) -> None:
    for number, person in enumerate((ZOE, BEN, "", ZOE, BEN)):
        shelf.put(number, person=person)
    with reading(shelf.engine) as connection:
        assert people_with_clips(connection) == [BEN, ZOE]


@pytest.mark.parametrize(
    ("who", "wanted"),
    [
        (EVE, {}),
        (EVE, {"person": BEN}),
        (EVE, {"team": "North"}),
        (EVE, {"device": "Camera 8"}),
        (EVE, {"words": "ben"}),
        (EVE, {"from_ms": 1, "to_ms": 2}),
        (RITA, {}),
        (user(BEN, "wearer"), {}),
        (user(BEN, "wearer"), {"words": "camera"}),
    ],
    ids=lambda part: getattr(part, "name", None) or str(part),
)
def test_no_search_by_what_is_indexed_reads_or_sorts_every_clip(
    shelf: Shelf, who: Principal, wanted: dict[str, Any]
) -> None:
    shelf.put(1, OTHER, BEN)
    asked: list[str] = []
    with reading(shelf.engine) as connection:
        driver: Any = connection.connection.driver_connection
        driver.set_trace_callback(asked.append)
        find_clips(connection, Wanted(**wanted), who, after=f"{NOW_MS}.{OTHER}.9")
        driver.set_trace_callback(None)
        plans_of = [
            row[3]
            for one in asked
            if one.lstrip().startswith(("SELECT", "WITH"))
            for row in connection.exec_driver_sql("EXPLAIN QUERY PLAN " + one.replace(":", "::"))
        ]
    assert any("clip" in step for step in plans_of)
    assert [step for step in plans_of if re.match(r"SCAN clip(?! USING (COVERING )?INDEX)", step)] == []
    if not wanted:
        assert [step for step in plans_of if "TEMP B-TREE" in step] == []
