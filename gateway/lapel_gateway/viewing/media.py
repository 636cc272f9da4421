"""What an opened clip contains: its Matroska read packet by packet, and a survey of it.

Rules that hold here
- The Matroska is the truth and is never changed. Times are milliseconds on the clip's own clock.
- A clip may end at any byte: whatever is whole is used, what is not there is no error.
- Memory does not grow with the clip beyond one number per frame and one cue per event.
- The Matroska comes from a device, so it is distrusted even after its seals were checked: the container format is
  forced, and pictures and sampling rates are bounded before anything is allocated for them.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import av
import av.error
from av.video.codeccontext import VideoCodecContext

from lapel_gateway.viewing import captions

if TYPE_CHECKING:
    from av.audio.frame import AudioFrame
    from av.audio.stream import AudioStream
    from av.container import InputContainer
    from av.packet import Packet
    from av.stream import Stream
    from av.video.stream import VideoStream

MAX_PICTURE_PIXELS = 4096 * 4096
"""A JPEG header may claim 65,535 x 65,535 pixels; no camera here comes near this bound (25 MB of decoded picture)."""

MAX_SAMPLE_RATE_HZ = 192_000
"""Silence is made at the claimed rate, so the claim is bounded; a track beyond it is left out."""

AUDIO_TOLERANCE_MS = 80
"""Sound is taken as continuous while its blocks' times stay this near to its sample count: capture jitter is no gap.
Beyond it silence is put in, or the overlap left out, so that sound stays with picture."""

PIECE_BYTES = 1 << 18
"""A block of a megabyte is four readings; a claim of a gigabyte costs no more than one."""

DEFAULT_FRAME_MS = 100
"""How long a clip's only frame lasts."""

MAX_LAST_FRAME_MS = 1000
"""A pause before the last frame does not make that frame last as long as the pause did."""


@dataclass(frozen=True)
class Survey:
    """What a clip's Matroska contains. Times are milliseconds on the clip's clock."""

    frames_ms: array[int]  # presentation time of every whole frame, in order of storage
    width: int  # pixels, as the track says; 0 without frames
    height: int
    audio_rate_hz: int  # 0 without sound
    audio_channels: int
    audio_start_ms: int
    audio_ms: int  # length of the sound that is there, gaps not counted
    audio_gaps_ms: int  # silence put in where blocks are missing
    audio_overlaps_ms: int  # sound left out where blocks overlap
    cues: tuple[captions.Cue, ...]
    torn: bool  # the last element is incomplete: the stream was cut within it
    damaged: bool  # reading stopped before the end: what follows is not Matroska
    last_frame_ms: int  # how long the last frame lasts
    end_ms: int  # end of the last frame or sound, whichever is later; 0 for an empty clip


class SoundClock:
    """Places blocks of sound by their times: contiguous within the tolerance, silence or a trim beyond it.

    ``place`` answers (samples of silence before the block, samples to skip at its start).
    """

    def __init__(self, rate_hz: int) -> None:
        self._rate_hz = rate_hz
        self._start_ms = 0
        self._next = -1  # number of the next sample, counted from time 0; -1 before the first block
        self.samples = 0
        self.silent_samples = 0
        self.skipped_samples = 0

    def place(self, time_ms: int, samples: int) -> tuple[int, int]:
        """Take a block of ``samples`` samples captured at ``time_ms``."""
        at = time_ms * self._rate_hz // 1000
        if self._next < 0:
            self._start_ms = time_ms
            self._next = at
        silence = skip = 0
        difference = at - self._next
        if abs(difference) * 1000 > AUDIO_TOLERANCE_MS * self._rate_hz:
            silence = max(0, difference)
            skip = min(samples, max(0, -difference))
        self.silent_samples += silence
        self.skipped_samples += skip
        self.samples += samples - skip
        self._next += silence + samples - skip
        return silence, skip

    @property
    def start_ms(self) -> int:
        return self._start_ms

    @property
    def end_ms(self) -> int:
        """Where the sound placed so far ends; 0 before the first block."""
        return self._start_ms + self.to_ms(self.samples + self.silent_samples)

    def to_ms(self, samples: int) -> int:
        return samples * 1000 // self._rate_hz if self._rate_hz else 0


class Tracks:
    """The first track of each kind in an open Matroska, and its packets in the order of storage."""

    def __init__(self, container: InputContainer) -> None:
        self._container = container
        streams = container.streams
        self.video: VideoStream | None = next(filter(_known, streams.video), None)
        self.audio: AudioStream | None = next(filter(_known, streams.audio), None)
        self.text: Stream | None = streams.subtitles[0] if streams.subtitles else None
        if self.audio is not None and not 0 < self.audio.rate <= MAX_SAMPLE_RATE_HZ:
            self.audio = None
        self.damaged = False

    def packets(self) -> Iterator[tuple[Packet[Stream], int]]:
        """Yield every whole packet of these tracks with its time in ms; stop where the file stops making sense."""
        chosen = [stream for stream in (self.video, self.audio, self.text) if stream is not None]
        if not chosen:
            return
        packets = self._container.demux(*chosen)
        while True:
            try:
                packet = next(packets, None)
            except av.error.FFmpegError:
                self.damaged = True
                return
            if packet is None:
                return
            # libav sends an empty packet per stream at the end, to flush decoders.
            if packet.size and packet.pts is not None:
                yield packet, round(packet.pts * packet.time_base * 1000)


