"""The stream: sealing, opening in any order, and public Tink as the judge in both directions (SPEC section 5)."""

from __future__ import annotations

import hashlib
import zlib

import pytest
import tink
from hypothesis import given, settings
from hypothesis import strategies as st

from lapel_protocol import labels
from lapel_protocol.crypto import Mac, sha256
from lapel_protocol.errors import BadMac, Malformed, ProtocolError
from lapel_protocol.limits import (
    FIRST_BODY_BYTES,
    FIRST_PLAIN_BYTES,
    MAX_SEGMENT_RECORD_BYTES,
    MAX_SEGMENTS,
    NEXT_PLAIN_BYTES,
    PREFIX_BYTES,
    SALT_BYTES,
    SEGMENT_BYTES,
    TAG_BYTES,
    TINK_HEADER_BYTES,
)
from lapel_protocol.opening import SegmentOpener
from lapel_protocol.stream import (
    SegmentHeader,
    SegmentSealer,
    StreamKeys,
    decode_segment_header,
    full_body_bytes,
    segment_body,
    segment_nonce,
    segment_offset,
    split_tink_header,
)
from tests.protocol import tink_judge
from tests.protocol.pair import DevicePair, SealedClip, open_segment, open_with_tink, relabelled, verify

QUICK = settings(deadline=None, derandomize=True, max_examples=40)
EDGES = sorted(
    {0, 1, 15, 16, 17}
    | {FIRST_PLAIN_BYTES + by for by in (-1, 0, 1)}
    | {FIRST_PLAIN_BYTES + NEXT_PLAIN_BYTES + by for by in (-1, 0, 1)}
    | {FIRST_PLAIN_BYTES + 2 * NEXT_PLAIN_BYTES + by for by in (-1, 0, 1)}
)
LENGTHS = st.one_of(st.sampled_from(EDGES), st.integers(0, 20_000))


def filler(length: int, about: bytes = b"plain") -> bytes:
    return hashlib.shake_256(about).digest(length)


@pytest.fixture
def pair() -> DevicePair:
    return DevicePair()


@pytest.fixture
def clip(pair: DevicePair) -> SealedClip:
    """A clip of four segments, the last one not full."""
    return pair.clip(filler(FIRST_PLAIN_BYTES + 2 * NEXT_PLAIN_BYTES + 1000))


@pytest.mark.parametrize("length", EDGES)
def test_public_tink_opens_what_a_device_sealed(pair: DevicePair, length: int) -> None:
    sealed = pair.clip(filler(length))
    assert open_with_tink(pair, sealed) == sealed.plain


@pytest.mark.parametrize("length", EDGES)
def test_our_opener_opens_what_public_tink_sealed(length: int) -> None:
    ikm, associated_data = sha256(b"ikm"), filler(484, b"associated data")
    stream = tink_judge.encrypt(ikm, associated_data, filler(length))
    salt, prefix = split_tink_header(stream[:TINK_HEADER_BYTES])
    opener = SegmentOpener(StreamKeys(ikm, salt, associated_data), prefix)
    bodies = [stream[TINK_HEADER_BYTES:SEGMENT_BYTES]]
    bodies += [stream[at : at + SEGMENT_BYTES] for at in range(SEGMENT_BYTES, len(stream), SEGMENT_BYTES)]
    plain = b""
    for index, body in enumerate(bodies):
        header = SegmentHeader(bytes(8), 0, index, index == len(bodies) - 1, len(body), 0)
        plain += opener.open(header, memoryview(body))
    assert plain == filler(length)


def test_public_tink_refuses_what_our_opener_refuses(pair: DevicePair, clip: SealedClip) -> None:
    first, second, *rest = clip.segments
    for segments in ([second, first, *rest], clip.segments[:-1], [first, *rest]):
        cut = SealedClip(clip.header, segments, clip.end, clip.plain, clip.seed, clip.stream, clip.fields)
        with pytest.raises(tink.TinkError):
            open_with_tink(pair, cut)


@QUICK
@given(LENGTHS)
def test_whatever_is_sealed_opens_again(length: int) -> None:
    sealed = DevicePair().clip(filler(length))
    assert b"".join(open_segment(sealed, record) for record in sealed.segments) == sealed.plain


@QUICK
@given(st.permutations(range(4)), st.integers(0, 4))
def test_segments_open_in_any_order_and_from_a_cut_stream(order: list[int], how_many: int) -> None:
    sealed = DevicePair().clip(filler(FIRST_PLAIN_BYTES + 2 * NEXT_PLAIN_BYTES + 1000))
    opener = SegmentOpener(sealed.stream, sealed.fields.prefix)
    for index in order[:how_many]:
        record = sealed.segments[index]
        header = decode_segment_header(record)
        start = 0 if index == 0 else FIRST_PLAIN_BYTES + (index - 1) * NEXT_PLAIN_BYTES
        opened = opener.open(header, segment_body(header, record))
        assert opened == sealed.plain[start : start + len(opened)]


