"""What an attacker may try against the records, one test an attack (SPEC section 12).

The attacker owns the broker: reads, drops, repeats, re-orders and alters everything, knows every format and label,
and may have stolen a device, a clip's K_h, K_dev or the organisation's private key, but not two of those last.
"""

from __future__ import annotations

import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lapel_protocol.clip import FLAG_ALARM, NOTICE_CONFIRMED, seal_clip_header
from lapel_protocol.command import (
    ALARM_ACK,
    ALARM_RESOLVED,
    RECEIPT,
    SETTINGS,
    STOP_RECORDING,
    UPDATE_BLOCK,
    UPDATE_OFFER,
    VISIT_STATE,
    WELCOME,
    CommandGate,
    open_command,
)
from lapel_protocol.crypto import AesCtr, Mac, sha256
from lapel_protocol.errors import BadMac, Malformed, Replayed, Unopenable, UnsupportedVersion, WrongDevice
from lapel_protocol.event import (
    ALARM_CANCELLED,
    ALARM_RAISED,
    ALARM_SENDING,
    HELLO,
    LOCATION,
    STORAGE_NOTE,
    Event,
    seal_event,
)
from lapel_protocol.keys import EpochKeys, chain_next, chain_start
from lapel_protocol.limits import FIRST_PLAIN_BYTES, NEXT_PLAIN_BYTES, SEGMENT_HEADER_BYTES, TAG_BYTES
from lapel_protocol.opening import open_clip_header, open_event, prove_opening
from lapel_protocol.orders import (
    VISIT_ACTIVE,
    AlarmAck,
    AlarmResolved,
    Receipt,
    SettingsChange,
    StopRecording,
    VisitState,
    Welcome,
)
from lapel_protocol.report_decoders import decode_location
from lapel_protocol.reports import ALARM_PANIC, ALARM_TEST, AlarmCancelled, AlarmRaised, AlarmSending, Location
from lapel_protocol.stream import clip_ikm, segment_nonce
from lapel_protocol.topics import LANE_EVENT, parse_topic, topic
from lapel_protocol.updating import UpdateBlock, UpdateOffer
from tests.protocol.pair import (
    BOOT,
    CLIP,
    K_DEV,
    WALL_MS,
    DevicePair,
    SealedClip,
    key_of,
    open_segment,
    relabelled,
    verify,
)

OTHER = bytes.fromhex("00ff00ff00ff00ff")
NONCE, OLD_NONCE = b"nonce 02", b"nonce 01"
PLAIN = bytes(range(256)) * 40


@pytest.fixture
def pair() -> DevicePair:
    return DevicePair()


@pytest.fixture
def clip(pair: DevicePair) -> SealedClip:
    """Three segments."""
    return pair.clip(PLAIN)


def panic(pair: DevicePair) -> bytes:
    return pair.event(ALARM_RAISED, AlarmRaised(ALARM_PANIC, 70, CLIP).encode())


# -- events and alarms ------------------------------------------------------------------------------------------------


def test_alarm_forged_without_keys_is_refused(pair: DevicePair) -> None:
    attacker = DevicePair(k_dev=sha256(b"the attacker's own"))
    with pytest.raises(BadMac):
        pair.open_event(panic(attacker))


def test_alarm_of_one_device_in_another_devices_name_is_refused(pair: DevicePair) -> None:
    mallory = DevicePair(device=OTHER)
    event = Event(ALARM_RAISED, pair.device, BOOT, 1, WALL_MS, 0, 3, AlarmRaised(ALARM_PANIC, 1, 0).encode())
    with pytest.raises(BadMac):
        pair.open_event(seal_event(mallory.keys(BOOT), event))


def test_alarm_turned_into_its_own_cancel_is_refused(pair: DevicePair) -> None:
    record = bytearray(panic(pair))
    record[2] = ALARM_CANCELLED
    with pytest.raises(BadMac):
        pair.open_event(bytes(record))


