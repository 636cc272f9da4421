"""What devices say of the way an alarm left them: taken once, of their own alarms, and counted otherwise."""

from __future__ import annotations

from typing import Any

import pytest

from lapel_gateway.alarms.sending import AGAIN, UNFIT, UNKNOWN
from lapel_gateway.ledger import reading
from lapel_gateway.reports.period import Period
from lapel_gateway.reports.response import read_report
from lapel_protocol import alarm as protocol_alarm
from lapel_protocol.command import EVENT_RECEIPT
from lapel_protocol.event import ALARM_SENDING, peek_event
from lapel_protocol.reports import AlarmSending
from tests.support.device import Message, TrueDevice
from tests.support.pair import DevicePair, bodies

REFUSALS = (UNKNOWN, UNFIT, AGAIN)


@pytest.fixture
def raised(pair: DevicePair) -> Message:
    """An alarm that the gateway has."""
    pair.greet()
    pair.one.mono_ms += 5_000
    message = pair.one.alarm()
    pair.raise_alarm(message)
    return message


def said(device: TrueDevice, alarm: Message, after_ms: int, tries: int = 1, waited_ms: int = 10_000) -> Message:
    """The device's word, said `waited_ms` after the alarm."""
    _, _, _, counter = peek_event(alarm[1])
    device.mono_ms += waited_ms
    return device.on_event_lane(device.event(ALARM_SENDING, AlarmSending(counter, after_ms, tries).encode()))


def known(pair: DevicePair) -> tuple[Any, Any]:
    row = pair.row("alarm")
    return row["sent_after_ms"], row["sent_tries"]


def refusals(pair: DevicePair) -> dict[str, int]:
    return {reason: pair.tally(reason) for reason in REFUSALS if pair.tally(reason)}


def test_the_time_from_the_press_to_the_link_is_kept_with_its_alarm_and_in_its_log(
    pair: DevicePair, raised: Message
) -> None:
    assert known(pair) == (None, None), "unknown is not zero"
    answers = pair.send(said(pair.one, raised, 340, 2))
    assert known(pair) == (340, 2)
    [step] = pair.rows("alarm_log", "step = 'sent'")
    assert (step["who"], step["detail"]) == ("device", "340 ms after the press; 2 tries")
    assert bodies(answers, EVENT_RECEIPT)
    assert refusals(pair) == {}
    with reading(pair.engine) as connection:
        total = read_report(connection, Period(0, 1 << 60)).total
    assert (total.press_to_sent.count, total.press_to_sent.max) == (1, 340)
    assert total.sent_to_received.count == 1


def test_a_repeat_of_it_is_receipted_again_and_says_nothing_new(pair: DevicePair, raised: Message) -> None:
    word = said(pair.one, raised, 340)
    pair.send(word)
    for _ in range(2):
        assert bodies(pair.send(word), EVENT_RECEIPT)
    assert known(pair) == (340, 1)
    assert pair.count("alarm_log", "step = 'sent'") == 1
    assert refusals(pair) == {}


def test_another_word_about_the_same_alarm_is_refused_and_receipted(pair: DevicePair, raised: Message) -> None:
    pair.send(said(pair.one, raised, 340))
    assert bodies(pair.send(said(pair.one, raised, 20)), EVENT_RECEIPT)
    assert known(pair) == (340, 1)
    assert refusals(pair) == {AGAIN: 1}


def test_a_word_that_is_younger_than_what_it_speaks_of_is_refused(pair: DevicePair, raised: Message) -> None:
    pair.send(said(pair.one, raised, 900, waited_ms=500))
    assert known(pair) == (None, None)
    device = pair.one
    early = device.on_event_lane(device.event(ALARM_SENDING, AlarmSending(device.counter + 2, 0, 1).encode()))
    pair.raise_alarm(device.alarm())
    pair.send(early)
    assert refusals(pair) == {UNFIT: 2}
    assert pair.count("alarm", "sent_after_ms IS NOT NULL") == 0


def test_a_word_about_no_alarm_of_that_device_and_boot_is_refused(pair: DevicePair, raised: Message) -> None:
    other = pair.provision(1, person="Sam Lee")
    pair.greet(other)
    other.counter += 10  # beyond the alarm's own counter
    pair.send(said(other, raised, 10), device=other)
    pair.one.boot()
    pair.send(pair.one.hello())
    pair.one.counter += 10
    pair.send(said(pair.one, raised, 10))
    assert refusals(pair) == {UNKNOWN: 2}
    assert known(pair) == (None, None)


def test_a_word_about_an_alarm_that_only_a_heartbeat_named_is_refused(pair: DevicePair) -> None:
    pair.greet()
    alarm = pair.one.alarm()
    shown = (pair.one.boot_number, pair.one.counter, protocol_alarm.RECEIVED)
    pair.send(pair.one.heartbeat(alarm=shown))
    pair.send(said(pair.one, alarm, 10))
    assert refusals(pair) == {UNKNOWN: 1}
    assert known(pair) == (None, None)


@pytest.mark.parametrize("payload", [b"", bytes(12), AlarmSending(1, 5, 1).encode() + b"\0"])
def test_a_word_that_cannot_be_read_is_kept_receipted_and_counted(
    pair: DevicePair, raised: Message, payload: bytes
) -> None:
    answers = pair.send(pair.one.on_event_lane(pair.one.event(ALARM_SENDING, payload)))
    assert bodies(answers, EVENT_RECEIPT)
    assert pair.tally("malformed") == 1
    assert known(pair) == (None, None)


def test_a_forged_word_says_nothing(pair: DevicePair, raised: Message) -> None:
    topic, record = said(pair.one, raised, 340)
    forged = bytearray(record)
    forged[40 + 7] ^= 1
    assert pair.send((topic, bytes(forged))) == []
    assert pair.tally("bad_mac") == 1
    assert known(pair) == (None, None)
