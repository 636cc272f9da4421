"""The recorder: what it seals is opened the way the gateway opens it, and compared with what went in."""

import errno
import random

import pytest

from lapel_device.epochs import EpochLedger
from lapel_device.identity import Identity
from lapel_device.keystore import MARK_BOOT, KeyStore
from lapel_device.recorder import AUDIO_GAP_MS, SYNC_MS, Recorder
from lapel_device.seeds import Seeds
from lapel_device.spool import Spool
from lapel_device.timekeeper import Timekeeper
from lapel_protocol.clip import (
    CODEC_MATROSKA_MJPEG_PCM,
    END_WEARER,
    NOTICE_ALARM,
    NOTICE_CONFIRMED,
    PREV_UNSETTLED_HEAD,
    TRUST_GATEWAY,
    ClipHeader,
)
from lapel_protocol.limits import CLIP_HEADER_BYTES, MAX_SEGMENTS
from lapel_protocol.reports import EPOCH_BURNED, EPOCH_CLIP, WHY_STORAGE_ERROR
from tests.firmware.desk import BUILD_MS, DEVICE, MODULUS, DeskBoard, OpenedClip, clip_files

KEY_ID = bytes(8)


class Bench:
    """A recorder on a desk board, with the parts it needs."""

    def __init__(self, board: DeskBoard | None = None) -> None:
        self.board = board or DeskBoard()
        self.keystore = KeyStore(self.board.sectors)
        self.keystore.load()
        epoch = self.keystore.step(MARK_BOOT, self.board.entropy(32), 0)
        self.time = Timekeeper(self.board.clock, self.board.storage, BUILD_MS)
        self.time.boot(0)
        self.time.adopt(BUILD_MS + 1_000_000, 0)
        self.identity = Identity(DEVICE, epoch, self.time)
        self.spool = Spool(self.board.storage, DEVICE, self.board.profile.sync_segments)
        self.spool.scan()
        self.seeds = Seeds(self.board.as_board(), epoch.pool, MODULUS)
        self.ledger = EpochLedger(self.board.storage)
        self.recorder = Recorder(self.board.as_board(), self.identity, KEY_ID, self.keystore, self.spool, self.ledger)

    def begin(self, header: ClipHeader | None = None, now_ms: int = 1000, audio: bool = True) -> None:
        self.recorder.begin(header or confirmed(), audio, self.seeds.take(), now_ms)

    def only_clip(self) -> OpenedClip:
        files = clip_files(self.board)
        return OpenedClip(files[max(files)])


def confirmed() -> ClipHeader:
    header = ClipHeader()
    header.notice = NOTICE_CONFIRMED
    header.prompted_ms = 5200
    return header


def pictures(count: int, seed: int = 1, largest: int = 8000) -> list[bytes]:
    chance = random.Random(seed)
    return [b"\xff\xd8" + chance.randbytes(chance.randrange(200, largest)) + b"\xff\xd9" for _ in range(count)]


def test_frames_and_samples_come_back_exactly_with_their_times() -> None:
    bench = Bench()
    bench.begin(now_ms=1000)
    frames = pictures(40)
    chance = random.Random(3)
    now_ms = 1000
    expected: list[tuple[int, bytes]] = []
    pcm = b""
    for picture in frames:
        now_ms += 100
        captured_ms = now_ms - chance.randrange(30)
        bench.recorder.frame(memoryview(picture), captured_ms, now_ms)
        expected.append((captured_ms - 1000, picture))
        block = chance.randbytes(3200)
        bench.recorder.audio(memoryview(block), now_ms)
        pcm += block
        bench.recorder.poll(now_ms)
    bench.recorder.finish(END_WEARER, now_ms)
    clip = bench.only_clip()
    assert clip.packets("video") == expected
    audio = clip.packets("audio")
    assert b"".join(payload for _, payload in audio) == pcm
    assert [at_ms for at_ms, _ in audio] == [100 * index for index in range(40)]


def test_header_end_record_and_last_text_agree_with_the_clip() -> None:
    bench = Bench()
    bench.begin(confirmed(), now_ms=7000)
    for index, picture in enumerate(pictures(10)):
        bench.recorder.frame(memoryview(picture), 7000 + index * 100, 7000 + index * 100)
    for index in range(3):
        bench.recorder.frame(memoryview(b""), 8000 + index, 8000 + index)
    bench.recorder.frame(memoryview(bytes(8193)), 8010, 8010)
    bench.recorder.finish(END_WEARER, 9000)
    clip = bench.only_clip()
    header = clip.header
    assert (header.device, header.clip, header.boot, header.mono_ms) == (DEVICE, 1, 0, 7000)
    assert (header.notice, header.prompted_ms, header.codec) == (NOTICE_CONFIRMED, 5200, CODEC_MATROSKA_MJPEG_PCM)
    assert (header.wall_ms, header.trust) == (BUILD_MS + 1_007_000, TRUST_GATEWAY)
    assert (header.previous_clip, header.previous_head) == (0, bytes(32))
    assert clip.end is not None
    assert (clip.end.reason, clip.end.frames, clip.end.dropped) == (END_WEARER, 10, 4)
    assert (clip.end.duration_ms, clip.end.segments, clip.end.head) == (2000, clip.head.count, clip.head.value)
    assert clip.end.size_bytes == len(clip.matroska)
    assert clip.last
    assert clip.texts[0].startswith("recording: notice confirmed, prompted 5200 ms")
    assert clip.texts[-1] == "end: wearer, 10 frames, 4 dropped"
    assert clip.texts[-2] == "frames dropped: larger than 8192 bytes (4 so far)"


