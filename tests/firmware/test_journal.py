"""The event journal: durable before it says so, nothing forgotten without a receipt, bounded on the heap."""

import pytest

from lapel_device.journal import MAX_FILES, MAX_PENDING, Journal
from lapel_protocol.event import ALARM_RAISED, RECORDING_NOTE, Event, seal_event
from lapel_protocol.keys import EpochKeys

from .boardkit import MemoryStorage, PowerCut
from .clipkit import CHAIN_KEY, DEVICE

KEYS = EpochKeys(CHAIN_KEY)


def event(counter: int, boot: int = 1, kind: int = RECORDING_NOTE, size: int = 12) -> bytes:
    return seal_event(KEYS, Event(kind, DEVICE, boot, counter, 0, 0, 0, bytes(size)))


def opened(storage: MemoryStorage) -> Journal:
    journal = Journal(storage)
    journal.load()
    return journal


def names(journal: Journal) -> list[tuple[int, int]]:
    return [journal.describe(row)[1:] for row in range(journal.count)]


def records(journal: Journal) -> list[bytes]:
    buffer = memoryview(bytearray(2048))
    return [bytes(buffer[: journal.read(row, buffer)]) for row in range(journal.count)]


def drain(journal: Journal) -> list[tuple[int, int]]:
    seen = []
    while journal.count:
        _, boot, counter = journal.describe(0)
        seen.append((boot, counter))
        assert journal.receipt(boot, counter)
    return seen


def test_events_come_back_in_order_and_byte_for_byte_after_a_restart() -> None:
    storage = MemoryStorage()
    journal = opened(storage)
    written = [event(counter) for counter in range(1, 6)]
    assert all(journal.append(record) for record in written)
    assert records(journal) == written
    storage.power_cut()
    assert records(opened(storage)) == written


def test_what_is_a_drill_outlives_a_restart_and_a_spoilt_mark_ends_the_file() -> None:
    storage = MemoryStorage()
    journal = opened(storage)
    for counter in range(1, 4):
        assert journal.append(event(counter, kind=ALARM_RAISED), counter == 2)
    storage.power_cut()
    again = opened(storage)
    assert [again.is_drill(row) for row in range(again.count)] == [False, True, False]
    (path,) = (path for path in storage.files if path.endswith(".log"))
    assert storage.files[path][1] == 0
    storage.files[path][1] = 1
    storage.durable[path] = bytes(storage.files[path])
    assert names(opened(storage)) == [], "an alarm that is real must never be taken for a drill"


@pytest.mark.parametrize("cut_at", range(24))
def test_a_power_cut_at_any_storage_operation_loses_no_event_that_was_confirmed(cut_at: int) -> None:
    for seed in range(8):
        storage = MemoryStorage(seed=seed)
        journal = opened(storage)
        storage.cut_at = cut_at
        confirmed = []
        receipted = []
        try:
            for counter in range(1, 7):
                assert journal.append(event(counter))
                confirmed += [(1, counter)]
            journal.receipt(1, 1)
            receipted.append((1, 1))
        except PowerCut:
            storage.power_cut()
        storage.cut_at = -1
        journal = opened(storage)
        found = names(journal)
        assert set(found) >= set(confirmed) - set(receipted)
        assert found == sorted(found)
        assert journal.append(event(1, boot=2))
        again = names(opened(storage))
        assert again == [*found, (2, 1)]


def test_an_event_is_forgotten_only_when_it_is_receipted_and_its_file_goes_with_the_last_one() -> None:
    storage = MemoryStorage()
    journal = opened(storage)
    for counter in range(1, 4):
        journal.append(event(counter))
    assert not journal.receipt(1, 9)
    assert journal.receipt(1, 2)
    assert names(journal) == [(1, 1), (1, 3)]
    assert len(storage.files) == 1
    journal.receipt(1, 1)
    journal.receipt(1, 3)
    assert storage.files == {}
    assert journal.append(event(4))
    assert names(opened(storage)) == [(1, 4)]


