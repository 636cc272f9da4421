"""What about a device wants a look, and that those come first."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from lapel_gateway.devices.attention import IN_CONTACT, NEVER, SILENT, Concern, concerns, link_of
from lapel_gateway.devices.self_tests import keep_self_test
from lapel_gateway.devices.states import Judging, list_states, read_device, worst_first
from lapel_gateway.settings.devices import DevicesSection
from tests.support.pair import DevicePair

RULES = DevicesSection()
NO_TESTS = DevicesSection(self_test_days=0)
DAY_MS = 86_400_000
LATE_MS = 180_000
PASSED = [{"name": "camera", "outcome": "passed", "found": "", "remedy": ""}]
FAILED = [{"name": "camera", "outcome": "failed", "found": "no picture", "remedy": "clean the lens"}]

WELL: dict[str, Any] = {
    "state": "active",
    "found": None,
    "person": "Ann",
    "link": IN_CONTACT,
    "status": {"battery_percent": 80, "clips_held": 0},
    "self_test": {"passed": True, "at": {"ms": 0}},
    "update": None,
}


def told(rules: DevicesSection = RULES, now_ms: int = DAY_MS, **differs: Any) -> list[tuple[str, str]]:
    return [(one.level, one.words.partition(":")[0]) for one in concerns({**WELL, **differs}, rules, now_ms)]


def test_a_device_that_is_well_wants_no_look() -> None:
    assert told() == []


@pytest.mark.parametrize(
    ("differs", "wanted"),
    [
        ({"state": "lost"}, [("bad", "lost")]),
        ({"state": "lost", "found": {"ms": 1}}, [("warn", "found again")]),
        ({"state": "retired", "link": SILENT}, []),
        ({"link": SILENT}, [("bad", "silent in the hands of Ann")]),
        ({"link": SILENT, "person": ""}, []),
        ({"link": NEVER}, []),
        ({"link": SILENT, "person": "", "status": {"clips_held": 4}}, [("warn", "4 clips are still on it")]),
        ({"status": {"battery_percent": 14}}, [("bad", "battery at 14 %")]),
        ({"status": {"battery_percent": 14}, "person": ""}, [("warn", "battery at 14 %")]),
        ({"status": {"battery_percent": 15}}, []),
        ({"status": {"storage_full": True}}, [("bad", "its storage is full")]),
        ({"status": None}, []),
        ({"self_test": None}, [("warn", "no self-test is on record")]),
        ({"self_test": {"passed": False, "at": {"ms": 0}}}, [("bad", "its last self-test failed")]),
        ({"update": {"step": "rolled_back", "why": "silent"}}, [("warn", "its last update rolled back")]),
        ({"update": {"step": "good", "why": None}}, []),
    ],
)
def test_what_is_not_well_is_said_with_what_to_do(differs: dict[str, Any], wanted: list[tuple[str, str]]) -> None:
    assert told(**differs) == wanted


def test_a_self_test_grows_old_only_where_one_is_asked_for() -> None:
    assert told(now_ms=30 * DAY_MS) == [("warn", "its last self-test is 30 days old")]
    assert told(NO_TESTS, now_ms=30 * DAY_MS, self_test=None) == []


def test_what_is_bad_is_said_first() -> None:
    found = concerns({**WELL, "self_test": None, "status": {"battery_percent": 3}}, RULES, DAY_MS)
    assert [one.level for one in found] == ["bad", "warn"]
    assert found[0] == Concern("bad", "battery at 3 %: charge it")


def test_a_link_is_silent_from_the_moment_that_it_is_late() -> None:
    assert link_of(None, 5, 10) == NEVER
    assert link_of(100, 109, 10) == IN_CONTACT
    assert link_of(100, 110, 10) == SILENT


def test_a_list_has_each_devices_newest_self_test_and_the_worst_come_first(tmp_path: Path) -> None:
    pair = DevicePair(tmp_path, devices=3)
    one, two, three = pair.devices
    for device in pair.devices:
        pair.greet(device)
        pair.send(device.heartbeat(), device=device)
    keep_self_test(pair.engine, one.name, "board 1", FAILED, "Tess", pair.now_ms)
    keep_self_test(pair.engine, one.name, "board 1", PASSED, "Tess", pair.now_ms)
    keep_self_test(pair.engine, three.name, "board 3", PASSED, "Tess", pair.now_ms)
    keep_self_test(pair.engine, three.name, "board 3", FAILED, "Tess", pair.now_ms)
    by = Judging(pair.now_ms, LATE_MS, RULES)
    found = {words["device"]: words for words in list_states(pair.engine, by)}
    assert found[one.name]["self_test"]["passed"] is True
    assert found[one.name]["attention"] == []
    assert found[one.name]["link"] == IN_CONTACT
    assert found[two.name]["self_test"] is None
    assert [words["device"] for words in worst_first(list_states(pair.engine, by))] == [
        three.name,
        two.name,
        one.name,
    ]
    whole = read_device(pair.engine, three.name, by)
    assert whole is not None
    assert whole["self_tests"][0]["tests"] == FAILED
    assert [check["good"] for check in whole["checks"]] == [True, True, True, False]
    assert read_device(pair.engine, "0" * 16, by) is None
