"""Trust: which bytes are a device's own word. Every test is an attack, or what a true device does beside it."""

import hmac
import struct
from collections.abc import Callable

import pytest

from lapel_gateway.verify import (
    BUDGET_STEPS,
    BUDGET_WINDOW_MS,
    CHECKPOINT_STEPS,
    FREE_STEPS,
    ClipTrust,
    SegmentMac,
    Trust,
    Verifier,
    WalkRefused,
    _chain_next,
    check_segment,
    split_records,
)
from lapel_protocol.errors import (
    BadMac,
    EpochTooFar,
    Malformed,
    Oversized,
    ProtocolError,
    UnknownDevice,
    UnsupportedVersion,
    WrongDevice,
)
from lapel_protocol.event import ALARM_RAISED, Event, seal_event
from lapel_protocol.keys import EpochKeys, chain_next, chain_start
from lapel_protocol.limits import MAX_CHAIN_STEPS, MAX_EVENT_RECORD_BYTES, MAX_MESSAGE_BYTES
from lapel_protocol.stream import decode_segment_header
from tests.support.device import SealedClip
from tests.support.pair import DevicePair
from tests.support.segments import with_check

K_DEV = bytes(range(32))
DEVICE = bytes.fromhex("00112233aabbccdd")
NOW_MS = 1_700_000_000_000


def trust(**changes: int) -> Trust:
    values = {"minimum_suite": 1, "authenticated_epoch": 0, "boot_floor": 0, "boot": -1} | changes
    return Trust(
        DEVICE,
        DEVICE.hex(),
        "active",
        "Zoë",
        values["minimum_suite"],
        values["authenticated_epoch"],
        values["boot_floor"],
        values["boot"],
        K_DEV,
    )


def keys_of(epoch: int) -> EpochKeys:
    key = chain_start(K_DEV, DEVICE)
    for _ in range(epoch):
        key = hmac.digest(key, b"chain", "sha256")
    return EpochKeys(key)


def event(epoch: int, payload: bytes = b"") -> bytes:
    return seal_event(keys_of(epoch), Event(ALARM_RAISED, DEVICE, epoch, 1, 0, 0, 0, payload))


def forged(epoch: int) -> bytes:
    record = bytearray(seal_event(EpochKeys(bytes(32)), Event(ALARM_RAISED, DEVICE, epoch, 1, 0, 0, 0, b"")))
    return bytes(record)


def refusal(verifier: Verifier, known: Trust | None, record: bytes, device: bytes = DEVICE) -> type[ProtocolError]:
    with pytest.raises(ProtocolError) as raised:
        verifier.event(known, device, record, NOW_MS)
    return type(raised.value)


def test_the_fast_walk_is_the_protocols() -> None:
    key = chain_start(K_DEV, DEVICE)
    assert _chain_next(key) == chain_next(key)


def test_a_true_event_is_taken_whatever_epoch_it_is_of() -> None:
    verifier, known = Verifier(), trust()
    for epoch in (0, 3, 40, 2, 3000, 1023, 1024, 1025, 2999, 0):
        assert verifier.event(known, DEVICE, event(epoch), NOW_MS).boot == epoch
    assert known.authenticated_epoch == 3000


def test_older_epochs_are_derived_again_after_a_restart() -> None:
    assert Verifier().event(trust(authenticated_epoch=5000), DEVICE, event(17), NOW_MS).boot == 17
    assert Verifier().keys(trust(authenticated_epoch=5000), 4999).event_auth == keys_of(4999).event_auth


@pytest.mark.parametrize("at", [0, 1, 2, 3, 4, 12, 16, 20, 28, 36, 38, 45, -1])
def test_an_event_altered_anywhere_is_refused(at: int) -> None:
    record = bytearray(event(3, b"payload"))
    record[at] ^= 1
    with pytest.raises(ProtocolError):
        Verifier().event(trust(), DEVICE, bytes(record), NOW_MS)


def test_an_event_sealed_with_another_key_is_refused() -> None:
    assert refusal(Verifier(), trust(), forged(3)) is BadMac


def test_an_event_is_refused_under_the_keys_of_any_epoch_but_its_own() -> None:
    record = seal_event(keys_of(4), Event(ALARM_RAISED, DEVICE, 3, 1, 0, 0, 0, b""))
    assert refusal(Verifier(), trust(authenticated_epoch=10), record) is BadMac


@pytest.mark.parametrize("size", [0, 1, 39, 71])
def test_a_cut_event_is_refused(size: int) -> None:
    assert refusal(Verifier(), trust(), event(3)[:size]) is Malformed


