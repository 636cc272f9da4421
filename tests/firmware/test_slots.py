"""Two slots: what is run was verified whole, a trial ends by itself, and what is refused is refused by its reason."""

from __future__ import annotations

import random

import pytest

from lapel_build.release import Target, modulus_of
from lapel_device.slots import (
    NO_SLOT,
    SLOT_A,
    SLOT_B,
    SLOT_ROM,
    TRIAL_BOOTS,
    TRIAL_DAMAGED,
    TRIAL_GOOD,
    TRIAL_ROLLED_BACK,
    SlotState,
    check_slot,
    manifest_path,
    slot_folder,
)
from lapel_protocol.release import ReleaseError
from lapel_sim.inprocess.fuse import Fuse
from lapel_sim.inprocess.storage import SimulatedStorage, make_storage

from .releases import TARGET, boot, put, release, signer, write


@pytest.fixture
def storage() -> SimulatedStorage:
    return make_storage("littlefs-flash", Fuse(random.Random(1)), 512 << 10)


def state_of(storage: SimulatedStorage) -> SlotState:
    state = SlotState(storage)
    state.load()
    return state


def begin_trial(storage: SimulatedStorage, slot: int, number: int) -> None:
    made = release(number)
    put(storage, slot, made)
    state_of(storage).begin_trial(slot, made.manifest)


def reason_of(storage: SimulatedStorage, slot: int = SLOT_A, target: Target = TARGET, floor: int = 0) -> str:
    try:
        for _ in check_slot(storage, slot, modulus_of(signer(0)), target.hardware, target.code, floor):
            pass
    except ReleaseError as error:
        return error.reason
    return ""


def test_a_freshly_flashed_device_runs_what_it_was_given(storage: SimulatedStorage) -> None:
    made = release(7)
    put(storage, SLOT_A, made)
    assert boot(storage) == (SLOT_A, False, 7, made.manifest.release, "pico_w", TARGET.code)
    assert state_of(storage).active == SLOT_A


def test_a_device_without_a_whole_slot_runs_nothing_and_says_why(storage: SimulatedStorage) -> None:
    lines: list[str] = []
    assert boot(storage, lines) is None
    assert len(lines) == 2
    put(storage, SLOT_B, release(7))
    write(storage, "/b/lapel_device/part_1.mpy", b"")
    assert boot(storage, lines) is None
    assert "damaged" in lines[-1]


def test_a_slot_that_fails_falls_back_to_the_other_and_is_run_again_once_mended(
    storage: SimulatedStorage,
) -> None:
    put(storage, SLOT_A, release(7))
    boot(storage)
    put(storage, SLOT_B, release(6))
    path = "/a/lapel_device/version.mpy"
    write(storage, path, b"number 8" * 90)
    found = boot(storage)
    assert found is not None
    assert found[0] == SLOT_B
    write(storage, path, release(7).files["lapel_device/version.mpy"])
    found = boot(storage)
    assert found is not None
    assert found[0] == SLOT_A


def test_a_device_that_lost_its_state_runs_the_newer_of_two_whole_slots(storage: SimulatedStorage) -> None:
    put(storage, SLOT_A, release(7))
    put(storage, SLOT_B, release(9, floor=8))
    found = boot(storage)
    assert found is not None
    assert found[2] == 9
    assert state_of(storage).floor == 8


def test_a_board_with_a_rom_partition_runs_the_newest_and_keeps_to_it(storage: SimulatedStorage) -> None:
    put(storage, SLOT_A, release(7))
    made = release(8, floor=8)
    put(storage, SLOT_ROM, made)
    assert boot(storage) == (SLOT_ROM, False, 8, made.manifest.release, "pico_w", TARGET.code)
    assert (state_of(storage).active, state_of(storage).floor) == (SLOT_ROM, 8)
    put(storage, SLOT_B, release(9))
    found = boot(storage)
    assert found is not None
    assert found[:3] == (SLOT_ROM, False, 8)


def test_a_rom_partition_that_is_not_whole_is_not_run(storage: SimulatedStorage) -> None:
    put(storage, SLOT_ROM, release(8))
    boot(storage)
    write(storage, "/rom/lapel_device/version.mpy", b"number 9" * 90)
    lines: list[str] = []
    assert boot(storage, lines) is None
    assert lines[0].startswith("slots: /rom is not run: damaged")
    put(storage, SLOT_B, release(7))
    found = boot(storage)
    assert found is not None
    assert found[:3] == (SLOT_B, False, 7)


def test_a_trial_has_three_boots_and_is_rolled_back_after_them(storage: SimulatedStorage) -> None:
    put(storage, SLOT_A, release(7))
    boot(storage)
    begin_trial(storage, SLOT_B, 8)
    for left in reversed(range(TRIAL_BOOTS)):
        found = boot(storage)
        assert found is not None
        assert found[:3] == (SLOT_B, True, 8)
        assert state_of(storage).tries == left
    for _ in range(2):
        found = boot(storage)
        assert found is not None
        assert found[:3] == (SLOT_A, False, 7)
    state = state_of(storage)
    assert (state.outcome, state.release, state.number) == (TRIAL_ROLLED_BACK, release(8).manifest.release, 8)
    assert state.trial == NO_SLOT


def test_a_floor_stays_where_nothing_is_known_of_the_slots(storage: SimulatedStorage) -> None:
    put(storage, SLOT_B, release(9, floor=8))
    state = state_of(storage)
    state.floor = 9
    state.keep()

    assert boot(storage) is not None

    assert (state_of(storage).active, state_of(storage).floor) == (SLOT_B, 9)


