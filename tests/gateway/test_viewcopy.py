"""The MP4 and WebVTT that people look at: exact times, every frame, whatever the clip is made of."""

from __future__ import annotations

import json
import resource
import shutil
import struct
import subprocess
from pathlib import Path

import av
import pytest
from av.audio.frame import AudioFrame
from av.video.frame import VideoFrame

from lapel_gateway.viewing import media, viewcopy
from tests.gateway.footage import FRAMES_MS, RATE_HZ, Clip, jpegs, ordinary_clip, tone


class Copies:
    """One clip's Matroska and the copies made from it."""

    def __init__(self, folder: Path, matroska: bytes) -> None:
        self.mkv, self.mp4, self.vtt = folder / "clip.mkv", folder / "clip.mp4", folder / "clip.vtt"
        self.mkv.write_bytes(matroska)
        self.survey = media.survey(self.mkv)
        self.copy = viewcopy.write_mp4(self.mkv, self.survey, self.mp4)
        viewcopy.write_vtt(self.survey, self.vtt)

    def pictures(self) -> list[VideoFrame]:
        with av.open(str(self.mp4)) as container:
            return list(container.decode(video=0))

    def times_ms(self) -> list[int]:
        return [exact_ms(picture) for picture in self.pictures()]

    def sound(self) -> tuple[int, list[int]]:
        """(time of the first sample in ms, samples) of the MP4's sound."""
        samples: list[int] = []
        start_ms = -1
        with av.open(str(self.mp4)) as container:
            for frame in container.decode(audio=0):
                if start_ms < 0:
                    start_ms = exact_ms(frame)
                values = struct.unpack_from(f"<{frame.samples}f", bytes(frame.planes[0]))
                samples += [int(32767 * value) for value in values]
        return start_ms, samples

    def streams(self) -> list[str]:
        with av.open(str(self.mp4)) as container:
            return [stream.codec_context.name for stream in container.streams]


def exact_ms(frame: VideoFrame | AudioFrame) -> int:
    """The presentation time of a frame, which must be whole milliseconds."""
    assert frame.pts is not None
    assert frame.time_base is not None
    time = 1000 * frame.pts * frame.time_base
    assert time.denominator == 1
    return int(time)


def luma(picture: VideoFrame) -> list[int]:
    plane = picture.reformat(32, 18, "gray").planes[0]
    rows = bytes(plane)
    return [rows[y * plane.line_size + x] for y in range(18) for x in range(32)]


def test_every_frame_is_in_the_mp4_at_its_time_in_the_matroska(tmp_path: Path) -> None:
    copies = Copies(tmp_path, ordinary_clip().matroska())

    assert copies.times_ms() == list(FRAMES_MS)
    assert copies.copy.frames == len(FRAMES_MS)
    assert copies.streams() == ["h264", "aac", "mov_text"]
    assert {picture.format.name for picture in copies.pictures()} == {"yuv420p"}


def test_every_picture_is_its_own_and_not_a_neighbour(tmp_path: Path) -> None:
    originals = jpegs(len(FRAMES_MS))
    copies = Copies(tmp_path, ordinary_clip().matroska())

    decoder = av.CodecContext.create("mjpeg", "r")
    for jpeg, picture in zip(originals, copies.pictures(), strict=True):
        original = luma(decoder.decode(av.Packet(jpeg))[0].reformat(format="rgb24"))
        shown = luma(picture.reformat(format="rgb24"))
        mean = sum(abs(a - b) for a, b in zip(original, shown, strict=True)) / len(original)
        # A wrong range or matrix would shift the levels by more than this, a neighbouring frame by its motion.
        assert mean < 2.5


def test_the_mp4_has_no_decoding_delay_and_its_index_in_front(tmp_path: Path) -> None:
    copies = Copies(tmp_path, ordinary_clip().matroska())

    with av.open(str(copies.mp4)) as container:
        packets = [packet for packet in container.demux(video=0) if packet.size]
    assert all(packet.pts == packet.dts for packet in packets)
    content = copies.mp4.read_bytes()
    assert content.index(b"moov") < content.index(b"mdat")


def test_sound_stands_where_it_was_recorded(tmp_path: Path) -> None:
    copies = Copies(tmp_path, Clip(frames=[(0, jpegs(1)[0])], sound=tone(260, 1000)).matroska())

    start_ms, samples = copies.sound()

    loud = [number for number, value in enumerate(samples) if abs(value) > 4000]
    assert start_ms + loud[0] * 1000 / RATE_HZ == pytest.approx(260, abs=2)
    assert start_ms + loud[-1] * 1000 / RATE_HZ == pytest.approx(1260, abs=2)


