"""What a hostile broker, a stranger or a stolen device sends: refused or harmless, counted, and told of once."""

import random
from collections.abc import Callable

import pytest
from structlog.testing import capture_logs

from lapel_gateway.ledger.schema import DEVICE_LOST, DEVICE_RETIRED
from lapel_protocol.command import CREDIT, EVENT_RECEIPT, RECEIPT, WANT, WELCOME
from lapel_protocol.event import LOCATION, RECORDING_NOTE
from lapel_protocol.limits import MAX_MESSAGE_BYTES
from lapel_protocol.reports import NOTE_STARTED, Location, RecordingNote
from lapel_protocol.topics import LANES, topic
from tests.support.device import Message, SealedClip, TrueDevice
from tests.support.pair import DevicePair, bodies
from tests.support.segments import with_check


def state(pair: DevicePair) -> dict[str, object]:
    """Everything that an attack might change, counters of refusals and what is known of the device's moods aside."""
    tables = {name: pair.rows(name) for name in ("clip", "event", "epoch", "alarm", "outbox", "notice")}
    files = {str(path): path.read_bytes() for path in sorted(pair.vault.root.rglob("*.lapel"))}
    return {**tables, "files": files, "boot": pair.row("device", "device = :d", d=pair.one.name)["boot"]}


def harmless(pair: DevicePair, *messages: Message) -> list[Message]:
    """Send an attack and check that nothing changed and that the broker may forget it; returns the downlinks."""
    before = state(pair)
    outcome = pair.outcome(*messages)
    assert state(pair) == before
    assert outcome.acknowledge == list(range(len(messages)))
    return outcome.downlinks


def flipped(record: bytes, at: int) -> bytes:
    changed = bytearray(record)
    changed[at] ^= 0x40
    return bytes(changed)


@pytest.fixture
def begun(pair: DevicePair) -> SealedClip:
    """A clip of which the header and two of six segments are held."""
    clip = pair.one.record(6)
    pair.send(clip.message(clip.header_record + clip.segments[0] + clip.segments[1]))
    return clip


@pytest.mark.parametrize("at", [0, 1, 2, 3, 5, 12, 16, 20, 24, 28, 2000, -1])
def test_a_segment_altered_anywhere_is_refused(pair: DevicePair, begun: SealedClip, at: int) -> None:
    assert harmless(pair, begun.message(flipped(begun.segments[2], at))) == [] or at in (12, 15)
    assert pair.send(*begun.messages())[-1][0] == RECEIPT


@pytest.mark.parametrize("at", [0, 1, 2, 3, 5, 12, 16, 40, 99, 100, 300, 484, 524, 556, -1])
def test_a_header_altered_anywhere_is_refused(pair: DevicePair, at: int) -> None:
    clip = pair.one.record(2)
    assert harmless(pair, clip.message(flipped(clip.header_record, at))) == []
    assert [kind for kind, _ in pair.send(*clip.messages())] == [RECEIPT]


@pytest.mark.parametrize("at", [0, 1, 2, 3, 5, 12, 16, 20, 32, 60, 87, 88, -1])
def test_an_end_altered_anywhere_is_refused(pair: DevicePair, begun: SealedClip, at: int) -> None:
    assert harmless(pair, begun.message(flipped(begun.end_record, at))) == []
    assert pair.send(*begun.messages())[-1][0] == RECEIPT


def test_a_segment_from_another_clip_is_refused(pair: DevicePair, begun: SealedClip) -> None:
    other = pair.one.record(4)
    record = bytearray(other.segments[2])
    record[12:16] = begun.segments[2][12:16]
    assert harmless(pair, begun.message(with_check(bytes(record)))) == []
    assert pair.tally("bad_mac") == 1


def test_a_segment_under_another_index_is_refused(pair: DevicePair, begun: SealedClip) -> None:
    record = bytearray(begun.segments[3])
    record[16:20] = (2).to_bytes(4, "big")
    assert harmless(pair, begun.message(with_check(bytes(record)))) == []


def test_true_records_on_another_devices_topics_are_refused(make_pair: Callable[..., DevicePair]) -> None:
    pair = make_pair(devices=2)
    for device in pair.devices:
        pair.greet(device)
    victim, thief = pair.devices
    clip = victim.record(3)
    note = victim.event(RECORDING_NOTE, RecordingNote(NOTE_STARTED, 0, 7, 0).encode())
    pair.send(clip.message(clip.header_record))
    for payload in (clip.header_record, clip.segments[0], clip.end_record):
        assert harmless(pair, (topic(thief.device, "clip"), payload)) == []
    for payload in (note, victim.hello()[1], victim.heartbeat()[1], victim.cut(clip, 0)[1]):
        assert harmless(pair, (topic(thief.device, "event"), payload)) == []
    assert pair.tally("wrong_device") == 7


