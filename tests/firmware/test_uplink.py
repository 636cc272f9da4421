"""The uplink: connecting, greeting, giving up and coming back; events and heartbeats."""

import struct
from itertools import pairwise
from typing import Any

import pytest

from lapel_device import mqtt
from lapel_device.conversation import HELLO_AGAIN_MS
from lapel_device.uplink import (
    ALARM_BACKOFF_MS,
    CONNECT_MS,
    CONNECTING,
    EVENT_AGAIN_MS,
    MAX_BACKOFF_MS,
    OFFLINE,
    ONLINE,
    SPREAD_MS,
)
from lapel_protocol.event import RECORDING_NOTE
from lapel_protocol.reports import (
    EPOCH_BOOT,
    RecordingNote,
)

from .boardkit import MemoryLink
from .uplinkkit import World


def test_a_connection_is_opened_subscribed_greeted_and_welcomed() -> None:
    world = World().run(100)
    assert world.uplink.state == ONLINE
    assert world.shore.connects == [True]
    assert world.shore.subscribed
    (hello,) = world.shore.hellos
    assert (hello.firmware, hello.battery_percent, hello.next_epoch) == ((1, 2, 3), 77, 1)
    assert hello.epochs == [(0, EPOCH_BOOT)]
    assert world.uplink.conversation.welcomed
    assert world.uplink.contact_ms >= 0
    assert world.ledger.entries() == []


def test_the_first_connection_of_a_boot_is_clean_and_later_ones_resume() -> None:
    world = World().run(100)
    for _ in range(3):
        world.lose_link()
        world.run(SPREAD_MS + 3_000)
    assert world.shore.connects == [True, False, False, False]
    world.boot()
    world.run(200)
    assert world.shore.connects[-1] is True


def test_every_connection_has_a_hello_with_a_fresh_nonce() -> None:
    world = World()
    for _ in range(5):
        world.run(SPREAD_MS + 3_000)
        world.lose_link()
    nonces = [hello.nonce for hello in world.shore.hellos]
    assert len(nonces) == 5
    assert len(set(nonces)) == 5


def test_a_hello_without_a_welcome_is_repeated_with_another_nonce() -> None:
    world = World()
    world.shore.welcome = False
    world.run(HELLO_AGAIN_MS + 500)
    assert len(world.shore.hellos) == 2
    assert world.shore.hellos[0].nonce != world.shore.hellos[1].nonce
    assert not world.uplink.conversation.welcomed


def test_a_network_that_is_down_is_left_alone_and_used_at_once_when_it_is_up() -> None:
    world = World()
    world.board.network.up = False
    world.run(60_000)
    assert world.board.network.links == []
    world.board.network.up = True
    world.run(30)
    assert len(world.board.network.links) == 1


def test_a_broker_that_refuses_is_tried_ever_less_often_and_told_of_once() -> None:
    world = World()
    world.board.network.refuse = True
    attempts: list[int] = []
    opened = world.board.network.open

    def counted(host: str, port: int, tls: Any) -> MemoryLink:
        attempts.append(world.now_ms)
        return opened(host, port, tls)

    world.board.network.open = counted  # type: ignore[method-assign]
    world.run(600_000, step_ms=100)
    gaps = [after - before for before, after in pairwise(attempts)]
    assert gaps[0] <= 1_100
    assert max(gaps) <= MAX_BACKOFF_MS + 200
    assert min(gaps[-5:]) >= MAX_BACKOFF_MS // 2
    assert len(set(gaps[-5:])) > 1  # jitter
    assert len(world.board.lines) == 1


