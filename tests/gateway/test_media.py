"""What the gateway finds in a clip's Matroska, whole, cut and damaged."""

from __future__ import annotations

import io
import random
from pathlib import Path

import av
import pytest

from lapel_gateway.viewing import media
from tests.gateway.footage import FRAMES_MS, Clip, jpegs, ordinary_clip, tone


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "clip.mkv"


def surveyed(file: Path, content: bytes) -> media.Survey:
    file.write_bytes(content)
    return media.survey(file)


def test_survey_names_every_frame_sound_and_event_of_a_clip(file: Path) -> None:
    survey = surveyed(file, ordinary_clip().matroska())

    assert tuple(survey.frames_ms) == FRAMES_MS
    assert (survey.width, survey.height) == (320, 180)
    assert (survey.audio_rate_hz, survey.audio_channels) == (16_000, 1)
    assert (survey.audio_start_ms, survey.audio_ms) == (60, 3000)
    assert (survey.audio_gaps_ms, survey.audio_overlaps_ms) == (0, 0)
    assert [(cue.start_ms, cue.duration_ms) for cue in survey.cues] == [(137, 1147), (1284, 800)]
    assert not survey.torn
    assert survey.end_ms == FRAMES_MS[-1] + (FRAMES_MS[-1] - FRAMES_MS[-2])


def test_a_clip_cut_at_any_byte_keeps_exactly_the_frames_that_are_whole(file: Path) -> None:
    content, whole = ordinary_clip().layout()
    chance = random.Random(20)
    first_frame = whole[0][1]
    cuts = [*range(0, first_frame, 97), *(chance.randrange(first_frame, len(content)) for _ in range(120))]
    for cut in cuts:
        survey = surveyed(file, content[:cut])
        assert list(survey.frames_ms) == [at for at, end in whole if end <= cut], f"cut at byte {cut}"


def test_a_cut_within_a_block_is_told_from_a_cut_between_blocks(file: Path) -> None:
    content, whole = ordinary_clip().layout()
    _, between = whole[5]

    assert not surveyed(file, content[:between]).torn
    assert surveyed(file, content[: between - 1]).torn
    assert surveyed(file, content[: between + 1]).torn
    assert surveyed(file, content[:3]).torn


@pytest.mark.parametrize(
    "content", [b"", b"\x1a", b"\0" * 64, b"not matroska at all" * 100], ids=["empty", "one byte", "zeros", "text"]
)
def test_what_is_no_matroska_contains_nothing_and_is_no_error(file: Path, content: bytes) -> None:
    survey = surveyed(file, content)

    assert not survey.frames_ms
    assert survey.audio_ms == survey.end_ms == 0
    assert survey.cues == ()


def test_a_missing_file_is_an_error_not_an_empty_clip(file: Path) -> None:
    with pytest.raises(FileNotFoundError):
        media.survey(file)


def test_a_disk_that_fails_while_reading_is_an_error_not_a_shorter_clip() -> None:
    content = ordinary_clip().matroska()

    class FailingDisk(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            if self.tell() > 60_000:
                raise OSError(5, "disk failed")
            return super().read(size)

    def read_through() -> None:
        with media.opened(FailingDisk(content)) as tracks:
            assert tracks is not None
            list(tracks.packets())

    with pytest.raises(OSError, match="disk failed"):
        read_through()


def test_missing_sound_is_counted_as_a_gap_and_does_not_move_what_follows(file: Path) -> None:
    clip = Clip(sound=tone(0, 500) + tone(1500, 500), width=0, height=0)

    survey = surveyed(file, clip.matroska())

    assert survey.audio_ms == 1000
    assert survey.audio_gaps_ms == 1000
    assert survey.end_ms == 2000


def test_overlapping_sound_is_trimmed_and_counted(file: Path) -> None:
    clip = Clip(sound=tone(0, 1000) + tone(800, 500), width=0, height=0)

    survey = surveyed(file, clip.matroska())

    assert survey.audio_overlaps_ms == 200
    assert survey.audio_ms == survey.end_ms == 1300


def test_jitter_of_block_times_is_neither_gap_nor_overlap(file: Path) -> None:
    jitter = random.Random(3)
    clip = Clip(sound=[(at + jitter.randrange(0, 60), pcm) for at, pcm in tone(0, 3000)], width=0, height=0)

    survey = surveyed(file, clip.matroska())

    assert survey.audio_ms == 3000
    assert (survey.audio_gaps_ms, survey.audio_overlaps_ms) == (0, 0)


def test_a_clip_of_one_frame_lasts_as_long_as_that_frame(file: Path) -> None:
    survey = surveyed(file, Clip(frames=[(40, jpegs(1)[0])], rate_hz=0).matroska())

    assert list(survey.frames_ms) == [40]
    assert survey.end_ms == 40 + media.DEFAULT_FRAME_MS


def test_text_from_a_device_is_made_printable_and_capped(file: Path) -> None:
    clip = Clip(events=[(10, 0, b"\x1b[31mred\x00\xff\n\n-->next " + b"x" * 5000)], width=0, height=0, rate_hz=0)

    (cue,) = surveyed(file, clip.matroska()).cues

    assert cue.text.startswith("[31mred\ufffd\n-->next xx")
    assert len(cue.text) == 2000
    assert cue.duration_ms == 2000


def test_survey_agrees_with_a_matroska_of_another_writer(file: Path) -> None:
    """libavformat's muxer: known sizes, seek head, cues, tags and lacing flags that devices never write."""
    content = io.BytesIO(ordinary_clip().matroska())
    with av.open(content, "r", format="matroska") as source, av.open(str(file), "w", format="matroska") as target:
        streams = {stream.index: target.add_stream_from_template(stream) for stream in source.streams}
        for packet in source.demux():
            if packet.size:
                packet.stream = streams[packet.stream_index]
                target.mux(packet)

    survey = media.survey(file)

    assert tuple(survey.frames_ms) == FRAMES_MS
    assert survey.audio_ms == 3000
    assert [cue.start_ms for cue in survey.cues] == [137, 1284]
    assert not survey.torn
