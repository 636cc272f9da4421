"""Power, storage, battery and provisioning that fail the whole application."""

import errno

import pytest

from lapel_device import feedback
from lapel_device.pattern_names import PATTERNS
from lapel_device.seeds import Seeds
from lapel_protocol import alarm, event, recording
from lapel_protocol import command as commands
from lapel_protocol.clip import (
    END_BATTERY,
    END_STORAGE,
)
from lapel_protocol.limits import CLIP_HEADER_BYTES
from lapel_protocol.orders import WANT_END, WANT_HEADER, WANT_SEGMENTS, Want
from lapel_protocol.report_decoders import (
    decode_clip_cut,
    decode_hello,
    decode_recording_note,
    decode_storage_note,
)
from lapel_protocol.reports import (
    EPOCH_BOOT,
    EPOCH_CLIP,
    NOTE_REFUSED,
    WHY_BATTERY,
    WHY_POWER,
    WHY_STORAGE_ERROR,
    WHY_STORAGE_FULL,
)
from tests.firmware.desk import MODULUS, DeskBoard, OpenedClip, clip_files
from tests.firmware.pair import DevicePair


def test_a_clip_cut_by_power_is_settled_with_its_true_head() -> None:
    pair = DevicePair(connected=False).run(3000)
    pair.hold().run(8000)
    pair.power_cut()
    pair.link(True)
    pair.run(8000)
    (cut_event,) = pair.gateway.reported(event.CLIP_CUT)
    cut = decode_clip_cut(cut_event.payload)
    assert (cut_event.boot, cut.clip, cut.why) == (2, 1, WHY_POWER)
    opened = pair.gateway.clips[1].opened()
    assert opened.end is None
    assert (opened.head.count, opened.head.value) == (cut.segments, cut.head)
    assert cut.segments > 5
    pair.hold().run(1000).hold().run(1000)
    following = pair.gateway.clips[max(pair.gateway.clips)].opened().header
    assert (following.previous_clip, following.previous_head) == (1, cut.head)
    assert pair.app.status().clips_held == 0


def test_a_cut_clip_whose_end_is_wanted_again_is_reported_again() -> None:
    """A gateway that came back from an older backup has lost what settled the clip; there is no end record to send."""
    pair = DevicePair(connected=False).run(3000)
    pair.hold().run(8000)
    pair.power_cut()
    pair.link(True)
    pair.run(8000)
    (first,) = pair.gateway.reported(event.CLIP_CUT)
    assert pair.app.status().clips_held == 0
    pair.gateway.say(commands.WANT, Want(1, WANT_HEADER | WANT_SEGMENTS, 0, 3))
    pair.run(2000)
    assert len(pair.gateway.reported(event.CLIP_CUT)) == 1
    pair.gateway.say(commands.WANT, Want(1, WANT_END, 0, 0))
    pair.gateway.say(commands.WANT, Want(77, WANT_END, 0, 0))
    pair.run(2000)
    _, again = pair.gateway.reported(event.CLIP_CUT)
    assert decode_clip_cut(again.payload).head == decode_clip_cut(first.payload).head
    assert decode_clip_cut(again.payload).segments == decode_clip_cut(first.payload).segments


def test_every_epoch_is_accounted_for_in_the_hello() -> None:
    pair = DevicePair(connected=False).run(2000)
    pair.hold().run(1000).hold().run(500)
    pair.power_cut()
    pair.run(1000).hold().run(1000)
    pair.power_cut()
    pair.link(True)
    pair.run(3000)
    hello = decode_hello(pair.gateway.reported(event.HELLO)[0].payload)
    assert hello.epochs == [
        (0, EPOCH_BOOT),
        (1, EPOCH_CLIP),
        (2, EPOCH_BOOT),
        (3, EPOCH_CLIP),
        (4, EPOCH_BOOT),
    ]
    assert hello.firmware == (0, 1, 0)


