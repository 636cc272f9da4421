"""From the moment at which a clip's last record reaches the gateway to the MP4 that people watch.

Clips as an ESP32-S3 camera makes them: 10 frames of 640 x 480 a second that fit its buffer, 16 kHz sound. All but the
end record are held before the clock starts; it stops when the ledger says `assembled`, with every file durable. The
peer is ffmpeg, given the opened Matroska and the same encoder settings, right after: it verifies, decrypts, hashes and
syncs nothing.
"""

from __future__ import annotations

import io
import random
import shutil
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

import sqlalchemy as sa

from bench.report import Report
from lapel_device.matroska import MatroskaWriter
from lapel_gateway.custody.ingest import IngestCore
from lapel_gateway.deliver import DeliverRole, wall_ms
from lapel_gateway.ledger import fresh_ledger, open_ledger, reading
from lapel_gateway.ledger.schema import clip as clips
from lapel_gateway.outbox import Outbox, RetryPolicy
from lapel_gateway.viewing.assembly import MATROSKA, MP4, Assembler
from lapel_gateway.viewing.viewcopy import X264_OPTIONS
from lapel_protocol.topics import LANE_CLIP, topic
from lapel_sim.footage import default_footage, jpeg_frames, pcm
from lapel_sim.hardware import ESP32S3_CAM
from tests.gateway.sealed import CHUNK_RECORDS, SealedClip, Site

_LENGTHS_S = ((10, 5), (60, 3), (300, 1))
"""Seconds of clip, and how many times it is made."""

_QUICK_LENGTHS_S = ((10, 2),)
_BATCH_MESSAGES = 256
_AUDIO_MS = 100
_LOOK_S = 0.002
_PATIENCE_S = 600


def measure(report: Report) -> None:
    """Clips of each length, each beside ffmpeg."""
    report.group("clips", "clip end at the gateway to MP4 ready, 640 x 480 at 10 frames a second")
    ffmpeg = shutil.which("ffmpeg")
    with tempfile.TemporaryDirectory(prefix="lapel-bench-", dir=Path.cwd()) as folder:
        path = Path(folder)
        fresh_ledger(path / "ledger.sqlite")
        engine = open_ledger(path / "ledger.sqlite")
        site = Site(path, engine)
        assembling = Assembler(engine, site.vault, site.views, site.keys())
        role = DeliverRole(Outbox(engine, [assembling], RetryPolicy(), random.random))
        role.start()
        try:
            number = 5
            for seconds, times in _QUICK_LENGTHS_S if report.quick else _LENGTHS_S:
                plain = _matroska(seconds)
                ours_s: list[float] = []
                peer_s: list[float] = []
                for _ in range(times):
                    sealed = site.seal(plain, number)
                    number += 1
                    ours_s.append(_hold_and_wait(site, engine, sealed))
                    view = site.views.folder(sealed.device, sealed.clip)
                    if ffmpeg is not None:
                        peer_s.append(_transcode(ffmpeg, view / MATROSKA, path / "peer.mp4"))
                    size = (view / MP4).stat().st_size
                    shutil.rmtree(view)
                _tell(report, seconds, len(plain), size, ours_s, peer_s)
        finally:
            role.stop()
            engine.dispose()


def _tell(report: Report, seconds: int, plain: int, size: int, ours_s: list[float], peer_s: list[float]) -> None:
    took_s = statistics.median(ours_s)
    sizes = f"{plain / 1e6:.1f} MB opened, {size / 1e6:.1f} MB of MP4, p50 of {len(ours_s)}"
    report.figure(f"{seconds} s clip", took_s, "s", f"{seconds / took_s:.1f} x real time, {sizes}")
    if peer_s:
        peer = statistics.median(peer_s)
        report.figure(f"{seconds} s clip, ffmpeg alone", peer, "s", f"{seconds / peer:.1f} x real time")
        report.figure(f"{seconds} s clip against ffmpeg", took_s / peer, "x")


def _matroska(seconds: int) -> bytes:
    """A clip of this length, of real footage played over and over, by the device's own writer."""
    board = ESP32S3_CAM
    footage = default_footage()
    frames = jpeg_frames(footage, board.frame_width, board.frame_height, board.frame_interval_ms, board.max_frame_bytes)
    sound = pcm(footage, board.audio_rate_hz)
    block = 2 * board.audio_rate_hz * _AUDIO_MS // 1000
    blocks = [sound[at : at + block] for at in range(0, len(sound) - block, block)]
    sink = io.BytesIO()
    writer = MatroskaWriter(sink)  # type: ignore[arg-type]
    writer.begin(board.frame_width, board.frame_height, board.audio_rate_hz, 0)
    writer.text(b"recording: a benchmark", 0, 2000)
    for at_ms in range(0, seconds * 1000, 10):
        if at_ms % board.frame_interval_ms == 0:
            writer.frame(frames[at_ms // board.frame_interval_ms % len(frames)], at_ms)
        if at_ms % _AUDIO_MS == 0:
            writer.audio(blocks[at_ms // _AUDIO_MS % len(blocks)], at_ms)
    return sink.getvalue()


def _hold_and_wait(site: Site, engine: sa.Engine, sealed: SealedClip) -> float:
    """Let the clip arrive; seconds from the arrival of its end record until it is assembled."""
    name = topic(bytes.fromhex(sealed.device), LANE_CLIP)
    records = [sealed.header_record, *sealed.segments]
    chunks = [b"".join(records[at : at + CHUNK_RECORDS]) for at in range(0, len(records), CHUNK_RECORDS)]
    core = IngestCore(engine, site.vault, site.registry, site.organisation)
    try:
        for at in range(0, len(chunks), _BATCH_MESSAGES):
            core.handle([(name, chunk) for chunk in chunks[at : at + _BATCH_MESSAGES]], wall_ms())
        started = time.perf_counter()
        core.handle([(name, sealed.end_record)], wall_ms())
    finally:
        core.close()
    here = sa.and_(clips.c.device == sealed.device, clips.c.clip == sealed.clip)
    while True:
        with reading(engine) as connection:
            if connection.execute(sa.select(clips.c.assembled_ms).where(here)).scalar_one() is not None:
                return time.perf_counter() - started
        if time.perf_counter() - started > _PATIENCE_S:
            raise TimeoutError(f"clip {sealed.name} was not assembled within {_PATIENCE_S} s")
        time.sleep(_LOOK_S)


def _transcode(ffmpeg: str, matroska: Path, mp4: Path) -> float:
    """Seconds that ffmpeg takes for the same copy."""
    options = [word for name, value in X264_OPTIONS.items() for word in (f"-{name}", value)]
    command = [ffmpeg, "-nostdin", "-v", "error", "-y", "-i", str(matroska), "-map", "0:v", "-map", "0:a"]
    command += ["-c:v", "libx264", *options, "-pix_fmt", "yuv420p", "-fps_mode", "passthrough"]
    command += ["-c:a", "aac", "-movflags", "+faststart", str(mp4)]
    started = time.perf_counter()
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL)
    return time.perf_counter() - started
