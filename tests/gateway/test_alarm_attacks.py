"""Hostile traffic on the alarm lane: never an alarm, never silence, never a flood."""

import json
from collections.abc import Callable

import pytest
import sqlalchemy as sa
from structlog.testing import capture_logs

from lapel_gateway.alarms.core import NOTICE_WINDOW_MS, NOTICES_IN_WINDOW, TALLY_MS
from lapel_protocol.event import ALARM_CANCELLED, ALARM_RAISED, RECORDING_NOTE
from lapel_protocol.limits import MAX_EVENT_RECORD_BYTES
from lapel_protocol.topics import topic
from tests.support.device import Message
from tests.support.pair import DevicePair


def unverified(pair: DevicePair, message: Message) -> None:
    """The message raises no alarm, is answered to nobody, and operators are told."""
    outcome = pair.alarms.handle(*message, pair.now_ms)
    assert (outcome.acknowledge, outcome.downlinks) == ([0], [])
    assert (pair.count("alarm"), pair.count("event")) == (0, 0)
    assert pair.row("notice")["kind"] == "unverified_alarm"
    payload = json.loads(pair.row("outbox")["payload"])
    assert (payload["notice"], payload["at_ms"]) == ("unverified_alarm", pair.now_ms)
    assert "somebody may need help" in payload["detail"]


@pytest.mark.parametrize("at", [0, 1, 2, 3, 5, 12, 16, 20, 28, 36, 38, 42, -1])
def test_an_altered_alarm_is_an_unverified_one(pair: DevicePair, at: int) -> None:
    name, record = pair.one.alarm()
    changed = bytearray(record)
    changed[at] ^= 1
    unverified(pair, (name, bytes(changed)))


@pytest.mark.parametrize("payload", [b"", b"\x10", b"help!", bytes(MAX_EVENT_RECORD_BYTES + 1)])
def test_noise_cut_and_oversized_records_are_unverified_alarms(pair: DevicePair, payload: bytes) -> None:
    unverified(pair, (topic(pair.one.device, "alarm"), payload))


def test_an_alarm_of_an_unknown_device_is_an_unverified_one_and_says_which(pair: DevicePair) -> None:
    unverified(pair, (topic(bytes.fromhex("deadbeefdeadbeef"), "alarm"), pair.one.alarm()[1]))
    assert pair.row("notice")["device"] == "deadbeefdeadbeef"
    assert pair.row("tally")["device"] == ""


def test_another_devices_alarm_on_this_devices_topic_is_an_unverified_one(
    make_pair: Callable[..., DevicePair],
) -> None:
    pair = make_pair(devices=2)
    for device in pair.devices:
        device.boot()
    unverified(pair, (topic(pair.devices[0].device, "alarm"), pair.devices[1].alarm()[1]))


def test_a_strange_topic_is_an_unverified_alarm_whose_text_is_harmless(pair: DevicePair) -> None:
    unverified(pair, ("lapel/v1/\x1b[2J\n/alarm", b"x"))
    assert "\x1b" not in pair.row("notice")["subject"]
    assert "\n" not in pair.row("notice")["subject"]


@pytest.mark.parametrize(
    ("kind", "payload"),
    [(ALARM_RAISED, b"\xff" * 8), (ALARM_RAISED, b""), (ALARM_CANCELLED, b"short"), (RECORDING_NOTE, bytes(12))],
)
def test_an_authentic_record_that_cannot_be_read_as_an_alarm_is_told_of(
    pair: DevicePair, kind: int, payload: bytes
) -> None:
    unverified(pair, pair.one.on_alarm_lane(pair.one.event(kind, payload)))


def test_an_alarm_of_a_boot_that_was_closed_is_an_unverified_one(pair: DevicePair) -> None:
    alarm = pair.one.alarm()
    with pair.engine.begin() as connection:
        connection.exec_driver_sql("UPDATE device SET boot_floor = 1")
    unverified(pair, alarm)


def test_a_counter_that_another_event_took_makes_no_alarm_and_no_crash(pair: DevicePair) -> None:
    counter = pair.one.counter
    pair.send(pair.one.on_event_lane(pair.one.event(RECORDING_NOTE, bytes(12))))
    pair.one.counter = counter
    name, record = pair.one.alarm()
    pair.alarms.handle(name, record, pair.now_ms)
    assert pair.count("alarm") == 0
    assert pair.row("notice")["kind"] == "unverified_alarm"


def test_a_flood_is_one_notice_in_a_while_and_one_log_line_and_is_counted(pair: DevicePair) -> None:
    forged = (topic(pair.one.device, "alarm"), b"\x10\x01" + bytes(80))
    with capture_logs() as lines:
        for _ in range(50):
            pair.alarms.handle(*forged, pair.now_ms)
    assert len(lines) == 1
    assert (pair.count("notice"), pair.count("outbox")) == (1, 1)
    pair.alarms.untold(pair.now_ms + TALLY_MS)
    assert pair.row("tally")["count"] == 50
    pair.restart()
    pair.alarms.handle(*forged, pair.now_ms)
    assert pair.count("notice") == 1
    pair.alarms.handle(*forged, pair.now_ms + NOTICE_WINDOW_MS)
    assert pair.count("notice") == 2


def test_a_flood_of_invented_devices_becomes_one_notice_about_several(pair: DevicePair) -> None:
    for number in range(100):
        pair.alarms.handle(topic(number.to_bytes(8, "big"), "alarm"), b"x", pair.now_ms)
    assert pair.count("notice") == NOTICES_IN_WINDOW + 1
    assert pair.rows("notice")[-1]["subject"] == "several devices"
    pair.alarms.untold(pair.now_ms + TALLY_MS)
    assert [(row["device"], row["count"]) for row in pair.rows("tally")] == [("", 100)]


def test_a_flood_costs_the_ledger_next_to_nothing(pair: DevicePair) -> None:
    statements: list[str] = []
    sa.event.listen(pair.engine, "before_cursor_execute", lambda *call: statements.append(call[2]))
    forged = (topic(pair.one.device, "alarm"), b"\x10\x01" + bytes(80))
    for _ in range(500):
        pair.alarms.handle(*forged, pair.now_ms)
    assert statements.count("BEGIN IMMEDIATE") == 2  # the notice, and the counts so far


def test_a_true_alarm_is_taken_through_a_flood(pair: DevicePair) -> None:
    forged = (topic(pair.one.device, "alarm"), b"\x10\x01" + bytes(80))
    for _ in range(20):
        pair.alarms.handle(*forged, pair.now_ms)
    assert pair.raise_alarm(pair.one.alarm())
    assert pair.count("alarm") == 1