def test_cancel_of_one_alarm_cannot_be_pointed_at_another(pair: DevicePair) -> None:
    record = bytearray(pair.event(ALARM_CANCELLED, AlarmCancelled(BOOT, 1).encode()))
    record[40 + 7] ^= 1 ^ 2  # CTR: this turns counter 1 into counter 2 for whoever skips the MAC
    with pytest.raises(BadMac):
        pair.open_event(bytes(record))


def test_what_is_said_of_one_alarms_sending_cannot_be_pointed_at_another_or_made_sooner(pair: DevicePair) -> None:
    record = pair.event(ALARM_SENDING, AlarmSending(1, 9_000, 3).encode())
    for at, flip in ((3, 1 ^ 2), (6, 0x23), (9, 3 ^ 1)):
        changed = bytearray(record)
        changed[40 + at] ^= flip
        with pytest.raises(BadMac):
            pair.open_event(bytes(changed))


def test_alarm_cannot_be_turned_into_a_test(pair: DevicePair) -> None:
    record = bytearray(panic(pair))
    record[40 + 1] ^= ALARM_TEST
    with pytest.raises(BadMac):
        pair.open_event(bytes(record))


def test_location_outside_a_visit_and_an_alarm_is_refused(pair: DevicePair) -> None:
    """Whatever a device is made to send, a gateway reads no position that belongs to nothing."""
    record = pair.event(LOCATION, Location(593_293_235, 180_685_808, 8, 3).encode())
    with pytest.raises(Malformed) as refused:
        decode_location(pair.open_event(record).payload)
    assert not any(figure in str(refused.value) for figure in "0123456789")


def test_location_cannot_be_pointed_at_another_visit(pair: DevicePair) -> None:
    record = bytearray(pair.event(LOCATION, Location(593_293_235, 180_685_808, 8, 3, visit=1).encode()))
    record[40 + 23] ^= 1 ^ 2
    with pytest.raises(BadMac):
        pair.open_event(bytes(record))


def test_event_moved_to_another_counter_or_boot_is_refused(pair: DevicePair) -> None:
    for at in (12, 16):
        record = bytearray(panic(pair))
        struct.pack_into(">I", record, at, 7)
        with pytest.raises(BadMac):
            pair.open_event(bytes(record))


def test_repeated_alarm_is_byte_identical_and_shows_nothing_new() -> None:
    assert panic(DevicePair()) == panic(DevicePair())


def test_equal_payloads_of_two_events_do_not_look_equal(pair: DevicePair) -> None:
    first, second = panic(pair), panic(pair)
    assert first[40:-TAG_BYTES] != second[40:-TAG_BYTES]


def test_event_of_an_earlier_boot_is_not_verified_with_a_later_boots_keys(pair: DevicePair) -> None:
    """What journald got wrong in CVE-2023-31439: sealing old entries anew with the current key."""
    stolen = EpochKeys(key_of(BOOT + 1))
    rewritten = seal_event(stolen, Event(STORAGE_NOTE, pair.device, BOOT, 9, WALL_MS, 0, 3, b"rewritten history"))
    with pytest.raises(BadMac):
        pair.open_event(rewritten)


def test_hello_cannot_be_reflected_as_a_command(pair: DevicePair) -> None:
    with pytest.raises(Malformed):
        pair.open_command(pair.event(HELLO, bytes(60)))
    disguised = b"\x20" + pair.event(HELLO, bytes(60))[1:]
    with pytest.raises(BadMac):
        pair.open_command(disguised)


def test_command_cannot_be_reflected_as_an_event(pair: DevicePair) -> None:
    record = pair.command(WELCOME, Welcome(WALL_MS, bytes(8), 0).encode(), NONCE)
    with pytest.raises(BadMac):
        open_event(pair.keys(BOOT), b"\x10" + record[1:])


# -- clips ------------------------------------------------------------------------------------------------------------


