"""The spool: what a power cut leaves, what may be sent, and what may be deleted."""

from types import SimpleNamespace
from typing import Any

import pytest

from lapel_device.boards import vfs
from lapel_device.spool import MAX_LOADED, ClipWriter, Spool, SpoolClip
from lapel_protocol.limits import CLIP_END_BYTES, CLIP_HEADER_BYTES
from lapel_protocol.orders import LEVEL_OPENED, LEVEL_VERIFIED
from lapel_protocol.reports import WHY_POWER, WHY_STORAGE_ERROR
from lapel_protocol.stream import segment_offset

from .boardkit import MemoryStorage, PowerCut
from .clipkit import DEVICE, SealedClip

SYNC_SEGMENTS = 4


def opened(storage: MemoryStorage) -> Spool:
    spool = Spool(storage, DEVICE, SYNC_SEGMENTS)
    spool.scan()
    return spool


def settle(spool: Spool) -> list[SpoolClip]:
    """Work until nothing is left to do; the cut clips that were found."""
    found = []
    for _ in range(2000):
        clip = spool.work()
        if clip is not None:
            found.append(clip)
            spool.settled(clip)
    return found


def record(spool: Spool, sealed: SealedClip, alarm: bool = False, finish: bool = True) -> ClipWriter:
    writer = spool.create(sealed.clip, 0, alarm, sealed.header)
    for segment in sealed.segments:
        writer.append(segment)
    if finish:
        writer.finish(sealed.end)
    return writer


def content(spool: Spool, clip: SpoolClip, size: int) -> bytes:
    buffer = memoryview(bytearray(size))
    got = 0
    while got < size:
        piece = min(10_000, size - got)
        assert spool.read(clip, got, piece, buffer[got:]) == piece
        got += piece
    return bytes(buffer)


def test_an_alarms_clip_begins_although_its_mark_cannot_be_made(monkeypatch: pytest.MonkeyPatch) -> None:
    storage = MemoryStorage()
    spool = opened(storage)
    sealed = SealedClip(5, 9)
    real = storage.open

    def no_marks(path: str, mode: str) -> Any:
        if path.endswith(".alm"):
            raise OSError(28)
        return real(path, mode)

    monkeypatch.setattr(storage, "open", no_marks)
    record(spool, sealed, alarm=True)
    (clip,) = spool.clips()
    assert (clip.alarm, clip.ended) == (True, True)
    storage.power_cut()
    (clip,) = opened(storage).clips()
    assert content(opened(storage), clip, clip.content_bytes + CLIP_END_BYTES) == sealed.file


@pytest.mark.parametrize(("free", "bytes_free"), [(3, 12_288), (0, 0), (-6, 0), (0xFFFFFFFA, 0), ((1 << 64) - 6, 0)])
def test_littlefs_may_count_more_blocks_as_used_than_it_has(
    monkeypatch: pytest.MonkeyPatch, free: int, bytes_free: int
) -> None:
    figures = (4096, 4096, 4096, free, free, 0, 0, 0, 0, 255)
    monkeypatch.setattr(vfs, "os", SimpleNamespace(statvfs=lambda _: figures))
    assert vfs.VfsStorage("/sd").free_bytes() == bytes_free


def test_a_finished_clip_reads_back_byte_for_byte_after_a_restart() -> None:
    storage = MemoryStorage()
    sealed = SealedClip(5, 9)
    record(opened(storage), sealed)
    storage.power_cut()
    spool = opened(storage)
    assert settle(spool) == []
    (clip,) = spool.clips()
    assert (clip.clip, clip.boot, clip.segments, clip.ended, clip.head) == (5, 0, 9, True, sealed.head)
    assert content(spool, clip, len(sealed.file)) == sealed.file


