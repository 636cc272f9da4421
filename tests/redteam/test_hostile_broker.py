"""A broker that drops, repeats, holds back, re-orders, renames, alters, cuts, splices and invents, between real cores.

Properties 1, 5, 6 and 7: what it does is refused or harmless, and everything true arrives once it lets it.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from lapel_protocol import alarm as alarm_states
from lapel_protocol import recording
from lapel_protocol.event import ALARM_RAISED
from lapel_protocol.topics import LANE_ALARM, LANE_CLIP, LANE_DOWN, topic
from lapel_sim.inprocess.hostile import TRICKS, Trick, drop, hold, rename, replay
from tests.redteam.stage import Stage, lane_of


def incident(stage: Stage) -> None:
    """Clips, an alarm and a power cut on every device, with the enemy at work all the time."""
    for device in stage.devices:
        stage.record(device)
        stage.press_alarm(device)
        stage.run(4000)
        device.power_cut(stage.now_ms)
        stage.broker.release()
        stage.record(device)
        stage.answer_alarms()
        stage.run(3000)
        stage.broker.release()


@pytest.mark.parametrize("trick", TRICKS, ids=[trick.__name__ for trick in TRICKS])
def test_whatever_a_broker_does_to_every_other_message_nothing_false_is_taken_and_nothing_true_is_lost(
    make_stage: Callable[..., Stage], trick: Trick
) -> None:
    stage = make_stage(seed=TRICKS.index(trick), devices=2)
    stage.run(2000)
    stage.enemy(0.5, (trick,))
    incident(stage)
    assert stage.broker.played > 20
    stage.settle()
    stage.assert_true()


@pytest.mark.parametrize("seed", range(4))
def test_all_its_tricks_together_change_nothing_either(make_stage: Callable[..., Stage], seed: int) -> None:
    stage = make_stage(seed=100 + seed, devices=2)
    stage.enemy(0.35)
    incident(stage)
    stage.settle()
    stage.assert_true()


def test_a_broker_that_acknowledges_everything_and_delivers_nothing_makes_no_device_let_go_of_anything(
    stage: Stage,
) -> None:
    stage.enemy(1.0, (drop,))
    stage.record()
    stage.press_alarm()
    stage.run(120_000)
    status = stage.one.app.status()
    assert (status.clips_held, status.alarm) == (2, alarm_states.SENT)
    assert status.events_held > 0
    assert stage.gateway.rows("alarm") == []
    held = stage.one.spool()
    stage.settle()
    stage.assert_true()
    assert {clip: content[:588] for clip, content in stage.one.spool().items()} == {
        clip: content[:588] for clip, content in held.items()
    }


def test_receipts_of_one_device_given_to_another_delete_nothing(make_stage: Callable[..., Stage]) -> None:
    stage = make_stage(devices=2)
    stage.run(3000)
    one, other = stage.devices
    stage.record(one)
    stage.run(5000)
    assert one.app.status().clips_held == 0
    stage.enemy(1.0, (drop,))
    stage.record(other)
    down = [payload for name, payload in stage.broker.down if name == topic(one.id, LANE_DOWN)]
    assert len(down) > 4
    stage.broker.say([(topic(other.id, LANE_DOWN), payload) for payload in down])
    stage.run(5000)
    assert other.app.status().clips_held == 1
    stage.settle()
    stage.assert_true()


def test_two_devices_whose_streams_are_swapped_are_both_refused_and_both_heard_later(
    make_stage: Callable[..., Stage],
) -> None:
    stage = make_stage(devices=2)
    stage.run(3000)
    names = [device.name for device in stage.devices]

    def swap(_broker: object, message: tuple[str, bytes]) -> list[tuple[str, bytes]]:
        device = names[1 - names.index(message[0].split("/")[3])]
        return [(topic(bytes.fromhex(device), lane_of(message)), message[1])]

    stage.enemy(1.0, (swap,))
    for device in stage.devices:
        stage.record(device)
        stage.press_alarm(device)
    assert (stage.gateway.rows("clip"), stage.gateway.rows("alarm")) == ([], [])
    assert stage.gateway.tally("wrong_device") > 10
    assert {row["kind"] for row in stage.gateway.rows("notice")} == {"unverified_alarm"}
    stage.settle()
    stage.assert_true()


def test_everything_ever_said_to_a_device_said_again_in_any_order_changes_nothing(stage: Stage) -> None:
    stage.press_alarm()
    stage.run(3000)
    stage.record()
    stage.answer_alarms()
    stage.settle()
    down = list(stage.broker.down)
    assert len(down) > 8
    stage.press_alarm()  # a second alarm, which no answer to the first may touch
    stage.run(2000)
    alarm = stage.one.app.status().alarm_counter
    spool = stage.one.spool()
    for _ in range(2):
        for order in (down, list(reversed(down))):
            stage.broker.say(order)
            stage.run(2000)
        status = stage.one.app.status()
        assert (status.alarm, status.recording) == (alarm_states.RECEIVED, recording.RECORDING)
        stage.one.power_cut(stage.now_ms)  # and to the next boot
        stage.run(3000)
        status = stage.one.app.status()
        assert (status.alarm, status.alarm_counter) == (alarm_states.RECEIVED, alarm)
        stage.press_alarm()  # records again; the alarm is the same
    assert spool.keys() <= stage.one.spool().keys()
    stage.one.hold(1, 1700)
    stage.run(3000)
    stage.settle()
    stage.assert_true()


def test_an_alarm_that_the_broker_holds_back_arrives_late_as_itself_and_once(stage: Stage) -> None:
    stage.enemy(1.0, (hold,))
    stage.press_alarm()
    stage.run(30_000)
    held = [message for message in stage.broker.held_up if lane_of(message) == LANE_ALARM]
    assert len({payload for _, payload in held}) == 1
    assert len(held) > 2
    stage.broker.release()
    stage.run(1000)
    [alarm] = stage.gateway.rows("alarm")
    assert (alarm["boot"], alarm["counter"]) in stage.one.raised
    assert len(stage.gateway.rows("event", "kind = :kind", kind=ALARM_RAISED)) == 1


def test_records_put_on_other_lanes_are_refused_or_are_what_they_are(make_stage: Callable[..., Stage]) -> None:
    stage = make_stage(devices=2)
    stage.enemy(0.7, (rename, replay))
    incident(stage)
    assert stage.gateway.tally("malformed") + stage.gateway.tally("wrong_device") > 5
    stage.settle()
    stage.assert_true()


def test_a_broker_that_lost_its_memory_or_went_back_in_time_costs_time_and_nothing_else(stage: Stage) -> None:
    before = stage.broker.snapshot()
    stage.record()
    stage.broker.forget()
    stage.record()
    stage.broker.roll_back(before)
    stage.press_alarm()
    stage.broker.disconnect_all()
    stage.one.hold(1, 1700)
    stage.run(3000)
    stage.settle()
    stage.assert_true()
    assert len(stage.gateway.rows("clip")) == 3


def test_a_clip_is_taken_from_the_lane_of_its_device_alone_even_if_every_lane_carries_it(stage: Stage) -> None:
    stage.record()
    stage.settle()
    clips = [payload for name, payload in stage.broker.up if name.endswith(LANE_CLIP)]
    before = stage.gateway.rows("clip"), stage.gateway.rows("event"), stage.gateway.rows("alarm")
    for lane in ("alarm", "event"):
        stage.broker.say([(topic(stage.one.id, lane), payload) for payload in clips])
    stage.run(500)
    assert (stage.gateway.rows("clip"), stage.gateway.rows("event"), stage.gateway.rows("alarm")) == before
