"""Defects put in on purpose: a fault suite that finds nothing proves nothing."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from lapel_gateway.keystore import OrganisationKey

from .defects_device import DEVICE_DEFECTS
from .defects_gateway import GATEWAY_DEFECTS
from .patching import Defect, Patcher
from .plan import make_plan
from .schedule import run_seed

DEFECTS: dict[str, Defect] = {defect.name: defect for defect in (*DEVICE_DEFECTS, *GATEWAY_DEFECTS)}
"""By name."""

MOST_SEEDS = 500
"""Seeds within which each must be caught."""


@dataclass(frozen=True)
class Catch:
    """What the suite made of a defect: how many seeds it took, the one that failed, and what it said ("" = nothing)."""

    defect: str
    seeds: int
    seed: int
    broken: str


def hunt(name: str, organisation: OrganisationKey, first: int = 1, most: int = MOST_SEEDS) -> Catch:
    """Run the `most` seeds from `first` on, the likeliest first, with a defect in the code until one fails."""
    defect = DEFECTS[name]
    with Patcher() as patcher:
        defect.put_in(patcher)
        for tried, seed in enumerate(likeliest(defect, range(first, first + most)), 1):
            broken = run_seed(seed, organisation).broken
            if broken:
                return Catch(name, tried, seed, broken)
    return Catch(name, most, 0, "")


def likeliest(defect: Defect, seeds: Iterable[int]) -> list[int]:
    """The seeds with more of the steps that show the defect first, among equals those with fewer devices and steps."""

    def order(seed: int) -> tuple[int, int, int, int]:
        plan = make_plan(seed)
        telling = sum(step.what in defect.shown_by for step in plan.steps)
        return -telling, plan.devices * plan.episodes, len(plan.steps), seed

    return sorted(seeds, key=order)


__all__ = ["DEFECTS", "MOST_SEEDS", "Catch", "Defect", "hunt", "likeliest"]
