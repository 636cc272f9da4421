"""Clips on their way in: placed, settled, completed, receipted, whatever the order of arrival."""

import random
from collections.abc import Callable

import pytest

from lapel_gateway import steps
from lapel_gateway.alarms.kinds import CLIP_MISSING
from lapel_protocol.command import EVENT_RECEIPT, RECEIPT, UNOPENABLE, WANT
from lapel_protocol.event import PROBE, RECORDING_NOTE, VISIT
from lapel_protocol.limits import MAX_SEGMENTS
from lapel_protocol.orders import LEVEL_OPENED, LEVEL_VERIFIED, WANT_HEADER, WANT_SEGMENTS
from lapel_protocol.reports import EPOCH_LOST, NOTE_STARTED, VISIT_START, Probe, RecordingNote, VisitNote
from lapel_protocol.wrap import wrap_seed
from tests.support.device import SealedClip, organisation_key, public_half
from tests.support.pair import DevicePair, bodies
from tests.support.segments import with_check


def receipts(answers: list[tuple[int, object]]) -> list[tuple[int, int, int, bytes]]:
    return [(body.clip, body.segments, body.level, body.head) for body in bodies(answers, RECEIPT)]


def whole(clip: SealedClip, level: int = LEVEL_OPENED) -> list[tuple[int, int, int, bytes]]:
    return [(clip.clip, len(clip.segments), level, clip.heads[-1])]


def test_a_clip_sent_in_order_is_kept_byte_for_byte_and_receipted_with_its_head(pair: DevicePair) -> None:
    clip = pair.one.record(9)
    messages = clip.messages()
    assert [receipts(pair.send(message)) for message in messages] == [[], [], whole(clip)]
    assert pair.vault_file(pair.one, clip.clip) == clip.file
    row = pair.row("clip")
    assert (row["state"], row["settled_by"], row["contiguous"], row["sealed_bytes"]) == (
        "held",
        "end",
        9,
        len(clip.file),
    )
    assert (row["person"], row["opening"], row["chain"], row["alarm"]) == ("Zoë Quinn", "proved", "first", 0)
    assert (row["frames"], row["duration_ms"], row["plain_bytes"]) == (30, 3000, len(clip.plain))


@pytest.mark.parametrize("seed", range(6))
def test_segments_in_any_order_and_any_batches_give_the_same_clip(
    make_pair: Callable[..., DevicePair], seed: int
) -> None:
    pair = make_pair(seed=seed)
    pair.greet()
    chance = random.Random(seed)
    clip = pair.one.record(12)
    pair.send(clip.message(clip.header_record))
    rest = [*clip.segments, clip.end_record] * 2
    chance.shuffle(rest)
    answers = []
    while rest:
        size = chance.randint(1, 5)
        batch, rest = rest[:size], rest[size:]
        answers += pair.send(*[clip.message(record) for record in batch])
    assert receipts(answers)[:1] == whole(clip)
    assert pair.vault_file(pair.one, clip.clip) == clip.file


def test_a_clip_of_one_short_segment_and_one_of_an_exact_multiple_are_whole(pair: DevicePair) -> None:
    for plain in (b"", b"x", bytes(4024), bytes(4025), bytes(4024 + 4064)):
        clip = pair.one.record(plain=plain)
        assert receipts(pair.send(*clip.messages())) == whole(clip)
        assert pair.vault_file(pair.one, clip.clip) == clip.file


def test_two_devices_clips_share_a_batch_and_one_sync(make_pair: Callable[..., DevicePair]) -> None:
    pair = make_pair(devices=2)
    clips = []
    for device in pair.devices:
        pair.greet(device)
        clips.append(device.record(5))
    reached: list[str] = []
    with steps.hooked(reached.append):
        outcome = pair.outcome(
            *[message for both in zip(*[c.messages() for c in clips], strict=True) for message in both]
        )
    assert reached == [
        "ingest.verified",
        "ingest.vault_placed",
        "ingest.vault_synced",
        "ingest.ledger_written",
        "ingest.ledger_committed",
    ]
    assert outcome.acknowledge == [0, 1, 2, 3]
    for device, clip in zip(pair.devices, clips, strict=True):
        assert receipts(device.take(outcome.downlinks)) == whole(clip)