def test_a_full_storage_refuses_a_clip_says_so_and_lets_the_alarm_out() -> None:
    pair = DevicePair(DeskBoard(size_bytes=400_000), connected=False).run(3000)
    pair.board.storage.put("/filler", bytes(120_000))
    pair.hold().run(1000)
    assert pair.app.status().recording == recording.IDLE
    assert pair.shows(feedback.REFUSED)
    pair.link(True)
    pair.run(3000)
    assert NOTE_REFUSED in pair.notes()
    (note,) = pair.gateway.reported(event.STORAGE_NOTE)
    assert decode_storage_note(note.payload).why == WHY_STORAGE_FULL
    pair.hold_alarm().run(1000)
    assert pair.app.status().alarm == alarm.RECEIVED
    assert pair.app.status().recording == recording.RECORDING


def test_a_clip_that_fills_storage_ends_in_order_and_leaves_the_reserve() -> None:
    pair = DevicePair(DeskBoard(size_bytes=700_000), connected=False).run(3000)
    pair.hold().run(60_000)
    assert pair.app.status().recording == recording.IDLE
    assert pair.board.storage.free_bytes() >= pair.board.profile.storage_reserve_bytes
    opened = OpenedClip(clip_files(pair.board)[1])
    assert opened.end is not None
    assert opened.end.reason == END_STORAGE
    assert len(opened.packets("video")) == opened.end.frames
    pair.hold_alarm().run(60_000)
    alarm_clip = OpenedClip(clip_files(pair.board)[2])
    assert alarm_clip.end is not None
    assert alarm_clip.end.reason == END_STORAGE
    assert pair.board.storage.free_bytes() >= pair.board.profile.storage_reserve_bytes // 4


def test_receipted_clips_make_room_oldest_first_and_unreceipted_ones_never_go() -> None:
    pair = DevicePair(DeskBoard(size_bytes=900_000)).run(3000)
    for _ in range(6):
        pair.hold().run(3000).hold().run(2000)
    kept = clip_files(pair.board)
    assert len(pair.gateway.clips) == 6
    assert not pair.shows(feedback.STORAGE_NEARLY_FULL)
    assert 1 not in kept
    assert max(pair.gateway.clips) in kept
    pair.gateway.answers = False
    pair.link(False)
    for _ in range(6):
        pair.hold().run(3000).hold().run(500)
    held = pair.app._spool.count
    assert held >= 1
    assert pair.shows(feedback.STORAGE_NEARLY_FULL)
    left = clip_files(pair.board)
    assert sum(1 for number in left if number not in pair.gateway.clips) == held


@pytest.mark.parametrize("fail_errno", [errno.EIO, errno.ENOSPC])
def test_a_write_that_fails_ends_the_clip_and_it_is_settled_in_the_same_boot(fail_errno: int) -> None:
    pair = DevicePair(connected=False).run(3000)
    pair.hold().run(6000)
    pair.board.storage.fail_errno = fail_errno
    pair.board.storage.fail_times = 2
    pair.board.storage.fail_after = 0
    pair.run(1000)
    assert pair.app.status().recording == recording.IDLE
    assert not pair.app.wants_camera
    refused = PATTERNS[feedback.REFUSED].colour
    assert any(rgb == refused for _, rgb, _, _ in pair.board.desk_indicator.changes)
    pair.link(True)
    pair.run(6000)
    (cut_event,) = pair.gateway.reported(event.CLIP_CUT)
    cut = decode_clip_cut(cut_event.payload)
    assert cut.why == (WHY_STORAGE_FULL if fail_errno == errno.ENOSPC else WHY_STORAGE_ERROR)
    opened = pair.gateway.clips[1].opened()
    assert (opened.head.count, opened.head.value) == (cut.segments, cut.head)
    assert len(opened.packets("video")) > 40