def test_the_last_receipt_of_an_earlier_boot_deletes_its_file() -> None:
    storage = MemoryStorage()
    opened(storage).append(event(1))
    journal = opened(storage)
    assert drain(journal) == [(1, 1)]
    assert storage.files == {}


def test_hundreds_of_events_pass_through_a_bounded_window_in_order() -> None:
    storage = MemoryStorage()
    journal = opened(storage)
    expected = []
    for counter in range(1, 301):
        assert journal.append(event(counter))
        expected.append((1, counter))
        assert journal.count <= MAX_PENDING
    assert drain(journal) == expected
    assert storage.files == {}


def test_events_written_while_the_window_is_full_are_found_after_a_restart_too() -> None:
    storage = MemoryStorage()
    journal = opened(storage)
    for counter in range(1, 121):
        journal.append(event(counter))
    journal = opened(storage)
    for counter in range(1, 51):
        journal.append(event(counter, boot=2))
    assert drain(journal) == [(1, c) for c in range(1, 121)] + [(2, c) for c in range(1, 51)]


def test_receipts_out_of_order_lose_nothing() -> None:
    storage = MemoryStorage()
    journal = opened(storage)
    for counter in range(1, 200):
        journal.append(event(counter))
    seen = set()
    while journal.count:
        _, boot, counter = journal.describe(journal.count - 1)
        seen.add(counter)
        journal.receipt(boot, counter)
    assert seen == set(range(1, 200))
    assert storage.files == {}


def test_marks_of_what_was_sent_follow_the_rows_and_alarms_do_not_count() -> None:
    journal = opened(MemoryStorage())
    journal.append(event(1))
    journal.append(event(2, kind=ALARM_RAISED))
    journal.append(event(3))
    for expected in (0, 1, 2):
        assert journal.next_unsent() == expected
        journal.mark_sent(expected)
    assert journal.next_unsent() == -1
    assert journal.outstanding == 2
    journal.receipt(1, 1)
    assert journal.outstanding == 1
    assert journal.next_unsent() == -1
    journal.mark_unsent()
    assert (journal.next_unsent(), journal.outstanding) == (0, 0)


def test_a_spoilt_entry_ends_its_file_and_the_next_file_is_still_read() -> None:
    storage = MemoryStorage()
    opened(storage).append(event(1))
    opened(storage).append(event(1, boot=2))
    path = min(storage.files)
    storage.files[path][30] ^= 1
    storage.durable[path] = bytes(storage.files[path])
    assert names(opened(storage)) == [(2, 1)]


def test_storage_that_fails_is_reported_and_the_next_event_starts_a_new_file() -> None:
    storage = MemoryStorage()
    journal = opened(storage)
    assert journal.append(event(1))
    storage.failing = True
    assert not journal.append(event(2))
    storage.failing = False
    assert journal.append(event(3))
    assert names(journal) == [(1, 1), (1, 3)]
    assert names(opened(storage)) == [(1, 1), (1, 3)]


@pytest.mark.parametrize("after", range(4))
def test_an_event_that_storage_took_in_part_spoils_no_later_one(after: int) -> None:
    storage = MemoryStorage()
    journal = opened(storage)
    assert journal.append(event(1))
    storage.fail_at = storage.operations + after
    kept = [1] + [counter for counter in (2, 3) if journal.append(event(counter))]
    assert kept in ([1, 3], [1, 2, 3])
    assert set(names(opened(storage))) >= {(1, counter) for counter in kept}


def test_a_journal_that_is_full_refuses_instead_of_forgetting() -> None:
    storage = MemoryStorage()
    journal = opened(storage)
    counter = 1
    while journal.append(event(counter, size=1024)):
        counter += 1
    assert len(storage.files) == MAX_FILES
    assert drain(journal) == [(1, c) for c in range(1, counter)]
