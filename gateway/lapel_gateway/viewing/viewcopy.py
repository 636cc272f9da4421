"""Copies of a clip for viewing: MP4 (H.264, AAC, 3GPP text) and WebVTT, made from its Matroska.

Rules that hold here
- A frame's presentation time in the MP4 is its time in the Matroska to the millisecond, the first frame's offset
  included. No frame is dropped or repeated; a frame that no decoder accepts is left out and its time reported.
- A frame whose time does not lie after the one before it is moved by the least that MP4 needs, and counted.
- The index stands in front of the media (faststart), so that a browser starts before it has everything.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

import av
import av.error
from av.audio.frame import AudioFrame
from av.audio.resampler import AudioResampler
from av.packet import Packet
from av.video.reformatter import ColorRange, Colorspace

from lapel_gateway.viewing import captions
from lapel_gateway.viewing.media import SoundClock, Survey, decode_sound, opened, picture_decoder

if TYPE_CHECKING:
    from av.audio.stream import AudioStream
    from av.container import OutputContainer
    from av.stream import Stream
    from av.subtitles.stream import SubtitleStream
    from av.video.codeccontext import VideoCodecContext
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream

MILLISECOND = Fraction(1, 1000)

SILENCE_BLOCK_MS = 1000
"""Silence is made in pieces of at most this length, however long the gap."""

AAC_RATES_HZ = (96000, 88200, 64000, 48000, 44100, 32000, 24000, 22050, 16000, 12000, 11025, 8000, 7350)
"""Sampling rates that AAC has a code for (ISO/IEC 14496-3, sampling frequency index)."""

FALLBACK_RATE_HZ = 48000

X264_OPTIONS = {
    "preset": "veryfast",
    "crf": "23",
    # Without B-frames decoding order is presentation order: no composition offsets, nothing for a player to shift.
    "bf": "0",
    "g": "50",
}


@dataclass(frozen=True)
class ViewCopy:
    """What became of the frames: all of them are in the MP4 but those listed."""

    written: bool  # False: there was neither a picture nor a sound, and there is no MP4
    width: int  # pixels of the MP4's picture; 0 without one
    height: int
    frames: int
    undecodable_ms: array[int]
    retimed: int  # frames moved because their time was not after the previous one


def write_vtt(survey: Survey, vtt: Path) -> None:
    """Write the clip's events as WebVTT beside the MP4, because browsers do not show a 3GPP text track."""
    vtt.write_text(captions.webvtt(survey.cues), encoding="utf-8", newline="\n")


def write_mp4(matroska: Path, survey: Survey, mp4: Path) -> ViewCopy:
    """Write the MP4 of a surveyed clip to ``mp4``; nothing is written when there is nothing to see or hear.

    Raises OSError when the disk fails or is full; a half-written file may then remain for the caller to remove.
    """
    picture = _first_picture(matroska)
    if picture is None and not survey.audio_ms:
        return ViewCopy(False, 0, 0, 0, survey.frames_ms[:], 0)
    with av.open(str(mp4), mode="w", format="mp4", options={"movflags": "+faststart"}) as output:
        return _Writer(output, survey, picture).run(matroska)


def frame_times(mp4: Path) -> list[int]:
    """When each picture of an MP4 begins, in milliseconds: read from its index. Raises OSError."""
    try:
        with av.open(str(mp4)) as container:
            if not container.streams.video:
                return []
            video = container.streams.video[0]
            base = video.time_base or MILLISECOND
            return [round(entry.timestamp * base * 1000) for entry in video.index_entries]
    except av.error.FFmpegError as error:
        raise OSError(f"{mp4}: {error}") from None


def _first_picture(matroska: Path) -> VideoFrame | None:
    """The first frame that decodes; its size is the MP4's."""
    with matroska.open("rb") as file, opened(file) as tracks:
        if tracks is not None and tracks.video is not None:
            decoder = picture_decoder(tracks.video)
            for packet, _ in tracks.packets():
                if packet.stream is tracks.video:
                    picture = _decode_picture(decoder, packet)
                    if picture is not None:
                        return picture
    return None


def _decode_picture(decoder: VideoCodecContext, packet: Packet[Stream]) -> VideoFrame | None:
    try:
        pictures = decoder.decode(packet)
    except (av.error.FFmpegError, MemoryError):
        return None
    return pictures[0] if pictures else None