def test_segment_from_another_clip_is_refused(pair: DevicePair, clip: SealedClip) -> None:
    other = pair.clip(PLAIN[::-1], CLIP + 1)
    spliced = relabelled(other.segments[1], clip=CLIP)
    with pytest.raises(BadMac):
        verify(clip.fields_as_opened(), spliced)
    with pytest.raises(Malformed):
        verify(clip.fields_as_opened(), other.segments[1])


def test_segment_from_another_device_is_refused(clip: SealedClip) -> None:
    other = DevicePair(device=OTHER).clip(PLAIN)
    with pytest.raises(WrongDevice):
        verify(clip.fields_as_opened(), other.segments[1])


def test_swapped_segments_are_refused(pair: DevicePair) -> None:
    sealed = pair.clip(bytes(FIRST_PLAIN_BYTES + 3 * NEXT_PLAIN_BYTES))
    for index, other in ((1, 2), (2, 1)):
        with pytest.raises(BadMac):
            verify(sealed.fields_as_opened(), relabelled(sealed.segments[index], index=other))


def test_cut_stream_cannot_be_given_an_early_end(pair: DevicePair, clip: SealedClip) -> None:
    with pytest.raises(BadMac):
        verify(clip.fields_as_opened(), relabelled(clip.segments[1], flags=1))


def test_last_segment_cannot_be_stretched_or_followed(pair: DevicePair) -> None:
    sealed = pair.clip(bytes(FIRST_PLAIN_BYTES + NEXT_PLAIN_BYTES))
    with pytest.raises(BadMac):
        verify(sealed.fields_as_opened(), relabelled(sealed.segments[1], flags=0))


def test_relabelled_segment_of_the_same_stream_is_refused(pair: DevicePair, clip: SealedClip) -> None:
    """Device and clip in a segment header are under no MAC: a reader compares them with the clip's."""
    with pytest.raises(Malformed):
        verify(clip.fields_as_opened(), relabelled(clip.segments[1], clip=CLIP + 1))


def test_missing_segment_shows_in_the_head(pair: DevicePair, clip: SealedClip) -> None:
    end = pair.open_end(clip.end)
    value = clip.heads[0]
    for record in clip.segments[:1] + clip.segments[2:]:
        value = sha256(value, record[-TAG_BYTES:])
    assert value != end.head
    assert end.segments == 3


def test_notice_outcome_cannot_be_improved_on_the_way(pair: DevicePair) -> None:
    record = bytearray(pair.clip(b"", alarm=True).header)
    assert record[37] != NOTICE_CONFIRMED
    record[37] = NOTICE_CONFIRMED
    record[3] &= ~FLAG_ALARM
    with pytest.raises(BadMac):
        pair.open_header(bytes(record))


def test_clip_header_cannot_be_moved_to_another_clip_or_boot(pair: DevicePair, clip: SealedClip) -> None:
    for at, value in ((12, CLIP + 1), (16, BOOT - 1)):
        record = bytearray(clip.header)
        struct.pack_into(">I", record, at, value)
        with pytest.raises(BadMac):
            pair.open_header(bytes(record))


def test_clip_cannot_be_cut_out_of_the_chain(pair: DevicePair, clip: SealedClip) -> None:
    """Dropping a whole clip: the next header names it and its head, and cannot be made to name another."""
    following = pair.clip(b"next", CLIP + 1, previous_head=clip.heads[-1])
    opened = pair.open_header(following.header)
    assert (opened.previous_clip, opened.previous_head) == (CLIP, clip.heads[-1])
    record = bytearray(following.header)
    record[60:92] = bytes(32)
    with pytest.raises(BadMac):
        pair.open_header(bytes(record))


def test_clip_end_of_another_clip_is_refused(pair: DevicePair, clip: SealedClip) -> None:
    other = pair.clip(b"short", CLIP + 1)
    moved = bytearray(other.end)
    struct.pack_into(">I", moved, 12, CLIP)
    with pytest.raises(BadMac):
        pair.open_end(bytes(moved))


