"""Clips on the uplink: credit, resends, wants, and nothing forgotten before its receipt."""

import pytest

from lapel_device.clip_lane import STALL_MS
from lapel_device.conversation import BLOCKED_BEAT_MS
from lapel_device.uplink import (
    ONLINE,
    SPREAD_MS,
)
from lapel_protocol import command as commands
from lapel_protocol.limits import CLIP_HEADER_BYTES
from lapel_protocol.orders import (
    LEVEL_VERIFIED,
    WANT_END,
    WANT_HEADER,
    WANT_SEGMENTS,
    UnopenableNotice,
    Want,
)
from lapel_protocol.reports import (
    HEART_BLOCKED,
    WHY_POWER,
    ClipCut,
)
from lapel_protocol.stream import segment_offset

from .clipkit import SealedClip
from .uplinkkit import World


def test_a_clip_arrives_whole_and_its_receipt_makes_it_deletable() -> None:
    world = World().run(100)
    sealed = world.record(5, 23)
    world.run(5_000)
    held = world.shore.clips[5]
    assert held.header == sealed.header
    assert [held.segments[i] for i in range(23)] == sealed.segments
    assert (held.end, held.head) == (23, sealed.head)
    assert world.spool.count == 0
    assert world.clip_bytes() == len(sealed.file)  # nothing was sent twice


def test_a_live_clip_is_sent_as_its_segments_become_durable() -> None:
    world = World().run(100)
    sealed = SealedClip(5, 12)
    writer = world.spool.create(5, 0, False, sealed.header)
    arrived = []
    for segment in sealed.segments:
        writer.append(segment)
        world.uplink.clip_changed(world.now_ms)
        world.run(200)
        arrived.append(world.shore.clips[5].contiguous)
    assert arrived == [0, 0, 0, 4, 4, 4, 4, 8, 8, 8, 8, 12]
    writer.finish(sealed.end)
    world.run(500)
    assert world.spool.count == 0


def test_nothing_of_a_clip_is_sent_before_credit_is_granted() -> None:
    world = World()
    world.shore.credit = False
    world.record(5, 8)
    world.run(20_000)
    assert "clip" not in world.shore.lanes()


def test_unreceipted_bytes_stay_within_the_credit_and_a_blocked_device_asks_for_more() -> None:
    world = World()
    world.shore.window_bytes = 40_000
    world.shore.lose_clips = True
    world.record(5, 40)
    world.run(STALL_MS - 1_000)
    first = world.clip_bytes()
    assert 30_000 < first <= 40_000 + CLIP_HEADER_BYTES
    world.run(BLOCKED_BEAT_MS)
    assert world.shore.heartbeats[-1].flags & HEART_BLOCKED
    world.shore.lose_clips = False
    world.run(60_000)
    assert world.spool.count == 0


def test_sending_again_costs_no_credit() -> None:
    world = World()
    world.shore.window_bytes = 20_000
    world.shore.lose_clips = True
    sealed = world.record(5, 40)
    world.run(3 * STALL_MS + 1_000)
    assert world.clip_bytes() > 40_000
    fresh: set[int] = set()
    for name, payload, _, _ in world.shore.published:
        if name.endswith("/clip"):
            fresh.update(i for i, segment in enumerate(sealed.segments) if segment in payload)
    assert len(fresh) <= 4


def test_an_alarms_clip_has_its_own_credit_and_goes_first() -> None:
    world = World()
    world.shore.window_bytes = 0
    world.record(5, 8)
    world.record(6, 8, alarm=True)
    world.run(5_000)
    assert 5 not in world.shore.clips
    assert world.shore.clips[6].contiguous == 8
    world.shore.window_bytes = 1 << 20
    world.shore.grant()
    world.run(5_000)
    assert world.spool.count == 0


def test_a_clip_that_is_lost_behind_the_brokers_back_is_sent_again_until_it_is_receipted() -> None:
    world = World()
    world.shore.lose_clips = True
    world.record(5, 8)
    world.run(5_000)
    world.shore.lose_clips = False
    world.run(60_000)
    assert world.spool.count == 0