class _Pieces:
    """A file that is read in small pieces: libav asks for what a block claims to have, and Python makes room for it."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.seek = file.seek
        self.tell = file.tell

    def read(self, size: int) -> bytes:
        """At most `size` bytes; fewer before the end, too."""
        return self._file.read(min(size, PIECE_BYTES))


def _known(stream: Stream) -> bool:
    """Whether libav has a decoder for the track: one that names a codec of its own invention is as if not there."""
    return stream.codec_context is not None


@contextmanager
def opened(matroska: BinaryIO) -> Iterator[Tracks | None]:
    """Open a Matroska file for reading; None when not even its header is whole.

    The file is given open, so that a failing disk raises its OSError instead of looking like the end of the clip.
    """
    try:
        container = av.open(_Pieces(matroska), mode="r", format="matroska", metadata_errors="replace")
    except av.error.FFmpegError:
        yield None
        return
    with container:
        yield Tracks(container)


def picture_decoder(video: VideoStream) -> VideoCodecContext:
    """Return a strict, bounded, synchronous decoder for a track: one packet in, one picture or one error out."""
    # A decoder of its own, because libav's takes a JPEG of less than 3/4 of the track's height for half a picture.
    decoder = av.CodecContext.create(video.codec_context.name, "r")
    if not isinstance(decoder, VideoCodecContext):
        raise TypeError(f"{decoder.name} is not a video codec")
    decoder.extradata = video.codec_context.extradata
    decoder.thread_count = 1
    decoder.options = {"err_detect": "explode", "max_pixels": str(MAX_PICTURE_PIXELS)}
    return decoder


def decode_sound(audio: AudioStream, packet: Packet[Stream]) -> list[AudioFrame]:
    """Decode a block of sound; an undecodable one (odd length, say) is as if it were missing."""
    try:
        return audio.codec_context.decode(packet)
    except av.error.FFmpegError:
        return []


def survey(path: Path) -> Survey:
    """Read a clip's Matroska through once, without decoding pictures, and return what it contains.

    Raises OSError when the file cannot be read. A file that is cut, empty or no Matroska is no error.
    """
    frames_ms = array("q")
    events: list[tuple[int, int, str]] = []
    width = height = rate_hz = channels = 0
    damaged = False
    clock = SoundClock(0)
    with path.open("rb") as file, opened(file) as tracks:
        if tracks is not None:
            if tracks.video is not None:
                width, height = tracks.video.codec_context.width, tracks.video.codec_context.height
            if tracks.audio is not None:
                rate_hz, channels = tracks.audio.rate, tracks.audio.channels
                clock = SoundClock(rate_hz)
            for packet, time_ms in tracks.packets():
                if packet.stream is tracks.video:
                    frames_ms.append(time_ms)
                elif tracks.audio is not None and packet.stream is tracks.audio:
                    for frame in decode_sound(tracks.audio, packet):
                        clock.place(time_ms, frame.samples)
                elif packet.stream is tracks.text:
                    duration_ms = round((packet.duration or 0) * packet.time_base * 1000)
                    events.append((time_ms, duration_ms, captions.clean_text(bytes(packet))))
            damaged = tracks.damaged
    last_frame_ms = _last_frame_ms(frames_ms)
    return Survey(
        frames_ms=frames_ms,
        width=width if frames_ms else 0,
        height=height if frames_ms else 0,
        audio_rate_hz=rate_hz if clock.samples else 0,
        audio_channels=channels if clock.samples else 0,
        audio_start_ms=clock.start_ms,
        audio_ms=clock.to_ms(clock.samples),
        audio_gaps_ms=clock.to_ms(clock.silent_samples),
        audio_overlaps_ms=clock.to_ms(clock.skipped_samples),
        cues=captions.arrange(events),
        torn=ends_torn(path),
        damaged=damaged,
        last_frame_ms=last_frame_ms,
        end_ms=max(clock.end_ms, max(frames_ms) + last_frame_ms if frames_ms else 0),
    )


def ends_torn(path: Path) -> bool:
    """Whether a Matroska file ends within an element (RFC 8794): it was cut there, rather than between two blocks.

    Segment and Cluster are entered instead of skipped: a live file does not say how long they are.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        at = 0
        while at < size:
            file.seek(at)
            head = file.read(12)
            name_length = _vint_length(head[:1])
            size_length = _vint_length(head[name_length : name_length + 1]) if name_length else 0
            if not size_length or len(head) < name_length + size_length:
                return True
            name = head[:name_length]
            at += name_length + size_length
            if name not in _ENTERED:
                length = head[name_length : name_length + size_length]
                at += int.from_bytes(length, "big") & ((1 << 7 * size_length) - 1)
        return at != size


_ENTERED = (bytes.fromhex("18538067"), bytes.fromhex("1f43b675"))  # Segment, Cluster


def _vint_length(first: bytes) -> int:
    """Length in bytes (1-8) of the EBML number that starts with this byte; 0 when there is none."""
    return 9 - first[0].bit_length() if first and first[0] else 0


def _last_frame_ms(frames_ms: array[int]) -> int:
    if len(frames_ms) < 2:
        return DEFAULT_FRAME_MS if frames_ms else 0
    return min(max(1, frames_ms[-1] - frames_ms[-2]), MAX_LAST_FRAME_MS)
