"""Floods of junk on each lane, in both directions: bounded work for each message, and a true alarm costs what it costs.

Work is counted (hashes, statements, writing transactions), not timed.
"""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from lapel_gateway.verify import BUDGET_STEPS, FREE_STEPS
from lapel_protocol import alarm as alarm_states
from lapel_protocol.command import ALARM_RECEIPT
from lapel_protocol.limits import MAX_CHAIN_STEPS, MAX_MESSAGE_BYTES
from lapel_protocol.topics import LANE_ALARM, LANE_CLIP, LANE_DOWN, LANE_EVENT, topic
from lapel_sim.inprocess.hostile import Message
from tests.redteam.meter import Work, measured
from tests.redteam.stage import Stage
from tests.support.pair import DevicePair, bodies

FLOOD = 200
HASHES_OF_A_RECORD = 40
"""Seven keys of an epoch and a MAC, two hashes each, with room; a chain walk is counted apart."""


class Flood:
    """Junk of one kind for one lane of a gateway's device; the same each time."""

    def __init__(self, pair: DevicePair, kind: str, lane: str) -> None:
        self._device = pair.one.device
        self._lane = lane
        self._make = {
            "noise": self._noise,
            "shaped": self._shaped,
            "ahead": self._ahead,
            "oversized": self._oversized,
            "strangers": self._strangers,
        }[kind]
        self._chance = random.Random(f"{kind} {lane}")
        self._true = pair.one.record(1).header_record if lane == LANE_CLIP else pair.one.alarm()[1]

    def messages(self, count: int = FLOOD) -> list[Message]:
        return [self._make() for _ in range(count)]

    def _noise(self) -> Message:
        """Bytes without any form."""
        return topic(self._device, self._lane), self._chance.randbytes(self._chance.randrange(1, 1500))

    def _shaped(self) -> Message:
        """A record of the right form, with a MAC of nothing."""
        return topic(self._device, self._lane), self._true[:-32] + self._chance.randbytes(32)

    def _ahead(self) -> Message:
        """The same, of an epoch as far ahead as is walked at all."""
        record = bytearray(self._shaped()[1])
        far = MAX_CHAIN_STEPS - self._chance.randrange(100)
        record[12:16] = far.to_bytes(4, "big")
        if self._lane == LANE_CLIP:
            record[16:20] = (far - 1).to_bytes(4, "big")
        return topic(self._device, self._lane), bytes(record)

    def _oversized(self) -> Message:
        """More than may be read."""
        return topic(self._device, self._lane), b"\x10\x01" + bytes(MAX_MESSAGE_BYTES)

    def _strangers(self) -> Message:
        """A device that nobody knows, another one each time."""
        return topic(self._chance.randbytes(8), self._lane), b"\x10\x01" + self._chance.randbytes(100)


KINDS = ("noise", "shaped", "ahead", "oversized", "strangers")


def cost_of_an_alarm(pair: DevicePair) -> Work:
    message = pair.one.alarm()
    with measured(pair.engine) as work:
        outcome = pair.alarms.handle(*message, pair.now_ms)
    assert bodies(pair.one.take(outcome.downlinks), ALARM_RECEIPT)
    return work


@pytest.mark.parametrize("kind", KINDS)
def test_a_true_alarm_behind_a_flood_on_its_own_lane_costs_what_it_costs_without_one(
    pair: DevicePair, kind: str
) -> None:
    cost_of_an_alarm(pair)  # the first one of a boot fills caches
    before = cost_of_an_alarm(pair)
    messages = Flood(pair, kind, LANE_ALARM).messages()
    with measured(pair.engine) as work:
        for message in messages:
            pair.alarms.handle(*message, pair.now_ms)
    after = cost_of_an_alarm(pair)
    assert (after.hashes, after.writes) <= (before.hashes, before.writes)
    assert after.statements <= before.statements + 2  # the count of what was refused is written once in a while
    # And the flood before it: a bound for each message, one budget of chain steps for all, next to nothing written.
    walked = 2 * (BUDGET_STEPS + MAX_CHAIN_STEPS)
    assert work.hashes <= FLOOD * (HASHES_OF_A_RECORD + 2 * FREE_STEPS) + walked
    # A stranger's traffic is told of for some devices and then of "several": no commit for each message.
    assert work.writes <= 25 + 2
    assert pair.count("alarm") == 3


