"""Clock and watchdog on models of both ports."""

import time

from lapel_device.boards.machine_clock import MachineClock
from lapel_device.boards.machine_watchdog import MachineWatchdog
from lapel_sim.machine_models.clock import clock
from lapel_sim.machine_models.system import Reset
from lapel_sim.machine_models.wiring import wiring

UNIX_MS = 1_795_000_000_000  # in 2026


def a_clock_that_was_never_set_says_so_on_both_ports() -> None:
    for port in ("rp2", "esp32"):
        wiring.reset(port)
        assert MachineClock().rtc_ms() == 0


def a_clock_is_set_in_unix_time_whatever_the_epoch() -> None:
    for port, to_2000_s in (("rp2", 0), ("esp32", 946_684_800)):
        wiring.reset(port)
        board = MachineClock()
        board.set_rtc_ms(UNIX_MS + 999)
        assert UNIX_MS - 1000 < board.rtc_ms() <= UNIX_MS + 999
        clock.advance(3_600_000_000)
        assert UNIX_MS + 3_599_000 < board.rtc_ms() <= UNIX_MS + 3_601_000
        assert time.time() == (UNIX_MS + 3_600_000) // 1000 - to_2000_s, "what TLS sees is the port's own time"


def a_tick_counter_wraps_as_the_contract_says() -> None:
    board = MachineClock()
    before = board.ticks_ms()
    clock.advance(20_000_000)
    after = board.ticks_ms()
    assert before < 1 << 30
    assert after < before
    assert (after - before) & ((1 << 30) - 1) == 20_000


def a_watchdog_begins_with_the_first_feed_and_then_bites() -> None:
    chores: list[int] = []
    dog = MachineWatchdog(lambda: chores.append(clock.now_us))
    clock.advance(60_000_000)
    assert wiring.resets == 0
    for _ in range(10):
        dog.feed()
        clock.advance(8_000_000)
    assert len(chores) == 10
    try:
        clock.advance(1_000_000)
    except Reset:
        return
    raise AssertionError("the watchdog did not bite")
