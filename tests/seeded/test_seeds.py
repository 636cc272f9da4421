"""The fault schedules: the same seeds every time. `lapel sim soak` runs any others, by the thousand."""

import os
import subprocess
import sys

import pytest

from lapel_gateway.keystore import OrganisationKey
from lapel_tools.faults.coverage import Coverage
from lapel_tools.faults.plan import FAULTS, make_plan
from lapel_tools.faults.schedule import Result, run_seed
from lapel_tools.faults.shrink import shorten
from lapel_tools.soak import organisation_of, throwaway_key

SEEDS = 300
BLOCK = 25
REPLAYED = 8
TRACE = """
from lapel_tools.faults.schedule import run_seed
from lapel_tools.soak import organisation_of, throwaway_key
result = run_seed({seed}, organisation_of(throwaway_key()))
print(result.trace, result.virtual_ms, result.effects.total())
"""


@pytest.fixture(scope="module")
def organisation() -> OrganisationKey:
    """One RSA key for all seeds: making one takes longer than a seed."""
    return organisation_of(throwaway_key())


def run_clean(seeds: range, organisation: OrganisationKey) -> list[Result]:
    """Run them all; the first that fails is shown with no more steps than it needs."""
    results = []
    for seed in seeds:
        result = run_seed(seed, organisation)
        if result.broken:
            shortest = shorten(result, organisation)
            pytest.fail(f"seed {seed}, {shortest.devices} devices: {shortest.broken}\n" + "\n".join(shortest.schedule))
        results.append(result)
    return results


@pytest.mark.parametrize("first", range(1, SEEDS + 1, BLOCK))
def test_every_invariant_holds_whatever_goes_wrong(first: int, organisation: OrganisationKey) -> None:
    results = run_clean(range(first, first + BLOCK), organisation)
    assert sum(result.clips for result in results) > BLOCK // 2, "schedules in which nothing is recorded prove nothing"
    assert all(result.rests >= 1 for result in results)


def test_every_kind_of_fault_bites(organisation: OrganisationKey) -> None:
    wanted, coverage = set(FAULTS), Coverage()
    for seed in range(1, 1000):
        if wanted & {step.what for step in make_plan(seed).steps}:
            (result,) = run_clean(range(seed, seed + 1), organisation)
            coverage.add(result)
            wanted = set(coverage.toothless())
        if not wanted:
            break
    assert coverage.toothless() == []
    assert coverage.effects["clips compared"]
    assert coverage.effects["receipts of clips"]
    assert {row[0] for row in coverage.rows()} >= set(FAULTS)


def test_the_same_seed_gives_the_same_run_in_another_process_and_under_another_key() -> None:
    """Neither the organisation's key, nor the hashing of this process, nor what ran before decides anything."""
    organisation = organisation_of(throwaway_key())
    run_seed(1, organisation)
    result = run_seed(REPLAYED, organisation)
    again = run_seed(REPLAYED, organisation)
    assert (again.trace, again.effects) == (result.trace, result.effects)
    other = subprocess.run(
        [sys.executable, "-c", TRACE.format(seed=REPLAYED)],
        env={**os.environ, "PYTHONHASHSEED": "4711"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert other.stdout.splitlines()[-1].split() == [result.trace, str(result.virtual_ms), str(result.effects.total())]


def test_other_seeds_give_other_runs(organisation: OrganisationKey) -> None:
    assert len({run_seed(seed, organisation).trace for seed in range(1, 6)}) == 5