def test_a_repeat_changes_nothing_and_is_receipted_again(pair: DevicePair) -> None:
    clip = pair.one.record(3)
    pair.send(*clip.messages())
    before, file = pair.rows("clip"), pair.vault_file(pair.one, clip.clip)
    assert receipts(pair.send(*clip.messages())) == whole(clip)
    assert receipts(pair.send(clip.message(clip.segments[1]))) == whole(clip)
    assert receipts(pair.send(clip.message(clip.end_record))) == whole(clip)
    assert pair.rows("clip") == before
    assert pair.vault_file(pair.one, clip.clip) == file
    assert pair.tally("duplicate") == 7
    assert pair.count("outbox", "kind = 'assemble'") == 1


def test_without_the_private_key_a_clip_is_receipted_as_verified(make_pair: Callable[..., DevicePair]) -> None:
    pair = make_pair(organisation=public_half(organisation_key()))
    pair.greet()
    clip = pair.one.record(2)
    assert receipts(pair.send(*clip.messages())) == whole(clip, LEVEL_VERIFIED)
    assert pair.row("clip")["opening"] == "untried"


def test_a_lost_segment_is_asked_for_once_in_a_while_and_the_clip_completes_with_it(pair: DevicePair) -> None:
    clip = pair.one.record(8)
    first, second = clip.messages()
    hole = clip.message(clip.header_record + clip.segments[0] + clip.segments[3])
    (want,) = bodies(pair.send(hole), WANT)
    assert (want.clip, want.parts, want.first, want.count) == (clip.clip, WANT_SEGMENTS, 1, 2)
    answers = pair.send(second)
    assert bodies(answers, WANT) == []  # asked for a moment ago
    assert receipts(answers) == []
    pair.now_ms += 5_000
    (want,) = bodies(pair.send(second), WANT) or bodies(pair.send(clip.message(clip.segments[4])), WANT) or [None]
    assert want is None  # nothing new arrived
    assert receipts(pair.send(first)) == whole(clip)
    assert pair.vault_file(pair.one, clip.clip) == clip.file


def test_a_lost_tail_is_asked_for_as_soon_as_the_end_is_here(pair: DevicePair) -> None:
    clip = pair.one.record(8)
    (want,) = bodies(pair.send(clip.message(clip.header_record + clip.segments[0] + clip.end_record)), WANT)
    assert (want.parts, want.first, want.count) == (WANT_SEGMENTS, 1, 7)


def test_segments_before_their_header_are_dropped_and_wanted_with_it(pair: DevicePair) -> None:
    clip = pair.one.record(6)
    outcome = pair.outcome(clip.message(clip.segments[0]), clip.message(clip.segments[1]))
    assert outcome.acknowledge == [0, 1]
    (want,) = bodies(pair.one.take(outcome.downlinks), WANT)
    assert (want.clip, want.parts, want.first, want.count) == (clip.clip, WANT_HEADER | WANT_SEGMENTS, 0, 1)
    assert pair.vault.size(pair.one.name, clip.clip) == -1
    assert pair.tally("header_missing") == 2
    assert receipts(pair.send(*clip.messages())) == whole(clip)


def test_an_end_before_its_header_asks_for_the_whole_clip(pair: DevicePair) -> None:
    clip = pair.one.record(6)
    (want,) = bodies(pair.send(clip.message(clip.end_record)), WANT)
    assert (want.parts, want.first, want.count) == (WANT_HEADER | WANT_SEGMENTS, 0, 6)


