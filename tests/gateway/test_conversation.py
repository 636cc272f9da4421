"""Hello and welcome, contact, credit in answer to both, and desired state issued again."""

from collections.abc import Callable

import pytest

from lapel_gateway.conversation import CHALLENGE_FRESH_MS, CONTACT_RECENT_MS, RECEIPTS_AFTER_HELLO
from lapel_gateway.custody.taking import WANT_IDLE_MS, WANT_UNSEEN_MS
from lapel_gateway.devices.wanted import change_settings
from lapel_protocol.command import CREDIT, RECEIPT, SETTINGS, WANT, WELCOME
from lapel_protocol.errors import Replayed
from lapel_protocol.limits import MAX_LEDGER_ENTRIES
from lapel_protocol.orders import WANT_END, WANT_HEADER, WANT_SEGMENTS
from lapel_protocol.reports import HEART_BLOCKED, HEART_RECORDING
from tests.support.device import TrueDevice
from tests.support.pair import DevicePair, bodies


def contact(pair: DevicePair) -> int | None:
    value: int | None = pair.row("device")["contact_ms"]
    return value


def test_a_hello_is_answered_with_time_a_challenge_the_ledger_and_credit(make_pair: Callable[..., DevicePair]) -> None:
    pair = make_pair(window_bytes=100_000, alarm_window_bytes=50_000)
    pair.one.boot()
    answers = pair.send(pair.one.hello())
    assert [kind for kind, _ in answers] == [WELCOME, CREDIT]
    welcome, credit = answers[0][1], answers[1][1]
    assert (welcome.wall_ms, welcome.ledger_to) == (pair.now_ms, 1)
    assert credit.challenge == welcome.challenge != bytes(8)
    assert (credit.window_bytes, credit.alarm_window_bytes, credit.clips) == (100_000, 50_000, [])


def test_a_hello_that_comes_again_is_answered_and_changes_nothing(pair: DevicePair) -> None:
    hello = pair.one.hello()
    first = bodies(pair.send(hello), WELCOME)
    before = pair.row("device")
    again = pair.outcome(hello)
    assert pair.row("device") == before
    with pytest.raises(Replayed, match="another hello"):
        pair.one.take(again.downlinks)  # the device takes the first answer only
    assert len(first) == 1


def test_a_replayed_older_hello_changes_nothing_and_is_not_answered(pair: DevicePair) -> None:
    old = pair.one.hello()
    pair.send(old)
    pair.send(pair.one.hello())
    before = pair.row("device")
    assert pair.outcome(old).downlinks == []
    pair.one.boot()
    pair.send(pair.one.hello())
    after = pair.row("device")
    assert pair.outcome(old).downlinks == []
    assert (pair.row("device"), before["boot"], after["boot"]) == (after, 0, 1)
    assert pair.tally("replayed") == 2


def test_a_new_boot_ends_the_conversation_of_the_one_before(pair: DevicePair) -> None:
    old_beat = pair.one.heartbeat()
    pair.greet()
    assert pair.outcome(old_beat).downlinks == []
    assert contact(pair) is None


def test_an_answer_to_the_challenge_is_contact(pair: DevicePair) -> None:
    assert contact(pair) is None
    pair.send(pair.one.heartbeat())
    assert contact(pair) == pair.now_ms
    assert pair.row("device")["status"].count('"battery_percent": 79') == 1


def test_a_replayed_heartbeat_is_no_contact(pair: DevicePair) -> None:
    beat = pair.one.heartbeat()
    pair.send(beat)
    seen = contact(pair)
    pair.now_ms += 1000
    assert pair.send(beat) == []
    pair.restart()
    assert pair.send(beat) == []
    assert contact(pair) == seen


def test_a_heartbeat_that_answers_no_challenge_is_no_contact(pair: DevicePair) -> None:
    pair.one.challenge = b"guessed!"
    pair.send(pair.one.heartbeat())
    assert contact(pair) is None


def test_a_heartbeat_held_back_for_hours_is_no_contact(pair: DevicePair) -> None:
    beat = pair.one.heartbeat()
    pair.now_ms += CONTACT_RECENT_MS + 1
    pair.send(beat)
    assert contact(pair) is None


def test_challenges_are_renewed_and_the_one_before_still_counts(pair: DevicePair) -> None:
    early = pair.one.heartbeat()
    late = pair.one.heartbeat()
    pair.now_ms += CHALLENGE_FRESH_MS
    (credit,) = bodies(pair.send(early), CREDIT)
    assert pair.one.challenge == credit.challenge
    pair.send(late)
    assert contact(pair) == pair.now_ms
    pair.now_ms += CHALLENGE_FRESH_MS
    pair.send(pair.one.heartbeat())
    very_late = pair.one.heartbeat()
    pair.now_ms += CHALLENGE_FRESH_MS
    pair.send(pair.one.heartbeat())
    pair.now_ms += CHALLENGE_FRESH_MS
    pair.send(pair.one.heartbeat())
    assert pair.tally("replayed") == 0
    seen = contact(pair)
    assert pair.send(very_late) == []  # an older heartbeat than one that was taken
    assert contact(pair) == seen


def test_a_heartbeat_soon_after_a_challenge_needs_no_answer_unless_the_device_is_blocked(pair: DevicePair) -> None:
    assert pair.send(pair.one.heartbeat()) == []
    assert [kind for kind, _ in pair.send(pair.one.heartbeat(flags=HEART_BLOCKED))] == [CREDIT]