def test_sound_after_a_gap_stays_with_the_picture(tmp_path: Path) -> None:
    copies = Copies(tmp_path, Clip(sound=tone(0, 500) + tone(4000, 500), width=0, height=0).matroska())

    start_ms, samples = copies.sound()

    loud = [number for number, value in enumerate(samples) if abs(value) > 4000]
    longest = max(range(1, len(loud)), key=lambda i: loud[i] - loud[i - 1])
    assert start_ms + loud[longest - 1] * 1000 / RATE_HZ == pytest.approx(500, abs=4)
    assert start_ms + loud[longest] * 1000 / RATE_HZ == pytest.approx(4000, abs=4)


def test_events_are_in_the_text_track_and_beside_it_as_webvtt(tmp_path: Path) -> None:
    copies = Copies(tmp_path, ordinary_clip().matroska())

    with av.open(str(copies.mp4)) as container:
        samples = [packet for packet in container.demux(subtitles=0) if packet.size > 2]
        shown = [(int(1000 * p.pts * p.time_base), bytes(p)[2:].decode()) for p in samples if p.pts is not None]
    assert shown == [(137, "recording: notice confirmed"), (1284, "alarm \U0001f6a8 <panic>")]
    assert copies.vtt.read_text("utf-8") == (
        "WEBVTT\n\n"
        "00:00:00.137 --> 00:00:01.284\nrecording: notice confirmed\n\n"
        "00:00:01.284 --> 00:00:02.084\nalarm \U0001f6a8 &lt;panic&gt;\n"
    )