def test_a_trial_that_was_found_good_stays_and_raises_the_floor(storage: SimulatedStorage) -> None:
    put(storage, SLOT_A, release(7))
    boot(storage)
    made = release(8, floor=8)
    put(storage, SLOT_B, made)
    state_of(storage).begin_trial(SLOT_B, made.manifest)
    boot(storage)
    state_of(storage).end_trial(TRIAL_GOOD, made.manifest.floor)
    for _ in range(TRIAL_BOOTS + 1):
        found = boot(storage)
        assert found is not None
        assert found[:3] == (SLOT_B, False, 8)
    write(storage, "/b/lapel_device/part_1.mpy", b"spoilt")
    assert boot(storage) is None
    assert reason_of(storage, SLOT_A, floor=8) == "below_floor"


def test_a_trial_that_is_not_whole_is_never_run(storage: SimulatedStorage) -> None:
    put(storage, SLOT_A, release(7))
    boot(storage)
    begin_trial(storage, SLOT_B, 8)
    storage.remove("/b/lapel_device/part_3.mpy")
    found = boot(storage)
    assert found is not None
    assert found[:2] == (SLOT_A, False)
    assert state_of(storage).outcome == TRIAL_DAMAGED


def test_state_that_cannot_be_read_is_not_written_over(
    storage: SimulatedStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(storage, SLOT_A, release(7))
    put(storage, SLOT_B, release(8, floor=0))
    state = state_of(storage)
    state.active, state.floor = SLOT_A, 7
    state.keep()

    def unreadable(_: SlotState) -> None:
        raise OSError(5)

    with monkeypatch.context() as patch:
        patch.setattr(SlotState, "load", unreadable)
        assert boot(storage, []) is not None
    after = state_of(storage)
    assert (after.active, after.floor) == (SLOT_A, 7)


def test_a_trial_whose_boot_cannot_be_counted_is_not_begun(storage: SimulatedStorage) -> None:
    put(storage, SLOT_A, release(7))
    boot(storage)
    begin_trial(storage, SLOT_B, 8)

    class ReadOnly:
        def __getattr__(self, name: str) -> object:
            return getattr(storage, name)

        def open(self, path: str, mode: str) -> object:
            if mode != "rb":
                raise OSError(30)
            return storage.open(path, mode)

    found = boot(ReadOnly())  # type: ignore[arg-type]
    assert found is not None
    assert found[:2] == (SLOT_A, False)


def test_a_trial_beside_a_fallback_is_rolled_back_to_the_fallback(storage: SimulatedStorage) -> None:
    put(storage, SLOT_A, release(7))
    boot(storage)
    put(storage, SLOT_B, release(6))
    storage.remove(manifest_path(SLOT_A))
    found = boot(storage)
    assert found is not None
    assert found[0] == SLOT_B
    begin_trial(storage, SLOT_A, 8)
    for _ in range(TRIAL_BOOTS):
        boot(storage)
    found = boot(storage)
    assert found is not None
    assert found[:3] == (SLOT_B, False, 6)


@pytest.mark.parametrize("path", sorted([*release(7).files, "manifest"]))
def test_any_change_of_any_file_of_a_slot_is_found(storage: SimulatedStorage, path: str) -> None:
    made = release(7)
    content = made.files.get(path, made.signed_manifest)
    full = f"{slot_folder(SLOT_A)}/{path}"
    for spoilt in (
        content[:-1],
        content + b"\0",
        b"",
        bytes([content[0] ^ 1]) + content[1:],
        content[:-1] + bytes([content[-1] ^ 0x80]),
    ):
        put(storage, SLOT_A, made)
        assert reason_of(storage) == ""
        write(storage, full, spoilt)
        assert reason_of(storage) in ("damaged", "malformed", "bad_signature")


@pytest.mark.parametrize("path", ["/a/os.py", "/a/lapel_device/uplink.py", "/a/lapel_device/sub/extra.mpy"])
def test_a_slot_with_a_file_that_its_manifest_does_not_name_is_not_run(storage: SimulatedStorage, path: str) -> None:
    put(storage, SLOT_A, release(7))
    assert reason_of(storage) == ""
    write(storage, path, b"print('not signed')")
    assert reason_of(storage) == "damaged"


def test_a_release_of_another_signer_is_refused(storage: SimulatedStorage) -> None:
    put(storage, SLOT_A, release(7, key=1))
    assert reason_of(storage) == "bad_signature"


def test_a_release_for_another_board_is_refused(storage: SimulatedStorage) -> None:
    put(storage, SLOT_A, release(7, target=Target("pico2_w", "armv6m", "board")))
    assert reason_of(storage) == "wrong_hardware"


def test_a_release_for_another_processor_is_refused(storage: SimulatedStorage) -> None:
    put(storage, SLOT_A, release(7, target=Target("pico_w", "armv7emsp", "board")))
    assert reason_of(storage) == "wrong_code"


def test_a_release_below_the_floor_is_refused(storage: SimulatedStorage) -> None:
    put(storage, SLOT_A, release(7))
    assert reason_of(storage, floor=7) == ""
    assert reason_of(storage, floor=8) == "below_floor"


def test_a_manifest_of_one_release_over_the_files_of_another_is_refused(storage: SimulatedStorage) -> None:
    put(storage, SLOT_A, release(7))
    write(storage, manifest_path(SLOT_A), release(8).signed_manifest)
    assert reason_of(storage) == "damaged"
