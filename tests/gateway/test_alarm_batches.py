"""Alarms that arrive together: one commit for all of them, each answered, and nothing costly before any of them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from lapel_gateway.alarms import core as alarms
from lapel_gateway.verify import FREE_STEPS
from lapel_protocol.command import ALARM_RECEIPT
from lapel_protocol.event import ALARM_RAISED, Event, seal_event
from lapel_protocol.keys import EpochKeys
from lapel_protocol.reports import ALARM_PANIC, AlarmRaised
from lapel_protocol.topics import LANE_ALARM, topic
from tests.support.device import Message, TrueDevice
from tests.support.pair import DevicePair

FAR = FREE_STEPS + 1


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[DevicePair]:
    pair = DevicePair(tmp_path / "pair", devices=3)
    for device in pair.devices:
        device.boot()
    yield pair
    pair.stop()


def forged(device: TrueDevice, boot: int, counter: int = 1) -> Message:
    """An alarm of a boot that its device never had, under keys that are not its own."""
    raised = AlarmRaised(ALARM_PANIC, 50, 0).encode()
    event = Event(ALARM_RAISED, device.device, boot, counter, 0, 0, 0, raised)
    return topic(device.device, LANE_ALARM), seal_event(EpochKeys(bytes(32)), event)


def test_alarms_of_several_devices_are_entered_together_and_each_is_answered(pair: DevicePair) -> None:
    messages = [device.alarm() for device in pair.devices]
    outcome = pair.alarms.take(messages, pair.now_ms)
    assert outcome.acknowledge == [0, 1, 2]
    assert pair.count("alarm") == 3
    for device in pair.devices:
        assert [kind for kind, _ in device.take(outcome.downlinks)] == [ALARM_RECEIPT]


def test_junk_among_alarms_is_acknowledged_told_of_and_costs_them_nothing(pair: DevicePair) -> None:
    one, two, three = pair.devices
    spoilt = one.alarm()[0], one.alarm()[1][:-1] + b"\0"
    batch = [spoilt, two.alarm(), ("lapel/v1/xx/no/alarm", b""), forged(three, 3), three.alarm()]
    outcome = pair.alarms.take(batch, pair.now_ms)
    assert outcome.acknowledge == [0, 1, 2, 3, 4]
    assert pair.count("alarm") == 2
    assert pair.count("notice") == 3


def test_a_repeat_in_the_same_batch_is_answered_and_entered_once(pair: DevicePair) -> None:
    alarm = pair.one.alarm()
    outcome = pair.alarms.take([alarm, alarm, alarm], pair.now_ms)
    assert outcome.acknowledge == [0, 1, 2]
    assert pair.count("alarm") == 1
    assert len(outcome.downlinks) == 3


def test_what_is_long_to_verify_waits_until_no_alarm_does_and_goes_one_by_one(pair: DevicePair) -> None:
    one, two, _ = pair.devices
    junk = [forged(one, FAR + 5 + number) for number in range(3)]
    outcome = pair.alarms.take([*junk, two.alarm()], pair.now_ms)
    assert outcome.acknowledge == [3]
    assert pair.count("alarm") == 1
    assert pair.alarms.take(junk, pair.now_ms).acknowledge == [0]


def test_a_true_alarm_far_along_the_chain_is_heard_in_its_turn(pair: DevicePair) -> None:
    pair.one.burn(FAR)
    pair.one.boot()
    alarm = pair.one.alarm()
    assert pair.alarms.take([alarm], pair.now_ms).acknowledge == [0]
    assert pair.count("alarm") == 1


def test_more_costly_messages_than_may_wait_are_turned_away_and_told_of(
    pair: DevicePair, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(alarms, "MAX_COSTLY", 2)
    junk = [forged(pair.one, FAR + 5 + number) for number in range(5)]
    outcome = pair.alarms.take([*junk, pair.devices[1].alarm()], pair.now_ms)
    assert outcome.acknowledge == [2, 3, 4, 5]
    assert pair.count("notice") == 1