class _Writer:
    """One MP4 being written."""

    def __init__(self, output: OutputContainer, survey: Survey, picture: VideoFrame | None) -> None:
        self._output = output
        self._survey = survey
        self._video = None if picture is None else _add_video(output, picture)
        self._sound = _Sound(output, survey) if survey.audio_ms else None
        self._text = _add_text(output) if survey.cues else None
        self._next_cue = 0
        self._last_ms = -1
        self._frames = 0
        self._retimed = 0
        self._undecodable_ms = array("q")

    def run(self, matroska: Path) -> ViewCopy:
        with matroska.open("rb") as file, opened(file) as tracks:
            if tracks is not None:
                decoder = picture_decoder(tracks.video) if tracks.video is not None else None
                for packet, time_ms in tracks.packets():
                    self._cues_until(time_ms)
                    if packet.stream is tracks.video and decoder is not None:
                        self._picture(_decode_picture(decoder, packet), time_ms)
                    elif tracks.audio is not None and packet.stream is tracks.audio and self._sound is not None:
                        for frame in decode_sound(tracks.audio, packet):
                            for encoded in self._sound.encode(time_ms, frame):
                                self._output.mux(encoded)
        self._finish()
        video = self._video
        return ViewCopy(
            True,
            video.width if video else 0,
            video.height if video else 0,
            self._frames,
            self._undecodable_ms,
            self._retimed,
        )

    def _picture(self, picture: VideoFrame | None, time_ms: int) -> None:
        video = self._video
        if picture is None or video is None:
            self._undecodable_ms.append(time_ms)
            return
        if time_ms <= self._last_ms:
            time_ms = self._last_ms + 1
            self._retimed += 1
        self._last_ms = time_ms
        self._frames += 1
        # A JPEG's levels have the full range; players expect the narrow one of every other video.
        frame = picture.reformat(video.width, video.height, "yuv420p", dst_color_range=ColorRange.MPEG)
        frame.pts = time_ms
        frame.time_base = MILLISECOND
        # Every JPEG is a key frame of its own codec; left so, the encoder would make each one a key frame again.
        frame.pict_type = 0
        self._mux_video(video, video.encode(frame))

    def _mux_video(self, video: VideoStream, packets: list[Packet[Stream]]) -> None:
        for packet in packets:
            # The muxer takes the other frames' durations from the next frame's time.
            packet.duration = round(self._survey.last_frame_ms * MILLISECOND / packet.time_base)
            self._output.mux(packet)

    def _cues_until(self, time_ms: int) -> None:
        cues = self._survey.cues
        while self._text is not None and self._next_cue < len(cues) and cues[self._next_cue].start_ms <= time_ms:
            cue = cues[self._next_cue]
            self._next_cue += 1
            packet = Packet(captions.timed_text_sample(cue))
            packet.stream = self._text
            packet.time_base = MILLISECOND
            packet.pts = packet.dts = cue.start_ms
            packet.duration = cue.duration_ms
            self._output.mux(packet)

    def _finish(self) -> None:
        if self._survey.cues:
            self._cues_until(self._survey.cues[-1].start_ms)
        if self._video is not None:
            self._mux_video(self._video, self._video.encode(None))
        if self._sound is not None:
            self._output.mux(self._sound.flush())


class _Sound:
    """The MP4's sound: blocks made contiguous by the sound clock, then AAC."""

    def __init__(self, output: OutputContainer, survey: Survey) -> None:
        self._rate_hz = survey.audio_rate_hz
        self._layout = "mono" if survey.audio_channels == 1 else "stereo"
        self._clock = SoundClock(self._rate_hz)
        self._convert = AudioResampler(format="s16", layout=self._layout, rate=self._rate_hz)
        self._placed = -1
        rate_hz = self._rate_hz if self._rate_hz in AAC_RATES_HZ else FALLBACK_RATE_HZ
        self._stream: AudioStream = output.add_stream("aac", rate=rate_hz)
        self._stream.codec_context.layout = self._layout

    def encode(self, time_ms: int, frame: AudioFrame) -> Iterator[Packet[Stream]]:
        """Yield the packets that this block, and any gap before it, complete."""
        silence, skip = self._clock.place(time_ms, frame.samples)
        if self._placed < 0:
            self._placed = time_ms * self._rate_hz // 1000
        width = 2 * (1 if self._layout == "mono" else 2)
        block = SILENCE_BLOCK_MS * self._rate_hz // 1000
        while silence > 0:
            yield from self._feed(bytes(width * min(silence, block)), width)
            silence -= block
        frame.pts = None
        for part in self._convert.resample(frame):
            # A plane is padded; only the first samples x width bytes are sound.
            yield from self._feed(bytes(part.planes[0])[skip * width : part.samples * width], width)

    def flush(self) -> list[Packet[Stream]]:
        return self._stream.encode(None)

    def _feed(self, sound: bytes, width: int) -> list[Packet[Stream]]:
        samples = len(sound) // width
        if not samples:
            return []
        frame = AudioFrame(format="s16", layout=self._layout, samples=samples)
        frame.planes[0].update(sound)
        frame.sample_rate = self._rate_hz
        frame.time_base = Fraction(1, self._rate_hz)
        frame.pts = self._placed
        self._placed += samples
        return self._stream.encode(frame)


def _add_video(output: OutputContainer, picture: VideoFrame) -> VideoStream:
    video: VideoStream = output.add_stream("libx264", rate=25, options=X264_OPTIONS)
    # 4:2:0 halves both sides, so odd ones lose a row or column of pixels.
    video.width = max(2, picture.width & ~1)
    video.height = max(2, picture.height & ~1)
    video.pix_fmt = "yuv420p"
    video.codec_context.time_base = MILLISECOND
    # Slices, which PyAV asks for, make every picture wait for its slowest part; with whole pictures in parallel the
    # encoder works while the next JPEG is decoded.
    video.codec_context.thread_type = "FRAME"
    video.color_range = ColorRange.MPEG
    video.colorspace = Colorspace.ITU601
    return video


def _add_text(output: OutputContainer) -> SubtitleStream:
    text: SubtitleStream = output.add_stream("mov_text")
    text.codec_context.subtitle_header = captions.ASS_HEADER
    text.codec_context.time_base = MILLISECOND
    return text
