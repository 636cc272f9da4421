"""The power cut at every file-system operation of an update: what boots is always a whole, verified version.

Enumerated on the models of storage and on the real littlefs and FAT: from the first piece of a release to the end of
its trial and the floor that it raises. After each cut the device boots, what it runs is compared with the releases byte
for byte, and the update goes on to its end; so it does after a second cut on the way.
"""

from __future__ import annotations

import random

import pytest

from lapel_build.release import modulus_of
from lapel_device.slots import SLOT_A, SLOT_B, TRIAL_GOOD, SlotState, slot_folder
from lapel_device.update_fill import SlotFiller, read_floor
from lapel_protocol.releasing import Release
from lapel_protocol.updating import UpdateBlock, UpdateOffer
from lapel_sim.inprocess.fuse import Fuse, PowerCut
from lapel_sim.inprocess.storage import STYLES, SimulatedStorage, make_storage

from .releases import TARGET, boot, put, release, signer

CAPACITY_BYTES = 160 << 10
OLD = release(7)
NEW = release(8, floor=8)
RELEASES = {made.manifest.number: made for made in (OLD, NEW)}
MOST_BOOTS = 12


def fill(storage: SimulatedStorage, running_slot: int, made: Release) -> None:
    """Have the other slot filled and put on trial."""
    manifest = made.manifest
    offer = UpdateOffer(manifest.release, manifest.number, manifest.content_at)
    slot = SLOT_A + SLOT_B - running_slot
    code = TARGET.code
    filler = SlotFiller(storage, slot, running_slot, modulus_of(signer(0)), TARGET.hardware, code, 0, offer)
    while not filler.ready:
        filler.work()
        if filler.size:
            end = min(filler.offset + filler.size, filler.offset + 500)
            assert filler.take(UpdateBlock(manifest.release, filler.offset, made.data[filler.offset : end]))
    state = SlotState(storage)
    state.load()
    state.begin_trial(slot, manifest)


def live(storage: SimulatedStorage) -> int:
    """One boot, and what the device does in it; returns the number that it runs."""
    running = boot(storage)
    assert running is not None, "the device has nothing to run"
    slot, trial, number = running[:3]
    made = RELEASES[number]
    for path, content in made.files.items():
        assert storage.content(f"{slot_folder(slot)}/{path}") == content, "what runs is not what was signed"
    state = SlotState(storage)
    state.load()
    if trial:
        state.end_trial(TRIAL_GOOD, read_floor(storage, slot))
    elif number < NEW.manifest.number:
        fill(storage, slot, NEW)
    return number


def new_device(style: str, seed: int) -> tuple[Fuse, SimulatedStorage]:
    fuse = Fuse(random.Random(f"{style} {seed}"))
    storage = make_storage(style, fuse, CAPACITY_BYTES)
    put(storage, SLOT_A, OLD)
    assert boot(storage) is not None
    storage.lose_power()
    fuse.operations = 0
    return fuse, storage


def operations(style: str) -> int:
    """How many there are from the first piece to the end of the trial."""
    fuse, storage = new_device(style, 0)
    for wanted in (7, 8, 8):
        assert live(storage) == wanted
        storage.lose_power()
    return fuse.operations


def run_to_the_end(fuse: Fuse, storage: SimulatedStorage) -> int:
    """How often the power went before the update was over."""
    cuts = 0
    for _ in range(MOST_BOOTS):
        try:
            number = live(storage)
        except PowerCut:
            number = 0
            cuts += 1
        storage.lose_power()
        state = SlotState(storage)
        state.load()
        if number == 8 and state.floor == 8:
            return cuts
    pytest.fail("the update never came to its end")


@pytest.mark.needs("micropython")  # fat-card is MicroPython's own FatFs
@pytest.mark.parametrize("style", STYLES)
def test_an_update_cut_at_every_operation_always_boots_a_verified_version_and_ends(style: str) -> None:
    total = operations(style)
    assert total > 20
    for at in range(1, total + 1):
        fuse, storage = new_device(style, at)
        fuse.arm(at)
        assert run_to_the_end(fuse, storage) == 1


@pytest.mark.needs("micropython")  # fat-card is MicroPython's own FatFs
@pytest.mark.parametrize("style", STYLES)
def test_an_update_cut_twice_always_boots_a_verified_version_and_ends(style: str) -> None:
    total = operations(style)
    dice = random.Random(style)
    for seed in range(40):
        fuse, storage = new_device(style, 1000 + seed)
        fuse.arm(dice.randrange(1, total + 1))
        for _ in range(2):
            try:
                live(storage)
            except PowerCut:
                storage.lose_power()
                fuse.arm(dice.randrange(1, total + 1))
        run_to_the_end(fuse, storage)


def test_a_file_that_both_versions_have_is_not_fetched() -> None:
    _, storage = new_device("flash", 1)
    manifest = NEW.manifest
    offer = UpdateOffer(manifest.release, manifest.number, manifest.content_at)
    arguments = (storage, SLOT_B, SLOT_A, modulus_of(signer(0)), TARGET.hardware, TARGET.code, 0, offer)
    filler = SlotFiller(*arguments)
    while not filler.ready:
        filler.work()
        if filler.size:
            data = NEW.data[filler.offset : filler.offset + filler.size]
            assert filler.take(UpdateBlock(manifest.release, filler.offset, data))
    own = len(NEW.files["lapel_device/version.mpy"])
    assert filler.fetched == manifest.content_at + own
    # Going on after a restart costs no byte, and the manifest's bytes are not asked for again.
    again = SlotFiller(*arguments)
    while not again.ready:
        again.work()
        assert not again.size