@pytest.mark.parametrize("forget", ["everything", "header", "tail"])
def test_a_gateway_restored_from_a_backup_gets_again_what_it_lost(forget: str) -> None:
    world = World().run(100)
    world.shore.receipts = False
    sealed = world.record(5, 20)
    world.run(3_000)
    held = world.shore.clips[5]
    if forget == "everything":
        world.shore.clips.clear()
    elif forget == "header":
        held.header = b""
        held.segments.clear()
    else:
        for index in range(7, 20):
            del held.segments[index]
        held.end = -1
    world.shore.receipts = True
    world.lose_link()
    world.run(200_000)
    assert world.spool.count == 0
    assert world.shore.clips[5].header == sealed.header


def test_a_receipt_lost_on_the_way_is_provoked_again() -> None:
    world = World().run(100)
    world.shore.receipts = False
    world.record(5, 8)
    world.run(3_000)
    assert world.spool.count == 1
    world.shore.receipts = True
    world.shore.published.clear()
    world.run(STALL_MS + 1_000)
    assert world.spool.count == 0
    assert world.clip_bytes() <= 200  # the end record was enough


def test_resends_back_off_while_nobody_answers() -> None:
    world = World()
    world.shore.lose_clips = True
    world.record(5, 4)
    world.run(1_000_000, step_ms=100)
    assert 5 <= world.shore.lanes().count("clip") <= 20


def test_a_cut_clip_is_sent_up_to_its_settled_end_and_receipted_by_its_cut_event() -> None:
    world = World()
    sealed = SealedClip(5, 10)
    writer = world.spool.create(5, 0, False, sealed.header)
    for segment in sealed.segments[:6]:
        writer.append(segment)
    writer.sync()
    world.board.storage.power_cut()
    world.boot()
    cut = None
    while cut is None:
        cut = world.spool.work()
    assert (cut.clip, cut.segments, cut.why) == (5, 6, WHY_POWER)
    event = ClipCut(5, 6, WHY_POWER, cut.head)
    world.uplink.publish_event(world.identity.seal(6, event.encode(), world.now_ms), world.now_ms)
    world.spool.settled(cut)
    world.run(60_000)
    assert world.shore.clips[5].contiguous == 6
    assert world.spool.count == 0


def test_a_want_is_answered_with_exactly_what_was_asked_for_even_for_a_receipted_clip() -> None:
    world = World().run(100)
    sealed = world.record(5, 12)
    world.record(6, 1)
    world.run(5_000)
    assert world.spool.count == 0
    world.shore.published.clear()
    want = Want(5, WANT_HEADER | WANT_SEGMENTS | WANT_END, 3, 6)
    world.shore.tell(commands.WANT, want.encode())
    world.run(1_000)
    sent = [payload for name, payload, _, _ in world.shore.published if name.endswith("/clip")]
    assert b"".join(sent) == sealed.header + b"".join(sealed.segments[3:9]) + sealed.end


def test_wants_for_unknown_clips_or_impossible_segments_do_nothing() -> None:
    world = World().run(100)
    world.record(5, 2)
    world.run(1_000)
    world.shore.published.clear()
    for want in (Want(77, WANT_HEADER, 0, 0), Want(5, WANT_SEGMENTS, 9, 100), Want(5, WANT_SEGMENTS, 1 << 19, 1 << 19)):
        world.shore.tell(commands.WANT, want.encode())
        world.run(100)
    assert "clip" not in world.shore.lanes()
    assert world.uplink.state == ONLINE


def test_storage_that_cannot_be_read_leaves_the_clip_for_later() -> None:
    world = World()
    world.record(5, 4)
    world.board.storage.failing = True
    world.run(5_000)
    assert world.uplink.state == ONLINE
    world.board.storage.failing = False
    world.run(60_000)
    assert world.spool.count == 0


def test_segment_offsets_of_the_protocol_are_those_of_the_file() -> None:
    sealed = SealedClip(5, 3)
    assert sealed.file[segment_offset(2) :].startswith(sealed.segments[2])


