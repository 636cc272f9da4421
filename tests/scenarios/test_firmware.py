"""The real firmware in the real MicroPython at 192 KiB, without a gateway: what it records, shows and survives."""

import dataclasses

import pytest

from lapel_protocol.clip import (
    END_WEARER,
    FLAG_ALARM,
    NOTICE_ALARM,
    NOTICE_CONFIRMED,
    NOTICE_NO_TIME,
    PREV_NONE,
)
from lapel_sim.device import SimDevice
from lapel_sim.footage import default_footage, pcm
from lapel_sim.hardware import PICO_W, DiskKind, card, flash
from lapel_sim.hosttime import TICKS_PERIOD
from lapel_sim.package import OfflineDevice, offline_package
from lapel_sim.provision import fill_storage, provision
from lapel_sim.world import World

from .clips import assert_frames_are_the_cameras, clips_of, pictures, sound, texts

FRAME_INTERVAL_MS = 150  # a Pico's 500 ms would only make these tests longer


def provisioned(
    world: World, kind: DiskKind | None = None, seeded_entropy: bool = False
) -> tuple[SimDevice, OfflineDevice]:
    """A Pico W with a faster camera and a package of its own organisation, switched off."""
    hardware = dataclasses.replace(PICO_W, disk=kind or PICO_W.disk, frame_interval_ms=FRAME_INTERVAL_MS)
    device = world.add_device("camera", hardware, seeded_entropy=seeded_entropy)
    settings = {"frame_interval_ms": FRAME_INTERVAL_MS, "notice_timeout_ms": 3000}
    offline = offline_package(world.root / "package", settings=settings)
    provision(device, offline.folder)
    return device, offline


def record(device: SimDevice, world: World, frames: int) -> None:
    """Record without warning until the camera has given so many more frames."""
    wanted = len(device.frames()) + frames
    device.hold("RECORD", 1700)
    device.wait_shown("recording")
    world.wait_until(lambda: len(device.frames()) >= wanted, what=f"{frames} frames")


def stop(device: SimDevice) -> None:
    device.hold("RECORD", 1700)
    device.wait_shown("recording stopped")
    device.wait_quiet()


def test_a_confirmed_notice_gives_a_clip_with_every_frame_and_sound_of_the_world(world: World) -> None:
    device, offline = provisioned(world)
    device.power_on()
    device.wait_shown("idle")
    device.press("RECORD")
    device.wait_shown("notice")
    assert not device.frames()
    device.press("RECORD")
    device.wait_shown("recording")
    world.wait_until(lambda: len(device.frames()) >= 20)
    stop(device)
    [clip] = clips_of(device, offline)
    assert clip.end is not None
    assert (clip.end.reason, clip.end.segments, clip.end.head) == (END_WEARER, clip.segments, clip.head)
    assert clip.header.notice == NOTICE_CONFIRMED
    assert clip.header.prompted_ms > clip.header.confirmed_ms >= 0
    assert clip.header.previous_clip == PREV_NONE
    count = assert_frames_are_the_cameras(clip, device.frames())
    assert clip.end.frames == count >= 20
    assert clip.end.dropped == 0
    heard = sound(clip)
    assert len(heard) > 3 * 16000 * 2
    assert heard == (pcm(default_footage(), 16000) * 2)[: len(heard)]
    assert texts(clip)


def test_frames_keep_their_times_over_a_wrap_of_the_tick_counter(world: World) -> None:
    device, offline = provisioned(world)
    device.ticks_before_wrap_ms = 3500
    device.power_on()
    device.wait_shown("idle")
    record(device, world, 16)
    stop(device)
    [clip] = clips_of(device, offline)
    ticks = [entry["ticks_of_frame"] for entry in device.frames()]
    assert max(ticks) > TICKS_PERIOD - 10_000
    assert min(ticks) < 20_000
    assert assert_frames_are_the_cameras(clip, device.frames()) >= 16


def test_holding_record_starts_without_a_warning_and_says_so(world: World) -> None:
    device, offline = provisioned(world, seeded_entropy=True)
    device.power_on()
    device.wait_shown("idle")
    record(device, world, 3)
    stop(device)
    assert not world.journal.entries("indicator", pattern="notice")
    [clip] = clips_of(device, offline)
    assert clip.header.notice == NOTICE_NO_TIME


def test_a_notice_that_is_not_confirmed_records_nothing(world: World) -> None:
    device, offline = provisioned(world)
    device.power_on()
    device.wait_shown("idle")
    device.press("RECORD")
    device.wait_shown("notice")
    world.wait_until(lambda: not device.shows("notice", within_ms=3000), timeout_s=60, what="the notice to end")
    assert not device.frames()
    assert clips_of(device, offline) == []


def test_a_frame_that_is_too_large_is_left_out_and_counted(world: World) -> None:
    device, offline = provisioned(world)
    device.camera.make_oversized(2)
    device.power_on()
    device.wait_shown("idle")
    record(device, world, 5)
    stop(device)
    [clip] = clips_of(device, offline)
    assert clip.end is not None
    assert clip.end.dropped == 2
    assert assert_frames_are_the_cameras(clip, device.frames()) == clip.end.frames
    assert any("drop" in line for line in texts(clip))