@QUICK
@given(LENGTHS, st.lists(st.integers(1, 5000), max_size=30))
def test_how_the_plaintext_comes_in_does_not_matter(length: int, pieces: list[int]) -> None:
    plain = filler(length)
    wanted = DevicePair().clip(plain)
    sealer = SegmentSealer()
    sealer.begin(wanted.fields.device, wanted.fields.clip, wanted.stream, wanted.fields.prefix)
    records, at = [], 0
    for size in [*pieces, length]:
        piece, taken = plain[at : at + size], 0
        while taken < len(piece):
            if sealer.full:
                records.append(bytes(sealer.seal(False)))
            taken += sealer.write(piece, taken)
        at += taken
    records.append(bytes(sealer.seal(True)))
    assert records == wanted.segments


def test_a_clip_file_holds_every_segment_where_its_index_says(clip: SealedClip) -> None:
    file = clip.header + b"".join(clip.segments) + clip.end
    for index, record in enumerate(clip.segments):
        at = segment_offset(index)
        assert file[at : at + len(record)] == record
    assert segment_offset(MAX_SEGMENTS - 1) + MAX_SEGMENT_RECORD_BYTES < 2**32


def test_a_segment_not_full_is_sealed_only_as_the_last(clip: SealedClip) -> None:
    sealer = SegmentSealer()
    sealer.begin(clip.fields.device, clip.fields.clip, clip.stream, clip.fields.prefix)
    sealer.write(b"x")
    with pytest.raises(ValueError, match="out of order"):
        sealer.seal(False)
    sealer.seal(True)


def test_nothing_is_sealed_after_the_last_segment(clip: SealedClip) -> None:
    sealer = SegmentSealer()
    sealer.begin(clip.fields.device, clip.fields.clip, clip.stream, clip.fields.prefix)
    sealer.seal(True)
    assert sealer.write(b"x") == 0
    with pytest.raises(ValueError, match="out of order"):
        sealer.seal(True)


def test_nothing_is_sealed_before_a_clip_begins() -> None:
    sealer = SegmentSealer()
    assert sealer.write(b"x") == 0
    with pytest.raises(ValueError, match="out of order"):
        sealer.seal(True)


def test_the_index_never_passes_its_limit(clip: SealedClip) -> None:
    sealer = SegmentSealer()
    sealer.begin(clip.fields.device, clip.fields.clip, clip.stream, clip.fields.prefix)
    sealer.index = MAX_SEGMENTS
    with pytest.raises(ValueError, match="out of order"):
        sealer.seal(True)


@pytest.mark.parametrize("last", [False, True])
def test_a_seal_that_failed_half_way_never_puts_plaintext_out(
    clip: SealedClip, monkeypatch: pytest.MonkeyPatch, last: bool
) -> None:
    """Sealing the same buffer again would undo the encryption: CTR is its own inverse."""
    sealer = SegmentSealer()
    sealer.begin(clip.fields.device, clip.fields.clip, clip.stream, clip.fields.prefix)
    sealer.write(clip.plain)

    def no_memory(*_: object) -> bytes:
        raise MemoryError

    with monkeypatch.context() as patched:
        patched.setattr(Mac, "digest", no_memory)
        with pytest.raises(MemoryError):
            sealer.seal(last)
    for again in (False, True):
        with pytest.raises(ValueError, match="out of order"):
            sealer.seal(again)


def test_no_two_segments_share_a_nonce() -> None:
    prefix = bytes(PREFIX_BYTES)
    indexes = [0, 1, 255, 256, MAX_SEGMENTS - 1]
    nonces = {segment_nonce(prefix, index, last)[:12] for index in indexes for last in (False, True)}
    assert len(nonces) == 2 * len(indexes)
    assert all(segment_nonce(prefix, index, True)[12:] == bytes(4) for index in indexes)


def test_keys_of_a_stream_follow_from_ikm_salt_and_associated_data_together() -> None:
    ordinary = sha256(b"ikm"), bytes(SALT_BYTES), b"associated"
    changed = [(sha256(b"other"), *ordinary[1:]), (ordinary[0], b"\1" + bytes(31), ordinary[2]), (*ordinary[:2], b"")]
    keys = [StreamKeys(*arguments) for arguments in (ordinary, *changed)]
    assert len({key.aes_key for key in keys}) == 4
    assert len({key.mac_key for key in keys}) == 4
    assert all(key.aes_key != key.mac_key for key in keys)


def test_every_prefix_of_a_clip_has_a_head_of_its_own(pair: DevicePair, clip: SealedClip) -> None:
    value = hashlib.sha256(labels.HEAD + clip.header).digest()
    assert clip.heads[0] == value
    for count, record in enumerate(clip.segments, 1):
        value = hashlib.sha256(value + record[-TAG_BYTES:]).digest()
        assert clip.heads[count] == value
    assert len(set(clip.heads)) == len(clip.segments) + 1
    end = pair.open_end(clip.end)
    assert (end.head, end.segments) == (value, len(clip.segments))