@pytest.mark.parametrize("lane", [LANE_EVENT, LANE_CLIP])
@pytest.mark.parametrize("kind", KINDS)
def test_a_flood_on_another_lane_costs_an_alarm_nothing_and_the_gateway_a_bounded_sum(
    pair: DevicePair, kind: str, lane: str
) -> None:
    cost_of_an_alarm(pair)
    before = cost_of_an_alarm(pair)
    messages = Flood(pair, kind, lane).messages()
    with measured(pair.engine) as work:
        for at in range(0, len(messages), 100):
            assert len(pair.outcome(*messages[at : at + 100]).acknowledge) == 100
    after = cost_of_an_alarm(pair)
    assert (after.hashes, after.statements, after.writes) == (before.hashes, before.statements, before.writes)
    assert work.hashes <= FLOOD * (HASHES_OF_A_RECORD + 2 * FREE_STEPS) + 2 * (BUDGET_STEPS + MAX_CHAIN_STEPS)
    assert work.writes <= 2 * FLOOD // 100 + 2
    assert (pair.count("clip"), pair.count("event", "kind NOT IN (3)")) == (0, 0)


def test_a_flood_of_far_epochs_of_one_device_does_not_lengthen_another_ones_walk(tmp_path: Path) -> None:
    """Budgets are each device's own."""
    pair = DevicePair(tmp_path / "two", devices=2)
    for device in pair.devices:
        pair.greet(device)
    victim, other = pair.devices
    chance = random.Random(1)
    record = bytearray(victim.alarm()[1])
    for _ in range(50):
        record[12:16] = (MAX_CHAIN_STEPS - chance.randrange(100)).to_bytes(4, "big")
        pair.alarms.handle(topic(victim.device, LANE_ALARM), bytes(record), pair.now_ms)
    other.burn(200)  # a walk longer than what is always free
    other.boot()
    alarm = other.alarm()
    with measured(pair.engine) as work:
        outcome = pair.alarms.handle(*alarm, pair.now_ms)
    assert bodies(other.take(outcome.downlinks), ALARM_RECEIPT)
    assert work.hashes < 2 * 2 * 201 + 4 * HASHES_OF_A_RECORD
    # The victim itself: a boot within the free steps is heard at once.
    victim.burn(FREE_STEPS // 2)
    victim.boot()
    assert bodies(victim.take(pair.alarms.handle(*victim.alarm(), pair.now_ms).downlinks), ALARM_RECEIPT)
    pair.stop()


@pytest.mark.parametrize("form", ["noise", "shaped", "stale", "oversized"])
def test_a_flood_of_forged_commands_does_not_keep_a_device_from_its_alarm(stage: Stage, form: str) -> None:
    device = stage.one
    chance = random.Random(form)
    down = topic(device.id, LANE_DOWN)
    true = [payload for name, payload in stage.broker.down if name == down]
    stage.run(2000)

    def junk() -> bytes:
        if form == "noise":
            return chance.randbytes(chance.randrange(1, 1100))
        if form == "oversized":
            return bytes(8000)
        if form == "stale":
            return chance.choice(true)
        record = bytearray(chance.choice(true))
        record[-1 - chance.randrange(32)] ^= 1 << chance.randrange(8)
        return bytes(record)

    refused = len(device.board.console)
    pressed_ms = stage.gateway.now_ms
    device.hold(2, 2200)
    for _ in range(60):
        stage.broker.say([(down, junk()) for _ in range(8)])
        stage.step()
    [alarm] = stage.gateway.rows("alarm")
    assert alarm["received_ms"] - pressed_ms < 2200 + 1500  # the hold, and a second and a half of the device's own time
    # The receipt waits behind what a broker puts before it: that is the broker's to delay, not to prevent.
    stage.run(30_000)
    assert device.app.status().alarm == alarm_states.RECEIVED
    assert len(device.board.console) - refused < 40, "a flood is a few lines in the log"
