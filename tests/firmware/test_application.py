"""Notice, recording and settings: the whole application against a gateway that speaks the protocol."""

from lapel_device import feedback
from lapel_device.application import NO_LINK_MS
from lapel_protocol import command, event, recording
from lapel_protocol.clip import (
    END_LIMIT,
    END_REMOTE,
    END_UNOPENABLE,
    END_WEARER,
    NOTICE_CONFIRMED,
    NOTICE_CONTINUED,
    NOTICE_NO_TIME,
    NOTICE_PROMPTED,
    TRUST_GATEWAY,
)
from lapel_protocol.orders import (
    POLICY_START,
    SettingsChange,
    StopRecording,
    UnopenableNotice,
)
from lapel_protocol.report_decoders import (
    decode_probe,
)
from lapel_protocol.reports import (
    NOTE_CANCELLED,
    NOTE_CONFIRMED,
    NOTE_PROMPTED,
    NOTE_SKIPPED,
    NOTE_STARTED,
    NOTE_STOPPED,
    NOTE_TIMED_OUT,
)
from lapel_protocol.wrap import wrap_seed
from tests.firmware.desk import MODULUS, DeskBoard, OpenedClip, clip_files
from tests.firmware.pair import DevicePair


def test_press_notice_press_gives_a_confirmed_clip_that_the_gateway_holds() -> None:
    pair = DevicePair().run(3000)
    pair.press()
    assert pair.app.status().recording == recording.NOTICE
    assert pair.shows(feedback.NOTICE)
    assert not pair.app.wants_camera
    assert not pair.app.wants_audio
    pair.run(4000).press()
    assert pair.app.status().recording == recording.RECORDING
    assert pair.shows(feedback.RECORDING)
    assert not pair.shows(feedback.NOTICE)
    pair.run(5000).hold().run(2000)
    assert pair.app.status().recording == recording.IDLE
    assert not pair.app.wants_camera
    ((number, clip),) = pair.gateway.clips.items()
    opened = clip.opened()
    assert opened.header.notice == NOTICE_CONFIRMED
    assert 4000 <= opened.header.prompted_ms <= 5000
    assert opened.header.trust == TRUST_GATEWAY
    assert opened.end is not None
    assert (opened.end.reason, opened.end.dropped) == (END_WEARER, 0)
    started_ms = opened.header.mono_ms
    assert opened.packets("video") == [(at_ms - started_ms, picture) for at_ms, picture in pair.captured]
    assert opened.end.frames == len(pair.captured) > 50
    assert pair.notes() == [NOTE_PROMPTED, NOTE_CONFIRMED, NOTE_STARTED, NOTE_STOPPED]
    assert pair.app._spool.find(number) is not None
    assert pair.app.status().clips_held == 0


def test_hold_starts_at_once_and_says_that_nobody_was_told() -> None:
    pair = DevicePair().run(3000)
    pair.hold().run(1000).hold().run(1000)
    (clip,) = pair.gateway.clips.values()
    assert clip.opened().header.notice == NOTICE_NO_TIME
    assert pair.notes() == [NOTE_SKIPPED, NOTE_STARTED, NOTE_STOPPED]


def test_a_notice_that_nobody_confirms_is_cancelled_by_policy() -> None:
    pair = DevicePair().run(3000)
    pair.press().run(21_000)
    assert pair.app.status().recording == recording.IDLE
    assert pair.notes() == [NOTE_PROMPTED, NOTE_CANCELLED]
    assert not pair.gateway.clips


def test_a_notice_that_nobody_confirms_starts_by_policy() -> None:
    board = DeskBoard(settings={"notice_policy": POLICY_START, "notice_timeout_ms": 5000})
    pair = DevicePair(board).run(3000)
    pair.press().run(5000).hold().run(1000)
    (clip,) = pair.gateway.clips.values()
    assert clip.opened().header.notice == NOTICE_PROMPTED
    assert clip.opened().header.prompted_ms >= 5000
    assert pair.notes() == [NOTE_PROMPTED, NOTE_TIMED_OUT, NOTE_STARTED, NOTE_STOPPED]


def test_each_boot_proves_its_wrapping_once() -> None:
    pair = DevicePair().run(20_000)
    (made,) = pair.gateway.reported(event.PROBE)
    probe = decode_probe(made.payload)
    assert wrap_seed(probe.seed, probe.oaep_seed, MODULUS) == probe.wrapped
    assert pair.app._seeds.ready


