"""The live Matroska writer, judged by PyAV (ffmpeg's demuxer)."""

import datetime
import io
import random
import struct

import av
import cv2
import numpy as np
import pytest
from av.container import InputContainer

from lapel_device import matroska
from lapel_device.matroska import MatroskaWriter

RATE_HZ = 16000
WIDTH, HEIGHT = 160, 120
DATE_MS = 1_760_000_000_123


class Keep:
    """A sink that remembers what it was given, and whether it was given the very object."""

    def __init__(self) -> None:
        self.data = bytearray()
        self.given: list[object] = []

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.given.append(data)
        self.data += data


def jpegs(count: int, seed: int = 1) -> list[bytes]:
    """Real JPEG pictures of different sizes."""
    chance = np.random.default_rng(seed)
    pictures = []
    for index in range(count):
        coarse = chance.integers(0, 255, (3 + index % 30, 4, 3), dtype=np.uint8)
        picture = cv2.resize(coarse, (WIDTH, HEIGHT), interpolation=cv2.INTER_LINEAR)
        good, data = cv2.imencode(".jpg", picture)
        assert good
        pictures.append(data.tobytes())
    return pictures


class Film:
    """A written clip and what went into it: (track, milliseconds, payload) in writing order, with end offsets."""

    def __init__(self, frames: int, *, interval_ms: int = 100, seed: int = 1, date_ms: int = DATE_MS) -> None:
        chance = random.Random(seed)
        keep = Keep()
        writer = MatroskaWriter(keep)
        writer.begin(WIDTH, HEIGHT, RATE_HZ, date_ms)
        self.header_bytes = len(keep.data)
        self.blocks: list[tuple[int, int, bytes]] = []
        self.ends: list[int] = []
        at_ms = 7
        for index, jpeg in enumerate(jpegs(frames, seed)):
            writer.frame(memoryview(jpeg), at_ms)
            self._wrote(keep, matroska.VIDEO_TRACK, at_ms, jpeg)
            pcm = chance.randbytes(RATE_HZ * 2 * interval_ms // 1000)
            audio_ms = max(0, at_ms - 37)
            writer.audio(memoryview(pcm), audio_ms)
            self._wrote(keep, matroska.AUDIO_TRACK, audio_ms, pcm)
            if index % 4 == 0:
                line = f"event {index} é ‖".encode()
                writer.text(line, at_ms + 1, 250 + index)
                self._wrote(keep, matroska.TEXT_TRACK, at_ms + 1, line)
            at_ms += interval_ms + chance.randrange(7)
        self.data = bytes(keep.data)

    def _wrote(self, keep: Keep, track: int, at_ms: int, payload: bytes) -> None:
        self.blocks.append((track, at_ms, payload))
        self.ends.append(len(keep.data))

    def whole_before(self, cut: int) -> list[tuple[int, int, bytes]]:
        return [block for block, end in zip(self.blocks, self.ends, strict=True) if end <= cut]


def read_back(data: bytes) -> list[tuple[int, int, bytes]]:
    """(track, milliseconds, payload) of each packet, in file order, up to the end or the first error."""
    found = []
    with reader(data) as container:
        try:
            for packet in container.demux():
                if packet.pts is None:
                    continue
                assert packet.time_base is not None
                at_ms = packet.pts * packet.time_base * 1000
                assert at_ms.denominator == 1
                found.append((packet.stream_index + 1, int(at_ms), bytes(packet)))
        except av.error.InvalidDataError:
            pass
    return found


def reader(data: bytes) -> InputContainer:
    return av.open(io.BytesIO(data), mode="r")


def codecs_of(container: InputContainer) -> list[str]:
    return [stream.codec_context.codec.canonical_name for stream in container.streams]


def by_track(blocks: list[tuple[int, int, bytes]], track: int) -> list[tuple[int, bytes]]:
    return [(at_ms, payload) for number, at_ms, payload in blocks if number == track]


def test_frames_audio_and_text_come_back_byte_for_byte_at_their_millisecond() -> None:
    film = Film(60)
    found = read_back(film.data)
    for track in (matroska.VIDEO_TRACK, matroska.AUDIO_TRACK, matroska.TEXT_TRACK):
        assert by_track(found, track) == by_track(film.blocks, track)


def test_the_tracks_are_what_players_expect() -> None:
    with reader(Film(3).data) as container:
        assert codecs_of(container) == ["mjpeg", "pcm_s16le", "subrip"]
        video, audio = container.streams.video[0], container.streams.audio[0]
        assert (video.width, video.height) == (WIDTH, HEIGHT)
        assert (audio.rate, audio.channels) == (RATE_HZ, 1)
        created = datetime.datetime.fromisoformat(container.metadata["creation_time"])
        assert abs(created.timestamp() * 1000 - DATE_MS) < 1


def test_unknown_date_is_left_out() -> None:
    with reader(Film(3, date_ms=0).data) as container:
        assert "creation_time" not in container.metadata


def test_frames_decode_to_the_pictures_that_were_written() -> None:
    film = Film(12)
    with reader(film.data) as container:
        decoded = [frame.to_ndarray(format="bgr24") for frame in container.decode(video=0)]
    written = [payload for _, payload in by_track(film.blocks, matroska.VIDEO_TRACK)]
    assert len(decoded) == len(written)
    for picture, jpeg in zip(decoded, written, strict=True):
        with av.open(io.BytesIO(jpeg), mode="r", format="mjpeg") as alone:
            expected = next(alone.decode(video=0)).to_ndarray(format="bgr24")
        assert np.array_equal(picture, expected)


def test_audio_decodes_to_the_samples_that_were_written() -> None:
    film = Film(30)
    with reader(film.data) as container:
        samples = b"".join(frame.to_ndarray().astype("<i2").tobytes() for frame in container.decode(audio=0))
    assert samples == b"".join(pcm for _, pcm in by_track(film.blocks, matroska.AUDIO_TRACK))


def test_text_events_keep_their_duration() -> None:
    film = Film(20)
    with reader(film.data) as container:
        durations = [p.duration for p in container.demux(subtitles=0) if p.pts is not None]
    assert durations == [250 + index for index in range(0, 20, 4)]


def test_long_silence_between_blocks_opens_a_new_cluster() -> None:
    keep = Keep()
    writer = MatroskaWriter(keep)
    writer.begin(WIDTH, HEIGHT, RATE_HZ, DATE_MS)
    picture = jpegs(1)[0]
    times_ms = [0, 1999, 2000, 34_767, 34_768, 100_000, 67_232, 67_231, 3_600_000, 0x7FFFFFFF]
    for at_ms in times_ms:
        writer.frame(picture, at_ms)
    assert keep.data.count(b"\x1f\x43\xb6\x75") == 7
    assert [at_ms for track, at_ms, _ in read_back(bytes(keep.data)) if track == 1] == times_ms


def test_a_block_older_than_its_cluster_keeps_its_own_time() -> None:
    keep = Keep()
    writer = MatroskaWriter(keep)
    writer.begin(WIDTH, HEIGHT, RATE_HZ, DATE_MS)
    writer.frame(jpegs(1)[0], 5000)
    writer.audio(bytes(320), 4900)
    assert [(track, at_ms) for track, at_ms, _ in read_back(bytes(keep.data))] == [(1, 5000), (2, 4900)]
    assert keep.data.count(b"\x1f\x43\xb6\x75") == 1


@pytest.mark.parametrize("at_ms", [-1, 0x1_0000_0000])
def test_a_time_that_does_not_fit_is_refused_and_nothing_is_written(at_ms: int) -> None:
    keep = Keep()
    writer = MatroskaWriter(keep)
    with pytest.raises(ValueError, match="block of 3 bytes"):
        writer.frame(b"abc", at_ms)
    assert not keep.data


def test_voids_are_skipped_and_have_exactly_the_size_asked_for() -> None:
    keep = Keep()
    writer = MatroskaWriter(keep)
    writer.begin(WIDTH, HEIGHT, RATE_HZ, DATE_MS)
    pictures = jpegs(12)
    for index, size in enumerate((2, 3, 63, 64, 66, 127, 128, 129, 130, 4064, 16384, 16385)):
        before = len(keep.data)
        writer.void(size)
        assert len(keep.data) - before == size
        writer.frame(pictures[index], index * 100)
    assert [payload for _, _, payload in read_back(bytes(keep.data))] == pictures
    for size in (0, 1, 16386):
        with pytest.raises(ValueError, match="void"):
            writer.void(size)


def test_the_payload_is_handed_on_uncopied_and_headers_reuse_one_buffer() -> None:
    keep = Keep()
    writer = MatroskaWriter(keep)
    writer.begin(WIDTH, HEIGHT, RATE_HZ, DATE_MS)
    keep.given.clear()
    first, second = memoryview(bytes(100)), memoryview(bytes(200))
    writer.frame(first, 0)
    writer.frame(second, 10)
    assert keep.given[2] is first
    assert keep.given[4] is second
    assert keep.given[1] is keep.given[3]


@pytest.mark.parametrize(
    ("width", "rate_hz", "codecs"), [(0, RATE_HZ, ["pcm_s16le", "subrip"]), (WIDTH, 0, ["mjpeg", "subrip"])]
)
def test_a_board_without_camera_or_microphone_has_no_such_track(width: int, rate_hz: int, codecs: list[str]) -> None:
    keep = Keep()
    writer = MatroskaWriter(keep)
    writer.begin(width, HEIGHT if width else 0, rate_hz, DATE_MS)
    if width:
        writer.frame(jpegs(1)[0], 0)
    else:
        writer.audio(bytes(3200), 0)
    writer.text(b"hello", 10, 100)
    with reader(bytes(keep.data)) as container:
        assert codecs_of(container) == codecs
        assert [bytes(p) for p in container.demux() if p.pts is not None][-1] == b"hello"


@pytest.mark.parametrize("seed", range(10))
def test_a_cut_at_any_byte_leaves_every_whole_earlier_block(seed: int) -> None:
    film = Film(30, seed=seed)
    chance = random.Random(seed)
    near_blocks = [end + shift for end in film.ends for shift in (-1, 0, 1)]
    cuts = [chance.randrange(film.header_bytes, len(film.data)) for _ in range(40)]
    cuts += [cut for cut in chance.sample(near_blocks, 20) if cut <= len(film.data)]
    for cut in cuts:
        found = read_back(film.data[:cut])
        expected = film.whole_before(cut)
        for track in (matroska.VIDEO_TRACK, matroska.AUDIO_TRACK, matroska.TEXT_TRACK):
            # A reader may show a torn last block as well; nothing whole may be missing or changed.
            assert by_track(found, track)[: len(by_track(expected, track))] == by_track(expected, track), cut
        assert len(found) <= len(expected) + 1


def test_the_header_is_well_formed_ebml_of_exactly_the_elements_intended() -> None:
    keep = Keep()
    matroska.write_file_header(keep, WIDTH, HEIGHT, RATE_HZ, DATE_MS)
    data = bytes(keep.data)
    masters = {"1a45dfa3", "18538067", "1549a966", "1654ae6b", "ae", "e0", "e1"}
    names: list[str] = []

    def walk(at: int, end: int) -> None:
        while at < end:
            id_bytes = 9 - data[at].bit_length()
            name = data[at : at + id_bytes].hex()
            at += id_bytes
            size_bytes = 9 - data[at].bit_length()
            raw = int.from_bytes(data[at : at + size_bytes], "big")
            at += size_bytes
            unknown = raw == (1 << (7 * size_bytes + 1)) - 1
            size = end - at if unknown else raw & ((1 << (7 * size_bytes)) - 1)
            assert at + size <= end
            names.append(name)
            if name in masters:
                walk(at, at + size)
            at += size
        assert at == end

    walk(0, len(data))
    assert names.count("ae") == 3
    assert names.index("2ad7b1") < names.index("4461") < names.index("1654ae6b")
    assert struct.pack(">q", (DATE_MS - matroska.MATROSKA_EPOCH_MS) * 1_000_000) in data
