"""Many members at once: switched on over a while, pressing and recording at given rates."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from dataclasses import dataclass

from lapel_sim.fleet.member import Member
from lapel_sim.fleet.tally import Tally

POLL_S = 0.05


@dataclass(frozen=True)
class Load:
    """What the members do, all together."""

    alarms_per_minute: float = 0.0
    clips_per_minute: float = 0.0
    clip_segments: int = 16
    """4 KiB each."""


class Fleet:
    """Runs its members in the current event loop."""

    def __init__(self, members: Sequence[Member], tally: Tally, seed: int = 1) -> None:
        self.members = members
        self.tally = tally
        self._chance = random.Random(seed)
        self._work: list[asyncio.Task[None]] = []

    @property
    def welcomed(self) -> int:
        """Members whose hello on their present connection was answered."""
        return sum(member.welcomed for member in self.members)

    @property
    def oldest_alarm_s(self) -> float:
        """For how long the oldest alarm without receipt has waited; 0 when there is none."""
        return max((member.waiting_s() for member in self.members), default=0.0)

    @property
    def clips_waiting(self) -> int:
        """Clips without a receipt."""
        return sum(len(member.uploads.clips) for member in self.members)

    async def switch_on(self, over_s: float) -> None:
        """Start every member, evenly over so many seconds."""
        began = asyncio.get_running_loop().time()
        for number, member in enumerate(self.members):
            wait_s = began + over_s * number / len(self.members) - asyncio.get_running_loop().time()
            if wait_s > 0 or number % 64 == 0:
                await asyncio.sleep(max(0.0, wait_s))
            member.start()

    def begin(self, load: Load) -> None:
        """Press and record at these rates from now on, by members chosen at random."""
        loop = asyncio.get_running_loop()
        if load.alarms_per_minute:
            self._work.append(loop.create_task(self._press(60 / load.alarms_per_minute)))
        if load.clips_per_minute:
            self._work.append(loop.create_task(self._record(60 / load.clips_per_minute, load.clip_segments)))

    async def end(self) -> None:
        """Press and record no more."""
        for task in self._work:
            task.cancel()
        await asyncio.gather(*self._work, return_exceptions=True)
        self._work.clear()

    async def switch_off(self) -> None:
        """End every connection."""
        await self.end()
        for member in self.members:
            member.stop()
        await asyncio.sleep(POLL_S)

    async def settled(self, within_s: float, alarm_s: float = 1.0) -> bool:
        """Wait until everybody is welcomed and no alarm has waited for longer than ``alarm_s``; False if in vain."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + within_s
        while self.welcomed < len(self.members) or self.oldest_alarm_s > alarm_s:
            if loop.time() >= deadline:
                return False
            await asyncio.sleep(POLL_S)
        return True

    async def drained(self, within_s: float) -> bool:
        """Wait until every alarm and every clip has its receipt; False if in vain."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + within_s
        while self.oldest_alarm_s or self.clips_waiting:
            if loop.time() >= deadline:
                return False
            await asyncio.sleep(POLL_S)
        return True

    async def _press(self, every_s: float) -> None:
        while True:
            await asyncio.sleep(self._chance.uniform(0.0, 2 * every_s))
            self._chance.choice(self.members).press()

    async def _record(self, every_s: float, segments: int) -> None:
        while True:
            await asyncio.sleep(self._chance.uniform(0.0, 2 * every_s))
            self._chance.choice(self.members).record(segments)
