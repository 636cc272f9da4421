"""A fault suite that finds nothing proves nothing: each defect put in on purpose must be found within some seeds."""

import pytest

from lapel_device.alarm_lane import AlarmLane
from lapel_gateway.keystore import OrganisationKey
from lapel_tools.faults.defects import DEFECTS, MOST_SEEDS, hunt
from lapel_tools.faults.patching import Patcher
from lapel_tools.faults.plan import make_plan
from lapel_tools.faults.schedule import run_seed
from lapel_tools.faults.shrink import shorten
from lapel_tools.soak import organisation_of, throwaway_key


@pytest.fixture(scope="module")
def organisation() -> OrganisationKey:
    return organisation_of(throwaway_key())


@pytest.mark.parametrize("name", DEFECTS)
def test_a_defect_is_caught(name: str, organisation: OrganisationKey) -> None:
    caught = hunt(name, organisation)
    assert caught.broken, f"{DEFECTS[name].what}: {MOST_SEEDS} seeds, and nobody noticed"


def test_a_defect_is_taken_out_again(organisation: OrganisationKey) -> None:
    before = AlarmLane.sent
    caught = hunt("vault-not-synced", organisation)
    with Patcher() as patcher:
        DEFECTS["alarm-said-once"].put_in(patcher)
        assert AlarmLane.sent is not before
    assert AlarmLane.sent is before
    assert run_seed(caught.seed, organisation).broken == ""


def test_a_failing_seed_is_shortened_to_what_it_needs_and_still_fails_by_itself(organisation: OrganisationKey) -> None:
    with Patcher() as patcher:
        DEFECTS["cut-not-reported"].put_in(patcher)
        failing = next(
            result
            for seed in range(1, MOST_SEEDS)
            if make_plan(seed).devices > 1 and (result := run_seed(seed, organisation)).broken
        )
        shortest = shorten(failing, organisation)
        assert (len(shortest.schedule), shortest.devices) < (len(failing.schedule), failing.devices)
        plan = make_plan(failing.seed).only(frozenset(shortest.numbers), shortest.devices)
        again = run_seed(failing.seed, organisation, plan)
    assert (again.broken, again.trace) == (shortest.broken, shortest.trace)
    assert any("power_cut" in step for step in shortest.schedule)
