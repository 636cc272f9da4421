"""Alarms on the uplink: first, at once, and byte for byte until the gateway has them."""

from lapel_device.alarm_lane import MAX_REPEAT_MS, REPEAT_MS
from lapel_protocol import command as commands
from lapel_protocol.event import ALARM_CANCELLED, ALARM_SENDING
from lapel_protocol.orders import (
    AlarmAck,
)
from lapel_protocol.report_decoders import decode_alarm_sending
from lapel_protocol.reports import AlarmCancelled
from lapel_protocol.topics import topic

from .clipkit import DEVICE
from .shore import WALL_MS
from .uplinkkit import World


def test_an_alarm_is_on_the_link_before_anything_is_written_for_it() -> None:
    world = World().run(1_000)
    world.board.storage.trace.clear()
    record = world.raise_alarm()
    assert record in bytes(world.link.to_broker)
    assert world.board.storage.trace == []
    world.run(10)
    assert world.journal.count == 1


def test_an_alarm_goes_before_events_and_clips_that_waited_longer() -> None:
    world = World()
    world.record(5, 8)
    world.note()
    record = world.raise_alarm()
    world.run(500)
    assert world.shore.published[0][1] == record
    assert world.shore.lanes()[:2] == ["alarm", "event"]


def test_an_alarm_raised_during_the_handshake_goes_out_first_once_the_broker_accepts() -> None:
    world = World()
    world.shore.accept = False
    world.run(500)
    world.record(5, 8)
    world.note()
    record = world.raise_alarm()
    world.run(500)
    assert world.shore.published == []
    world.link.feed(b"\x20\x02\x00\x00")  # CONNACK, no session
    world.run(10)
    assert world.shore.published[0][1] == record
    world.run(500)
    assert world.shore.hellos
    assert world.shore.lanes()[:2] == ["alarm", "event"]


def test_clips_stop_until_the_broker_has_the_alarm() -> None:
    world = World()
    world.record(5, 200)
    world.run(100)
    world.shore.puback = False
    world.shore.receipts = False
    world.raise_alarm()
    world.shore.carry(world.now_ms)
    world.shore.published.clear()
    world.run(2_000)
    assert "clip" not in world.shore.lanes()
    world.shore.puback = True
    world.lose_link()
    world.run(5_000)
    assert "clip" in world.shore.lanes()


def test_an_alarm_is_repeated_byte_for_byte_until_the_gateways_receipt_and_no_longer() -> None:
    world = World().run(1_000)
    world.shore.receipts = False
    record = world.raise_alarm()
    world.run(60_000)
    copies = [payload for name, payload, _, _ in world.shore.published if name.endswith("/alarm")]
    assert set(copies) == {record}
    assert 60_000 // MAX_REPEAT_MS <= len(copies) <= 60_000 // MAX_REPEAT_MS + 3
    assert len(world.host.sent) == 1
    world.shore.receipts = True
    world.run(MAX_REPEAT_MS + 100)
    world.shore.published.clear()
    world.run(60_000)
    assert "alarm" not in world.shore.lanes()
    assert world.journal.count == 0


def test_an_alarm_raised_without_a_link_goes_out_at_once_when_there_is_one() -> None:
    world = World()
    world.board.network.up = False
    world.run(1_000)
    record = world.raise_alarm()
    world.run(5_000)
    world.board.network.up = True
    world.run(100)
    assert world.shore.published[0][1] == record


def test_an_alarm_survives_a_restart_byte_for_byte() -> None:
    world = World()
    world.board.network.up = False
    world.run(100)
    record = world.raise_alarm()
    world.run(100)
    world.board.storage.power_cut()
    world.boot()
    world.run(500)
    assert (topic(DEVICE, "alarm"), record) in [p[:2] for p in world.shore.published]
    assert world.journal.count == 0


def test_the_wearer_learns_that_the_broker_has_it_and_that_the_gateway_has_it() -> None:
    world = World().run(1_000)
    world.shore.receipts = False
    world.raise_alarm()
    name = (0, world.identity.counter)
    assert not world.uplink.alarm_sent(*name)
    world.run(50)
    assert world.uplink.alarm_sent(*name)
    assert world.host.sent == [name]
    world.shore.receipts = True
    world.run(REPEAT_MS + 100)
    received = [body for kind, body in world.host.commands if kind == commands.ALARM_RECEIPT]
    assert [(body.boot, body.counter) for body in received] == [name]


def test_a_humans_acknowledgement_stops_the_repeats_even_if_the_receipt_was_lost() -> None:
    world = World().run(1_000)
    world.shore.receipts = False
    world.raise_alarm()
    world.run(100)
    world.shore.tell(commands.ALARM_ACK, AlarmAck(0, world.identity.counter, WALL_MS, "Ann").encode())
    world.run(100)
    world.shore.published.clear()
    world.run(30_000)
    assert "alarm" not in world.shore.lanes()
    assert world.journal.count == 0


def test_ten_alarms_without_a_receipt_all_arrive() -> None:
    world = World()
    world.board.network.up = False
    world.run(10)
    records = []
    for _ in range(10):
        records.append(world.raise_alarm())
        world.run(20)
    world.board.network.up = True
    world.run(30_000)
    assert {payload for name, payload, _, _ in world.shore.published if name.endswith("/alarm")} == set(records)
    assert world.journal.count == 0