def test_a_clip_that_the_gateway_cannot_open_is_kept_and_makes_way_for_others() -> None:
    world = World()
    world.shore.lose_clips = True
    world.shore.window_bytes = 40_000
    world.record(5, 60)
    world.run(2_000)
    world.shore.tell(commands.UNOPENABLE, UnopenableNotice(5).encode())
    world.shore.lose_clips = False
    world.record(6, 20)
    world.run(120_000)
    assert 5 not in world.shore.clips
    assert world.shore.clips[6].contiguous == 20
    assert world.spool.count == 1
    assert not world.spool.make_room(1 << 40)
    assert world.spool.has(5)
    world.shore.tell(commands.WANT, Want(5, WANT_HEADER | WANT_SEGMENTS | WANT_END, 0, 60).encode())
    world.run(10_000)
    assert world.spool.count == 0


def test_a_clip_that_could_not_be_opened_is_tried_again_on_the_next_connection() -> None:
    world = World().run(100)
    world.shore.receipts = False
    world.record(5, 60)
    world.shore.tell(commands.UNOPENABLE, UnopenableNotice(5).encode())
    world.run(1_000)
    world.shore.receipts = True
    world.lose_link()
    world.run(10_000)
    assert world.spool.count == 0


def test_the_receipt_of_a_cut_clip_that_was_lost_is_provoked_again() -> None:
    world = World()
    sealed = SealedClip(5, 10)
    writer = world.spool.create(5, 0, False, sealed.header)
    for segment in sealed.segments[:8]:
        writer.append(segment)
    writer.abandon()
    cut = None
    while cut is None:
        cut = world.spool.work()
    world.spool.settled(cut)
    world.run(2_000)
    held = world.shore.clips[5]
    held.end, held.head = cut.segments, cut.head
    assert world.spool.count == 1
    world.shore.published.clear()
    world.run(2 * STALL_MS)
    assert world.spool.count == 0
    assert world.clip_bytes() <= 2 * 4_124


def test_what_was_under_way_on_a_lost_connection_goes_again_at_once_and_nothing_else() -> None:
    world = World().run(100)
    sealed = SealedClip(5, 12)
    writer = world.spool.create(5, 0, False, sealed.header)
    for segment in sealed.segments[:8]:
        writer.append(segment)
    world.run(1_000)
    world.shore.lose_clips = True
    for segment in sealed.segments[8:]:
        writer.append(segment)
    world.run(100)
    world.shore.lose_clips = False
    world.shore.published.clear()
    world.lose_link()
    world.run(2_000)
    assert world.shore.clips[5].contiguous == 12
    assert world.clip_bytes() == sum(len(segment) for segment in sealed.segments[8:])


def test_on_a_new_connection_nothing_is_repeated_before_the_gateway_says_what_it_holds() -> None:
    world = World().run(100)
    sealed = SealedClip(5, 12)
    writer = world.spool.create(5, 0, False, sealed.header)
    for segment in sealed.segments[:8]:
        writer.append(segment)
    world.shore.lose_clips = True
    world.run(1_000)
    world.shore.credit = False
    world.shore.published.clear()
    world.lose_link()
    world.run(8_000)
    assert "clip" not in world.shore.lanes()


def test_a_message_whose_clip_is_gone_is_not_repeated_when_the_session_is_resumed() -> None:
    world = World().run(200)
    world.lose_link()
    world.run(3_000)
    world.shore.puback = False
    world.shore.receipts = False
    world.record(5, 6)
    world.record(6, 1)
    world.run(500)
    assert set(world.shore.clips) == {5}
    world.spool.mark_receipted(world.spooled(5), LEVEL_VERIFIED)
    assert world.spool.make_room(world.spool.free_bytes + 1)
    world.shore.puback = True
    world.shore.published.clear()
    world.lose_link()
    world.run(SPREAD_MS + 3_000)
    assert world.shore.connects[-1] is False
    again = [payload for name, payload, _, dup in world.shore.published if dup and name.endswith("/clip")]
    assert again == []
    assert world.shore.clips[6].contiguous == 1
    assert world.uplink._client.unacked_bytes == 0