def test_only_durable_segments_are_offered_while_the_clip_is_recorded() -> None:
    spool = opened(MemoryStorage())
    sealed = SealedClip(5, 9)
    writer = spool.create(5, 1, False, sealed.header)
    (clip,) = spool.clips()
    offered = []
    for segment in sealed.segments:
        writer.append(segment)
        offered.append(clip.segments)
        assert writer.head == sealed.heads[writer.segments]
        size = CLIP_HEADER_BYTES + sum(len(s) for s in sealed.segments[: clip.segments])
        assert content(spool, clip, size) == sealed.file[:size]
    assert offered == [0, 0, 0, 4, 4, 4, 4, 8, 8]


@pytest.mark.parametrize("cut_at", range(40))
def test_a_power_cut_at_any_storage_operation_leaves_a_clip_that_settles_on_a_true_prefix(cut_at: int) -> None:
    for seed in range(6):
        storage = MemoryStorage(seed=seed)
        sealed = SealedClip(5, 9)
        spool = opened(storage)
        storage.cut_at = cut_at
        synced = -1
        try:
            writer = spool.create(5, 1, True, sealed.header)
            for segment in sealed.segments:
                synced = writer.synced_segments
                writer.append(segment)
            synced = writer.synced_segments
            writer.finish(sealed.end)
            synced = 9
        except PowerCut:
            storage.power_cut()
        storage.cut_at = -1
        spool = opened(storage)
        cut = settle(spool)
        if not spool.clips():
            assert synced < 0
            continue
        (clip,) = spool.clips()
        assert clip.settled
        assert clip.segments >= synced
        assert clip.head == sealed.heads[clip.segments]
        assert content(spool, clip, clip.content_bytes) == sealed.file[: clip.content_bytes]
        assert [c.clip for c in cut] == ([] if clip.ended else [5])
        assert all(c.why == WHY_POWER for c in cut)
        # The note spares the next boot the reading, and says the same.
        spool = opened(storage)
        assert settle(spool) == []
        assert (spool.clips()[0].segments, spool.clips()[0].head) == (clip.segments, clip.head)


def test_a_cut_clip_is_not_offered_before_it_is_known_how_far_it_goes() -> None:
    storage = MemoryStorage()
    record(opened(storage), SealedClip(5, 9), finish=False)
    storage.power_cut()
    spool = opened(storage)
    (clip,) = spool.clips()
    assert not clip.settled
    assert clip.segments == 0


def test_settling_a_long_clip_reads_one_segment_at_a_time() -> None:
    storage = MemoryStorage()
    record(opened(storage), SealedClip(5, 20), finish=False)
    storage.power_cut()
    spool = opened(storage)
    calls = 0
    while spool.work() is None:
        calls += 1
    assert calls > 20


def test_a_clip_whose_storage_fails_is_settled_in_the_same_boot_with_that_reason() -> None:
    storage = MemoryStorage()
    spool = opened(storage)
    sealed = SealedClip(5, 9)
    writer = spool.create(5, 1, False, sealed.header)
    for segment in sealed.segments[:6]:
        writer.append(segment)
    storage.failing = True
    with pytest.raises(OSError, match="5"):
        writer.append(sealed.segments[6])
    writer.abandon()
    storage.failing = False
    (cut,) = settle(spool)
    assert cut.why == WHY_STORAGE_ERROR
    assert cut.segments >= 4
    assert cut.head == sealed.heads[cut.segments]


def test_nothing_is_deleted_without_a_receipt_however_much_room_is_needed() -> None:
    storage = MemoryStorage(400_000)
    spool = opened(storage)
    for clip in range(1, 5):
        record(spool, SealedClip(clip, 12))
    assert not spool.make_room(300_000)
    assert spool.count == 4


def test_receipted_clips_go_oldest_first_only_as_far_as_needed_and_never_the_newest() -> None:
    storage = MemoryStorage(400_000)
    spool = opened(storage)
    for clip in range(1, 5):
        record(spool, SealedClip(clip, 12))
    for entry in list(spool.clips()):
        spool.mark_receipted(entry, LEVEL_VERIFIED)
    assert spool.count == 0
    free = spool.free_bytes
    assert spool.make_room(free + 1)
    assert [spool.has(clip) for clip in range(1, 5)] == [False, True, True, True]
    assert not spool.make_room(400_000)
    assert [spool.has(clip) for clip in range(1, 5)] == [False, False, False, True]
    assert spool.last()[0] == 4