def test_clip_end_cannot_be_made_to_count_fewer_segments(pair: DevicePair, clip: SealedClip) -> None:
    shorter = bytearray(clip.end)
    struct.pack_into(">I", shorter, 16, 1)
    with pytest.raises(BadMac):
        pair.open_end(bytes(shorter))


def test_lower_suite_or_version_is_refused(pair: DevicePair, clip: SealedClip) -> None:
    for at in (1, 2):
        for value in (0, 2):
            record = bytearray(clip.header)
            record[at] = value
            with pytest.raises(UnsupportedVersion):
                pair.open_header(bytes(record))


def test_wrapped_seed_exchanged_for_the_attackers_is_refused(pair: DevicePair, clip: SealedClip) -> None:
    record = bytearray(clip.header)
    record[100:484] = bytes(384)
    with pytest.raises(BadMac):
        pair.open_header(bytes(record))


def test_sealed_mac_key_cannot_be_exchanged_for_a_known_one(pair: DevicePair, clip: SealedClip) -> None:
    """Sealing is an XOR, so whoever knows K_h could choose another one, were it not under the MAC."""
    chosen = bytes(a ^ b ^ 1 for a, b in zip(clip.header[524:556], clip.stream.mac_key, strict=True))
    with pytest.raises(BadMac):
        pair.open_header(clip.header[:524] + chosen + clip.header[556:])


def test_clip_whose_seed_does_not_open_it_is_found_at_its_header(pair: DevicePair, clip: SealedClip) -> None:
    """A device that wraps one seed and uses another is found out before a segment is taken."""
    lying, _ = seal_clip_header(clip.fields, pair.keys(CLIP), sha256(b"another seed than the wrapped one"))
    with pytest.raises(Unopenable):
        prove_opening(pair.open_header(lying), pair.keys(CLIP), clip.seed)


# -- stolen secrets ---------------------------------------------------------------------------------------------------


def test_epoch_key_does_not_open_an_earlier_clip(pair: DevicePair, clip: SealedClip) -> None:
    """A device taken after the clip holds CK of the next epoch, and can only go forward."""
    stolen = key_of(CLIP + 1)
    for _ in range(200):
        with pytest.raises(BadMac):
            open_clip_header(EpochKeys(stolen), clip.header)
        stolen = chain_next(stolen)


def test_epoch_keys_do_not_give_the_chain_key_or_each_other(pair: DevicePair) -> None:
    keys = EpochKeys(key_of(CLIP))
    values = list(vars(keys).values())
    known = [key_of(epoch) for epoch in range(CLIP + 3)]
    assert len(values) == 7
    assert len(set(values + known)) == len(values) + len(known)
    assert all(chain_next(value) not in known for value in values)


def test_two_devices_of_one_k_dev_would_share_no_key(pair: DevicePair) -> None:
    assert chain_start(K_DEV, pair.device) != chain_start(K_DEV, OTHER)


def test_k_dev_alone_does_not_open_a_clip(pair: DevicePair, clip: SealedClip) -> None:
    """A gateway without the private key verifies everything and opens nothing: it lacks the seed."""
    header = pair.open_header(clip.header)
    for record in clip.segments:
        verify(header, record)
    for guess in (bytes(32), header.mac_key, pair.keys(CLIP).clip_enc, header.wrapped_seed[:32]):
        with pytest.raises(Unopenable):
            prove_opening(header, pair.keys(CLIP), guess)


def test_private_key_alone_does_not_open_a_clip(pair: DevicePair, clip: SealedClip) -> None:
    """Whoever unwraps the seed still needs E, which comes from K_dev."""
    stranger = DevicePair(k_dev=bytes(32))
    ikm = clip_ikm(stranger.keys(CLIP).clip_enc, clip.seed)
    assert ikm != clip_ikm(pair.keys(CLIP).clip_enc, clip.seed)
    with pytest.raises(BadMac):
        stranger.open_header(clip.header)