def test_devices_that_nobody_provisioned_are_refused_and_counted_together(pair: DevicePair) -> None:
    stranger_pair_device = TrueDevice(pair.provision().package, pair.organisation)
    stranger_pair_device.device = bytes.fromhex("deadbeefdeadbeef")
    stranger_pair_device.boot()
    clip = stranger_pair_device.record(1)
    with capture_logs() as lines:
        assert harmless(pair, *clip.messages(), stranger_pair_device.hello()) == []
        assert harmless(pair, *clip.messages(), stranger_pair_device.hello()) == []
    assert pair.row("tally", "reason = 'unknown_device'")["device"] == ""
    assert pair.tally("unknown_device") == 4
    assert [line["event"] for line in lines] == ["refused", "refused"]  # one for clips, one for events


@pytest.mark.parametrize(
    "name",
    [
        "",
        "lapel",
        "lapel/v1/00/zz/clip",
        "lapel/v1/00/0011223344556677/clip",
        "lapel/v2/00/0011223344556677/clip",
        "x" * 999,
    ],
)
def test_topics_that_are_none_of_ours_are_refused(pair: DevicePair, name: str) -> None:
    assert harmless(pair, (name, b"x")) == []
    assert pair.tally("malformed") + pair.tally("oversized") == 1


@pytest.mark.parametrize("lane", ["alarm", "down"])
def test_lanes_that_are_not_ingests_are_refused(pair: DevicePair, lane: str) -> None:
    assert harmless(pair, (topic(pair.one.device, lane), pair.one.hello()[1])) == []


def test_an_oversized_message_is_refused_unread(pair: DevicePair) -> None:
    clip = pair.one.record(9)
    payload = clip.file
    assert len(payload) > MAX_MESSAGE_BYTES
    assert harmless(pair, clip.message(payload)) == []
    assert pair.tally("oversized") == 1


@pytest.mark.parametrize("size", [0, 1, 15, 16, 27, 587])
def test_a_cut_message_is_refused(pair: DevicePair, size: int) -> None:
    clip = pair.one.record(1)
    assert harmless(pair, clip.message(clip.header_record[:size])) == []
    assert pair.tally("malformed") == 1


def test_records_of_a_later_version_are_refused_by_that_name(pair: DevicePair, begun: SealedClip) -> None:
    for record in (begun.segments[2], begun.end_record, pair.one.record(1).header_record):
        changed = bytearray(record)
        changed[1] = 2
        assert harmless(pair, begun.message(bytes(changed))) == []
    event = bytearray(pair.one.hello()[1])
    event[1] = 2
    assert harmless(pair, pair.one.on_event_lane(bytes(event))) == []
    assert pair.tally("unsupported_version") == 4


def test_noise_of_any_length_is_refused(pair: DevicePair) -> None:
    chance = random.Random(5)
    for lane in ("clip", "event"):
        for size in (1, 28, 72, 120, 588, 4124, 20_000):
            for first in (0x01, 0x02, 0x03, 0x10, 0x20, 0xFF):
                payload = bytes([first, 1]) + chance.randbytes(size)
                harmless(pair, (topic(pair.one.device, lane), payload))


def test_a_second_header_for_a_clip_is_refused_even_when_it_is_authentic(pair: DevicePair, begun: SealedClip) -> None:
    # A device whose epoch was used twice: the first header counts.
    twin = TrueDevice(pair.one.package, pair.organisation, seed=99)
    twin.boot()
    second = twin.record(6)
    assert second.clip == begun.clip
    assert second.header_record != begun.header_record
    assert harmless(pair, second.message(second.header_record)) == []
    assert harmless(pair, *[second.message(segment) for segment in second.segments]) == []
    assert pair.send(*begun.messages())[-1][0] == RECEIPT


def test_an_end_that_contradicts_held_segments_is_refused_even_when_it_is_authentic(pair: DevicePair) -> None:
    twin = TrueDevice(pair.one.package, pair.organisation, seed=99)
    twin.boot()
    short = twin.record(1)
    clip = pair.one.record(6)
    pair.send(clip.message(clip.header_record + b"".join(clip.segments[:4])))
    assert harmless(pair, clip.message(short.end_record)) == []


def test_an_authentic_end_with_another_head_never_makes_a_receipt(pair: DevicePair) -> None:
    twin = TrueDevice(pair.one.package, pair.organisation, seed=99)
    twin.boot()
    other = twin.record(6)
    clip = pair.one.record(6)
    answers = pair.send(clip.message(clip.header_record + other.end_record), *clip.messages(end=False))
    assert bodies(answers, RECEIPT) == []
    assert pair.row("notice")["kind"] == "head_mismatch"
    assert pair.row("clip")["state"] == "ended"


def test_a_cut_event_with_another_head_never_makes_a_receipt(pair: DevicePair, begun: SealedClip) -> None:
    begun.heads[2] = bytes(range(32))
    assert bodies(pair.send(pair.one.cut(begun, 2)), RECEIPT) == []
    assert pair.row("notice")["kind"] == "head_mismatch"