def test_devices_that_lost_their_broker_together_come_back_one_by_one_and_at_once_for_an_alarm() -> None:
    waits = []
    for number in range(40):
        world = World().run(1_000)
        world.board._random.seed(number)
        world.lose_link()
        lost_ms = world.now_ms
        world.run(SPREAD_MS // 2, step_ms=500)
        if len(world.board.network.links) == 1:
            pressed_ms = world.now_ms
            world.raise_alarm()
            world.run(500)
            assert len(world.board.network.links) == 2
            waits.append(pressed_ms - lost_ms)
        else:
            waits.append(0)
    assert 10 < sum(wait > 0 for wait in waits) < 30


def test_a_waiting_alarm_keeps_the_attempts_close_together() -> None:
    world = World()
    world.board.network.refuse = True
    world.run(300_000, step_ms=100)
    world.raise_alarm()
    refused = world.now_ms
    world.run(10_000, step_ms=100)
    world.board.network.refuse = False
    before = world.now_ms
    world.run(ALARM_BACKOFF_MS + 200)
    assert world.host.sent
    assert world.now_ms - before <= ALARM_BACKOFF_MS + 200
    assert refused < before


def test_a_broker_that_never_answers_is_given_up() -> None:
    world = World()
    world.shore.accept = False
    world.run(CONNECT_MS + 3_000)
    assert len(world.board.network.links) == 2
    assert world.board.network.links[0].closed
    assert world.uplink.state in (CONNECTING, OFFLINE)


def test_a_link_that_goes_silent_is_given_up_within_twenty_seconds() -> None:
    world = World().run(1_000)
    world.shore.deaf = True
    world.run(mqtt.PING_AFTER_MS + mqtt.SILENCE_MS + 100)
    assert world.board.network.links[0].closed


def test_a_stalled_link_buffers_nothing() -> None:
    world = World().run(1_000)
    world.record(5, 40)
    world.link.room = 10_000
    world.run(15_000)
    assert len(world.link.to_broker) <= 10_000
    assert world.uplink._client.unacked_bytes <= 65_536


def test_events_arrive_in_order_and_are_forgotten_only_when_receipted() -> None:
    world = World().run(100)
    world.shore.receipts = False
    records = [world.note() for _ in range(30)]
    world.run(2_000)
    assert world.journal.count == 30
    seen = [payload for _, payload, packet, _ in world.shore.published if payload in records]
    assert seen == records[: len(seen)]
    world.shore.receipts = True
    world.run(EVENT_AGAIN_MS + 2_000)
    assert world.journal.count == 0
    assert len(world.shore.events) == 30


def test_an_event_without_a_receipt_is_sent_again_later_and_later() -> None:
    world = World().run(100)
    world.shore.receipts = False
    record = world.note()
    world.run(4 * EVENT_AGAIN_MS)
    name = (0, world.identity.counter)
    early = len(world.shore.event_records[max(world.shore.events)])
    world.run(8 * EVENT_AGAIN_MS)
    late = len(world.shore.event_records[max(world.shore.events)]) - early
    assert name >= max(world.shore.events)
    assert set(world.shore.event_records[max(world.shore.events)]) == {record}
    assert early >= 2
    assert late < early + 2


def test_events_that_were_under_way_when_the_link_was_lost_go_again_at_once() -> None:
    world = World().run(1_000)
    world.shore.receipts = False
    records = [world.note() for _ in range(3)]
    world.run(100)
    world.lose_link()
    world.shore.published.clear()
    world.run(EVENT_AGAIN_MS - 1_000)
    assert [payload for _, payload, _, _ in world.shore.published if payload in records] == records


def test_an_event_that_storage_does_not_take_is_sent_from_memory() -> None:
    world = World().run(1_000)
    world.board.storage.failing = True
    record = world.identity.seal(RECORDING_NOTE, RecordingNote(1, 1, 0, 0).encode(), world.now_ms)
    assert not world.uplink.publish_event(record, world.now_ms)
    world.run(100)
    assert record in [payload for _, payload, _, _ in world.shore.published]


def test_heartbeats_echo_the_challenge_and_are_not_queued_by_the_broker() -> None:
    world = World().run(65_000)
    assert len(world.shore.heartbeats) == 3  # at the welcome, and twice after 30 s
    assert world.shore.heartbeats[0].challenge == struct.pack(">Q", world.shore._challenge)
    assert world.shore.heartbeats[0].battery_percent == 76
    packets = [packet for name, _, packet, _ in world.shore.published if name.endswith("/event")]
    assert packets.count(0) == 3


def test_a_resumed_session_repeats_unacknowledged_clip_messages_with_dup() -> None:
    world = World().run(200)
    world.lose_link()
    world.run(SPREAD_MS + 3_000)  # the second connection makes a session that is kept
    world.shore.puback = False
    sealed = world.record(5, 6)
    world.run(1_000)
    first = [p for p in world.shore.published if p[0].endswith("/clip")]
    assert first
    world.shore.published.clear()
    world.shore.puback = True
    world.lose_link()
    world.run(SPREAD_MS + 3_000)
    again = [p for p in world.shore.published if p[0].endswith("/clip") and p[3]]
    assert [(payload, packet) for _, payload, packet, _ in again] == [(p[1], p[2]) for p in first]
    assert world.spool.count == 0
    assert world.shore.clips[5].head == sealed.head


@pytest.mark.parametrize("every_ms", [170, 430, 1_130])
def test_a_link_lost_again_and_again_loses_nothing(every_ms: int) -> None:
    world = World()
    sealed = world.record(5, 60)
    notes = [world.note() for _ in range(10)]
    alarm = world.raise_alarm()
    for _ in range(150):
        world.run(every_ms)
        world.lose_link()
        if not world.spool.count and not world.journal.count:
            break
    world.run(30_000)
    assert world.spool.count == 0
    assert world.journal.count == 0
    assert [world.shore.clips[5].segments[i] for i in range(60)] == sealed.segments
    assert {record for records in world.shore.event_records.values() for record in records} >= {alarm, *notes}