def test_an_oversized_event_is_refused_before_the_registry_is_asked() -> None:
    assert refusal(Verifier(), None, bytes(MAX_EVENT_RECORD_BYTES + 1)) is Oversized


def test_an_event_of_another_version_is_refused_by_that_name() -> None:
    record = bytearray(event(3))
    record[1] = 2
    assert refusal(Verifier(), trust(), bytes(record)) is UnsupportedVersion


def test_an_unknown_device_is_refused_by_that_name() -> None:
    assert refusal(Verifier(), None, event(3)) is UnknownDevice


def test_a_true_record_on_another_devices_topic_is_refused() -> None:
    assert refusal(Verifier(), trust(), event(3), bytes(8)) is WrongDevice


def test_a_forged_record_of_a_later_epoch_leaves_no_progress() -> None:
    verifier, known = Verifier(), trust()
    assert refusal(verifier, known, forged(60_000)) is BadMac
    assert known.authenticated_epoch == 0
    assert refusal(verifier, known, forged(MAX_CHAIN_STEPS + 1)) is EpochTooFar
    assert verifier.event(known, DEVICE, event(1), NOW_MS).boot == 1


def test_an_epoch_beyond_the_walk_is_too_far_until_an_earlier_one_is_proved() -> None:
    verifier, known = Verifier(), trust()
    assert refusal(verifier, known, event(MAX_CHAIN_STEPS + 1)) is EpochTooFar
    verifier.event(known, DEVICE, event(1), NOW_MS)
    assert verifier.event(known, DEVICE, event(MAX_CHAIN_STEPS + 1), NOW_MS).boot == MAX_CHAIN_STEPS + 1


def test_forged_epochs_are_no_way_to_occupy_the_gateway(monkeypatch: pytest.MonkeyPatch) -> None:
    steps = 0

    def counted(key: bytes) -> bytes:
        nonlocal steps
        steps += 1
        return key

    verifier, known = Verifier(), trust()
    verifier.event(known, DEVICE, event(1), NOW_MS)
    monkeypatch.setattr("lapel_gateway.verify._chain_next", counted)
    refusals = [refusal(verifier, known, forged(60_000)) for _ in range(100)]
    assert set(refusals) == {BadMac, WalkRefused}
    assert steps <= BUDGET_STEPS


def test_a_true_device_is_heard_through_a_flood_of_forged_epochs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lapel_gateway.verify.BUDGET_STEPS", 4000)
    verifier, known = Verifier(), trust()
    while refusal(verifier, known, forged(1500)) is not WalkRefused:
        pass
    assert verifier.event(known, DEVICE, event(FREE_STEPS), NOW_MS).boot == FREE_STEPS
    far = event(FREE_STEPS + 1500)
    assert refusal(verifier, known, far) is WalkRefused
    assert verifier.event(known, DEVICE, far, NOW_MS + BUDGET_WINDOW_MS).boot == FREE_STEPS + 1500


def test_a_walk_remembers_no_more_than_its_checkpoints() -> None:
    verifier, known = Verifier(), trust()
    verifier.event(known, DEVICE, event(3 * CHECKPOINT_STEPS + 5), NOW_MS)
    chain = verifier._chains[DEVICE]
    assert sorted(chain.keys) == [0, CHECKPOINT_STEPS, 2 * CHECKPOINT_STEPS, 3 * CHECKPOINT_STEPS, chain.newest]


# -- clips ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def sealed(make_pair: Callable[..., DevicePair]) -> tuple[Trust, SealedClip, SealedClip, DevicePair]:
    pair = make_pair(devices=2)
    for device in pair.devices:
        device.boot()
    first, second = pair.devices[0].record(3), pair.devices[0].record(2)
    with pair.engine.connect() as connection:
        known = pair.registry.trust(connection, [pair.one.device])[pair.one.device]
    return known, first, second, pair


def clip_trust(known: Trust, clip: SealedClip) -> ClipTrust:
    header = Verifier().clip_header(known, known.device, memoryview(clip.header_record), NOW_MS)
    return ClipTrust(known.device, clip.clip, header.prefix, SegmentMac(header.mac_key))


def checked(checker: ClipTrust, record: bytes) -> bytes:
    return check_segment(checker, decode_segment_header(record), memoryview(record))


Sealed = tuple[Trust, SealedClip, SealedClip, DevicePair]