def test_a_flood_of_oversized_frames_is_counted_in_full_and_noted_once_a_second() -> None:
    bench = Bench()
    bench.begin(now_ms=0)
    for now_ms in range(0, 10_000, 40):
        bench.recorder.frame(memoryview(b""), now_ms, now_ms)
        bench.recorder.poll(now_ms)
    bench.recorder.finish(END_WEARER, 10_000)
    clip = bench.only_clip()
    notes = [text for text in clip.texts if text.startswith("frames dropped")]
    assert len(notes) == 11
    assert notes[-1].endswith("(250 so far)")
    assert clip.end is not None
    assert (clip.end.frames, clip.end.dropped) == (0, 250)


def test_a_frame_captured_before_the_clip_began_is_not_recorded() -> None:
    bench = Bench()
    bench.begin(now_ms=1000)
    bench.recorder.frame(memoryview(b"early"), 999, 1010)
    bench.recorder.frame(memoryview(b""), 999, 1010)
    bench.recorder.frame(memoryview(b"first"), 1000, 1020)
    bench.recorder.finish(END_WEARER, 1100)
    clip = bench.only_clip()
    assert clip.packets("video") == [(0, b"first")]
    assert clip.end is not None
    assert (clip.end.frames, clip.end.dropped) == (1, 0)


def test_lost_samples_are_noted_and_later_audio_keeps_the_right_time() -> None:
    bench = Bench()
    bench.begin(now_ms=0)
    for now_ms in (100, 200, 300):
        bench.recorder.audio(memoryview(bytes(3200)), now_ms)
    bench.recorder.audio(memoryview(bytes(3200)), 300 + AUDIO_GAP_MS + 150)
    bench.recorder.finish(END_WEARER, 2000)
    clip = bench.only_clip()
    assert [at_ms for at_ms, _ in clip.packets("audio")] == [0, 100, 200, 1350]
    assert any(text.startswith("audio: 1050 ms") for text in clip.texts)


def test_audio_switched_off_by_settings_leaves_no_audio_track() -> None:
    bench = Bench()
    bench.begin(now_ms=0, audio=False)
    bench.recorder.audio(memoryview(bytes(3200)), 100)
    bench.recorder.frame(memoryview(b"picture"), 100, 100)
    bench.recorder.finish(END_WEARER, 200)
    assert bench.only_clip().packets("audio") == []
    assert bench.only_clip().packets("video") == [(100, b"picture")]


def test_nothing_is_stored_in_the_clear() -> None:
    bench = Bench()
    bench.begin()
    picture = b"\xff\xd8" + b"a face that nobody may see" * 200 + b"\xff\xd9"
    bench.recorder.frame(memoryview(picture), 1100, 1100)
    bench.recorder.finish(END_WEARER, 1200)
    stored = b"".join(bytes(content) for content in bench.board.storage.files.values())
    assert b"nobody may see" not in stored
    assert b"matroska" not in stored
    assert bench.only_clip().packets("video") == [(100, picture)]


def test_a_power_cut_takes_no_more_than_two_seconds() -> None:
    bench = Bench()
    bench.begin(now_ms=0)
    sent: list[tuple[int, bytes]] = []
    for index, picture in enumerate(pictures(60, largest=1500)):
        now_ms = index * 100
        bench.recorder.frame(memoryview(picture), now_ms, now_ms)
        bench.recorder.poll(now_ms)
        sent.append((now_ms, picture))
    bench.board.power_cut()
    clip = bench.only_clip()
    assert clip.end is None
    found = clip.packets("video")
    assert sent[: len(found) - 1] == found[:-1]
    assert found[-1][0] >= 5900 - SYNC_MS - 200


def test_a_segment_that_does_not_fill_up_is_sealed_and_durable_within_four_seconds() -> None:
    bench = Bench()
    bench.begin(now_ms=0)
    bench.recorder.frame(memoryview(b"the only picture"), 10, 10)
    for now_ms in range(20, 2 * SYNC_MS + 100, 20):
        bench.recorder.poll(now_ms)
    bench.board.power_cut()
    clip = bench.only_clip()
    assert clip.head.count == 1
    assert clip.packets("video") == [(10, b"the only picture")]


