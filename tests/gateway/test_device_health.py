"""How devices fared: an hour's row from real hellos and heartbeats, kept, read and disposed of."""

from __future__ import annotations

from pathlib import Path

import pytest

from lapel_gateway.devices.health import DAY_MS, HOUR_MS, KEEP_DAYS, PORTION, dispose, list_health
from lapel_gateway.ledger import writing
from lapel_gateway.ledger.schema import device_health
from lapel_protocol.event import HEARTBEAT
from lapel_protocol.reports import HEART_BLOCKED, HEART_STORAGE_FULL, Heartbeat
from tests.support.device import Message, TrueDevice
from tests.support.pair import START_MS, DevicePair

HOUR = START_MS - START_MS % HOUR_MS + HOUR_MS


def beat(device: TrueDevice, battery: int, *, free_kib: int = 900_000, held: int = 0, flags: int = 0) -> Message:
    """A heartbeat that says so."""
    said = Heartbeat()
    said.challenge = device.challenge
    said.battery_percent, said.storage_free_kib, said.clips_held, said.flags = battery, free_kib, held, flags
    return device.on_event_lane(device.event(HEARTBEAT, said.encode()))


@pytest.fixture
def pair(tmp_path: Path) -> DevicePair:
    """A device that was switched on at the beginning of an hour."""
    pair = DevicePair(tmp_path)
    pair.now_ms = HOUR
    pair.greet()
    return pair


def test_an_hour_holds_the_least_and_the_most_of_what_its_heartbeats_said(pair: DevicePair) -> None:
    for battery, free_kib, held in ((70, 500, 0), (64, 300, 5), (66, 400, 2)):
        pair.send(beat(pair.one, battery, free_kib=free_kib, held=held))
    (row,) = pair.rows("device_health")
    assert row == {
        "device": pair.one.name,
        "hour_ms": HOUR,
        "battery_min": 64,
        "battery_max": 80,
        "free_kib_min": 0,
        "held_max": 5,
        "heartbeats": 3,
        "boots": 1,
        "blocked": 0,
        "full": 0,
    }


def test_the_next_hour_has_a_row_of_its_own_and_one_that_was_silent_has_none(pair: DevicePair) -> None:
    pair.send(beat(pair.one, 70))
    pair.now_ms = HOUR + 2 * HOUR_MS
    pair.send(beat(pair.one, 50, free_kib=700, flags=HEART_BLOCKED | HEART_STORAGE_FULL))
    pair.send(beat(pair.one, 49, free_kib=800))
    words = list_health(pair.engine, pair.one.name, HOUR, HOUR + DAY_MS)
    assert [one["hour"]["ms"] for one in words] == [HOUR, HOUR + 2 * HOUR_MS]
    later = words[1]
    assert (later["battery_percent_min"], later["battery_percent_max"], later["storage_free_kib_min"]) == (49, 50, 700)
    assert (later["heartbeats"], later["boots"], later["blocked"], later["storage_full"]) == (2, 0, True, True)
    assert list_health(pair.engine, pair.one.name, HOUR, HOUR + HOUR_MS) == words[:1]


def test_a_hello_that_comes_again_is_no_boot_and_a_boot_is(pair: DevicePair) -> None:
    again = pair.one.hello()
    pair.send(again)
    pair.outcome(again)
    assert pair.row("device_health")["boots"] == 1
    pair.greet()
    assert pair.row("device_health")["boots"] == 2
    assert pair.row("device_health")["held_max"] is None


def test_a_replayed_heartbeat_changes_nothing(pair: DevicePair) -> None:
    old = beat(pair.one, 20)
    pair.send(beat(pair.one, 70))
    pair.send(old)
    assert (pair.row("device_health")["battery_min"], pair.row("device_health")["heartbeats"]) == (70, 1)


def test_what_is_in_one_batch_is_in_one_row(pair: DevicePair) -> None:
    pair.send(beat(pair.one, 60, held=1), beat(pair.one, 61, held=3), beat(pair.one, 62, held=2))
    row = pair.row("device_health")
    assert (row["battery_min"], row["held_max"], row["heartbeats"]) == (60, 3, 3)


def test_hours_are_written_with_what_they_tell_of_or_not_at_all(pair: DevicePair) -> None:
    pair.killed_at("ingest.ledger_written", beat(pair.one, 33))
    assert pair.row("device_health")["heartbeats"] == 0
    pair.send(beat(pair.one, 32))
    assert pair.row("device_health")["battery_min"] == 32


def test_hours_go_after_so_many_days_and_not_before(pair: DevicePair) -> None:
    pair.send(beat(pair.one, 70))
    assert dispose(pair.engine, HOUR + KEEP_DAYS * DAY_MS).hours == 0
    assert pair.count("device_health") == 1
    assert dispose(pair.engine, HOUR + (KEEP_DAYS + 1) * DAY_MS).hours == 1
    assert pair.count("device_health") == 0


def test_many_old_hours_go_some_at_a_time_the_oldest_first(pair: DevicePair) -> None:
    fixed = {"heartbeats": 1, "boots": 0, "blocked": False, "full": False}
    rows = [{"device": pair.one.name, "hour_ms": number * HOUR_MS, **fixed} for number in range(PORTION + 3)]
    with writing(pair.engine) as connection:
        connection.execute(device_health.insert(), rows)
    assert dispose(pair.engine, HOUR).more
    assert [row["hour_ms"] // HOUR_MS for row in pair.rows("device_health", "hour_ms < :now", now=HOUR)] == [
        PORTION,
        PORTION + 1,
        PORTION + 2,
    ]
