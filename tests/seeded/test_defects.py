"""A fault suite that finds nothing proves nothing: each defect put in on purpose must be found within some seeds."""

from typing import Any

import pytest

from lapel_device.alarm_lane import Alarm, AlarmLane
from lapel_device.clip_writer import ClipWriter
from lapel_device.keystore import KeyStore
from lapel_gateway.keystore import OrganisationKey
from lapel_gateway.vault import Vault
from lapel_tools.faults.schedule import run_seed
from lapel_tools.soak import organisation_of, throwaway_key

MOST_SEEDS = 100


@pytest.fixture(scope="module")
def organisation() -> OrganisationKey:
    return organisation_of(throwaway_key())


def found_within(organisation: OrganisationKey, seeds: int = MOST_SEEDS) -> str:
    """What the first failing seed says; empty when none fails."""
    for seed in range(1, seeds + 1):
        broken = run_seed(seed, organisation).broken
        if broken:
            return broken
    return ""


def test_a_ratchet_step_that_does_not_reach_the_flash_is_found(
    organisation: OrganisationKey, monkeypatch: pytest.MonkeyPatch
) -> None:
    step = KeyStore.step

    def forgetful(self: KeyStore, mark: int, entropy: bytes, ticks: int) -> Any:
        sectors: Any = self._sectors
        before = [bytes(sector) for sector in sectors._sectors]
        epoch = step(self, mark, entropy, ticks)
        for sector, content in zip(sectors._sectors, before, strict=True):
            sector[:] = content
        return epoch

    monkeypatch.setattr(KeyStore, "step", forgetful)
    assert found_within(organisation)


def test_an_alarm_that_is_said_once_is_found(organisation: OrganisationKey, monkeypatch: pytest.MonkeyPatch) -> None:
    sent = AlarmLane.sent

    def once(self: AlarmLane, alarm: Alarm, now_ms: int) -> None:
        sent(self, alarm, now_ms)
        self.receipted(alarm.boot, alarm.counter)

    monkeypatch.setattr(AlarmLane, "sent", once)
    assert found_within(organisation)


def test_segments_offered_before_they_are_durable_are_found(
    organisation: OrganisationKey, monkeypatch: pytest.MonkeyPatch
) -> None:
    def hasty(self: ClipWriter) -> None:
        self._entry.segments = self._head.count
        self._entry.content_bytes = self._content_bytes

    monkeypatch.setattr(ClipWriter, "sync", hasty)
    assert found_within(organisation)


def test_a_vault_that_loses_a_write_is_found(organisation: OrganisationKey, monkeypatch: pytest.MonkeyPatch) -> None:
    place = Vault.place
    writes = 0

    def lossy(self: Vault, device: str, clip: int, offset: int, *parts: bytes | memoryview) -> None:
        nonlocal writes
        writes += 1
        if writes % 20:
            place(self, device, clip, offset, *parts)

    monkeypatch.setattr(Vault, "place", lossy)
    assert found_within(organisation)