def test_credit_says_what_is_held_of_each_unfinished_clip_alarms_first(pair: DevicePair) -> None:
    held, begun = pair.one.record(2), pair.one.record(6)
    alarm = pair.one.alarm()
    urgent = pair.one.record(6, alarm=alarm)
    pair.send(*held.messages())
    pair.send(begun.message(begun.header_record + b"".join(begun.segments[:3]) + begun.segments[4]))
    pair.send(urgent.message(urgent.header_record + urgent.segments[0]))
    (credit,) = bodies(pair.send(pair.one.heartbeat(flags=HEART_BLOCKED)), CREDIT)
    assert credit.clips == [(urgent.clip, 1), (begun.clip, 3)]


def test_progress_is_told_whenever_a_quarter_of_the_window_has_arrived(make_pair: Callable[..., DevicePair]) -> None:
    pair = make_pair(window_bytes=80_000, alarm_window_bytes=80_000)
    pair.greet()
    clip = pair.one.record(30)
    told = [bodies(pair.send(message), CREDIT) for message in clip.messages(2, end=False)]
    assert [body.clips for credits in told for body in credits] == [[(clip.clip, held)] for held in (6, 12, 18, 24, 30)]


def test_receipts_are_issued_again_after_a_hello_newest_clips_first(pair: DevicePair) -> None:
    clips = [pair.one.record(1) for _ in range(RECEIPTS_AFTER_HELLO + 4)]
    for clip in clips:
        pair.send(*clip.messages())
    pair.send(pair.one.hello())
    answers = pair.send(pair.one.hello())
    assert [body.clip for body in bodies(answers, RECEIPT)] == [clip.clip for clip in clips[-RECEIPTS_AFTER_HELLO:]]


def test_clips_that_the_device_reports_are_receipted_however_old_they_are(pair: DevicePair) -> None:
    clip = pair.one.record(1)
    report = list(pair.one.ledger)
    pair.send(*clip.messages())
    pair.now_ms += 48 * 3_600_000
    assert bodies(pair.send(pair.one.hello([])), RECEIPT) == []
    assert [body.clip for body in bodies(pair.send(pair.one.hello(report)), RECEIPT)] == [clip.clip]


def test_a_long_epoch_ledger_is_told_and_receipted_in_parts(pair: DevicePair) -> None:
    pair.one.burn(200)
    pair.one.boot()
    while pair.one.ledger:
        (welcome,) = bodies(pair.send(pair.one.hello(pair.one.ledger[:MAX_LEDGER_ENTRIES])), WELCOME)
    assert welcome.ledger_to == 202 == pair.count("epoch")
    assert pair.count("epoch", "used_for = 'unknown'") == 0


def test_settings_that_an_operator_changed_reach_the_device_and_no_replay_is_obeyed(pair: DevicePair) -> None:
    change_settings(pair.engine, pair.one.name, {"heartbeat_s": 60})
    outcome = pair.outcome(pair.one.hello())
    (settings,) = bodies(pair.one.take(outcome.downlinks), SETTINGS)
    assert (settings.version, settings.heartbeat_s) == (1, 60)
    commands = [message for message in outcome.downlinks if message[1][2] == SETTINGS]
    with pytest.raises(Replayed):
        pair.one.take(commands)
    pair.send(pair.one.hello())
    with pytest.raises(Replayed):
        pair.one.take(commands)


def test_a_device_that_offers_less_than_its_pinned_suite_is_not_welcomed(pair: DevicePair) -> None:
    with pair.engine.begin() as connection:
        connection.exec_driver_sql("UPDATE device SET minimum_suite = 2")
    assert pair.send(pair.one.hello()) == []
    assert pair.tally("unsupported_version") == 1


# -- looking after clips that get nothing -----------------------------------------------------------------------------


def begin(pair: DevicePair, device: TrueDevice) -> int:
    clip = device.record(6)
    pair.send(clip.message(clip.header_record + clip.segments[0]), device=device)
    return clip.clip


def test_a_clip_that_stands_still_is_asked_for_less_and_less_often(pair: DevicePair) -> None:
    clip = begin(pair, pair.one)
    wants = []
    for _ in range(60):
        pair.now_ms += 5_000
        wants += bodies(pair.send(pair.one.heartbeat()), WANT)
    assert {(want.clip, want.parts, want.first) for want in wants} == {(clip, WANT_SEGMENTS | WANT_END, 1)}
    assert 4 <= len(wants) <= 8


def test_the_end_of_a_clip_that_is_being_recorded_is_not_asked_for(pair: DevicePair) -> None:
    begin(pair, pair.one)
    pair.now_ms += WANT_IDLE_MS
    (want,) = bodies(pair.send(pair.one.heartbeat(flags=HEART_RECORDING)), WANT)
    assert want.parts == WANT_SEGMENTS


def test_a_clip_that_moves_is_left_to_its_device(pair: DevicePair) -> None:
    begin(pair, pair.one)
    pair.now_ms += WANT_IDLE_MS - 100
    assert bodies(pair.send(pair.one.heartbeat()), WANT) == []


def test_a_clip_that_its_device_still_has_to_send_is_left_to_the_devices_order(pair: DevicePair) -> None:
    pair.one.record(2)
    clip = pair.one.record(2)
    pair.send(*clip.messages())
    pair.now_ms += WANT_IDLE_MS
    assert bodies(pair.send(pair.one.heartbeat(clips_held=1)), WANT) == []
    assert pair.count("notice") == 0
    pair.now_ms += WANT_UNSEEN_MS
    (want,) = bodies(pair.send(pair.one.heartbeat(clips_held=1)), WANT)
    assert want.parts == WANT_HEADER | WANT_SEGMENTS | WANT_END