@QUICK
@given(st.permutations(range(4)))
def test_segments_in_another_order_have_another_head(order: list[int]) -> None:
    sealed = DevicePair().clip(filler(FIRST_PLAIN_BYTES + 2 * NEXT_PLAIN_BYTES + 1000))
    value = sealed.heads[0]
    for index in order:
        value = sha256(value, sealed.segments[index][-TAG_BYTES:])
    assert (value == sealed.heads[-1]) == (order == sorted(order))


@QUICK
@given(st.integers(0, 3), st.integers(0, 8 * SEGMENT_BYTES - 1))
def test_any_bit_of_a_body_flipped_by_an_attacker_is_refused(index: int, bit: int) -> None:
    sealed = DevicePair().clip(filler(FIRST_PLAIN_BYTES + 2 * NEXT_PLAIN_BYTES + 1000))
    record = bytearray(sealed.segments[index])
    bit %= 8 * (len(record) - 28)
    record[28 + (bit >> 3)] ^= 1 << (bit & 7)
    with pytest.raises(BadMac):
        verify(sealed.fields_as_opened(), relabelled(bytes(record)))


WHOLE_UNITS = [128, 256, 512, 4096]
"""What storage writes at once: littlefs' cache on an ESP32, a page of flash, a sector, a block."""


def torn(record: bytes, start: int, end: int, other: bytes) -> bytes:
    return record[: max(0, start)] + other[max(0, start) : end] + record[end:]


def is_torn(record: bytes) -> bool:
    try:
        segment_body(decode_segment_header(record), record)
    except ProtocolError:
        return True
    return False


@pytest.mark.parametrize("unit", WHOLE_UNITS)
@pytest.mark.parametrize("index", [0, 1, 2, 3])
def test_a_unit_of_storage_not_written_is_found(pair: DevicePair, clip: SealedClip, index: int, unit: int) -> None:
    """Wherever units lie, in steps of a word: zeros, erased flash, and the same place of two other segments."""
    record = clip.segments[index]
    stale = pair.clip(filler(len(clip.plain), b"an older clip"), clip=4).segments[index]
    neighbour = clip.segments[index - 1].ljust(len(record), b"\0")
    for other in (bytes(len(record)), b"\xff" * len(record), stale, neighbour):
        for start in range(4 - unit, len(record), 4):
            broken = torn(record, start, start + unit, other)
            assert broken in (record, other) or is_torn(broken), start
    assert not is_torn(record)


@pytest.mark.parametrize("index", [0, 1, 3])
def test_a_write_that_ended_early_is_found_wherever_it_ended(clip: SealedClip, index: int) -> None:
    """A write that is cut in flash leaves its beginning: then the tag, which comes last, is not whole."""
    record = clip.segments[index]
    for end in range(len(record)):
        assert is_torn(record[:end] + b"\xff" * (len(record) - end)), end
        assert is_torn(record[:end]), end


@pytest.mark.parametrize("index", [0, 1, 2, 3])
def test_a_changed_byte_is_found_in_header_sampled_words_and_tag_and_elsewhere_left_to_the_tag(
    clip: SealedClip, index: int
) -> None:
    record = clip.segments[index]
    tag_at = len(record) - TAG_BYTES
    for at in range(len(record)):
        broken = record[:at] + bytes([record[at] ^ 0x10]) + record[at + 1 :]
        in_word = (at - 28) % 64 < 4 and at - (at - 28) % 64 + 4 <= tag_at
        assert is_torn(broken) == (at < 28 or in_word or at >= tag_at), at
        if at >= 28:
            with pytest.raises((BadMac, Malformed)):
                verify(clip.fields_as_opened(), broken)


@pytest.mark.parametrize("size", [*range(32, 101), 4095, 4096])
def test_short_last_segments_have_the_check_that_spec_says(clip: SealedClip, size: int) -> None:
    sealer = SegmentSealer()
    sealer.begin(clip.fields.device, clip.fields.clip, clip.stream, clip.fields.prefix)
    if size > FIRST_BODY_BYTES:
        sealer.write(filler(FIRST_PLAIN_BYTES))
        sealer.seal(False)
    sealer.write(filler(size - TAG_BYTES))
    record = bytes(sealer.seal(True))
    body = record[28:]
    assert len(body) == size
    words = b"".join(body[at : at + 4] for at in range(0, size - TAG_BYTES - 3, 64))
    assert int.from_bytes(record[24:28], "big") == zlib.crc32(record[:24] + words + body[-TAG_BYTES:])
    assert not is_torn(record)


def test_bytes_behind_a_segment_are_malformed_even_with_a_check_that_fits(clip: SealedClip) -> None:
    for more in (b"\0", bytes(TAG_BYTES)):
        longer = relabelled(clip.segments[3] + more)
        with pytest.raises(Malformed):
            verify(clip.fields_as_opened(), longer)


@pytest.mark.parametrize("index", [0, 1, 2])
def test_a_full_body_is_demanded_of_every_segment_but_the_last(clip: SealedClip, index: int) -> None:
    record = clip.segments[index]
    size = full_body_bytes(index)
    for wrong in (size - 1, size + 1, TAG_BYTES - 1, 0, 2**32 - 1):
        with pytest.raises(Malformed):
            decode_segment_header(relabelled(record, size=wrong))
