"""A record kept twice: whatever was being written when the power went, one whole copy is there."""

import pytest

from lapel_device.twofold import TwofoldFile

from .boardkit import MemoryStorage, PowerCut
from .desk import spoil


def kept(storage: MemoryStorage) -> bytes:
    return TwofoldFile(storage, "/record.").read()


def test_a_record_outlives_a_restart_and_is_gone_when_it_is_removed() -> None:
    storage = MemoryStorage()
    assert kept(storage) == b""
    file = TwofoldFile(storage, "/record.")
    file.write(b"first")
    file.write(b"second")
    storage.power_cut()
    assert kept(storage) == b"second"
    file.remove()
    assert kept(storage) == b""


@pytest.mark.parametrize("first", range(8))
@pytest.mark.parametrize("second", range(8))
def test_two_power_cuts_in_a_row_leave_what_was_kept_or_what_was_being_kept(first: int, second: int) -> None:
    for seed in range(10):
        storage = MemoryStorage(seed=seed)
        TwofoldFile(storage, "/record.").write(b"0")
        may_be = [b"0"]
        for cut_at, record in ((first, b"1"), (second, b"2"), (-1, b"3")):
            storage.operations = 0
            storage.cut_at = cut_at
            file = TwofoldFile(storage, "/record.")
            assert file.read() in may_be
            may_be = [file.read(), record]
            try:
                file.write(record)
                may_be = [record]
            except PowerCut:
                storage.power_cut()
        assert kept(storage) == b"3"


def test_a_write_that_failed_is_repeated_over_the_copy_that_is_not_whole() -> None:
    for first in range(1, 6):
        for second in range(6):
            storage = MemoryStorage(seed=first)
            file = TwofoldFile(storage, "/record.")
            file.write(b"old")
            storage.operations = 0
            storage.fail_at = first
            with pytest.raises(OSError, match="5"):
                file.write(b"new")
            storage.fail_at = -1
            storage.operations = 0
            storage.cut_at = second
            with pytest.raises(PowerCut):
                file.write(b"newest")
            storage.power_cut()
            assert kept(storage) in (b"old", b"new", b"newest")


def test_storage_that_fails_for_both_copies_is_no_empty_record() -> None:
    storage = MemoryStorage()
    TwofoldFile(storage, "/record.").write(b"record")
    storage.failing = True
    with pytest.raises(OSError, match="5"):
        kept(storage)


def test_two_spoilt_copies_are_no_record() -> None:
    storage = MemoryStorage()
    TwofoldFile(storage, "/record.").write(b"record")
    for path in ("/record.0", "/record.1"):
        spoil(storage, path, 2)
    assert kept(storage) == b""
