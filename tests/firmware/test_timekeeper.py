"""Wall time, its trust, and what a cold start may believe."""

from lapel_device.timekeeper import STORE_INTERVAL_MS, Timekeeper
from lapel_protocol.clip import TRUST_GATEWAY, TRUST_NONE, TRUST_NTP, TRUST_RTC

from .boardkit import MemoryClock, MemoryStorage

BUILD_MS = 1_790_000_000_000
DAY_MS = 86_400_000


def booted(clock: MemoryClock, storage: MemoryStorage, now_ms: int = 500) -> Timekeeper:
    time = Timekeeper(clock, storage, BUILD_MS)
    time.boot(now_ms)
    return time


def test_a_cold_start_sets_the_clock_to_the_build_time_and_trusts_it_not() -> None:
    clock = MemoryClock()
    time = booted(clock, MemoryStorage())
    assert clock.rtc == BUILD_MS
    assert time.wall(1500) == (BUILD_MS + 1000, TRUST_NONE)


def test_a_clock_that_kept_running_is_used_and_marked() -> None:
    clock = MemoryClock()
    clock.rtc = BUILD_MS + DAY_MS
    time = booted(clock, MemoryStorage())
    assert time.wall(600) == (BUILD_MS + DAY_MS + 100, TRUST_RTC)


def test_a_clock_from_beyond_the_century_is_not_believed() -> None:
    clock = MemoryClock()
    clock.rtc = 1 << 43
    assert booted(clock, MemoryStorage()).trust == TRUST_NONE


def test_the_gateways_time_is_taken_sets_the_clock_and_outlives_a_cold_start() -> None:
    storage = MemoryStorage()
    time = booted(MemoryClock(), storage)
    assert time.adopt(BUILD_MS + 5 * DAY_MS, 1000)
    assert time.wall(1250) == (BUILD_MS + 5 * DAY_MS + 250, TRUST_GATEWAY)
    time.poll(1000)
    cold = MemoryClock()
    assert booted(cold, storage).wall(500) == (BUILD_MS + 5 * DAY_MS, TRUST_NONE)
    assert cold.rtc == BUILD_MS + 5 * DAY_MS


def test_time_before_the_build_or_beyond_the_century_is_refused() -> None:
    time = booted(MemoryClock(), MemoryStorage())
    assert not time.adopt(BUILD_MS - 1, 1000)
    assert not time.adopt(5_000_000_000_000, 1000)
    assert time.trust == TRUST_NONE


def test_unauthenticated_time_never_overrides_the_gateways() -> None:
    time = booted(MemoryClock(), MemoryStorage())
    assert time.adopt(BUILD_MS + DAY_MS, 1000, TRUST_NTP)
    assert time.trust == TRUST_NTP
    assert time.adopt(BUILD_MS + 2 * DAY_MS, 1000)
    assert not time.adopt(BUILD_MS + 9 * DAY_MS, 1000, TRUST_NTP)
    assert time.wall(1000) == (BUILD_MS + 2 * DAY_MS, TRUST_GATEWAY)


def test_time_is_stored_once_an_hour_alternately_and_a_torn_file_costs_only_the_newest() -> None:
    storage = MemoryStorage()
    time = booted(MemoryClock(), storage)
    time.adopt(BUILD_MS + DAY_MS, 1000)
    for now_ms in range(1000, 1000 + 3 * STORE_INTERVAL_MS, 60_000):
        time.poll(now_ms)
    assert sorted(storage.files) == ["/time.0", "/time.1"]
    assert len(storage.trace) == 3 * 3  # open, write, close
    newest = max(storage.files, key=lambda path: bytes(storage.files[path]))
    storage.files[newest][5] ^= 1
    storage.durable[newest] = bytes(storage.files[newest])
    wall, _ = booted(MemoryClock(), storage).wall(500)
    assert wall == BUILD_MS + DAY_MS + STORE_INTERVAL_MS


def test_storage_that_fails_does_not_disturb_the_clock() -> None:
    storage = MemoryStorage()
    storage.failing = True
    time = booted(MemoryClock(), storage)
    time.adopt(BUILD_MS + DAY_MS, 1000)
    time.poll(2000)
    assert time.wall(2000) == (BUILD_MS + DAY_MS + 1000, TRUST_GATEWAY)