def test_a_message_keeps_its_good_records_when_one_is_bad(pair: DevicePair) -> None:
    clip = pair.one.record(4)
    bad = bytearray(clip.segments[1])
    bad[100] ^= 1
    message = clip.message(clip.header_record + clip.segments[0] + bytes(bad) + clip.segments[2] + clip.segments[3])
    pair.send(message, clip.message(clip.end_record))
    assert pair.row("clip")["contiguous"] == 1
    assert receipts(pair.send(clip.message(clip.segments[1]))) == whole(clip)


# -- cut clips --------------------------------------------------------------------------------------------------------


def cut_short(pair: DevicePair, clip: SealedClip, segments: int) -> list[tuple[int, object]]:
    """The device loses power, boots, and settles the clip."""
    pair.one.unsettle(clip)
    pair.one.boot()
    return pair.send(pair.one.hello(), pair.one.cut(clip, segments))


def test_a_cut_clip_is_complete_at_what_its_device_settled(pair: DevicePair) -> None:
    clip = pair.one.record(6)
    pair.send(*clip.messages(end=False)[:1])
    assert receipts(cut_short(pair, clip, 5)) == []
    answers = pair.send(clip.message(clip.segments[4]))
    assert receipts(answers) == [(clip.clip, 5, LEVEL_OPENED, clip.heads[5])]
    row = pair.row("clip")
    assert (row["state"], row["settled_by"], row["contiguous"], row["end_record"]) == ("held", "cut", 5, None)
    assert pair.vault_file(pair.one, clip.clip) == clip.header_record + b"".join(clip.segments[:5])


def test_what_the_gateway_has_beyond_the_cut_is_kept_and_the_receipt_names_what_the_device_has(
    pair: DevicePair,
) -> None:
    clip = pair.one.record(6)
    pair.send(*clip.messages(end=False))
    assert receipts(cut_short(pair, clip, 2)) == [(clip.clip, 2, LEVEL_OPENED, clip.heads[2])]
    assert pair.row("clip")["contiguous"] == 6
    assert pair.vault_file(pair.one, clip.clip) == clip.header_record + b"".join(clip.segments)
    pair.one.boot()
    assert receipts(pair.send(pair.one.hello())) == [(clip.clip, 2, LEVEL_OPENED, clip.heads[2])]


def test_a_clip_cut_before_its_first_segment_is_complete_with_its_header(pair: DevicePair) -> None:
    clip = pair.one.record(3)
    pair.send(clip.message(clip.header_record))
    assert receipts(cut_short(pair, clip, 0)) == [(clip.clip, 0, LEVEL_OPENED, clip.heads[0])]


def test_a_cut_that_overtakes_its_clip_settles_it_when_the_clip_arrives(pair: DevicePair) -> None:
    clip = pair.one.record(6)
    assert receipts(cut_short(pair, clip, 3)) == []
    assert receipts(pair.send(clip.message(clip.header_record + b"".join(clip.segments[:3])))) == [
        (clip.clip, 3, LEVEL_OPENED, clip.heads[3])
    ]


def test_a_second_cut_names_less_and_counts_and_the_first_one_repeated_does_not(pair: DevicePair) -> None:
    clip = pair.one.record(6)
    pair.send(clip.message(clip.header_record + clip.segments[0]))
    pair.one.unsettle(clip)
    pair.one.boot()
    earlier = pair.one.cut(clip, 5)
    pair.send(pair.one.hello(), earlier)
    later = pair.one.cut(clip, 1)
    assert receipts(pair.send(later)) == [(clip.clip, 1, LEVEL_OPENED, clip.heads[1])]
    assert receipts(pair.send(earlier)) == []
    assert pair.row("clip")["settled_segments"] == 1


def test_an_end_that_the_device_lost_after_sending_it_does_not_stand_in_the_way(pair: DevicePair) -> None:
    clip = pair.one.record(6)
    pair.send(clip.message(clip.header_record + clip.segments[0] + clip.end_record))
    assert receipts(cut_short(pair, clip, 1)) == [(clip.clip, 1, LEVEL_OPENED, clip.heads[1])]