def test_alarms_that_found_no_room_follow_when_others_are_receipted() -> None:
    world = World()
    world.board.network.up = False
    for _ in range(10):
        world.raise_alarm()
        world.run(20)
    world.boot()
    world.shore.receipts = False
    world.run(5_000)
    assert len(set(alarms_of(world))) == 8
    world.shore.receipts = True
    world.run(30_000)
    assert len(set(alarms_of(world))) == 10
    assert world.journal.count == 0


def alarms_of(world: World) -> list[bytes]:
    return [payload for name, payload, _, _ in world.shore.published if name.endswith("/alarm")]


def test_an_alarm_that_storage_does_not_take_still_goes_out_and_is_repeated() -> None:
    world = World().run(1_000)
    world.board.storage.failing = True
    world.shore.receipts = False
    record = world.raise_alarm()
    world.run(30_000)
    copies = [payload for name, payload, _, _ in world.shore.published if name.endswith("/alarm")]
    assert len(copies) > 3
    assert set(copies) == {record}


def test_a_push_of_alarm_begins_the_connection_that_its_hold_will_need() -> None:
    world = World().run(1_000)
    world.lose_link()
    world.run(10)
    assert len(world.board.network.links) == 1
    world.uplink.hurry(world.now_ms)
    world.run(500)
    assert len(world.board.network.links) == 2
    world.uplink.hurry(world.now_ms)
    world.run(500)
    assert len(world.board.network.links) == 2, "one that works is left alone"


# -- how an alarm left the device -------------------------------------------------------------------------------------


def sendings(world: World) -> list[tuple[int, int, int]]:
    """(counter, after_ms, tries) of what was said of alarms."""
    found = [decode_alarm_sending(payload) for kind, payload in world.host.reported if kind == ALARM_SENDING]
    return [(said.counter, said.after_ms, said.tries) for said in found]


def test_an_alarm_that_went_out_at_once_is_said_to_have_when_the_gateway_has_it() -> None:
    world = World().run(1_000)
    world.raise_alarm()
    counter = world.identity.counter
    assert sendings(world) == [], "nobody has it yet"
    world.run(500)
    assert sendings(world) == [(counter, 0, 1)]
    world.run(60_000)
    assert len(sendings(world)) == 1


def test_an_alarm_that_waited_for_a_link_says_how_long_and_each_try_is_counted() -> None:
    world = World()
    world.shore.accept = False
    world.run(500)
    world.raise_alarm()
    counter, raised_ms = world.identity.counter, world.now_ms
    world.run(700)
    world.link.feed(b"\x20\x02\x00\x00")  # CONNACK, no session
    world.shore.receipts = False
    world.run(20)
    sent_ms = world.now_ms
    world.run(REPEAT_MS + 2 * REPEAT_MS)
    world.shore.receipts = True
    world.run(3 * MAX_REPEAT_MS)
    [(named, after_ms, tries)] = sendings(world)
    assert named == counter
    assert sent_ms - raised_ms - 20 <= after_ms <= sent_ms - raised_ms
    assert tries == world.shore.lanes().count("alarm") > 2


def test_an_alarm_counts_as_sent_when_its_last_byte_is_taken_and_not_before() -> None:
    world = World().run(1_000)
    world.link.room = 40
    world.raise_alarm()
    raised_ms = world.now_ms
    world.run(800)
    assert sendings(world) == []
    world.link.room = 1 << 20
    world.run(500)
    [(_, after_ms, tries)] = sendings(world)
    assert after_ms >= 800
    assert raised_ms + after_ms <= world.now_ms
    assert tries == 1


def test_an_alarm_whose_link_broke_in_its_middle_counts_from_where_it_went_out_whole() -> None:
    world = World().run(1_000)
    world.link.room = 40
    world.raise_alarm()
    world.run(500)
    world.lose_link()
    world.run(10_000)
    [(_, after_ms, tries)] = sendings(world)
    assert after_ms > 500
    assert tries == 2


def test_of_an_alarm_of_an_earlier_boot_and_of_a_cancel_nothing_is_said() -> None:
    world = World()
    world.shore.receipts = False
    world.run(500)
    world.raise_alarm()
    world.run(500)
    world.boot()
    world.shore.receipts = True
    world.run(5_000)
    assert len(world.shore.events) > 0
    assert sendings(world) == [], "it may have gone out before, and nobody knows when"
    cancel = world.identity.seal(ALARM_CANCELLED, AlarmCancelled(0, 1).encode(), world.now_ms)
    world.uplink.publish_alarm(cancel, world.now_ms)
    world.run(1_000)
    assert sendings(world) == []


def test_an_alarm_that_the_journal_stood_in_for_says_nothing_of_its_way() -> None:
    world = World().run(1_000)
    world.shore.receipts = False
    for _ in range(10):
        world.raise_alarm()
        world.run(100)
    world.shore.receipts = True
    world.run(60_000)
    raised = {counter for _, counter in world.shore.events}
    said = [counter for counter, _, _ in sendings(world)]
    assert len(said) == len(set(said)) < 10
    assert set(said) < raised