def test_the_battery_reserve_stops_recording_and_lets_the_alarm_out() -> None:
    pair = DevicePair().run(3000)
    pair.hold().run(2000)
    pair.board.desk_battery.percent = 9
    pair.run(12_000)
    assert pair.app.status().recording == recording.IDLE
    end = pair.gateway.clips[1].opened().end
    assert end is not None
    assert end.reason == END_BATTERY
    assert pair.shows(feedback.LOW_BATTERY)
    pair.hold().run(1000)
    refused = decode_recording_note(pair.gateway.reported(event.RECORDING_NOTE)[-1].payload)
    assert (refused.what, refused.why) == (NOTE_REFUSED, WHY_BATTERY)
    pair.hold_alarm().run(1000)
    assert pair.app.status().alarm == alarm.RECEIVED
    assert pair.app.status().recording == recording.RECORDING
    pair.board.desk_battery.percent = 3
    pair.run(12_000)
    assert pair.app.status().recording == recording.IDLE
    assert pair.app.status().welcomed


def test_a_battery_that_recovers_a_little_does_not_flap() -> None:
    pair = DevicePair().run(3000)
    pair.board.desk_battery.percent = 9
    pair.run(12_000)
    pair.board.desk_battery.percent = 12
    pair.run(12_000).hold().run(500)
    assert pair.app.status().recording == recording.IDLE
    pair.board.desk_battery.percent = 40
    pair.run(12_000).hold().run(500)
    assert pair.app.status().recording == recording.RECORDING


@pytest.mark.parametrize("damage", ["config", "keys"])
def test_a_device_that_is_not_provisioned_says_so_and_does_nothing(damage: str) -> None:
    board = DeskBoard()
    if damage == "config":
        board.storage.remove("/config.json")
    else:
        board.sectors.erase(0)
        board.sectors.erase(1)
    pair = DevicePair(board).run(3000)
    pair.hold_alarm().hold()
    assert pair.app.fault
    assert pair.shows(feedback.ERROR)
    assert not pair.app.wants_camera
    assert not pair.gateway.lanes
    assert any("out of service" in line for line in board.lines)


def test_the_console_never_shows_a_key() -> None:
    pair = DevicePair().run(3000)
    pair.hold_alarm().run(3000).hold().run(1000)
    pair.power_cut()
    pair.run(3000)
    said = "\n".join(pair.board.lines)
    assert "alarm 0/" in said
    for secret in (MODULUS.hex(), pair.app._identity.pool.hex(), pair.app._identity.keys.clip_enc.hex()):
        assert secret not in said


def test_a_torn_clip_file_in_the_spool_does_not_stop_the_boot() -> None:
    pair = DevicePair(connected=False).run(3000)
    pair.board.storage.put("/spool/00000009.clp", bytes(CLIP_HEADER_BYTES + 50))
    pair.power_cut()
    pair.link(True)
    pair.run(3000)
    assert pair.app.status().welcomed


def test_a_heap_too_full_to_wrap_a_seed_does_not_stop_the_device(monkeypatch: pytest.MonkeyPatch) -> None:
    tried = 0

    def no_room(self: Seeds) -> None:
        nonlocal tried
        tried += 1
        raise MemoryError

    stage = Seeds.stage
    monkeypatch.setattr(Seeds, "stage", no_room)
    pair = DevicePair()
    pair.run(4_000)
    assert tried == 1, "and it is not tried again at every poll"
    monkeypatch.setattr(Seeds, "stage", stage)
    pair.run(4_000)
    assert pair.app._seeds.ready


def test_a_heap_too_full_to_wrap_the_probe_does_not_stop_the_device(monkeypatch: pytest.MonkeyPatch) -> None:
    tried = 0
    draw = Seeds.draw

    def no_room_for_a_third(self: Seeds) -> tuple[bytes, bytes, bytes]:
        nonlocal tried
        if self.ready:
            tried += 1
            raise MemoryError
        return draw(self)

    monkeypatch.setattr(Seeds, "draw", no_room_for_a_third)
    pair = DevicePair()
    pair.run(4_000)
    assert tried == 1, "and it is not tried again at every poll"
    assert not pair.app._probed
    monkeypatch.setattr(Seeds, "draw", draw)
    pair.run(4_000)
    assert pair.app._probed
