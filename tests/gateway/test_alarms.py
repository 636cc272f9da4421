"""Alarms: durable before anybody is told, acknowledged by humans only, shown on the device until it shows them."""

import json
import threading
from collections.abc import Callable

import pytest
from structlog.testing import capture_logs

from lapel_gateway import steps
from lapel_gateway.alarms import core as alarms
from lapel_gateway.alarms.cap import cap_messages
from lapel_gateway.alarms.core import AlarmError
from lapel_gateway.channels.contract import Parcel
from lapel_gateway.channels.message import message_of
from lapel_gateway.channels.sia_dc09.events import DEFAULT_CODES, event_of
from lapel_gateway.describe import alarm_words
from lapel_gateway.ledger import writing
from lapel_gateway.ledger.schema import DEVICE_LOST, DEVICE_RETIRED, OUTBOX_ALARM
from lapel_protocol import alarm as states
from lapel_protocol.command import ALARM_ACK, ALARM_RECEIPT, ALARM_RESOLVED, EVENT_RECEIPT
from lapel_protocol.orders import RESOLVED_FALSE
from lapel_protocol.reports import ALARM_DURESS, ALARM_TEST
from tests.support.device import Message
from tests.support.pair import DevicePair, Killed, bodies

ANSWERS = (ALARM_RECEIPT, ALARM_ACK, ALARM_RESOLVED)


def told(pair: DevicePair) -> list[str]:
    """What the outbox was given about alarms, in order."""
    return [json.loads(row["payload"])["what"] for row in pair.rows("outbox", "kind = 'alarm'")]


def log_of(pair: DevicePair) -> list[tuple[str, str]]:
    """Steps of alarms, those of their escalation left out."""
    return [(row["step"], row["who"]) for row in pair.rows("alarm_log", "step <> 'step'")]


def untold(pair: DevicePair) -> list[int]:
    return [kind for kind, _ in pair.one.take(pair.alarms.untold(pair.now_ms))]


@pytest.fixture
def raised(pair: DevicePair) -> str:
    """An alarm that a channel was told of."""
    pair.raise_alarm(pair.one.alarm())
    pair.escalate()
    with writing(pair.engine) as connection:
        connection.exec_driver_sql("UPDATE outbox SET state = 'done', attempts = 1")
    return str(pair.row("alarm")["id"])


def test_an_alarm_is_written_with_its_log_and_what_must_be_told_and_then_receipted(pair: DevicePair) -> None:
    (answer,) = pair.raise_alarm(pair.one.alarm(clip=9))
    assert (answer[0], answer[1].boot, answer[1].counter, answer[1].received_ms) == (ALARM_RECEIPT, 0, 2, pair.now_ms)
    row = pair.row("alarm")
    assert (row["id"], row["state"], row["person"], row["clip"], row["device_state"]) == (
        f"{pair.one.name}-0-2",
        "received",
        "Zoë Quinn",
        9,
        "active",
    )
    assert (row["received_ms"], row["battery_percent"]) == (pair.now_ms, 77)
    assert log_of(pair) == [("received", "device")]
    assert (pair.row("escalation")["taken"], pair.row("escalation")["next_at_ms"]) == (0, pair.now_ms)
    pair.escalate()
    payload = json.loads(pair.row("outbox")["payload"])
    assert (payload["what"], payload["alarm"], payload["kind"], payload["person"]) == (
        "raised",
        row["id"],
        "panic",
        "Zoë Quinn",
    )
    assert pair.count("event") == 1


@pytest.mark.parametrize("point", ["alarms.written", "alarms.committed"])
def test_a_kill_at_any_step_leaves_a_whole_alarm_or_none_and_the_repeat_is_receipted(
    pair: DevicePair, point: str
) -> None:
    alarm = pair.one.alarm()

    def hook(reached: str) -> None:
        if reached == point:
            raise Killed

    with steps.hooked(hook), pytest.raises(Killed):
        pair.raise_alarm(alarm)
    pair.restart()
    whole = int(point == "alarms.committed")
    assert [pair.count(table) for table in ("alarm", "alarm_log", "escalation", "event")] == [whole] * 4
    assert bodies(pair.raise_alarm(alarm), ALARM_RECEIPT)
    assert [pair.count(table) for table in ("alarm", "alarm_log", "escalation", "event")] == [1] * 4


