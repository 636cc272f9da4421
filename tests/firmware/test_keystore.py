"""The key store under every power cut: always a valid epoch, none handed out twice, no old key left behind."""

import pytest

from lapel_device.keystore import (
    MARK_BOOT,
    MARK_CLIP,
    MARK_NONE,
    KeyStore,
    KeyStoreFault,
    KeyStoreLost,
    provision_sectors,
)
from lapel_protocol.keys import EpochKeys, chain_next

from .boardkit import MemorySectors, PowerCut

CK_0 = bytes(range(32))
P_0 = bytes(range(100, 132))
STEPS = (MARK_BOOT, MARK_CLIP, MARK_CLIP, MARK_BOOT)


def chain_key(epoch: int) -> bytes:
    key = CK_0
    for _ in range(epoch):
        key = chain_next(key)
    return key


class Life:
    """A device through its boots: what epochs were handed out, and every secret that was ever written."""

    def __init__(self, seed: int) -> None:
        self.sectors = MemorySectors(seed)
        provision_sectors(self.sectors, CK_0, P_0)
        self.sectors.operations = 0
        self.used: list[int] = []

    def boot(self) -> KeyStore:
        store = KeyStore(self.sectors)
        store.load()
        return store

    def step(self, store: KeyStore, mark: int) -> None:
        epoch = store.step(mark, bytes([len(self.used)] * 32), 1000 + len(self.used))
        assert epoch.number not in self.used
        assert epoch.keys.clip_auth == EpochKeys(chain_key(epoch.number)).clip_auth
        self.used.append(epoch.number)
        if mark == MARK_CLIP:
            store.started()

    def live(self, cut_at: int) -> bool:
        """Boot and take every step; False when the power went at operation `cut_at`."""
        self.sectors.operations = 0
        self.sectors.cut_at = cut_at
        try:
            store = self.boot()
            for mark in STEPS:
                self.step(store, mark)
        except PowerCut:
            return False
        finally:
            self.sectors.cut_at = -1
        return True

    def check_clean(self, store: KeyStore) -> None:
        """A usable epoch, above all that were handed out, and no earlier secret in either sector."""
        assert all(store.epoch > used for used in self.used)
        flash = bytes(self.sectors.data[0] + self.sectors.data[1])
        for epoch in range(store.epoch):
            assert chain_key(epoch) not in flash
            assert chain_key(epoch)[:8] not in flash
        for image in self.sectors.programmed:
            if len(image) >= 76 and image[:4] == b"LKS1" and int.from_bytes(image[4:8], "big") < store.epoch:
                assert image[44:52] not in flash
        assert P_0[:8] not in flash or store.epoch == 0


def operations_of_a_life() -> int:
    life = Life(0)
    assert life.live(-1)
    return life.sectors.operations


OPERATIONS = operations_of_a_life()


def test_steps_hand_out_consecutive_epochs_with_the_keys_of_the_chain() -> None:
    life = Life(0)
    assert life.live(-1)
    assert life.live(-1)
    assert life.used == list(range(8))


@pytest.mark.parametrize("cut_at", range(OPERATIONS))
def test_after_a_power_cut_at_any_operation_an_unused_epoch_is_there_and_no_old_key(cut_at: int) -> None:
    for seed in range(8):
        life = Life(seed)
        life.live(cut_at)
        store = life.boot()
        life.check_clean(store)
        if seed % 2:
            life.step(store, MARK_CLIP)
        life.sectors.decay()
        again = life.boot()
        assert again.epoch == store.epoch
        life.check_clean(again)
        life.step(again, MARK_CLIP)
        life.check_clean(again)


@pytest.mark.parametrize("cut_at", range(0, OPERATIONS, 3))
def test_a_second_power_cut_during_recovery_or_the_next_step_changes_nothing(cut_at: int) -> None:
    for second in range(8):
        life = Life(cut_at * 31 + second)
        life.live(cut_at)
        life.sectors.decay()
        life.live(second)
        life.sectors.decay()
        store = life.boot()
        life.check_clean(store)
        assert life.live(-1)


def test_a_clip_that_was_never_started_and_one_whose_storage_is_gone_look_different() -> None:
    life = Life(0)
    store = life.boot()
    assert store.last_mark == MARK_NONE
    store.step(MARK_BOOT, bytes(32), 0)
    store.step(MARK_CLIP, bytes(32), 0)
    burned = life.boot()
    assert (burned.epoch, burned.last_mark, burned.last_started) == (2, MARK_CLIP, False)
    store.started()
    lost = life.boot()
    assert (lost.epoch, lost.last_mark, lost.last_started) == (2, MARK_CLIP, True)


def test_started_needs_no_erase() -> None:
    life = Life(0)
    store = life.boot()
    store.step(MARK_CLIP, bytes(32), 0)
    life.sectors.erased.clear()
    store.started()
    assert life.sectors.erased == []
    assert life.boot().last_started


def test_keys_are_zeroed_before_they_are_erased() -> None:
    life = Life(0)
    store = life.boot()
    life.sectors.erased.clear()
    life.step(store, MARK_BOOT)
    assert life.sectors.erased == [bytes(128)]


def test_two_damaged_sectors_are_reported_as_lost_keys() -> None:
    life = Life(0)
    for sector in life.sectors.data:
        sector[50] ^= 1
    with pytest.raises(KeyStoreLost):
        life.boot()


def test_a_forged_image_with_a_higher_epoch_but_a_wrong_check_is_not_taken() -> None:
    life = Life(0)
    forged = bytearray(life.sectors.data[0])
    forged[4:8] = (999).to_bytes(4, "big")
    life.sectors.data[1][:] = forged
    store = life.boot()
    assert store.epoch == 0
    assert bytes(life.sectors.data[1]) == b"\xff" * 4096


def test_flash_that_fails_hands_out_no_epoch_and_recovers_when_it_works_again() -> None:
    life = Life(0)
    store = life.boot()
    life.sectors.failing = True
    with pytest.raises(KeyStoreFault):
        store.step(MARK_BOOT, bytes(32), 0)
    life.sectors.failing = False
    life.step(store, MARK_BOOT)
    life.check_clean(life.boot())


def test_flash_that_stops_erasing_keeps_the_epoch_from_being_used() -> None:
    life = Life(0)
    store = life.boot()
    life.sectors.stuck = True
    with pytest.raises(KeyStoreFault):
        store.step(MARK_BOOT, bytes(32), 0)
    life.sectors.stuck = False
    life.step(life.boot(), MARK_BOOT)
    assert life.used == [1]


def test_different_entropy_gives_a_different_pool_and_the_same_chain() -> None:
    pools = []
    for entropy in (b"a" * 32, b"b" * 32):
        life = Life(0)
        store = life.boot()
        store.step(MARK_BOOT, entropy, 5)
        pools.append(store.step(MARK_CLIP, entropy, 6).pool)
    assert pools[0] != pools[1]