def test_mac_key_of_a_clip_does_not_open_it(clip: SealedClip) -> None:
    """K_h is the second half of HKDF's output; decrypting with it gives nothing."""
    body = clip.segments[0][SEGMENT_HEADER_BYTES:-TAG_BYTES]
    plain = bytearray(body)
    AesCtr(clip.stream.mac_key).apply(segment_nonce(clip.fields.prefix, 0, False), memoryview(plain))
    assert bytes(plain) != clip.plain[: len(plain)]
    assert open_segment(clip, clip.segments[0]) == clip.plain[:FIRST_PLAIN_BYTES]


def test_mac_key_of_a_clip_forges_that_clip_and_no_other(pair: DevicePair, clip: SealedClip) -> None:
    """SPEC section 13 says so plainly: that is why heads are settled under another key and time-stamped."""
    body = bytes(100)
    nonce = segment_nonce(clip.fields.prefix, 2, True)
    forged_body = body + Mac(clip.stream.mac_key).digest(nonce, body)
    head = struct.pack(">BBBB8sIII", 2, 1, 1, 0, pair.device, CLIP, 2, len(forged_body))
    forged = relabelled(head + bytes(4) + forged_body)
    verify(clip.fields_as_opened(), forged)
    value = sha256(sha256(sha256(clip.heads[0], clip.segments[0][-32:]), clip.segments[1][-32:]), forged[-32:])
    assert value != pair.open_end(clip.end).head
    other = pair.clip(PLAIN, CLIP + 1)
    with pytest.raises(BadMac):
        verify(other.fields_as_opened(), relabelled(forged, clip=CLIP + 1))


# -- commands ---------------------------------------------------------------------------------------------------------


def admit(pair: DevicePair, gate: CommandGate, record: bytes, wall_ms: int = WALL_MS) -> None:
    """What a device does with a command: verify, then ask the gate."""
    gate.admit(pair.open_command(record), wall_ms)


def test_replayed_welcome_is_refused(pair: DevicePair) -> None:
    gate = CommandGate()
    welcome = pair.command(WELCOME, Welcome(WALL_MS, bytes(8), 0).encode(), NONCE)
    gate.hello(NONCE)
    admit(pair, gate, welcome)
    with pytest.raises(Replayed):
        admit(pair, gate, welcome)


def test_welcome_to_an_earlier_hello_is_refused(pair: DevicePair) -> None:
    gate = CommandGate()
    old = pair.command(WELCOME, Welcome(WALL_MS - 3_600_000, bytes(8), 0).encode(), OLD_NONCE)
    gate.hello(OLD_NONCE)
    gate.hello(NONCE)
    with pytest.raises(Replayed):
        admit(pair, gate, old)


def test_replayed_stop_is_refused(pair: DevicePair) -> None:
    gate = CommandGate()
    gate.hello(NONCE)
    stop = pair.command(STOP_RECORDING, StopRecording(CLIP).encode(), NONCE, 4, WALL_MS + 60_000)
    admit(pair, gate, stop)
    with pytest.raises(Replayed):
        admit(pair, gate, stop)


def test_stop_of_an_earlier_connection_is_refused(pair: DevicePair) -> None:
    gate = CommandGate()
    stop = pair.command(STOP_RECORDING, StopRecording(CLIP).encode(), OLD_NONCE, 4, WALL_MS + 60_000)
    gate.hello(OLD_NONCE)
    gate.hello(NONCE)
    with pytest.raises(Replayed):
        admit(pair, gate, stop)


def test_a_gateway_restored_from_a_backup_is_heard_after_the_next_hello(pair: DevicePair) -> None:
    """Not an attack: its command counter went back, and only the fresh nonce protects against replays."""
    gate = CommandGate()
    gate.hello(OLD_NONCE)
    old = pair.command(STOP_RECORDING, StopRecording(CLIP).encode(), OLD_NONCE, 900, WALL_MS + 60_000)
    admit(pair, gate, old)
    gate.hello(NONCE)
    admit(pair, gate, pair.command(STOP_RECORDING, StopRecording(CLIP).encode(), NONCE, 3, WALL_MS + 60_000))
    with pytest.raises(Replayed):
        admit(pair, gate, old)