def test_a_repeat_is_receipted_again_and_changes_nothing(pair: DevicePair) -> None:
    alarm = pair.one.alarm()
    first = pair.raise_alarm(alarm)
    tables = ("alarm", "alarm_log", "escalation", "event", "device", "epoch")
    before = {name: pair.rows(name) for name in tables}
    again = pair.raise_alarm(alarm)
    assert {name: pair.rows(name) for name in tables} == before
    assert [(kind, vars(body)) for kind, body in again] == [(kind, vars(body)) for kind, body in first]


def test_two_presses_are_two_alarms(pair: DevicePair) -> None:
    pair.raise_alarm(pair.one.alarm())
    pair.raise_alarm(pair.one.alarm(ALARM_DURESS))
    assert [row["kind"] for row in pair.rows("alarm")] == [1, ALARM_DURESS]


def test_an_alarm_before_any_hello_is_taken_and_receipted_for_the_boot_it_came_from(
    make_pair: Callable[..., DevicePair],
) -> None:
    pair = make_pair()
    pair.one.boot()
    assert bodies(pair.raise_alarm(pair.one.alarm()), ALARM_RECEIPT)
    assert pair.row("device")["boot"] == 0


def test_a_human_acknowledges_and_the_device_is_told_whose_name(pair: DevicePair, raised: str) -> None:
    assert alarms.acknowledge(pair.engine, raised, "Sam Ortega", pair.now_ms + 7)
    answers = pair.one.take(pair.alarms.untold(pair.now_ms))
    assert [kind for kind, _ in answers] == [ALARM_RECEIPT, ALARM_ACK]
    assert (answers[1][1].name, answers[1][1].wall_ms) == ("Sam Ortega", pair.now_ms + 7)
    assert untold(pair) == []
    row = pair.row("alarm")
    assert (row["state"], row["acknowledged_by"]) == ("acknowledged", "Sam Ortega")
    assert log_of(pair) == [("received", "device"), ("acknowledged", "Sam Ortega")]
    assert told(pair) == ["raised", "acknowledged"]


def test_the_first_acknowledgement_counts_and_the_second_is_written_down(pair: DevicePair, raised: str) -> None:
    assert alarms.acknowledge(pair.engine, raised, "Sam", pair.now_ms)
    assert not alarms.acknowledge(pair.engine, raised, "Ines", pair.now_ms + 1)
    assert pair.row("alarm")["acknowledged_by"] == "Sam"
    assert not alarms.acknowledge(pair.engine, raised, "Ines", pair.now_ms + 2)
    assert log_of(pair)[1:] == [("acknowledged", "Sam"), ("acknowledged again", "Ines")]
    assert told(pair) == ["raised", "acknowledged"]


