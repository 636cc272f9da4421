"""The epoch ledger: every epoch is told what became of it, through power cuts and lost storage."""

import pytest

from lapel_device.epochs import EpochLedger
from lapel_device.keystore import MARK_BOOT, MARK_CLIP, KeyStore, provision_sectors
from lapel_protocol.limits import MAX_LEDGER_ENTRIES
from lapel_protocol.reports import EPOCH_BOOT, EPOCH_BURNED, EPOCH_CLIP, EPOCH_LOST

from .boardkit import MemorySectors, MemoryStorage, PowerCut


class Life:
    def __init__(self, storage: MemoryStorage | None = None) -> None:
        self.sectors = MemorySectors()
        provision_sectors(self.sectors, bytes(32), bytes(32))
        self.storage = storage or MemoryStorage()
        self.clips: set[int] = set()

    def boot(self) -> tuple[KeyStore, EpochLedger]:
        keys = KeyStore(self.sectors)
        keys.load()
        ledger = EpochLedger(self.storage)
        ledger.load(keys, lambda clip: clip in self.clips)
        return keys, ledger


def booted(life: Life) -> tuple[KeyStore, EpochLedger]:
    keys, ledger = life.boot()
    ledger.add(keys.step(MARK_BOOT, bytes(32), 0).number, EPOCH_BOOT)
    return keys, ledger


def test_boots_and_clips_are_told_in_order_and_after_a_restart() -> None:
    life = Life()
    keys, ledger = booted(life)
    assert ledger.add(keys.step(MARK_CLIP, bytes(32), 0).number, EPOCH_CLIP)
    life.clips.add(1)
    _, ledger = booted(life)
    assert ledger.entries() == [(0, EPOCH_BOOT), (1, EPOCH_CLIP), (2, EPOCH_BOOT)]


def test_a_boot_whose_entry_was_cut_off_is_known_from_the_key_store() -> None:
    life = Life()
    keys, _ = life.boot()
    keys.step(MARK_BOOT, bytes(32), 0)
    _, ledger = life.boot()
    assert ledger.entries() == [(0, EPOCH_BOOT)]


@pytest.mark.parametrize(
    ("started", "on_storage", "expected"),
    [(False, False, EPOCH_BURNED), (True, False, EPOCH_LOST), (True, True, EPOCH_CLIP), (False, True, EPOCH_CLIP)],
)
def test_a_clip_without_an_entry_is_burned_lost_or_there(started: bool, on_storage: bool, expected: int) -> None:
    life = Life()
    keys, _ = booted(life)
    keys.step(MARK_CLIP, bytes(32), 0)
    if started:
        keys.started()
    if on_storage:
        life.clips.add(1)
    _, ledger = life.boot()
    assert ledger.entries() == [(0, EPOCH_BOOT), (1, expected)]


def test_a_receipt_forgets_what_lies_below_it_durably_and_never_comes_back() -> None:
    life = Life()
    for _ in range(5):
        _, ledger = booted(life)
    ledger.receipted_to(3)
    assert ledger.entries() == [(3, EPOCH_BOOT), (4, EPOCH_BOOT)]
    ledger.receipted_to(1)
    ledger.receipted_to(99)
    assert ledger.entries() == [(3, EPOCH_BOOT), (4, EPOCH_BOOT)]
    ledger.receipted_to(5)
    assert ledger.entries() == []
    _, ledger = booted(life)
    assert ledger.entries() == [(5, EPOCH_BOOT)]


def test_a_long_time_without_contact_tells_the_oldest_first() -> None:
    life = Life()
    _, ledger = booted(life)
    for epoch in range(1, 400):
        assert ledger.add(epoch, EPOCH_CLIP)
    entries = ledger.entries()
    assert len(entries) == MAX_LEDGER_ENTRIES
    assert entries[0] == (0, EPOCH_BOOT)
    ledger.receipted_to(entries[-1][0] + 1)
    assert ledger.entries()[0] == (MAX_LEDGER_ENTRIES, EPOCH_CLIP)


def test_a_new_card_starts_with_what_the_key_store_knows() -> None:
    life = Life()
    for _ in range(4):
        booted(life)
    life.storage = MemoryStorage()
    _, ledger = booted(life)
    assert ledger.entries() == [(3, EPOCH_BOOT), (4, EPOCH_BOOT)]


def test_files_of_an_earlier_provisioning_with_higher_epochs_are_not_believed() -> None:
    life = Life()
    old = Life(life.storage)
    for _ in range(6):
        _, ledger = booted(old)
    ledger.receipted_to(5)
    _, ledger = booted(life)
    assert ledger.entries() == [(0, EPOCH_BOOT)]


@pytest.mark.parametrize("cut_at", range(12))
def test_a_power_cut_at_any_storage_operation_loses_no_entry(cut_at: int) -> None:
    for seed in range(10):
        life = Life(MemoryStorage(seed=seed))
        life.storage.cut_at = cut_at
        try:
            keys, ledger = booted(life)
            for _ in range(3):
                epoch = keys.step(MARK_CLIP, bytes(32), 0).number
                life.clips.add(epoch)
                keys.started()
                ledger.add(epoch, EPOCH_CLIP)
        except PowerCut:
            life.storage.power_cut()
        life.storage.cut_at = -1
        keys, ledger = life.boot()
        kinds = [EPOCH_BOOT] + [EPOCH_CLIP] * (keys.epoch - 1)
        assert ledger.entries() == list(enumerate(kinds))
