"""The text track of a clip: its events as cues, as WebVTT and as 3GPP timed text (mov_text) samples.

Rules that hold here
- Text comes from a device: it is made printable and capped before it goes anywhere.
- Cues never overlap. A 3GPP text track cannot show two samples at once, and both copies are to say the same.
- Times are milliseconds on the clip's own clock, the same as the frames'.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

MAX_CUE_CHARACTERS = 2000
"""A cue is a line for people; a 3GPP sample holds 65,535 bytes and this many characters always fit (4 bytes each)."""

DEFAULT_CUE_MS = 2000
"""How long an event without a duration stays on the screen."""

ASS_HEADER = (
    b"[Script Info]\r\nScriptType: v4.00+\r\n\r\n[V4+ Styles]\r\n"
    b"Format: Name, Fontname, Fontsize, PrimaryColour, SecondaryColour, OutlineColour, BackColour, Bold, Italic, "
    b"Underline, StrikeOut, ScaleX, ScaleY, Spacing, Angle, BorderStyle, Outline, Shadow, Alignment, MarginL, MarginR, "
    b"MarginV, Encoding\r\n"
    b"Style: Default,Arial,16,&Hffffff,&Hffffff,&H0,&H0,0,0,0,0,100,100,0,0,1,1,0,2,10,10,10,0\r\n\r\n"
    b"[Events]\r\nFormat: Layer, Start, End, Style, Name, MarginL, MarginR, MarginV, Effect, Text\r\n"
)
"""libavcodec's mov_text encoder takes its default text style from an ASS script header."""


@dataclass(frozen=True)
class Cue:
    """One event of the text track: shown from ``start_ms`` for ``duration_ms`` milliseconds (more than 0)."""

    start_ms: int
    duration_ms: int
    text: str


def clean_text(raw: bytes) -> str:
    """Return the text of a block as printable lines: bad UTF-8 replaced, control characters and empty lines removed."""
    text = raw.decode("utf-8", "replace").replace("\r\n", "\n").replace("\r", "\n")
    lines = ("".join(c for c in line if c.isprintable()).strip() for line in text.split("\n"))
    return "\n".join(line for line in lines if line)[:MAX_CUE_CHARACTERS]


def arrange(events: Iterable[tuple[int, int, str]]) -> tuple[Cue, ...]:
    """Turn (start ms, duration ms or 0, text) into cues in order that do not overlap.

    Events of the same millisecond become one cue of several lines. A cue ends where the next one starts.
    """
    cues: list[Cue] = []
    for start_ms, duration_ms, text in sorted(events, key=lambda event: event[0]):
        if not text:
            continue
        if cues and cues[-1].start_ms == start_ms:
            joined = f"{cues[-1].text}\n{text}"[:MAX_CUE_CHARACTERS]
            longest = max(cues[-1].duration_ms, duration_ms or DEFAULT_CUE_MS)
            cues[-1] = Cue(start_ms, longest, joined)
            continue
        if cues and cues[-1].start_ms + cues[-1].duration_ms > start_ms:
            cues[-1] = replace(cues[-1], duration_ms=start_ms - cues[-1].start_ms)
        cues.append(Cue(start_ms, duration_ms or DEFAULT_CUE_MS, text))
    return tuple(cues)


def webvtt(cues: Sequence[Cue]) -> str:
    """Return the WebVTT document (W3C WebVTT 1) of these cues; a document without cues is valid too."""
    blocks = ["WEBVTT\n"]
    for cue in cues:
        escaped = cue.text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
        blocks.append(f"{_clock(cue.start_ms)} --> {_clock(cue.start_ms + cue.duration_ms)}\n{escaped}\n")
    return "\n".join(blocks)


def timed_text_sample(cue: Cue) -> bytes:
    """Return the 3GPP TS 26.245 text sample of a cue: a 16-bit length and the UTF-8 text, no modifier boxes."""
    text = cue.text.encode()
    return len(text).to_bytes(2, "big") + text


def _clock(time_ms: int) -> str:
    seconds, milliseconds = divmod(time_ms, 1000)
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:02d}:{minutes:02d}:{seconds:02d}.{milliseconds:03d}"