def test_a_held_clip_whose_device_lost_its_end_is_receipted_as_the_device_has_it(pair: DevicePair) -> None:
    clip = pair.one.record(6)
    pair.send(*clip.messages())
    assert receipts(cut_short(pair, clip, 4)) == [(clip.clip, 4, LEVEL_OPENED, clip.heads[4])]
    assert pair.vault_file(pair.one, clip.clip) == clip.file


def test_segments_that_a_device_can_only_send_broken_give_a_shorter_receipt(pair: DevicePair) -> None:
    clip = pair.one.record(6)
    bad = bytearray(clip.segments[3])
    bad[-1] ^= 1
    fixed = with_check(bytes(bad))
    pair.send(clip.message(clip.header_record + b"".join(clip.segments[:3])))
    cut_short(pair, clip, 5)
    for _ in range(2):
        assert receipts(pair.send(clip.message(fixed))) == []
    assert receipts(pair.send(clip.message(fixed))) == [(clip.clip, 3, LEVEL_OPENED, clip.heads[3])]
    assert pair.row("clip")["receipt_segments"] == 3
    assert pair.row("notice")["kind"] == "shorter_prefix"


# -- chain and epochs -------------------------------------------------------------------------------------------------


def test_clips_that_follow_each_other_are_linked(pair: DevicePair) -> None:
    clips = [pair.one.record(2) for _ in range(3)]
    for clip in reversed(clips):
        pair.send(*clip.messages())
    assert [row["chain"] for row in pair.rows("clip")] == ["first", "linked", "linked"]
    assert pair.count("notice") == 0


def test_a_clip_that_follows_a_cut_one_says_that_it_did_not_know_its_head(pair: DevicePair) -> None:
    first = pair.one.record(2)
    pair.one.unsettle(first)
    second = pair.one.record(2)
    pair.send(*first.messages(end=False), *second.messages())
    assert [row["chain"] for row in pair.rows("clip")] == ["first", "unsettled"]


def test_a_clip_that_names_another_head_than_the_settled_one_breaks_the_chain_aloud(pair: DevicePair) -> None:
    first = pair.one.record(2)
    pair.send(*first.messages())
    second = pair.one.record(2, previous=(first.clip, bytes(range(32))))
    assert receipts(pair.send(*second.messages())) == whole(second)
    assert pair.row("clip", "clip = :c", c=second.clip)["chain"] == "broken"
    assert pair.row("notice")["kind"] == "chain_broken"


def test_a_clip_that_claims_to_be_the_first_after_others_breaks_the_chain(pair: DevicePair) -> None:
    pair.send(*pair.one.record(1).messages())
    second = pair.one.record(1, previous=(0, bytes(32)))
    pair.send(*second.messages())
    assert pair.row("clip", "clip = :c", c=second.clip)["chain"] == "broken"


def test_a_missing_clip_is_noticed_by_the_one_after_it(pair: DevicePair) -> None:
    missing, clip = pair.one.record(2), pair.one.record(2)
    pair.send(*clip.messages())
    row = pair.row("clip", "clip = :c", c=missing.clip)
    assert (row["state"], row["header_ms"], row["missing_ms"]) == ("open", None, pair.now_ms)
    assert pair.row("clip", "clip = :c", c=clip.clip)["chain"] == "waiting"
    assert receipts(pair.send(*missing.messages())) == whole(missing)
    assert [(row["missing_ms"], row["chain"]) for row in pair.rows("clip")] == [(None, "first"), (None, "linked")]


def test_every_epoch_is_accounted_for(pair: DevicePair) -> None:
    clip = pair.one.record(1)
    pair.one.burn(2)
    pair.send(*clip.messages())
    pair.greet()
    assert {row["epoch"]: (row["used_for"], row["proved"]) for row in pair.rows("epoch")} == {
        0: ("boot", 1),
        1: ("clip", 1),
        2: ("burned", 0),
        3: ("burned", 0),
        4: ("boot", 1),
    }
    assert pair.row("device")["ledger_to"] == 5