def test_settings_held_back_until_they_expired_are_refused(pair: DevicePair) -> None:
    gate = CommandGate()
    gate.hello(NONCE)
    settings_command = pair.command(SETTINGS, SettingsChange().encode(), NONCE, 1, WALL_MS + 60_000)
    with pytest.raises(Replayed):
        admit(pair, gate, settings_command, WALL_MS + 60_000)
    with pytest.raises(Replayed):
        admit(pair, gate, settings_command, 0)


def test_stop_of_an_earlier_boot_is_refused(pair: DevicePair) -> None:
    later = DevicePair(boot=BOOT + 1)
    stop = pair.command(STOP_RECORDING, StopRecording(CLIP).encode(), NONCE, 9, 2**63)
    with pytest.raises(BadMac):
        later.open_command(stop)


def visit_state(pair: DevicePair, nonce: bytes, counter: int = 4) -> bytes:
    body = VisitState(7, VISIT_ACTIVE, 900, WALL_MS + 3_600_000, WALL_MS + 900_000)
    return pair.command(VISIT_STATE, body.encode(), nonce, counter, WALL_MS + 60_000)


def test_replayed_visit_state_is_refused(pair: DevicePair) -> None:
    """Or whoever has the broker could start a visit that is over, and see where its wearer goes."""
    gate = CommandGate()
    gate.hello(NONCE)
    begun = visit_state(pair, NONCE)
    admit(pair, gate, begun)
    over = VisitState(0, 0, 0, 0, 0).encode()
    admit(pair, gate, pair.command(VISIT_STATE, over, NONCE, 5, WALL_MS + 60_000))
    with pytest.raises(Replayed):
        admit(pair, gate, begun)


def test_visit_state_of_an_earlier_connection_is_refused(pair: DevicePair) -> None:
    gate = CommandGate()
    gate.hello(OLD_NONCE)
    gate.hello(NONCE)
    with pytest.raises(Replayed):
        admit(pair, gate, visit_state(pair, OLD_NONCE))
    with pytest.raises(Replayed):
        admit(pair, gate, visit_state(pair, bytes(8)))


def test_visit_state_of_an_earlier_boot_is_refused(pair: DevicePair) -> None:
    with pytest.raises(BadMac):
        DevicePair(boot=BOOT + 1).open_command(visit_state(pair, NONCE))


def update_offer(pair: DevicePair, nonce: bytes, counter: int = 4) -> bytes:
    body = UpdateOffer(bytes(range(8)), 7, 448 + 96)
    return pair.command(UPDATE_OFFER, body.encode(), nonce, counter, WALL_MS + 60_000)


def test_replayed_update_offer_is_refused(pair: DevicePair) -> None:
    """Or whoever has the broker could make a device fetch again what it was told to leave."""
    gate = CommandGate()
    gate.hello(NONCE)
    offered = update_offer(pair, NONCE)
    admit(pair, gate, offered)
    none = UpdateOffer(bytes(8), 0, 0).encode()
    admit(pair, gate, pair.command(UPDATE_OFFER, none, NONCE, 5, WALL_MS + 60_000))
    with pytest.raises(Replayed):
        admit(pair, gate, offered)


def test_update_offer_of_an_earlier_connection_is_refused(pair: DevicePair) -> None:
    gate = CommandGate()
    gate.hello(OLD_NONCE)
    gate.hello(NONCE)
    for nonce in (OLD_NONCE, bytes(8)):
        with pytest.raises(Replayed):
            admit(pair, gate, update_offer(pair, nonce))


