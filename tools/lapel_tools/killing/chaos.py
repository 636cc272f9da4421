"""What goes wrong, by the seed: kills of roles, broker and devices, alone and together, and faults of the links.

Rules that hold here
- The seed decides what is done to whom and the pauses between; the machine decides what that falls into. A run cannot
  be repeated exactly, which is what real processes are for.
- What was killed is started again by this loop: roles and a broker that nobody else looks after here, devices by their
  wearers. A program that ends although nobody killed it is started again too, and is a finding.
"""

from __future__ import annotations

import heapq
import itertools
import random
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from lapel_sim.link import LinkProxy
from lapel_tools.killing.plant import DEFAULTS, Plant
from lapel_tools.killing.wearer import STEPS, Wearer

_POLL_S = 0.02
_RESTART_S = (0.0, 2.0)
_STARTING_S = (0.05, 2.5)  # a role takes about two seconds to start: most of these fall into that
_COMMIT_WAIT_S = 0.4
_FAULT_S = (0.3, 5.0)
_MOST_STEPS = 60

Action = Callable[[], None]


class Chaos:
    """Call `run` with the seconds it shall last; `kills`, `link_faults` and `restarts` are counted by kind."""

    def __init__(self, plant: Plant, wearers: list[Wearer], rng: random.Random, gap_s: tuple[float, float]) -> None:
        """`gap_s`: shortest and longest pause between two actions."""
        self.kills: Counter[str] = Counter()
        self.link_faults: Counter[str] = Counter()
        self.together = 0
        self._plant = plant
        self._wearers = wearers
        self._rng = rng
        self._gap_s = gap_s
        self._later: list[tuple[float, int, Action]] = []
        self._order = itertools.count()
        roles: list[str] = list(plant.roles)
        self._actions: list[tuple[int, Action]] = [
            (6, lambda: self._kill_role(rng.choice(roles))),
            (3, lambda: self._kill_at_commit(rng.choice(("ingest", "ingest", "alarms")))),
            (4, self._kill_broker),
            (6, lambda: self._cut(rng.choice(wearers))),
            (3, lambda: self._arm(rng.choice(wearers))),
            (3, self._kill_several),
            (2, lambda: self._kill_starting(rng.choice(roles))),
            (9, lambda: self._fault_link(rng.choice(wearers).device.link)),
        ]

    def run(self, seconds: float, stopped: Callable[[], bool]) -> None:
        """Let things go wrong for so long, or until `stopped`."""
        end = time.monotonic() + seconds
        next_at = time.monotonic()
        while time.monotonic() < end and not stopped():
            if time.monotonic() >= next_at:
                weights, actions = zip(*self._actions, strict=True)
                self._rng.choices(actions, weights)[0]()
                next_at = time.monotonic() + self._rng.uniform(*self._gap_s)
            self.look_after()
            time.sleep(_POLL_S)

    def look_after(self) -> None:
        """Do what is due, and start again what ended by itself."""
        while self._later and self._later[0][0] <= time.monotonic():
            heapq.heappop(self._later)[2]()
        for process in (*self._plant.roles.values(), self._plant.broker):
            if process.check():
                self._at(1.0, process.start)

    def mend(self) -> None:
        """No more faults: every link works, everything that is down is started."""
        while self._later:
            heapq.heappop(self._later)[2]()
        for wearer in self._wearers:
            link = wearer.device.link
            link.slow(0)
            link.latency(0)
            link.lossy(0)
            link.restore(reset=self._rng.random() < 0.5)
        if self._plant.mode == DEFAULTS:
            self._plant.broker.start()
        for role in self._plant.roles.values():
            role.start()

    @property
    def total(self) -> int:
        """All kills."""
        return self.kills.total()

    def _at(self, seconds: float, act: Action) -> None:
        heapq.heappush(self._later, (time.monotonic() + seconds, next(self._order), act))

    # -- kills --

    def _kill_role(self, role: str) -> None:
        process = self._plant.roles[role]
        if process.kill():
            self.kills[role] += 1
            self._at(self._rng.uniform(*_RESTART_S), process.start)

    def _kill_at_commit(self, role: str) -> None:
        """Kill a role right after the ledger was written: often between a commit and the receipt for it."""
        wal = Path(f"{self._plant.site.config.ledger_file}-wal")
        before, deadline = _stamp(wal), time.monotonic() + _COMMIT_WAIT_S
        while _stamp(wal) == before and time.monotonic() < deadline:
            time.sleep(0.0005)
        time.sleep(self._rng.choice((0.0, 0.0, 0.001, 0.004)))
        self._kill_role(role)

    def _kill_starting(self, role: str) -> None:
        """Kill a role, start it at once, and kill it again while it starts or recovers; sometimes twice."""
        process = self._plant.roles[role]
        if not process.kill():
            return
        self.kills[role] += 1
        process.start()

        def again(left: int) -> None:
            if process.kill():
                self.kills[f"{role}, starting"] += 1
            process.start()
            if left:
                self._at(self._rng.uniform(*_STARTING_S), lambda: again(left - 1))

        self._at(self._rng.uniform(*_STARTING_S), lambda: again(self._rng.randrange(2)))

    def _kill_broker(self) -> None:
        if self._plant.kill_broker():
            self.kills[f"mosquitto, {self._plant.mode}"] += 1
            if self._plant.mode == DEFAULTS:
                self._at(self._rng.uniform(*_RESTART_S), self._plant.broker.start)

    def _cut(self, wearer: Wearer) -> None:
        if wearer.cut():
            self.kills["device"] += 1

    def _arm(self, wearer: Wearer) -> None:
        """A power cut in the middle of one of the device's next steps; it counts when it happens."""
        wearer.cut_at(self._rng.choice(STEPS), self._rng.randint(1, _MOST_STEPS))

    def _kill_several(self) -> None:
        victims: list[Action] = [lambda role=role: self._kill_role(role) for role in self._plant.roles]  # type: ignore[misc]
        victims += [self._kill_broker]
        victims += [lambda wearer=wearer: self._cut(wearer) for wearer in self._wearers]  # type: ignore[misc]
        before = self.total
        for kill in self._rng.sample(victims, self._rng.randint(2, len(victims))):
            kill()
        self.together += self.total - before >= 2

    # -- links --

    def _fault_link(self, link: LinkProxy) -> None:
        rng = self._rng
        lasts_s = rng.uniform(*_FAULT_S)
        what = rng.choice(("silence", "refusal", "radio", "reset", "slow", "loss", "latency"))
        if what == "silence":
            link.drop()
            self._at(lasts_s, lambda: link.restore(reset=rng.random() < 0.5))
        elif what == "refusal":
            link.drop(silent=False)
            self._at(lasts_s, link.restore)
        elif what == "radio":
            link.radio(up=False)
            self._at(lasts_s, lambda: link.radio(up=True))
        elif what == "reset":
            link.reset()
        elif what == "slow":
            link.slow(rng.choice((60_000, 250_000, 1_000_000)))
            self._at(lasts_s, lambda: link.slow(0))
        elif what == "loss":
            link.lossy(rng.choice((0.01, 0.05)), stall_ms=rng.choice((100, 400)), reset_chance=rng.choice((0, 0.002)))
            self._at(2 * lasts_s, lambda: link.lossy(0))
        else:
            link.latency(rng.choice((20, 80, 250)), jitter_ms=60)
            self._at(2 * lasts_s, lambda: link.latency(0))
        self.link_faults[what] += 1


def _stamp(path: Path) -> tuple[int, int]:
    try:
        state = path.stat()
    except FileNotFoundError:
        return 0, 0
    return state.st_size, state.st_mtime_ns