def test_epochs_that_the_device_no_longer_knows_are_unknown_aloud_and_a_proof_corrects_them(pair: DevicePair) -> None:
    clip = pair.one.record(1)
    pair.one.burn()
    pair.one.ledger.clear()
    pair.greet()
    assert [row["used_for"] for row in pair.rows("epoch")] == ["boot", "unknown", "unknown", "boot"]
    assert pair.row("notice")["kind"] == "epochs_unknown"
    pair.send(*clip.messages())
    assert [row["used_for"] for row in pair.rows("epoch")] == ["boot", "clip", "unknown", "boot"]


def test_a_lost_clip_is_told_of_and_what_is_here_of_it_is_kept(pair: DevicePair) -> None:
    clip = pair.one.record(5)
    pair.send(clip.message(clip.header_record + clip.segments[0] + clip.segments[1] + clip.segments[3]))
    pair.one.ledger = [(epoch, EPOCH_LOST if epoch == clip.clip else what) for epoch, what in pair.one.ledger]
    pair.greet()
    own = pair.row("alarm")
    assert (own["kind"], own["about"], own["device"]) == (CLIP_MISSING, f"{pair.one.name}-{clip.clip}", pair.one.name)
    row = pair.row("clip")
    assert (row["state"], row["settled_by"], row["contiguous"]) == ("held", "lost", 2)
    assert pair.vault_file(pair.one, clip.clip) == clip.header_record + b"".join(clip.segments[:2])
    assert pair.count("outbox", "kind = 'assemble'") == 1
    pair.now_ms += 60_000
    assert bodies(pair.send(pair.one.heartbeat()), WANT) == []


def test_a_lost_clip_that_was_found_again_is_taken_after_all(pair: DevicePair) -> None:
    clip = pair.one.record(5)
    pair.send(clip.message(clip.header_record + clip.segments[0]))
    pair.one.ledger = [(epoch, EPOCH_LOST if epoch == clip.clip else what) for epoch, what in pair.one.ledger]
    pair.greet()
    pair.one.boot()
    pair.send(pair.one.hello(), pair.one.cut(clip, 4))
    assert receipts(pair.send(clip.message(b"".join(clip.segments[:4])))) == [
        (clip.clip, 4, LEVEL_OPENED, clip.heads[4])
    ]
    assert pair.count("outbox", "kind = 'assemble'") == 2


# -- opening ----------------------------------------------------------------------------------------------------------


def unopenable(pair: DevicePair, clip: SealedClip) -> None:
    answers = pair.send(clip.message(clip.header_record))
    assert [body.clip for body in bodies(answers, UNOPENABLE)] == [clip.clip]
    answers = pair.send(*clip.messages(header=False))
    assert receipts(answers) == []
    assert [body.clip for body in bodies(answers, UNOPENABLE)] == [clip.clip]
    assert pair.vault_file(pair.one, clip.clip) == clip.file
    assert (pair.row("clip")["opening"], pair.row("clip")["receipt_ms"]) == ("unopenable", None)
    assert pair.row("notice")["kind"] == "unopenable"
    assert pair.count("outbox", "kind = 'notice'") == 1
    pair.one.boot()
    answers = pair.send(pair.one.hello())
    assert receipts(answers) == []
    assert [body.clip for body in bodies(answers, UNOPENABLE)] == [clip.clip]


def test_a_clip_whose_wrap_holds_another_seed_is_unopenable_and_never_receipted(pair: DevicePair) -> None:
    wrapped = wrap_seed(bytes(32), bytes(32), organisation_key().modulus)
    unopenable(pair, pair.one.record(2, wrapped_seed=wrapped))


def test_a_clip_whose_wrap_is_noise_is_unopenable(pair: DevicePair) -> None:
    unopenable(pair, pair.one.record(2, wrapped_seed=b"\1" * 384))