def test_a_receipt_below_the_level_that_policy_asks_for_permits_no_deletion() -> None:
    storage = MemoryStorage(400_000)
    spool = opened(storage)
    spool.delete_level = LEVEL_OPENED
    for clip in range(1, 4):
        record(spool, SealedClip(clip, 12))
    first = spool.clips()[0]
    spool.mark_receipted(first, LEVEL_VERIFIED)
    assert not spool.make_room(400_000)
    assert spool.has(1)
    found = spool.find(1)
    assert found is not None
    spool.mark_receipted(found, LEVEL_OPENED)
    spool.make_room(400_000)
    assert not spool.has(1)


def test_a_receipt_outlives_a_restart_and_the_clip_can_still_be_found_and_read() -> None:
    storage = MemoryStorage()
    spool = opened(storage)
    sealed = SealedClip(1, 3)
    record(spool, sealed)
    record(spool, SealedClip(2, 3))
    spool.mark_receipted(spool.clips()[0], LEVEL_OPENED)
    storage.power_cut()
    spool = opened(storage)
    settle(spool)
    assert [clip.clip for clip in spool.clips()] == [2]
    found = spool.find(1)
    assert found is not None
    assert found.level == LEVEL_OPENED
    assert content(spool, found, len(sealed.file)) == sealed.file


def test_alarm_clips_are_offered_first_also_after_a_restart_and_when_marked_later() -> None:
    storage = MemoryStorage()
    spool = opened(storage)
    record(spool, SealedClip(1, 2))
    record(spool, SealedClip(2, 2))
    record(spool, SealedClip(3, 2), alarm=True)
    spool.mark_alarm(2)
    assert [clip.clip for clip in spool.clips()] == [2, 3, 1]
    storage.power_cut()
    spool = opened(storage)
    settle(spool)
    assert [clip.clip for clip in spool.clips()] == [2, 3, 1]
    assert [clip.alarm for clip in spool.clips()] == [True, True, False]


def test_hundreds_of_clips_keep_a_bounded_number_in_memory_and_each_gets_its_turn() -> None:
    storage = MemoryStorage()
    spool = opened(storage)
    for clip in range(1, 101):
        record(spool, SealedClip(clip, 1), alarm=clip == 90)
    assert spool.count == 100
    storage.power_cut()
    spool = opened(storage)
    order = []
    while spool.count:
        settle(spool)
        assert len(spool.clips()) <= MAX_LOADED
        first = spool.clips()[0]
        order.append(first.clip)
        spool.mark_receipted(first, LEVEL_VERIFIED)
    assert order == [90, *range(1, 90), *range(91, 101)]


def test_a_live_clip_stays_in_memory_however_many_others_wait() -> None:
    spool = opened(MemoryStorage())
    for clip in range(1, 40):
        record(spool, SealedClip(clip, 1))
    writer = spool.create(40, 1, False, SealedClip(40, 1).header)
    assert 40 in [clip.clip for clip in spool.clips()]
    assert len(spool.clips()) == MAX_LOADED
    writer.finish(SealedClip(40, 1).end)


def test_the_newest_clip_gives_its_head_to_the_next_one_once_it_is_settled() -> None:
    storage = MemoryStorage()
    spool = opened(storage)
    assert spool.last() == (0, None)
    sealed = SealedClip(7, 6)
    record(spool, sealed, finish=False)
    assert spool.last() == (7, None)
    storage.power_cut()
    spool = opened(storage)
    assert spool.last() == (7, None)
    (cut,) = settle(spool)
    assert spool.last() == (7, cut.head)
    assert opened(storage).last() == (7, cut.head)


def test_a_clip_of_another_device_is_neither_sent_nor_deleted() -> None:
    storage = MemoryStorage()
    other = Spool(storage, b"another!", SYNC_SEGMENTS)
    other.scan()
    sealed = SealedClip(9, 2, device=b"another!")
    record(other, sealed)
    spool = opened(storage)
    settle(spool)
    assert spool.clips() == []
    assert spool.foreign == 1
    assert spool.has(9)