def test_an_alarm_records_at_once_without_notice_and_is_never_shown_as_sent_without_a_link(world: World) -> None:
    device, offline = provisioned(world)
    device.link.radio(up=False)
    device.power_on()
    device.wait_shown("idle")
    device.hold("ALARM", 2300)
    device.wait_shown("alarm raised")
    device.wait_shown("recording")
    world.wait_until(lambda: len(device.frames()) >= 3)
    stop(device)
    assert device.shows("alarm raised")
    shown = {entry["pattern"] for entry in world.journal.entries("indicator")}
    assert not shown & {"alarm sent", "alarm received", "alarm acknowledged", "notice", "unknown"}
    [clip] = clips_of(device, offline)
    assert clip.header.notice == NOTICE_ALARM
    assert clip.header.flags & FLAG_ALARM


def test_an_alarm_is_still_shown_after_a_power_cut(world: World) -> None:
    device, _ = provisioned(world)
    device.link.radio(up=False)
    device.power_on()
    device.wait_shown("idle")
    device.hold("ALARM", 2300)
    device.wait_shown("recording")
    world.wait_until(lambda: len(device.frames()) >= 2)
    device.cut_power()
    device.power_on()
    device.wait_shown("alarm raised")


@pytest.mark.parametrize("kind", [card(), card("fat"), flash()], ids=["littlefs card", "fat card", "littlefs flash"])
def test_a_clip_cut_by_power_loss_keeps_every_synced_segment_and_the_next_clip_names_it(
    world: World, kind: DiskKind
) -> None:
    device, offline = provisioned(world, kind)
    device.power_on()
    device.wait_shown("idle")
    record(device, world, 8)
    device.cut_power()
    device.power_on()
    device.wait_shown("idle")
    device.wait_quiet()
    record(device, world, 4)
    stop(device)
    cut, whole = clips_of(device, offline)
    assert cut.end is None
    assert cut.segments >= 10  # eight frames are some thirty segments; unsynced ones may be lost
    assert assert_frames_are_the_cameras(cut, device.frames(boot=1)) >= 3
    assert whole.end is not None
    assert assert_frames_are_the_cameras(whole, device.frames(boot=2)) >= 4
    assert (whole.header.previous_clip, whole.header.previous_head) == (cut.header.clip, cut.head)
    assert whole.header.boot > cut.header.clip


@pytest.mark.parametrize("step", ["sector_program", "sector_erase", "block_sync", "block_write"])
def test_a_cut_in_the_middle_of_any_step_leaves_a_device_that_records_again(world: World, step: str) -> None:
    device, offline = provisioned(world)
    device.power_on()
    device.wait_shown("idle")
    record(device, world, 2)
    stop(device)
    device.cut_power_at(step, {"block_write": 30, "block_sync": 3}.get(step, 1))
    device.buttons.set(1)  # held until the power goes
    device.wait_off()
    device.buttons.set(0)
    device.power_on()
    device.wait_shown("idle")
    device.wait_quiet()
    record(device, world, 2)
    stop(device)
    clips = clips_of(device, offline)
    numbers = [clip.header.clip for clip in clips]
    assert numbers == sorted(set(numbers))
    assert clips[0].end is not None
    assert clips[-1].end is not None
    assert pictures(clips[-1])


def test_a_full_card_refuses_a_recording_but_not_an_alarm(world: World) -> None:
    device, offline = provisioned(world)
    fill_storage(device, leave_bytes=device.hardware.storage_reserve_bytes // 2)
    device.power_on()
    device.wait_shown("storage nearly full")
    device.hold("RECORD", 1700)
    device.wait_shown("refused, storage full")
    assert not device.frames()
    device.hold("ALARM", 2300)
    device.wait_shown("alarm raised")
    device.wait_shown("recording")
    world.wait_until(lambda: len(device.frames()) >= 3)
    stop(device)
    [clip] = clips_of(device, offline)
    assert clip.header.notice == NOTICE_ALARM


def test_a_device_that_was_not_provisioned_says_so_and_does_nothing_else(world: World) -> None:
    device, _ = provisioned(world)
    device.sectors.load(b"\xff" * len(device.sectors.image()))
    device.power_on()
    device.wait_shown("error")
    device.hold("RECORD", 1700)
    device.wait_quiet()
    assert device.console_has("out of service")
    assert not device.frames()


def test_the_boards_own_slowness_delays_work_without_losing_frames(tmp_path_factory: pytest.TempPathFactory) -> None:
    with World(tmp_path_factory.mktemp("slow"), cost_scale=1.0) as world:
        device, offline = provisioned(world)
        device.power_on()
        device.wait_shown("idle")
        record(device, world, 6)
        stop(device)
        [clip] = clips_of(device, offline)
        assert clip.end is not None
        assert assert_frames_are_the_cameras(clip, device.frames()) >= 6
