"""From a failing seed to the fewest steps and devices that still fail: delta debugging over its plan."""

from __future__ import annotations

from lapel_gateway.keystore import OrganisationKey

from .plan import Plan, make_plan
from .schedule import Result, run_seed

MOST_RUNS = 150
"""Runs spent on one failing seed: half a minute."""


class _Shrinker:
    def __init__(self, failing: Result, organisation: OrganisationKey) -> None:
        self._organisation = organisation
        self._whole = make_plan(failing.seed)
        self._runs = 0
        self.shortest = failing

    def fails(self, numbers: list[int], devices: int) -> bool:
        """Whether the seed still fails with these steps and devices; keeps the result if it does."""
        if self._runs >= MOST_RUNS:
            return False
        self._runs += 1
        plan: Plan = self._whole.only(frozenset(numbers), devices)
        tried = run_seed(self.shortest.seed, self._organisation, plan)
        if tried.broken:
            self.shortest = tried
        return bool(tried.broken)

    def run(self) -> None:
        while self._fewer_devices() or self._fewer_steps():
            pass

    def _fewer_devices(self) -> bool:
        devices, numbers = self.shortest.devices, self.shortest.numbers
        return devices > 1 and self.fails(numbers, devices - 1)

    def _fewer_steps(self) -> bool:
        numbers = self.shortest.numbers
        size = max(1, len(numbers) // 2)
        while numbers:
            for start in range(0, len(numbers), size):
                if self.fails(numbers[:start] + numbers[start + size :], self.shortest.devices):
                    return True
            if size == 1:
                return False
            size //= 2
        return False


def shorten(failing: Result, organisation: OrganisationKey) -> Result:
    """The same seed with every step and device left out that the failure does not need, as far as MOST_RUNS go."""
    shrinker = _Shrinker(failing, organisation)
    shrinker.run()
    return shrinker.shortest
