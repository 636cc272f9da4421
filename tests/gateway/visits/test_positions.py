"""Positions are kept within a visit or an alarm that the gateway knows is open, and nothing of any other anywhere."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from lapel_gateway.visits.positions import REFUSED
from lapel_protocol.event import peek_event
from lapel_protocol.opening import open_event
from tests.gateway.visits.day import MINUTE_MS, Day
from tests.support.device import Message
from tests.support.pair import DevicePair

HERE = (515_073_219, -1_276_474)
SECRET = (593_293_235, -180_685_808)
"""Where nobody may know that somebody was."""


@pytest.fixture
def day(pair: DevicePair) -> Day:
    return Day(pair)


def kept(day: Day) -> list[tuple[int, int]]:
    return [(row["latitude_e7"], row["longitude_e7"]) for row in day.pair.rows("position")]


def test_a_position_within_a_visit_is_kept_with_its_time_and_accuracy(day: Day) -> None:
    number = day.start()
    day.pair.send(day.location(*HERE, visit=number))
    row = day.pair.row("position")
    assert (row["visit"], row["alarm_id"], row["accuracy_m"]) == (number, None, 8)
    assert (row["latitude_e7"], row["longitude_e7"]) == HERE
    assert row["received_ms"] - 3_100 <= row["measured_ms"] <= row["received_ms"] - 3_000
    assert day.pair.count("event") == day.pair.tally(REFUSED) == 0


@pytest.mark.parametrize("state", ["amber", "overdue"])
def test_a_position_is_kept_as_long_as_its_visit_runs(day: Day, state: str) -> None:
    number = day.start(10)
    day.pass_time(6 if state == "amber" else 11, beats=True)
    assert day.state() == state
    day.pair.send(day.location(*HERE, visit=number))
    assert kept(day) == [HERE]


def test_a_position_within_an_alarm_is_kept_until_the_alarm_is_resolved(day: Day) -> None:
    alarm = day.pair.one.alarm()
    _, _, boot, counter = peek_event(alarm[1])
    of = {"alarm_boot": boot, "alarm_counter": counter}
    day.pair.send(day.location(*SECRET, **of))
    assert kept(day) == []
    day.pair.raise_alarm(alarm)
    day.pair.send(day.location(*HERE, **of))
    assert kept(day) == [HERE]
    assert day.pair.row("position")["alarm_id"] == day.pair.row("alarm")["id"]
    day.resolve()
    day.pair.send(day.location(*SECRET, **of))
    assert (kept(day), day.pair.tally(REFUSED)) == ([HERE], 2)


def test_a_position_that_names_both_is_kept_for_what_is_open(day: Day) -> None:
    number = day.start()
    alarm = day.pair.one.alarm()
    _, _, boot, counter = peek_event(alarm[1])
    day.pair.raise_alarm(alarm)
    both = {"alarm_boot": boot, "alarm_counter": counter, "visit": number}
    day.pair.send(day.location(*HERE, **both))
    day.end(number)
    day.pair.send(day.location(*HERE, **both))
    assert [(row["visit"], row["alarm_id"] is None) for row in day.pair.rows("position")] == [(1, False), (None, False)]


def test_a_replayed_position_is_kept_once(day: Day) -> None:
    message = day.location(*HERE, visit=day.start())
    day.pair.send(message, message)
    day.pair.send(message)
    assert kept(day) == [HERE]


def test_a_position_of_a_planned_or_ended_visit_is_not_kept(day: Day) -> None:
    planned = day.start(planned_ms=day.now_ms)
    day.pair.send(day.location(*SECRET, visit=planned))
    ended = day.start()
    day.end(ended)
    day.pair.send(day.location(*SECRET, visit=ended))
    assert (kept(day), day.pair.tally(REFUSED)) == ([], 2)


def test_a_position_from_before_the_visit_is_not_kept_within_it(day: Day) -> None:
    early = day.location(*SECRET, visit=1)
    day.pair.now_ms += 10 * MINUTE_MS
    assert day.start() == 1
    day.pair.send(early)
    assert (kept(day), day.pair.tally(REFUSED)) == ([], 1)


def test_a_position_of_another_devices_visit_or_alarm_is_not_kept(make_pair: Callable[..., DevicePair]) -> None:
    day = Day(make_pair(devices=2))
    other = day.pair.devices[1]
    for device in day.pair.devices:
        day.pair.greet(device)
    day.pair.registry.assign(other.name, "Bo Chen")
    number = day.start()
    alarm = day.pair.one.alarm()
    _, _, boot, counter = peek_event(alarm[1])
    day.pair.raise_alarm(alarm)
    for of in ({"visit": number}, {"alarm_boot": boot, "alarm_counter": counter}):
        day.pair.send(day.location(*SECRET, other, **of), device=other)
    assert (kept(day), day.pair.tally(REFUSED)) == ([], 2)


def traces(folder: Path, secret: tuple[int, int]) -> list[str]:
    """Files that hold one of the figures in any form that a program would write."""
    forms = [struct.pack(order + "i", figure) for figure in secret for order in "<>"]
    for figure in secret:
        forms += [str(abs(figure)).encode(), f"{abs(figure) / 1e7:.4f}".encode(), f"{abs(figure) / 1e7:.7f}".encode()]
    found = []
    for path in folder.rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            found += [f"{path.name}: {form!r}" for form in forms if form in content]
    return found


def test_a_location_outside_a_visit_and_an_alarm_is_found_nowhere(day: Day) -> None:
    """Ledger, its write-ahead log, vault, log lines, and every record that can be opened."""
    one, folder = day.pair.one, day.pair.folder
    ended = day.start(10)
    day.pass_time(11, beats=True)
    day.end(ended)
    planned = day.start(planned_ms=day.now_ms)
    alarm = one.alarm()
    _, _, boot, counter = peek_event(alarm[1])
    day.pair.raise_alarm(alarm)
    day.resolve()
    refused: list[Message] = []
    with capture_logs() as logged:
        for of in (
            {"visit": ended},
            {"visit": planned},
            {"visit": 99},
            {"alarm_boot": boot, "alarm_counter": counter},
            {"alarm_boot": 7, "alarm_counter": 7, "visit": ended},
        ):
            refused.append(day.location(*SECRET, **of))
            day.pair.send(refused[-1])
        day.pair.send(*refused)
        name, record = refused[0]
        day.pair.send((name, record[:-1] + bytes([record[-1] ^ 1])))
        day.pair.raise_alarm(refused[1])
        running = day.start()
        day.pair.send(day.location(*HERE, visit=running))
    assert day.pair.tally(REFUSED) == 10
    assert kept(day) == [HERE]
    for row in day.pair.rows("event"):
        assert open_event(one.keys, row["record"]).payload == row["payload"]
        assert struct.pack(">ii", *SECRET) not in row["payload"]
    (folder / "log").write_text(repr(logged))
    assert traces(folder, SECRET) == []
    records = b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())
    for _, record in refused:
        assert record[40:64] not in records
    assert traces(folder, HERE), "the search would find nothing"
