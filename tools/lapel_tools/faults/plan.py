"""What a seed plans: who presses what, what goes wrong and when. Each step draws from a generator of its own.

A plan can be carried out without some of its steps, or with fewer devices: that is how a failing seed is shortened.
"""

from __future__ import annotations

import random
from collections.abc import Collection
from dataclasses import dataclass

FAULTS_MS = 14_000
"""Virtual time in which things go wrong, in one episode of a schedule."""

ACTIONS = ("record", "record", "record_now", "stop", "alarm")
"""What a wearer does. `record`: a press, and another that confirms the notice; `record_now`: a hold."""

DEVICE_FAULTS = (
    "power_cut_at_operation",
    "power_cut_now",
    "link_lost",
    "half_open",
    "latency",
    "slow_link",
)
"""Faults of one device and its link."""

GATEWAY_FAULTS = (
    "gateway_killed",
    "gateway_killed",
    "gateway_killed_in_recovery",
    "gateway_crashed",
    "gateway_restored",
    "gateway_restored",
    "disk_full",
    "no_space_in_a_write",
    "ledger_full",
    "clock_stepped",
)
"""Faults of the gateway's process, its machine, its disk and its clock."""

BROKER_FAULTS = (
    "duplicates",
    "reordering",
    "delays",
    "replays",
    "broker_forgets",
    "broker_loses_queues",
    "broker_loses_in_flight",
    "broker_rolls_back",
    "queue_overflows",
)
"""Faults of the broker."""

FAULTS = tuple(dict.fromkeys(DEVICE_FAULTS + GATEWAY_FAULTS + BROKER_FAULTS))

_DEVICES = (1, 1, 1, 1, 1, 1, 2, 2, 3, 4)
_TWO_EPISODES = 0.15
_AIMED = 0.4
"""The share of faults that come soon after something that a wearer did, and while it is on its way."""
_SOON_AFTER_MS = 3_500
_EARLY = 0.15
"""The share of the others that come while devices and gateway greet each other."""
_GREETING_MS = 900


@dataclass(frozen=True)
class Step:
    """One planned thing. `number` names it within its seed, `device` is an index (0 where it is nobody's)."""

    number: int
    episode: int
    at_ms: int
    what: str
    device: int

    @property
    def personal(self) -> bool:
        """Whether it happens to one device."""
        return self.what in DEVICE_FAULTS or self.what in ACTIONS

    def __str__(self) -> str:
        whose = f" (device {self.device})" if self.personal else ""
        return f"{self.number}: at {self.episode * FAULTS_MS + self.at_ms} ms {self.what}{whose}"


@dataclass(frozen=True)
class Plan:
    """The steps of one seed, in order, and how many devices and episodes it has."""

    devices: int
    episodes: int
    steps: tuple[Step, ...]

    def only(self, numbers: Collection[int], devices: int) -> Plan:
        """The plan with these steps alone, and none of the devices from `devices` on."""
        devices = min(devices, self.devices)
        steps = tuple(
            step for step in self.steps if step.number in numbers and (step.device < devices or not step.personal)
        )
        return Plan(devices, max((step.episode for step in steps), default=0) + 1, steps)


def make_plan(seed: int) -> Plan:
    """The plan of a seed: always the same."""
    rng = random.Random(f"lapel fault schedule {seed}")
    devices = rng.choice(_DEVICES)
    episodes = 2 if rng.random() < _TWO_EPISODES else 1
    drafts: list[tuple[int, int, str, int]] = []
    for episode in range(episodes):
        for device in range(devices):
            at = rng.randint(200, 3000 if device == 0 else 6000)
            while at < FAULTS_MS:
                drafts.append((episode, at, rng.choice(ACTIONS), device))
                at += rng.randint(1200, 6000) * devices
        actions = [(at, device) for where, at, _, device in drafts if where == episode]
        for _ in range(rng.randint(2, 6)):
            kinds = rng.choice((DEVICE_FAULTS, GATEWAY_FAULTS, BROKER_FAULTS))
            at, device = rng.randint(100, FAULTS_MS), rng.randrange(devices)
            if actions and rng.random() < _AIMED:
                at, device = rng.choice(actions)
                at = min(FAULTS_MS, at + rng.randint(0, _SOON_AFTER_MS))
            elif rng.random() < _EARLY:
                at = rng.randint(30, _GREETING_MS)
            what = rng.choice(kinds)
            if what == "gateway_restored":
                at = rng.randint(FAULTS_MS // 2, FAULTS_MS)  # before that there is little to lose
            drafts.append((episode, at, what, device))
    drafts.sort()
    steps = tuple(Step(number, *draft) for number, draft in enumerate(drafts))
    return Plan(devices, episodes, steps)


def generator(seed: int, step: Step) -> random.Random:
    """What a step draws from: it does not change when others are left out."""
    return random.Random(f"step {step.number} of seed {seed}")