def test_of_two_humans_at_the_same_moment_exactly_one_is_first(pair: DevicePair, raised: str) -> None:
    results: list[bool] = []

    def answer(who: str) -> None:
        results.append(alarms.acknowledge(pair.engine, raised, who, pair.now_ms))

    threads = [threading.Thread(target=answer, args=(f"user {number}",)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(results) == [False] * 5 + [True]


def test_an_alarm_is_resolved_with_a_reason_which_the_device_is_told(pair: DevicePair, raised: str) -> None:
    alarms.acknowledge(pair.engine, raised, "Sam", pair.now_ms)
    untold(pair)
    assert alarms.resolve(pair.engine, raised, "Ines", "false", "pressed in the bag", pair.now_ms)
    answers = pair.one.take(pair.alarms.untold(pair.now_ms))
    assert [kind for kind, _ in answers] == list(ANSWERS)
    assert answers[2][1].reason == RESOLVED_FALSE
    row = pair.row("alarm")
    assert (row["state"], row["resolved_by"], row["resolution"], row["note"]) == (
        "resolved",
        "Ines",
        "false",
        "pressed in the bag",
    )
    assert not alarms.resolve(pair.engine, raised, "Sam", "true", "", pair.now_ms)
    assert pair.row("alarm")["resolution"] == "false"
    assert log_of(pair)[2:] == [("resolved", "Ines"), ("resolved again", "Sam")]
    assert told(pair) == ["raised", "acknowledged", "resolved"]


def test_a_resolved_alarm_cannot_be_acknowledged_afterwards(pair: DevicePair, raised: str) -> None:
    alarms.resolve(pair.engine, raised, "Ines", "test", "", pair.now_ms)
    assert not alarms.acknowledge(pair.engine, raised, "Sam", pair.now_ms)
    assert (pair.row("alarm")["state"], pair.row("alarm")["acknowledged_by"]) == ("resolved", None)


def test_being_told_is_not_being_seen(pair: DevicePair, raised: str) -> None:
    for _ in range(2):
        with writing(pair.engine) as connection:
            alarms.notifying(connection, raised, "webhook control-room", pair.now_ms)
    assert pair.row("alarm")["state"] == "notifying"
    assert log_of(pair)[1:] == [("notifying", "webhook control-room")]
    assert untold(pair) == []
    alarms.acknowledge(pair.engine, raised, "Sam", pair.now_ms)
    with writing(pair.engine) as connection:
        alarms.notifying(connection, raised, "webhook control-room", pair.now_ms)
    assert pair.row("alarm")["state"] == "acknowledged"


@pytest.mark.parametrize("identifier", ["", "nonsense", "00-0-0", "\x1b[2J"])
def test_an_alarm_that_is_not_there_cannot_be_answered(pair: DevicePair, identifier: str) -> None:
    with pytest.raises(AlarmError, match="there is no alarm") as error:
        alarms.acknowledge(pair.engine, identifier, "Sam", pair.now_ms)
    assert "\x1b" not in str(error.value)
    with pytest.raises(AlarmError, match="there is no alarm"):
        alarms.resolve(pair.engine, identifier, "Sam", "true", "", pair.now_ms)


def test_an_alarm_is_not_resolved_without_a_known_reason(pair: DevicePair, raised: str) -> None:
    with pytest.raises(AlarmError, match="true, false, test"):
        alarms.resolve(pair.engine, raised, "Sam", "", "", pair.now_ms)
    assert pair.row("alarm")["state"] == "received"


# -- what the device shows --------------------------------------------------------------------------------------------


def test_answers_are_issued_again_after_each_hello_until_the_device_shows_the_end(
    pair: DevicePair, raised: str
) -> None:
    assert [kind for kind, _ in pair.send(pair.one.hello()) if kind in ANSWERS] == [ALARM_RECEIPT]
    alarms.acknowledge(pair.engine, raised, "Sam", pair.now_ms)
    assert [kind for kind, _ in pair.send(pair.one.hello()) if kind in ANSWERS] == [ALARM_RECEIPT, ALARM_ACK]
    alarms.resolve(pair.engine, raised, "Sam", "true", "", pair.now_ms)
    pair.one.boot()
    assert [kind for kind, _ in pair.send(pair.one.hello()) if kind in ANSWERS] == list(ANSWERS)
    pair.send(pair.one.heartbeat())  # it shows no alarm: the latch is open
    assert [kind for kind, _ in pair.send(pair.one.hello()) if kind in ANSWERS] == []


def test_answers_are_issued_again_while_heartbeats_show_something_else(pair: DevicePair, raised: str) -> None:
    def shows(state: int) -> list[int]:
        return [kind for kind, _ in pair.send(pair.one.heartbeat(alarm=(0, 2, state))) if kind in ANSWERS]

    assert shows(states.SENT) == [ALARM_RECEIPT]
    assert shows(states.RECEIVED) == []
    alarms.acknowledge(pair.engine, raised, "Sam", pair.now_ms)
    assert shows(states.RECEIVED) == [ALARM_RECEIPT, ALARM_ACK]
    assert shows(states.ACKNOWLEDGED) == []
    assert pair.row("alarm")["device_shows"] == "acknowledged"
    alarms.resolve(pair.engine, raised, "Sam", "true", "", pair.now_ms)
    assert shows(states.ACKNOWLEDGED) == list(ANSWERS)
    assert shows(states.RESOLVED) == []


def test_a_state_that_no_alarm_has_is_refused_and_does_not_disturb(pair: DevicePair, raised: str) -> None:
    assert pair.send(pair.one.heartbeat(alarm=(0, 2, 200))) == []
    assert pair.tally("malformed") == 1
    assert (pair.row("alarm")["id"], pair.row("alarm")["device_shows"]) == (raised, None)


# -- the wearer's cancel ----------------------------------------------------------------------------------------------


def test_a_cancel_is_noted_and_told_and_a_human_still_has_to_answer(pair: DevicePair) -> None:
    alarm = pair.one.alarm()
    pair.raise_alarm(alarm)
    pair.escalate()
    (answer,) = pair.raise_alarm(pair.one.cancel(alarm))
    assert (answer[0], answer[1].events) == (EVENT_RECEIPT, [(0, 3)])
    row = pair.row("alarm")
    assert (row["state"], row["cancelled_ms"]) == ("received", pair.now_ms)
    assert log_of(pair) == [("received", "device"), ("cancelled", "device")]
    assert pair.row("escalation")["next_at_ms"] is not None
    assert told(pair) == ["raised", "cancelled"]


def test_a_replayed_cancel_is_refused_the_next_alarm_and_changes_nothing(pair: DevicePair) -> None:
    first = pair.one.alarm()
    cancel = pair.one.cancel(first)
    second = pair.one.alarm()
    for message in (first, cancel, second):
        pair.raise_alarm(message)
        pair.escalate()
    pair.now_ms += 60_000
    before = pair.rows("alarm")
    pair.raise_alarm(cancel)
    assert pair.rows("alarm") == before
    assert [row["cancelled_ms"] is not None for row in before] == [True, False]
    assert pair.tally("cancel_repeated") == 1
    assert told(pair) == ["raised", "cancelled", "raised"]


def test_a_cancel_that_overtakes_its_alarm_is_applied_when_the_alarm_arrives(pair: DevicePair) -> None:
    alarm = pair.one.alarm()
    pair.raise_alarm(pair.one.cancel(alarm))
    assert pair.count("alarm") == 0
    pair.raise_alarm(alarm)
    assert pair.row("alarm")["cancelled_ms"] is not None
    pair.escalate()
    assert told(pair) == ["raised"]
    assert json.loads(pair.row("outbox")["payload"])["cancelled_ms"] == pair.now_ms


def test_a_cancel_of_an_alarm_that_nobody_raised_changes_nothing(pair: DevicePair) -> None:
    alarm = pair.one.alarm()
    assert bodies(pair.raise_alarm(pair.one.cancel(alarm)), EVENT_RECEIPT)
    assert (pair.count("alarm"), pair.count("escalation"), pair.count("outbox")) == (0, 0, 0)


def test_a_late_cancel_changes_nothing_and_is_counted(pair: DevicePair) -> None:
    alarm = pair.one.alarm()
    pair.raise_alarm(alarm)
    pair.raise_alarm(pair.one.cancel(alarm))
    alarms.resolve(pair.engine, pair.row("alarm")["id"], "Sam", "true", "", pair.now_ms)
    before = pair.rows("alarm")
    pair.now_ms += 60_000
    assert bodies(pair.raise_alarm(pair.one.cancel(alarm)), EVENT_RECEIPT)
    assert pair.rows("alarm") == before
    assert pair.tally("cancel_late") == 1


def test_a_forged_cancel_is_refused_and_counted(pair: DevicePair) -> None:
    alarm = pair.one.alarm()
    pair.raise_alarm(alarm)
    topic, record = pair.one.cancel(alarm)
    forged = bytearray(record)
    forged[-40] ^= 1
    assert pair.raise_alarm((topic, bytes(forged))) == []
    assert pair.row("alarm")["cancelled_ms"] is None
    pair.now_ms += 2_000
    pair.alarms.untold(pair.now_ms)
    assert pair.tally("alarm_bad_mac") == 1


# -- drills ------------------------------------------------------------------------------------------------------------


def test_a_drill_takes_the_whole_way_and_says_so_everywhere(pair: DevicePair) -> None:
    with capture_logs() as lines:
        assert bodies(pair.raise_alarm(pair.one.alarm(flags=ALARM_TEST)), ALARM_RECEIPT)
    pair.escalate()
    row = pair.row("alarm")
    assert (row["test"], row["state"]) == (1, "received")
    assert lines[0]["test"] is True
    payload = json.loads(pair.row("outbox")["payload"])
    assert payload["test"] is True
    words = message_of(Parcel(1, OUTBOX_ALARM, "c", "k", row["id"], payload, 0, pair.now_ms))
    assert words.subject.startswith("TEST: ALARM")
    assert words.body.startswith("TEST: this is a drill")
    described = alarm_words(row)
    assert described["test"] is True
    assert b"<status>Test</status>" in cap_messages(described, "host", ["duty"])[0].xml
    for token, codes in DEFAULT_CODES.items():
        event = event_of(payload, codes, {}, ())
        assert event is not None
        assert event.code == codes["test"].raised, token


# -- alarms and their clips, devices that were ended -------------------------------------------------------------------


@pytest.mark.parametrize("clip_first", [False, True])
def test_an_alarm_names_the_clip_that_it_started(pair: DevicePair, clip_first: bool) -> None:
    alarm = pair.one.alarm()
    clip = pair.one.record(2, alarm=alarm)
    messages: list[Callable[[], object]] = [lambda: pair.raise_alarm(alarm), lambda: pair.send(*clip.messages())]
    for send in reversed(messages) if clip_first else messages:
        send()
    assert pair.row("alarm")["clip"] == clip.clip
    assert (pair.row("clip")["alarm"], pair.row("clip")["alarm_counter"]) == (1, 2)


def test_an_alarm_that_named_a_clip_which_never_began_names_the_one_that_did(pair: DevicePair) -> None:
    alarm = pair.one.alarm(clip=pair.one.epoch)
    pair.raise_alarm(alarm)
    pair.one.burn()
    clip, second = pair.one.record(2, alarm=alarm), pair.one.record(2, alarm=alarm)
    pair.send(*clip.messages())
    assert pair.row("alarm")["clip"] == clip.clip
    pair.send(*second.messages())
    assert pair.row("alarm")["clip"] == clip.clip


@pytest.mark.parametrize("ended", [DEVICE_RETIRED, DEVICE_LOST])
def test_an_alarm_of_a_device_that_was_ended_is_raised_and_says_so(pair: DevicePair, ended: str) -> None:
    if ended == DEVICE_LOST:
        pair.registry.mark_lost(pair.one.name, pair.now_ms)
    else:
        pair.registry.retire(pair.one.name, pair.now_ms)
    with capture_logs() as lines:
        assert bodies(pair.raise_alarm(pair.one.alarm()), ALARM_RECEIPT)
    pair.escalate()
    assert pair.row("alarm")["device_state"] == ended
    assert json.loads(pair.row("outbox")["payload"])["device_state"] == ended
    assert lines[0]["device_state"] == ended


def test_an_alarm_on_the_event_lane_is_an_alarm_too(pair: DevicePair) -> None:
    alarm = pair.one.on_event_lane(pair.one.alarm()[1])
    assert bodies(pair.send(alarm), ALARM_RECEIPT)
    assert pair.count("alarm") == 1


def test_one_id_follows_an_alarm_through_the_log(pair: DevicePair) -> None:
    with capture_logs() as lines:
        alarm: Message = pair.one.alarm()
        pair.raise_alarm(alarm)
        pair.raise_alarm(alarm)
        identifier = pair.row("alarm")["id"]
        alarms.acknowledge(pair.engine, identifier, "Sam", pair.now_ms)
        alarms.resolve(pair.engine, identifier, "Sam", "true", "", pair.now_ms)
    assert [(line["event"], line["alarm"]) for line in lines] == [
        ("alarm", identifier),
        ("alarm acknowledged", identifier),
        ("alarm resolved", identifier),
    ]