def test_a_broken_jpeg_in_the_middle_is_left_out_and_named(tmp_path: Path) -> None:
    clip = ordinary_clip()
    at, jpeg = clip.frames[4]
    clip.frames[4] = (at, jpeg[: len(jpeg) // 3])
    at_noise, noise = clip.frames[8]
    clip.frames[8] = (at_noise, bytes(range(256)) * (len(noise) // 256))

    copies = Copies(tmp_path, clip.matroska())

    assert list(copies.survey.frames_ms) == list(FRAMES_MS)
    assert list(copies.copy.undecodable_ms) == [FRAMES_MS[4], FRAMES_MS[8]]
    assert copies.times_ms() == [at for at in FRAMES_MS if at not in (FRAMES_MS[4], FRAMES_MS[8])]


def test_a_jpeg_that_claims_a_huge_picture_is_refused_before_memory_is_taken(tmp_path: Path) -> None:
    clip = ordinary_clip()
    at, jpeg = clip.frames[2]
    size_at = jpeg.index(b"\xff\xc0") + 5
    clip.frames[2] = (at, jpeg[:size_at] + b"\xff\xff\xff\xff" + jpeg[size_at + 4 :])
    before_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    copies = Copies(tmp_path, clip.matroska())

    assert list(copies.copy.undecodable_ms) == [at]
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_kib < 1 << 20


def test_a_picture_beyond_the_bound_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(media, "MAX_PICTURE_PIXELS", 200 * 100)
    small, big = jpegs(1, 160, 90)[0], jpegs(1)[0]

    copies = Copies(tmp_path, Clip(frames=[(0, small), (50, big), (100, small)], rate_hz=0).matroska())

    assert list(copies.copy.undecodable_ms) == [50]


def test_only_some_frames_are_key_frames(tmp_path: Path) -> None:
    """Each JPEG is a key frame of its own codec; an MP4 of key frames alone would be several times as large."""
    copies = Copies(tmp_path, ordinary_clip().matroska())

    with av.open(str(copies.mp4)) as container:
        keys = [packet.is_keyframe for packet in container.demux(video=0) if packet.size]
    assert keys[0]
    assert not all(keys)


def test_the_last_frame_lasts_as_long_as_the_one_before(tmp_path: Path) -> None:
    clip = Clip(frames=list(zip((100, 300, 700), jpegs(3), strict=True)), rate_hz=0)

    copies = Copies(tmp_path, clip.matroska())

    with av.open(str(copies.mp4)) as container:
        stream = container.streams.video[0]
        assert stream.time_base is not None
        assert stream.duration is not None
        assert 1000 * stream.duration * stream.time_base == 1100 - 100
    assert copies.survey.end_ms == 1100


def test_sound_that_overlaps_is_heard_once(tmp_path: Path) -> None:
    copies = Copies(tmp_path, Clip(sound=tone(0, 1000) + tone(800, 500), width=0, height=0).matroska())

    _, samples = copies.sound()

    assert len(samples) == pytest.approx(1.3 * RATE_HZ, abs=1024)


def test_an_alarm_only_board_gets_an_mp4_of_its_sound(tmp_path: Path) -> None:
    copies = Copies(tmp_path, Clip(sound=tone(0, 2000), width=0, height=0).matroska())

    assert copies.streams() == ["aac"]
    assert copies.copy.written
    assert len(copies.sound()[1]) == pytest.approx(2 * RATE_HZ, abs=1024)


def test_a_clip_without_sound_gets_no_sound_track(tmp_path: Path) -> None:
    clip = ordinary_clip()
    clip.sound, clip.events = [], []

    copies = Copies(tmp_path, clip.matroska())

    assert copies.streams() == ["h264"]
    assert copies.times_ms() == list(FRAMES_MS)
    assert copies.vtt.read_text("utf-8") == "WEBVTT\n"


def test_a_single_frame_is_shown_at_its_time(tmp_path: Path) -> None:
    copies = Copies(tmp_path, Clip(frames=[(1234, jpegs(1)[0])], rate_hz=0).matroska())

    assert copies.times_ms() == [1234]


@pytest.mark.parametrize("events", [[], [(5, 100, b"only words")]], ids=["nothing", "only events"])
def test_a_clip_with_nothing_to_see_or_hear_gets_no_mp4(tmp_path: Path, events: list[tuple[int, int, bytes]]) -> None:
    copies = Copies(tmp_path, Clip(events=events).matroska())

    assert not copies.copy.written
    assert not copies.mp4.exists()
    assert copies.vtt.read_text("utf-8").startswith("WEBVTT\n")


def test_a_clip_whose_frames_are_all_broken_keeps_its_sound(tmp_path: Path) -> None:
    copies = Copies(tmp_path, Clip(frames=[(10, b"\xff\xd8broken")], sound=tone(0, 1000)).matroska())

    assert copies.streams() == ["aac"]
    assert list(copies.copy.undecodable_ms) == [10]


def test_pictures_of_odd_and_changing_size_fit_the_first_one(tmp_path: Path) -> None:
    big, odd = jpegs(1)[0], jpegs(1, 161, 91)[0]

    copies = Copies(tmp_path, Clip(frames=[(0, odd), (100, big), (200, odd)], rate_hz=0).matroska())

    assert {(picture.width, picture.height) for picture in copies.pictures()} == {(160, 90)}
    assert copies.times_ms() == [0, 100, 200]


def test_frames_with_equal_times_are_all_shown_and_counted_as_moved(tmp_path: Path) -> None:
    pictures = jpegs(4)
    times = (100, 200, 200, 300)

    copies = Copies(tmp_path, Clip(frames=list(zip(times, pictures, strict=True)), rate_hz=0).matroska())

    assert copies.times_ms() == [100, 200, 201, 300]
    assert copies.copy.retimed == 1


def test_a_cut_clip_gives_an_mp4_of_what_is_whole(tmp_path: Path) -> None:
    content, whole = ordinary_clip().layout()
    cut = whole[9][1] + 1000

    copies = Copies(tmp_path, content[:cut])

    assert copies.survey.torn
    assert copies.times_ms() == [at for at, end in whole if end <= cut]


def test_copies_of_the_same_clip_are_the_same_bytes(tmp_path: Path) -> None:
    """Assembly may be repeated after a crash: the hashes it wrote down before must still hold."""
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
    first = Copies(tmp_path / "first", ordinary_clip().matroska())
    second = Copies(tmp_path / "second", ordinary_clip().matroska())

    assert first.mp4.read_bytes() == second.mp4.read_bytes()


@pytest.mark.needs("ffmpeg")
def test_ffprobe_sees_the_same_times(tmp_path: Path) -> None:
    copies = Copies(tmp_path, ordinary_clip().matroska())
    ffprobe = shutil.which("ffprobe")
    assert ffprobe is not None, "ffprobe comes with ffmpeg"

    command = [ffprobe, "-v", "error", "-select_streams", "v", "-show_entries", "frame=pts_time", "-of", "json"]
    answer = json.loads(subprocess.run([*command, str(copies.mp4)], check=True, capture_output=True).stdout)

    assert [round(1000 * float(frame["pts_time"])) for frame in answer["frames"]] == list(FRAMES_MS)


def test_a_full_disk_is_an_error_and_not_a_shorter_mp4(tmp_path: Path) -> None:
    mkv = tmp_path / "clip.mkv"
    mkv.write_bytes(ordinary_clip().matroska())

    with pytest.raises(OSError, match="No space left"):
        viewcopy.write_mp4(mkv, media.survey(mkv), Path("/dev/full"))