def test_a_clip_cut_before_its_header_was_durable_leaves_nothing() -> None:
    storage = MemoryStorage()
    storage.mkdir("/spool")
    storage.files["/spool/00000003.clp"] = bytearray(100)
    storage.durable["/spool/00000003.clp"] = bytes(100)
    spool = opened(storage)
    settle(spool)
    assert spool.count == 0
    assert storage.size("/spool/00000003.clp") == -1


def spoilt(sealed: SealedClip, where: int, content: bytes) -> SpoolClip:
    """What a device finds of a cut clip after its restart, with other `content` in the file from `where` on."""
    storage = MemoryStorage()
    record(opened(storage), sealed, finish=False)
    path = "/spool/00000005.clp"
    storage.files[path][where : where + len(content)] = content
    storage.durable[path] = bytes(storage.files[path])
    (cut,) = settle(opened(storage))
    return cut


@pytest.mark.parametrize("where", [0, 23, 27, 28, 1951, 4060, 4092, 4123])
def test_a_segment_with_one_spoilt_byte_ends_what_a_cut_clip_has(where: int) -> None:
    sealed = SealedClip(5, 9)
    cut = spoilt(sealed, segment_offset(3) + where, bytes([sealed.segments[3][where] ^ 4]))
    assert (cut.segments, cut.head) == (3, sealed.heads[3])


@pytest.mark.parametrize("page_bytes", [128, 256, 512])
@pytest.mark.parametrize("old", [b"\0", b"\xff"])
def test_any_page_that_was_not_written_ends_what_a_cut_clip_has(page_bytes: int, old: bytes) -> None:
    sealed = SealedClip(5, 9)
    end = segment_offset(4)
    for page in range(segment_offset(3) // page_bytes + 1, end // page_bytes):
        cut = spoilt(sealed, page * page_bytes, old * page_bytes)
        assert (cut.segments, cut.head) == (3, sealed.heads[3]), page


def test_a_spoilt_byte_that_the_check_does_not_look_at_is_left_to_the_gateway() -> None:
    sealed = SealedClip(5, 9)
    for where in (32, 2000, 4091):
        cut = spoilt(sealed, segment_offset(3) + where, bytes([sealed.segments[3][where] ^ 4]))
        assert (cut.segments, cut.head) == (9, sealed.heads[9])


@pytest.mark.parametrize("wrong", ["head", "segments"])
def test_an_end_record_that_names_another_head_or_count_does_not_end_the_clip(wrong: str) -> None:
    storage = MemoryStorage()
    sealed = SealedClip(5, 6)
    end = bytearray(sealed.end)
    end[60 if wrong == "head" else 19] ^= 1
    spool = opened(storage)
    writer = spool.create(5, 1, False, sealed.header)
    for segment in sealed.segments:
        writer.append(segment)
    writer.sync()
    path = "/spool/00000005.clp"
    storage.files[path] += end
    storage.durable[path] = bytes(storage.files[path])
    spool = opened(storage)
    (cut,) = settle(spool)
    assert not cut.ended
    assert cut.segments == 6


def test_full_storage_is_an_error_of_the_writer_and_the_clip_so_far_survives() -> None:
    storage = MemoryStorage(CLIP_HEADER_BYTES + 3 * 4124 + CLIP_END_BYTES)
    spool = opened(storage)
    sealed = SealedClip(5, 9)
    writer = spool.create(5, 1, False, sealed.header)
    for segment in sealed.segments[:3]:
        writer.append(segment)
    with pytest.raises(OSError, match="28"):
        writer.append(sealed.segments[3])
    writer.abandon()
    (cut,) = settle(spool)
    assert cut.segments == 3
    assert cut.head == sealed.heads[3]


def test_a_clip_that_cannot_be_begun_leaves_no_file() -> None:
    storage = MemoryStorage(300)
    spool = opened(storage)
    with pytest.raises(OSError, match="28"):
        spool.create(5, 1, True, SealedClip(5, 1).header)
    assert storage.files == {}
    assert spool.clips() == []
