"""Parts of a fleet's members that no gateway can be made to try: packets in pieces, resends, wrong receipts."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from lapel_protocol.limits import MAX_SEGMENT_RECORD_BYTES
from lapel_protocol.orders import WANT_END, WANT_HEADER, WANT_SEGMENTS, Credit, Receipt, Want
from lapel_sim.fleet import packets
from lapel_sim.fleet.sealer import SealedClip, Sealer
from lapel_sim.fleet.uploads import STALL_MS, Uploads


class Key:
    """An organisation's public key: any odd number of the right size wraps."""

    modulus = b"\xff" * 384
    key_id = bytes(8)


@pytest.fixture
def clip() -> SealedClip:
    device = Sealer(bytes(8), bytes(32), Key())
    device.boot()
    return device.record(9)


@pytest.fixture
def uploads(clip: SealedClip) -> Uploads:
    uploads = Uploads()
    uploads.add(clip, 0)
    return uploads


def credit(segments: int, held: int, clip: SealedClip) -> Credit:
    return Credit(bytes(8), segments * MAX_SEGMENT_RECORD_BYTES, 0, [(clip.clip, held)] if held else [])


def sent(uploads: Uploads, now_ms: int = 0) -> Iterator[bytes]:
    while (payload := uploads.take(now_ms)) is not None:
        yield payload


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
def test_packets_are_read_whole_however_they_are_cut(size: int) -> None:
    stream = packets.publish("a/b", b"x" * 300, 7) + packets.puback(9) + packets.publish("c", b"")
    reader, found = packets.Reader(), []
    for at in range(0, len(stream), size):
        found += list(reader.feed(stream[at : at + size]))
    assert [kind for kind, _, _ in found] == [packets.PUBLISH, packets.PUBACK, packets.PUBLISH]
    assert packets.read_publish(*found[0][1:]) == ("a/b", 7, b"x" * 300)
    assert packets.read_publish(*found[2][1:]) == ("c", 0, b"")


def test_a_repeat_is_the_same_packet_marked_as_one() -> None:
    packet = packets.publish("a", b"x", 3)
    assert packets.again(packet)[0] == packet[0] | packets.DUP
    assert packets.again(packet)[1:] == packet[1:]


@pytest.mark.parametrize("data", [b"\x30\xff\xff\xff\xff\x7f", b"\x30\xff\xff\x7f"])
def test_a_packet_of_impossible_length_is_an_error(data: bytes) -> None:
    with pytest.raises(packets.PacketError):
        list(packets.Reader().feed(data))


def test_nothing_is_sent_without_credit_and_no_more_than_it_allows(uploads: Uploads, clip: SealedClip) -> None:
    assert uploads.take(0) is None
    uploads.credit(credit(5, 0, clip), 0)
    first = list(sent(uploads))
    assert b"".join(first) == clip.header_record + b"".join(clip.segments[:5])
    assert uploads.blocked
    uploads.credit(credit(5, 5, clip), 0)
    assert b"".join(sent(uploads)) == b"".join(clip.segments[5:]) + clip.end_record


def test_what_the_gateway_does_not_confirm_goes_again_from_what_it_holds(uploads: Uploads, clip: SealedClip) -> None:
    uploads.credit(credit(100, 0, clip), 0)
    assert b"".join(sent(uploads)) == clip.file
    uploads.credit(credit(100, 4, clip), 0)
    assert list(sent(uploads, STALL_MS - 1)) == []
    assert b"".join(sent(uploads, STALL_MS)) == b"".join(clip.segments[4:]) + clip.end_record


def test_parts_that_the_gateway_asks_for_are_sent_again(uploads: Uploads, clip: SealedClip) -> None:
    uploads.credit(credit(100, 0, clip), 0)
    list(sent(uploads))
    uploads.want(Want(clip.clip, WANT_HEADER | WANT_END | WANT_SEGMENTS, 7, 2))
    again = b"".join(sent(uploads))
    assert again == clip.header_record + clip.end_record + b"".join(clip.segments[7:]) + clip.end_record


def test_only_a_receipt_that_names_the_clips_head_takes_it(uploads: Uploads, clip: SealedClip) -> None:
    for wrong in (Receipt(clip.clip, 9, 1, clip.heads[8]), Receipt(clip.clip, 8, 1, clip.heads[9])):
        with pytest.raises(ValueError, match="another head"):
            uploads.receipt(wrong)
    right = Receipt(clip.clip, 9, 1, clip.heads[9])
    taken = uploads.receipt(right)
    assert taken is not None
    assert uploads.receipt(right) is None
    assert not uploads.clips


def test_a_new_session_sends_again_what_was_under_way(uploads: Uploads, clip: SealedClip) -> None:
    uploads.credit(credit(100, 0, clip), 0)
    list(sent(uploads))
    uploads.reconnected(resumed=False, now_ms=0)
    assert uploads.take(0) is None
    uploads.credit(credit(100, 0, clip), 0)
    assert b"".join(sent(uploads)) == clip.file