def test_a_true_clip_verifies_without_any_private_key(sealed: Sealed) -> None:
    known, clip, _, _ = sealed
    checker = clip_trust(known, clip)
    for index, record in enumerate(clip.segments):
        assert decode_segment_header(record).index == index
        assert checked(checker, record) == record[-32:]
    end = Verifier().clip_end(known, known.device, memoryview(clip.end_record), NOW_MS)
    assert (end.segments, end.head) == (3, clip.heads[3])


def test_a_clip_header_altered_anywhere_is_refused(sealed: Sealed) -> None:
    known, clip, _, _ = sealed
    for at in [*range(120), 200, 483, 484, 500, 530, 587]:
        record = bytearray(clip.header_record)
        record[at] ^= 1
        with pytest.raises(ProtocolError):
            Verifier().clip_header(known, known.device, memoryview(record), NOW_MS)


def test_a_clip_end_altered_anywhere_is_refused(sealed: Sealed) -> None:
    known, clip, _, _ = sealed
    for at in range(len(clip.end_record)):
        record = bytearray(clip.end_record)
        record[at] ^= 1
        with pytest.raises(ProtocolError):
            Verifier().clip_end(known, known.device, memoryview(record), NOW_MS)


def test_a_suite_below_the_pinned_minimum_is_refused(sealed: Sealed) -> None:
    known, clip, _, _ = sealed
    known.minimum_suite = 2
    with pytest.raises(UnsupportedVersion, match="minimum"):
        Verifier().clip_header(known, known.device, memoryview(clip.header_record), NOW_MS)


def test_a_segment_of_another_clip_of_the_device_is_refused(sealed: Sealed) -> None:
    known, clip, other, _ = sealed
    with pytest.raises(Malformed, match="another clip"):
        checked(clip_trust(known, clip), other.segments[0])


def test_a_segment_of_another_clip_that_was_relabelled_is_refused(sealed: Sealed) -> None:
    known, clip, other, _ = sealed
    record = relabelled(other.segments[0], clip=clip.clip)
    with pytest.raises(BadMac):
        checked(clip_trust(known, clip), record)


def test_a_segment_moved_to_another_index_is_refused(sealed: Sealed) -> None:
    known, clip, _, _ = sealed
    with pytest.raises(BadMac):
        checked(clip_trust(known, clip), relabelled(clip.segments[1], index=2))


def test_a_segment_that_is_called_the_last_is_refused(sealed: Sealed) -> None:
    known, clip, _, _ = sealed
    with pytest.raises(BadMac):
        checked(clip_trust(known, clip), relabelled(clip.segments[1], last=True))


def test_a_segment_of_another_device_is_refused(sealed: Sealed) -> None:
    known, clip, _, pair = sealed
    foreign = pair.devices[1].record(1)
    with pytest.raises(WrongDevice):
        checked(clip_trust(known, clip), foreign.segments[0])


def relabelled(record: bytes, clip: int | None = None, index: int | None = None, last: bool | None = None) -> bytes:
    """The record with other header fields and a check that fits them, as a broker could make it."""
    fields = list(struct.unpack_from(">BBBB8sIII", record, 0))
    fields[2] = fields[2] if last is None else int(last)
    fields[5] = fields[5] if clip is None else clip
    fields[6] = fields[6] if index is None else index
    head = struct.pack(">BBBB8sIII", *fields)
    return with_check(head + record[24:])


# -- messages ---------------------------------------------------------------------------------------------------------


def test_a_message_is_split_into_its_whole_records(sealed: Sealed) -> None:
    _, clip, _, _ = sealed
    records = [bytes(record.view) for record in split_records(clip.file)]
    assert records == [clip.header_record, *clip.segments, clip.end_record]


def test_an_oversized_message_is_refused_unread() -> None:
    with pytest.raises(Oversized):
        next(split_records(bytes(MAX_MESSAGE_BYTES + 1)))


def test_a_message_cut_inside_a_record_gives_the_whole_ones_and_then_the_error(sealed: Sealed) -> None:
    _, clip, _, _ = sealed
    whole = clip.header_record + clip.segments[0]
    for extra in (clip.segments[1][:-1], clip.segments[1][:5], b"\x7f", clip.end_record[:-1]):
        records = split_records(whole + extra)
        assert [bytes(next(records).view), bytes(next(records).view)] == [clip.header_record, clip.segments[0]]
        with pytest.raises(Malformed):
            next(records)


def test_an_empty_message_is_malformed() -> None:
    with pytest.raises(Malformed):
        next(split_records(b""))