def test_a_clip_commits_to_the_head_of_the_one_before() -> None:
    bench = Bench()
    bench.begin(now_ms=0)
    bench.recorder.finish(END_WEARER, 100)
    bench.begin(now_ms=200)
    bench.recorder.finish(END_WEARER, 300)
    first, second = (OpenedClip(data) for data in clip_files(bench.board).values())
    assert (second.header.previous_clip, second.header.previous_head) == (first.header.clip, first.head.value)


def test_a_clip_after_an_unsettled_one_says_so() -> None:
    bench = Bench()
    bench.begin(now_ms=0)
    bench.recorder.abandon(WHY_STORAGE_ERROR)
    bench.begin(now_ms=200)
    bench.recorder.finish(END_WEARER, 300)
    clip = bench.only_clip()
    assert (clip.header.previous_clip, clip.header.previous_head) == (1, PREV_UNSETTLED_HEAD)


def test_an_alarm_clip_names_its_alarm() -> None:
    bench = Bench()
    started = ClipHeader()
    started.notice = NOTICE_ALARM
    started.alarm_counter = 7
    bench.begin(started)
    bench.recorder.finish(END_WEARER, 1100)
    header = bench.only_clip().header
    assert (header.flags, header.alarm_boot, header.alarm_counter) == (1, 0, 7)
    assert bench.spool.clips()[0].alarm


@pytest.mark.parametrize("fail_errno", [errno.ENOSPC, errno.EIO])
def test_a_failing_write_loses_nothing_that_was_durable(fail_errno: int) -> None:
    bench = Bench()
    bench.begin(now_ms=0)
    for index, picture in enumerate(pictures(30)):
        bench.recorder.frame(memoryview(picture), index * 100, index * 100)
    bench.recorder.poll(5000)
    durable = OpenedClip(dict(clip_files(bench.board))[1]).head.count
    bench.board.storage.fail_after = 0
    bench.board.storage.fail_errno = fail_errno
    with pytest.raises(OSError, match=str(fail_errno)):
        bench.recorder.frame(memoryview(bytes(8192)), 6000, 6000)
    bench.recorder.abandon(WHY_STORAGE_ERROR)
    bench.board.power_cut()
    assert bench.only_clip().head.count == durable > 10


@pytest.mark.parametrize("step", range(6))
def test_storage_that_fails_while_a_clip_is_opened_leaves_none_active(step: int) -> None:
    bench = Bench()
    bench.board.storage.fail_after = step
    try:
        bench.begin(now_ms=0)
    except OSError:
        bench.recorder.abandon(WHY_STORAGE_ERROR)
        assert not bench.recorder.active
    bench.board.storage.fail_after = -1
    if bench.recorder.active:
        bench.recorder.finish(END_WEARER, 50)
    epoch = bench.keystore.epoch
    bench.begin(now_ms=100)
    bench.recorder.finish(END_WEARER, 200)
    assert bench.recorder.clip == epoch
    assert bench.only_clip().end is not None
    held = [number for number, data in clip_files(bench.board).items() if len(data) >= CLIP_HEADER_BYTES]
    assert dict(bench.ledger.entries()) == {
        number: EPOCH_CLIP if number in held else EPOCH_BURNED for number in range(1, epoch + 1)
    }


def test_every_seed_salt_and_prefix_is_used_once() -> None:
    bench = Bench()
    for index in range(6):
        bench.begin(now_ms=index * 100)
        bench.recorder.finish(END_WEARER, index * 100 + 50)
    opened = [OpenedClip(data) for data in clip_files(bench.board).values()]
    assert len({clip.header.wrapped_seed for clip in opened}) == 6
    assert len({clip.header.tink_header for clip in opened}) == 6


def test_seeds_differ_between_boots_even_when_entropy_and_ticks_repeat() -> None:
    board = DeskBoard()
    wrapped = set()
    for _ in range(3):
        board.repeated_entropy = True
        bench = Bench(board)
        bench.seeds.stage()
        bench.seeds.stage()
        assert bench.seeds.ready
        wrapped |= {bench.seeds.take()[2] for _ in range(3)}
    assert len(wrapped) == 9


def test_the_limit_leaves_room_for_the_end() -> None:
    bench = Bench()
    bench.begin()
    assert not bench.recorder.at_limit
    bench.recorder.segments = MAX_SEGMENTS - 60
    assert bench.recorder.at_limit


def test_the_keys_of_a_clip_are_gone_when_it_ends() -> None:
    bench = Bench()
    bench.begin()
    cipher = bench.recorder._sealer._cipher
    bench.recorder.finish(END_WEARER, 1100)
    assert bench.recorder._sealer._cipher is not cipher
    assert bench.recorder._keys is None