def test_replayed_messages_change_nothing(pair: DevicePair) -> None:
    clip = pair.one.record(5)
    note = pair.one.on_event_lane(pair.one.event(RECORDING_NOTE, RecordingNote(NOTE_STARTED, 0, 7, 0).encode()))
    everything = [*clip.messages(), note, pair.one.cut(pair.one.record(1), 1)]
    pair.send(*everything)
    harmless(pair, *everything)
    harmless(pair, *reversed(everything))


def test_an_event_of_a_boot_that_was_closed_is_refused(pair: DevicePair) -> None:
    late = pair.one.on_event_lane(pair.one.event(RECORDING_NOTE, RecordingNote(NOTE_STARTED, 0, 7, 0).encode()))
    pair.greet()
    with pair.engine.begin() as connection:
        connection.exec_driver_sql("UPDATE device SET boot_floor = 1")
    assert bodies(pair.one.take(harmless(pair, late)), EVENT_RECEIPT) == []
    assert pair.tally("replayed") == 1


def test_forged_segments_cannot_make_the_gateway_talk(pair: DevicePair) -> None:
    clip = pair.one.record(1)
    forged = []
    for number in range(200):
        record = bytearray(clip.segments[0])
        record[12:16] = (1000 + number).to_bytes(4, "big")
        forged.append(clip.message(with_check(bytes(record))))
    assert len(harmless(pair, *forged)) <= 4


def test_a_flood_of_one_kind_is_one_log_line_and_one_count(pair: DevicePair, begun: SealedClip) -> None:
    bad = begun.message(flipped(begun.segments[2], -1))
    with capture_logs() as lines:
        for _ in range(20):
            pair.outcome(*[bad] * 50)
    assert [(line["event"], line["reason"]) for line in lines] == [("refused", "malformed")]
    assert pair.tally("malformed") == 1000


def test_text_from_outside_is_harmless_in_the_log(pair: DevicePair) -> None:
    with capture_logs() as lines:
        pair.outcome(("lapel/\x1b[2J\n/clip", b"x"))
    assert all("\x1b" not in str(value) and "\n" not in str(value) for line in lines for value in line.values())


@pytest.mark.parametrize("ended", [DEVICE_RETIRED, DEVICE_LOST])
def test_evidence_of_a_device_that_was_ended_is_taken_and_labelled(pair: DevicePair, ended: str) -> None:
    if ended == DEVICE_LOST:
        pair.registry.mark_lost(pair.one.name, pair.now_ms)
    else:
        pair.registry.retire(pair.one.name, pair.now_ms)
    clip = pair.one.record(2)
    assert bodies(pair.send(*clip.messages()), RECEIPT)
    assert pair.row("clip")["device_state"] == ended


def test_no_downlink_goes_to_a_topic_but_the_devices_own(make_pair: Callable[..., DevicePair]) -> None:
    pair = make_pair(devices=3)
    downlinks: list[Message] = []
    for device in pair.devices:
        device.boot()
        clip = device.record(3)
        downlinks += pair.outcome(device.hello(), *clip.messages(), device.heartbeat()).downlinks
    allowed = {topic(device.device, "down") for device in pair.devices}
    assert {name for name, _ in downlinks} == allowed
    for device in pair.devices:
        kinds = {kind for kind, _ in device.take(downlinks)}
        assert {WELCOME, CREDIT, RECEIPT} <= kinds
        assert WANT not in kinds
    assert "down" in LANES


def test_a_location_of_no_open_visit_or_alarm_is_counted_and_nothing_of_it_is_kept(pair: DevicePair) -> None:
    pair.greet()
    one = pair.one
    where = (593_293_235, -180_685_808, 8, 3)
    of_a_visit = one.event(LOCATION, Location(*where, visit=12).encode())
    of_an_alarm = one.event(LOCATION, Location(*where, one.boot_number, 7).encode())
    of_nothing = one.event(LOCATION, Location(*where).encode())
    records = (of_a_visit, of_an_alarm, of_nothing)
    with capture_logs() as logged:
        assert harmless(pair, *(one.on_event_lane(record) for record in records)) == []
        harmless(pair, one.on_event_lane(of_a_visit))
        pair.raise_alarm(one.on_alarm_lane(of_a_visit))
    assert (pair.tally("location"), pair.tally("malformed")) == (3, 1)
    pair.stop()
    kept = b"".join(path.read_bytes() for path in pair.folder.rglob("*") if path.is_file()) + repr(logged).encode()
    position = Location(*where).encode()[:8]
    assert position not in kept
    for figure in where[:2]:
        assert str(abs(figure)).encode() not in kept
    for record in records:
        assert record[40:48] not in kept
        assert record[-32:] not in kept