def test_seeds_are_wrapped_ahead_and_not_while_recording() -> None:
    pair = DevicePair().run(1000)
    pair.hold().run(1000)
    assert len(pair.app._seeds._staged) == 1
    pair.hold().run(500)
    assert pair.app._seeds.ready


def test_a_remote_stop_of_this_clip_stops_it_and_one_of_another_does_not() -> None:
    pair = DevicePair().run(3000)
    pair.hold().run(1000)
    clip = pair.app.status().clip
    pair.gateway.say(command.STOP_RECORDING, StopRecording(clip + 1))
    pair.run(200)
    assert pair.app.status().recording == recording.RECORDING
    pair.gateway.say(command.STOP_RECORDING, StopRecording(clip))
    pair.run(1000)
    assert pair.app.status().recording == recording.IDLE
    end = pair.gateway.clips[clip].opened().end
    assert end is not None
    assert end.reason == END_REMOTE


def test_a_replayed_stop_does_not_stop_the_next_connections_clip() -> None:
    pair = DevicePair().run(3000)
    pair.hold().run(1000)
    nonce = pair.gateway.nonce
    pair.link(False)
    pair.run(500)
    pair.link(True)
    pair.run(3000)
    assert pair.gateway.nonce != nonce
    pair.gateway.nonce = nonce
    pair.gateway.say(command.STOP_RECORDING, StopRecording(pair.app.status().clip))
    pair.run(500)
    assert pair.app.status().recording == recording.RECORDING


def test_a_clip_that_cannot_be_opened_is_kept_and_followed_by_another() -> None:
    pair = DevicePair().run(3000)
    pair.hold().run(2000)
    first = pair.app.status().clip
    pair.gateway.say(command.UNOPENABLE, UnopenableNotice(first))
    pair.run(1000)
    second = pair.app.status().clip
    assert second == first + 1
    assert pair.app.status().recording == recording.RECORDING
    pair.hold().run(1000)
    kept = OpenedClip(clip_files(pair.board)[first])
    assert kept.end is not None
    assert kept.end.reason == END_UNOPENABLE
    following = pair.gateway.clips[second].opened()
    assert following.header.notice == NOTICE_CONTINUED
    assert following.header.previous_head == kept.head.value


def test_a_long_recording_goes_on_in_a_new_clip_that_still_belongs_to_the_alarm() -> None:
    pair = DevicePair(DeskBoard(settings={"clip_limit_s": 10})).run(3000)
    pair.hold_alarm().run(15_000).hold().run(2000)
    first, second = (clip.opened() for _, clip in sorted(pair.gateway.clips.items()))
    assert first.end is not None
    assert (first.end.reason, first.end.duration_ms) == (END_LIMIT, 10_000)
    assert second.header.notice == NOTICE_CONTINUED
    assert (second.header.alarm_boot, second.header.alarm_counter) == (
        first.header.alarm_boot,
        first.header.alarm_counter,
    )
    seen = [payload for clip in (first, second) for _, payload in clip.packets("video")]
    assert seen == [picture for _, picture in pair.captured]


def test_settings_from_the_gateway_are_in_force_at_once_and_after_a_restart() -> None:
    pair = DevicePair().run(3000)
    change = SettingsChange()
    change.version = 5
    change.frame_interval_ms = 1000
    change.heartbeat_s = 5
    change.audio = 0
    pair.gateway.say(command.SETTINGS, change)
    pair.run(500)
    assert pair.app.frame_interval_ms == 1000
    pair.hold().run(3000)
    assert not pair.app.wants_audio
    pair.hold().run(45_000)
    assert len(pair.gateway.reported(event.HEARTBEAT)) >= 3
    (clip,) = pair.gateway.clips.values()
    assert clip.opened().packets("audio") == []
    pair.power_cut()
    assert pair.app.frame_interval_ms == 1000


def test_the_wearer_learns_that_the_gateway_does_not_answer() -> None:
    pair = DevicePair().run(5000)
    assert not pair.shows(feedback.NO_LINK)
    pair.link(False)
    pair.run(NO_LINK_MS + 2000)
    assert pair.shows(feedback.NO_LINK)
    pair.link(True)
    pair.run(30_000)
    assert not pair.shows(feedback.NO_LINK)


def test_two_quick_presses_outside_a_visit_are_two_presses() -> None:
    pair = DevicePair().run(3000)
    for _ in range(2):
        pair._push(1, 100).run(100)
    pair.run(500)
    assert pair.app.status().recording == recording.RECORDING
