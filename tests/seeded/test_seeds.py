"""The fault schedules: 500 seeds, the same every time. `lapel sim soak` runs any others."""

import pytest

from lapel_gateway.keystore import OrganisationKey
from lapel_tools.faults.schedule import run_seed, shorten
from lapel_tools.soak import organisation_of, throwaway_key

SEEDS = 500
BLOCK = 25


@pytest.fixture(scope="module")
def organisation() -> OrganisationKey:
    """One RSA key for all seeds: making one takes longer than a seed."""
    return organisation_of(throwaway_key())


@pytest.mark.parametrize("first", range(1, SEEDS + 1, BLOCK))
def test_every_invariant_holds_whatever_goes_wrong(first: int, organisation: OrganisationKey) -> None:
    clips = 0
    for seed in range(first, first + BLOCK):
        result = run_seed(seed, organisation)
        if result.broken:
            shortest = shorten(result, organisation)
            pytest.fail(f"seed {seed}: {shortest.broken}\n" + "\n".join(shortest.schedule))
        clips += result.clips
    assert clips > BLOCK // 2, "schedules in which nothing is recorded prove nothing"


def test_the_same_seed_gives_the_same_run(organisation: OrganisationKey) -> None:
    other = organisation_of(throwaway_key())
    for seed in (7, 8):
        first, again = run_seed(seed, organisation), run_seed(seed, other)
        assert first.trace == again.trace
        assert first.virtual_ms == again.virtual_ms


def test_other_seeds_give_other_runs(organisation: OrganisationKey) -> None:
    assert len({run_seed(seed, organisation).trace for seed in range(1, 6)}) == 5