def test_a_clip_sealed_for_another_organisation_is_unopenable(pair: DevicePair) -> None:
    unopenable(pair, pair.one.record(2, organisation=organisation_key(1)))


def test_a_probe_shows_early_that_clips_would_not_open(make_pair: Callable[..., DevicePair]) -> None:
    pair = make_pair(organisation=public_half(organisation_key()))
    pair.greet()
    for modulus, expected in ((organisation_key().modulus, 0), (organisation_key(1).modulus, 1)):
        seed, oaep = bytes(32), bytes([1] * 32)
        probe = Probe(seed, oaep, wrap_seed(seed, oaep, modulus))
        pair.send(pair.one.on_event_lane(pair.one.event(PROBE, probe.encode())))
        assert pair.count("notice", "kind = 'probe_failed'") == expected


# -- events -----------------------------------------------------------------------------------------------------------


def test_a_step_of_a_visit_is_kept_and_receipted_as_any_journalled_event(pair: DevicePair) -> None:
    pair.greet()
    record = pair.one.event(VISIT, VisitNote(VISIT_START, 45, 0).encode())
    for _ in range(2):
        answers = pair.send(pair.one.on_event_lane(record))
        named = [(pair.one.boot_number, pair.one.counter)]
        assert [body.events for body in bodies(answers, EVENT_RECEIPT)] == [named]
    [row] = pair.rows("event", "kind = :kind", kind=VISIT)
    assert bytes(row["record"]) == record


def test_journalled_events_are_written_once_and_receipted_each_time(pair: DevicePair) -> None:
    note = RecordingNote(NOTE_STARTED, 0, 7, 0).encode()
    messages = [pair.one.on_event_lane(pair.one.event(RECORDING_NOTE, note)) for _ in range(3)]
    for _ in range(2):
        (receipt,) = bodies(pair.send(*messages), EVENT_RECEIPT)
        assert receipt.events == [(0, 2), (0, 3), (0, 4)]
    assert [(row["counter"], row["payload"], row["record"]) for row in pair.rows("event")] == [
        (2 + at, note, message[1]) for at, message in enumerate(messages)
    ]


def test_more_events_than_one_receipt_names_are_receipted_in_several(pair: DevicePair) -> None:
    note = RecordingNote(NOTE_STARTED, 0, 7, 0).encode()
    messages = [pair.one.on_event_lane(pair.one.event(RECORDING_NOTE, note)) for _ in range(150)]
    assert [len(body.events) for body in bodies(pair.send(*messages), EVENT_RECEIPT)] == [100, 50]


def test_an_event_whose_payload_cannot_be_read_is_kept_and_receipted_all_the_same(pair: DevicePair) -> None:
    message = pair.one.on_event_lane(pair.one.event(PROBE, b"too short"))
    (receipt,) = bodies(pair.send(message), EVENT_RECEIPT)
    assert receipt.events == [(0, 2)]
    assert pair.tally("malformed") == 1
    assert pair.count("event") == 1


def test_events_of_an_earlier_boot_arrive_later(pair: DevicePair) -> None:
    note = RecordingNote(NOTE_STARTED, 0, 7, 0).encode()
    late = pair.one.on_event_lane(pair.one.event(RECORDING_NOTE, note))
    pair.greet()
    (receipt,) = bodies(pair.send(late), EVENT_RECEIPT)
    assert receipt.events == [(0, 2)]
    assert pair.row("device")["boot"] == 1


def test_a_clip_of_no_known_length_is_asked_for_to_its_end(pair: DevicePair) -> None:
    clip = pair.one.record(6)
    pair.send(clip.message(clip.header_record + clip.segments[0]))
    pair.now_ms += 20_000
    (want,) = bodies(pair.send(pair.one.heartbeat()), WANT)
    assert (want.clip, want.first, want.count) == (clip.clip, 1, MAX_SEGMENTS - 1)
