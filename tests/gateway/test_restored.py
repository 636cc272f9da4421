"""A gateway that came back from an older backup: nothing that a device still holds or shows stays lost."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from lapel_gateway.alarms import core as alarms
from lapel_gateway.custody.doubts import remove_mark
from lapel_gateway.custody.unknown import ASK_AGAIN_MS, ASKED_AT_ONCE, MOST_REMEMBERED, TIMES_ASKED, UnknownEpochs
from lapel_gateway.custody.vault import Vault
from lapel_gateway.describe import alarm_words
from lapel_gateway.verify import Trust
from lapel_protocol import alarm as alarm_states
from lapel_protocol.command import ALARM_ACK, ALARM_RECEIPT, ALARM_RESOLVED, RECEIPT, WANT
from lapel_protocol.event import peek_event
from lapel_protocol.orders import decode_want
from tests.gateway.test_recovery import backup, restore
from tests.support.device import Message
from tests.support.pair import DevicePair, bodies


def shown(message: Message, state: int) -> tuple[int, int, int]:
    """How a heartbeat shows the alarm of a message."""
    _, _, boot, counter = peek_event(message[1])
    return boot, counter, state


def test_a_ledger_that_knows_no_boot_of_a_device_yet_takes_up_its_clips_and_starts(
    make_pair: Callable[..., DevicePair],
) -> None:
    pair = make_pair()
    copy = backup(pair)
    pair.greet()
    clip = pair.one.record(3)
    pair.send(*clip.messages())
    restore(pair, copy)
    assert pair.row("clip")["state"] == "held"
    assert bodies(pair.send(pair.one.hello()), RECEIPT)


def test_a_device_that_reports_nothing_is_asked_for_the_epochs_that_nobody_knows(pair: DevicePair) -> None:
    copy = backup(pair)
    clip = pair.one.record(3)
    pair.send(*clip.messages())
    pair.vault.path(pair.one.name, clip.clip).unlink()
    restore(pair, copy)
    pair.send(pair.one.hello(epochs=[]))
    assert [row["used_for"] for row in pair.rows("epoch")][-1] == "unknown"
    wants = bodies(pair.send(pair.one.heartbeat()), WANT)
    assert [want.clip for want in wants] == [clip.clip]
    assert bodies(pair.send(*clip.messages()), RECEIPT)
    assert pair.row("epoch", "epoch = :clip", clip=clip.clip)["used_for"] == "clip"
    pair.now_ms += 10 * ASK_AGAIN_MS
    assert not bodies(pair.send(pair.one.heartbeat()), WANT)


def test_a_device_that_has_something_to_send_is_not_asked(pair: DevicePair) -> None:
    copy = backup(pair)
    clip = pair.one.record(3)
    pair.send(*clip.messages())
    pair.vault.path(pair.one.name, clip.clip).unlink()
    restore(pair, copy)
    pair.send(pair.one.hello(epochs=[]))
    assert not bodies(pair.send(pair.one.heartbeat(clips_held=1)), WANT)


def test_an_alarm_that_only_its_device_still_shows_is_raised_by_its_heartbeat(pair: DevicePair) -> None:
    copy = backup(pair)
    alarm = pair.one.alarm()
    pair.raise_alarm(alarm)
    restore(pair, copy)
    beat = shown(alarm, alarm_states.RECEIVED)
    pair.send(pair.one.heartbeat(alarm=beat))
    row = pair.row("alarm")
    assert (row["boot"], row["counter"], row["kind"], row["state"]) == (*beat[:2], 0, "received")
    pair.escalate()
    told_of = json.loads(pair.row("outbox", "kind = 'alarm'")["payload"])
    assert (told_of["kind"], alarm_words(row)["kind"]) == ("unknown", "unknown")
    assert pair.row("alarm_log", "step = 'received'")["detail"] == "unknown"
    alarms.acknowledge(pair.engine, row["id"], "Sam", pair.now_ms)
    alarms.resolve(pair.engine, row["id"], "Sam", "true", "", pair.now_ms)
    told = {kind for kind, _ in pair.one.take(pair.alarms.untold(pair.now_ms))}
    assert told == {ALARM_RECEIPT, ALARM_ACK, ALARM_RESOLVED}
    pair.send(pair.one.heartbeat(alarm=beat))
    assert pair.count("alarm") == 1


def test_the_record_of_an_alarm_that_was_raised_by_a_heartbeat_completes_it(pair: DevicePair) -> None:
    copy = backup(pair)
    alarm = pair.one.alarm()
    pair.raise_alarm(alarm)
    before = pair.row("alarm")
    restore(pair, copy)
    pair.send(pair.one.heartbeat(alarm=shown(alarm, alarm_states.RECEIVED)))
    pair.escalate()
    assert bodies(pair.raise_alarm(alarm), ALARM_RECEIPT)
    after = pair.row("alarm")
    assert [after[name] for name in ("kind", "battery_percent", "raised_wall_ms")] == [
        before[name] for name in ("kind", "battery_percent", "raised_wall_ms")
    ]
    told = [json.loads(row["payload"]) for row in pair.rows("outbox", "kind = 'alarm'")]
    assert [(one["what"], one["kind"]) for one in told] == [("raised", "unknown"), ("completed", "panic")]
    assert pair.count("escalation") == 1


def test_an_alarm_that_is_still_on_its_way_is_left_to_its_record(pair: DevicePair) -> None:
    alarm = pair.one.alarm()
    pair.send(pair.one.heartbeat(alarm=shown(alarm, alarm_states.SENT)))
    assert pair.count("alarm") == 0


def test_a_device_that_forgot_the_answers_of_an_earlier_boot_hears_them_again(pair: DevicePair) -> None:
    alarm = pair.one.alarm()
    pair.raise_alarm(alarm)
    identifier = pair.row("alarm")["id"]
    alarms.acknowledge(pair.engine, identifier, "Sam", pair.now_ms)
    alarms.resolve(pair.engine, identifier, "Sam", "true", "", pair.now_ms)
    pair.send(pair.one.heartbeat())
    assert pair.row("alarm")["device_shows"] == "resolved"
    # Its power went between letting go of the alarm's record and writing down that the alarm is over.
    pair.one.boot()
    pair.greet()
    again = shown(alarm, alarm_states.RAISED)
    pair.send(pair.one.heartbeat(alarm=again))
    kinds = [kind for kind, _ in pair.send(pair.one.heartbeat(alarm=again))]
    assert [kind for kind in kinds if kind in (ALARM_RECEIPT, ALARM_ACK, ALARM_RESOLVED)] == [
        ALARM_RECEIPT,
        ALARM_ACK,
        ALARM_RESOLVED,
    ]
    assert pair.count("alarm") == 1


def test_a_heartbeat_from_before_an_alarm_does_not_say_that_its_device_let_go_of_it(pair: DevicePair) -> None:
    early = pair.one.heartbeat()
    alarm = pair.one.alarm()
    pair.raise_alarm(alarm)
    alarms.resolve(pair.engine, pair.row("alarm")["id"], "Sam", "true", "", pair.now_ms)
    pair.send(early)
    assert pair.row("alarm")["device_shows"] != "resolved"
    answers = pair.send(pair.one.heartbeat(alarm=shown(alarm, alarm_states.RECEIVED)))
    assert bodies(answers, ALARM_RESOLVED)


def test_folder_and_file_that_a_killed_process_made_are_made_durable_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[Path] = []
    first = Vault(tmp_path / "vault", 0)
    first.place("0011223344556677", 7, 0, b"x")
    first.close()
    monkeypatch.setattr("lapel_gateway.custody.vault.sync_folder", synced.append)
    second = Vault(tmp_path / "vault", 0)
    second.place("0011223344556677", 7, 0, b"x")
    second.sync()
    assert synced == [tmp_path / "vault", tmp_path / "vault" / "0011223344556677"]
    second.close()


def trust_of(name: str) -> Trust:
    return Trust(bytes.fromhex(name), name, "active", "", 1, 0, 0, 3, bytes(32))


def test_unknown_epochs_are_asked_for_newest_first_a_few_times_and_then_left_alone() -> None:
    unknown, trust = UnknownEpochs(), trust_of("0011223344556677")
    unknown.learn(trust.name, range(1, 7))
    asked, now_ms = [], 0
    for _ in range(20):
        asked.append([decode_want(order.payload).clip for order in unknown.orders(trust, now_ms)])
        now_ms += 2 * ASK_AGAIN_MS
    assert asked[0] == [6, 5, 4, 3]
    assert all(len(clips) <= ASKED_AT_ONCE for clips in asked)
    assert sorted(clip for clips in asked for clip in clips) == sorted([*range(1, 7)] * TIMES_ASKED)
    assert asked[-1] == []


def test_a_clock_that_is_set_back_does_not_keep_unknown_epochs_waiting() -> None:
    unknown, trust = UnknownEpochs(), trust_of("0011223344556677")
    unknown.learn(trust.name, [1])
    assert unknown.orders(trust, 10**12)
    assert unknown.orders(trust, 10**12 - 86_400_000)


def test_what_is_remembered_of_one_device_is_bounded() -> None:
    unknown, trust = UnknownEpochs(), trust_of("0011223344556677")
    unknown.learn(trust.name, range(MOST_REMEMBERED + 100))
    for number in range(100, MOST_REMEMBERED + 100):
        unknown.forget(trust.name, number)
    assert unknown.orders(trust, 0) == []


def test_what_settled_a_cut_clip_is_put_back_beside_it_where_the_vault_is_older_than_that(pair: DevicePair) -> None:
    clip = pair.one.record(3)
    pair.send(*clip.messages(end=False))
    cut = pair.one.cut(clip, 3)
    pair.send(cut)
    beside = pair.vault.path(pair.one.name, clip.clip).with_suffix(".cut")
    sealed = beside.read_bytes()
    assert sealed == cut[1]
    pair.stop()
    beside.unlink()
    remove_mark(pair.folder / "vault")
    pair.start()
    assert beside.read_bytes() == sealed
    assert pair.row("clip")["state"] == "held"
