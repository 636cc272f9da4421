"""What the demo claims, checked: every clip by `lapel verify`, every frame against what the simulated camera gave."""

from __future__ import annotations

import hashlib
import itertools
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import av

from lapel_sim.journal import Journal
from lapel_tools.console import CommandError
from lapel_tools.demo.installation import Installation

TOLERANCE_MS = 1


@dataclass
class ClipResult:
    """One clip: how many frames the device says it captured, how many were verified, and what is wrong with it."""

    words: dict[str, Any]
    captured: int = 0
    verified: int = 0
    faults: list[str] = field(default_factory=list)
    mp4: Path | None = None


def check_clip(installation: Installation, journal: Journal, device_name: str, words: dict[str, Any]) -> ClipResult:
    """Export the clip with its key, verify the export, and compare its frames with the camera's journal."""
    result = ClipResult(words)
    folder = installation.folder / "export" / words["id"]
    installation.lapel("clip", "export", words["id"], "--out", str(folder), "--with-key")
    try:
        installation.lapel("verify", str(folder))
    except CommandError as error:
        result.faults.append(str(error))
    given = journal.entries("frame", device=device_name, fits=True)
    recorded = _matroska_frames(folder / "clip.mkv")
    result.mp4 = folder / "clip.mp4"
    result.captured = words["frames"]["captured"] if words["frames"]["captured"] is not None else len(recorded)
    result.verified = _compare(result, recorded, given)
    shown = _presentation_times(result.mp4)
    if len(shown) != len(recorded):
        result.faults.append(f"the MP4 has {len(shown)} frames of {len(recorded)}")
    elif any(abs(mp4 - mkv) > TOLERANCE_MS for mp4, (_, mkv) in zip(shown, recorded, strict=True)):
        result.faults.append("a frame of the MP4 has another time than on the device")
    if result.captured != len(recorded):
        result.faults.append(f"the device captured {result.captured} frames, {len(recorded)} are in the clip")
    return result


def _matroska_frames(path: Path) -> list[tuple[str, int]]:
    """(SHA-256, milliseconds) of each JPEG in a clip's Matroska."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        return [
            (hashlib.sha256(bytes(packet)).hexdigest(), int(packet.pts))
            for packet in container.demux(stream)
            if packet.pts is not None
        ]


def _presentation_times(path: Path) -> list[float]:
    """Milliseconds at which an MP4 shows each of its frames."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        return [frame.time * 1000 for frame in container.decode(stream)]


def _compare(result: ClipResult, recorded: list[tuple[str, int]], given: list[dict[str, Any]]) -> int:
    """How many frames are the camera's own, in order, without a gap, at the camera's own times."""
    if not recorded:
        result.faults.append("no frame is in the clip")
        return 0
    digests = [entry["sha256"] for entry in given]
    if recorded[0][0] not in digests:
        result.faults.append("the first frame is not one that the camera gave")
        return 0
    start = digests.index(recorded[0][0])
    verified = 0
    for (digest, at_ms), entry in zip(recorded, itertools.islice(given, start, None), strict=False):
        elapsed_ms = (entry["ticks_of_frame"] - given[start]["ticks_of_frame"]) % (1 << 30)
        if digest != entry["sha256"] or abs(at_ms - recorded[0][1] - elapsed_ms) > TOLERANCE_MS:
            result.faults.append(f"frame {verified} differs from what the camera gave")
            break
        verified += 1
    return verified