def test_update_block_of_another_boot_or_device_is_refused(pair: DevicePair) -> None:
    block = pair.command(UPDATE_BLOCK, UpdateBlock(bytes(8), 0, b"data").encode())
    assert pair.open_command(block).payload[12:] == b"data"
    for other in (DevicePair(boot=BOOT + 1), DevicePair(device=OTHER)):
        with pytest.raises((BadMac, WrongDevice)):
            other.open_command(block)


def test_command_of_another_device_is_refused(pair: DevicePair) -> None:
    other = DevicePair(device=OTHER)
    stop = other.command(STOP_RECORDING, StopRecording(CLIP).encode(), NONCE, 9, 2**63)
    with pytest.raises(BadMac):
        pair.open_command(stop)
    with pytest.raises(WrongDevice):
        open_command(other.keys(BOOT), stop, pair.device, BOOT)


def test_receipt_with_another_head_is_refused(pair: DevicePair) -> None:
    """A forged receipt would make a device delete evidence."""
    record = bytearray(pair.command(RECEIPT, Receipt(CLIP, 3, 1, bytes(32)).encode()))
    for at in range(60, len(record) - TAG_BYTES):
        changed = bytearray(record)
        changed[at] ^= 1
        with pytest.raises(BadMac):
            pair.open_command(bytes(changed))


def test_acknowledgement_of_one_alarm_cannot_be_pointed_at_another(pair: DevicePair) -> None:
    record = bytearray(pair.command(ALARM_ACK, AlarmAck(BOOT, 1, WALL_MS, "Ada").encode()))
    record[60 + 7] ^= 1 ^ 2
    with pytest.raises(BadMac):
        pair.open_command(bytes(record))


def test_resolution_cannot_be_forged_without_the_command_key(pair: DevicePair) -> None:
    """A clip's and a boot's other keys do not seal commands."""
    record = pair.command(ALARM_RESOLVED, AlarmResolved(BOOT, 1, 2).encode())[:-TAG_BYTES]
    keys = vars(pair.keys(BOOT))
    for name, key in keys.items():
        if name != "command_auth":
            with pytest.raises(BadMac):
                pair.open_command(record + Mac(key).digest(record))


@settings(deadline=None, derandomize=True, max_examples=60)
@given(
    st.lists(
        st.tuples(st.sampled_from([OLD_NONCE, NONCE, bytes(8)]), st.integers(0, 6), st.integers(-2, 2)), max_size=20
    )
)
def test_no_order_of_replays_runs_a_guarded_command_twice(attempts: list[tuple[bytes, int, int]]) -> None:
    gate, pair = CommandGate(), DevicePair()
    taken: set[int] = set()
    gate.hello(NONCE)
    for nonce, counter, late_ms in attempts:
        stop = pair.command(STOP_RECORDING, StopRecording(CLIP).encode(), nonce, counter, WALL_MS)
        try:
            admit(pair, gate, stop, WALL_MS + late_ms)
        except Replayed:
            continue
        assert nonce == NONCE
        assert late_ms < 0
        assert counter > max(taken, default=0)
        taken.add(counter)


# -- topics -----------------------------------------------------------------------------------------------------------


def test_topic_spelt_differently_is_refused(pair: DevicePair) -> None:
    """Two spellings of one device would be two rows in a table and one row in another."""
    name = topic(pair.device, LANE_EVENT)
    for spelt in (name.upper(), name.replace(pair.device.hex(), pair.device.hex().upper()), name + "/", " " + name):
        with pytest.raises(Malformed):
            parse_topic(spelt)


def test_topic_with_another_devices_shard_is_refused(pair: DevicePair) -> None:
    """Or a worker would be given records of devices that it does not hold."""
    root, version, _, device, lane = topic(pair.device, LANE_EVENT).split("/")
    shard = topic(OTHER, LANE_EVENT).split("/")[2]
    with pytest.raises(Malformed):
        parse_topic("/".join((root, version, shard, device, lane)))
