"""The LIS3DH driver against a register-level model of the chip, on a bus that can fail."""

from __future__ import annotations

import errno
import math
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lapel_device.boards.lis3dh import ADDRESS, BURST, Lis3dh
from lapel_device.boards.lis3dh_self_test import passed, self_test
from lapel_sim.chips.i2c import I2CBus
from lapel_sim.chips.lis3dh import Lis3dhChip, WrongRegister

if TYPE_CHECKING:
    import machine

    from lapel_device.boards.contract import Accelerometer
    from lapel_sim.chips.lis3dh import Reading, Source


class Bench:
    """A chip on a bus, in simulated time; it feels `force`, or what a test puts in its place."""

    def __init__(self, identity: int = 0x33) -> None:
        self.now_us = 0
        self.force: Reading = (0, 0, 1000)
        self.source: Source = lambda _at_us: self.force
        self.bus = I2CBus()
        self.chip = Lis3dhChip(lambda: self.now_us, lambda at_us: self.source(at_us), identity)
        self.bus.attach(ADDRESS, self.chip)

    def wait_ms(self, ms: int) -> None:
        self.now_us += ms * 1000

    def started(self, rate_hz: int = 50, scale_g: int = 8) -> Lis3dh:
        """A driver that has its settling burst behind it."""
        driver = Lis3dh(self.bus, rate_hz=rate_hz, scale_g=scale_g)
        driver.start()
        self.wait_ms(BURST * driver.interval_ms)
        assert driver.read() == 0
        return driver

    def registers(self, *addresses: int) -> list[int]:
        found = bytearray(1)
        values = []
        for address in addresses:
            self.bus.readfrom_mem_into(ADDRESS, address, found)
            values.append(found[0])
        return values


def bursts(driver: Lis3dh) -> list[Reading]:
    """Every sample that is there now."""
    found: list[Reading] = []
    while count := driver.read():
        x = driver.samples
        found += [(x[3 * at], x[3 * at + 1], x[3 * at + 2]) for at in range(count)]
    return found


def test_start_sets_rate_scale_resolution_and_fifo_whatever_was_there_before() -> None:
    bench = Bench()
    for register in (0x20, 0x21, 0x22, 0x23, 0x24, 0x2E):
        bench.bus.writeto_mem(ADDRESS, register, b"\x5f")
    Lis3dh(bench.bus).start()
    # 50 Hz on three axes; no filter, no interrupt; block update, +-8 g, high resolution; FIFO; stream, more than 7.
    assert bench.registers(0x20, 0x21, 0x22, 0x23, 0x24, 0x2E) == [0x47, 0, 0, 0xA8, 0x40, 0x87]


@pytest.mark.parametrize(("scale_g", "mg"), [(2, 1), (4, 2), (8, 4), (16, 12)])
@pytest.mark.parametrize("force", [(0, 0, 1000), (-1000, 500, 3), (-1, 1999, -2000), (12000, -12000, 7)])
def test_readings_are_milligravities_at_every_scale_and_saturate(scale_g: int, mg: int, force: Reading) -> None:
    bench = Bench()
    bench.force = force
    driver = bench.started(scale_g=scale_g)
    bench.wait_ms(160)
    samples = bursts(driver)
    assert len(samples) == BURST
    highest, lowest = 2047 * mg, -2048 * mg
    for felt, read in zip(force, samples[0], strict=True):
        assert abs(read - max(lowest, min(highest, felt))) <= mg / 2
    assert set(samples) == {samples[0]}


@pytest.mark.parametrize("rate_hz", [1, 10, 25, 50, 100, 200])
def test_every_sample_comes_once_and_in_order_at_every_rate(rate_hz: int) -> None:
    bench = Bench()
    period_us = 1_000_000 // rate_hz
    bench.source = lambda at_us: (at_us // period_us * 4, 0, 0)
    driver = bench.started(rate_hz)
    seen: list[Reading] = []
    for _ in range(20):
        bench.wait_ms(driver.interval_ms * 11)
        seen += bursts(driver)
    numbers = [x // 4 for x, _, _ in seen]
    assert numbers == list(range(9, 9 + len(numbers)))
    assert len(numbers) >= 216
    assert driver.overruns == 0


def test_a_visit_asks_the_bus_once_until_a_burst_is_there_and_then_takes_it_in_one_transfer() -> None:
    bench = Bench()
    driver = bench.started()
    before = bench.bus.transfers
    for _ in range(7):
        bench.wait_ms(20)
        assert driver.read() == 0
    assert bench.bus.transfers - before == 7
    bench.wait_ms(20)
    before, moved = bench.bus.transfers, bench.bus.bytes_moved
    assert driver.read() == BURST
    assert (bench.bus.transfers - before, bench.bus.bytes_moved - moved) == (2, 1 + 6 * BURST)


def test_samples_that_wait_behind_a_burst_are_counted_so_that_its_time_is_known() -> None:
    bench = Bench()
    driver = bench.started()
    bench.wait_ms(20 * 21)
    assert [driver.read(), driver.behind] == [BURST, 13]
    assert [driver.read(), driver.behind] == [BURST, 5]
    assert driver.read() == 0


def test_the_first_samples_after_power_up_are_not_believed() -> None:
    bench = Bench()
    driver = Lis3dh(bench.bus)
    for _ in range(2):
        driver.start()
        seen = []
        for _ in range(30):
            bench.wait_ms(20)
            seen += bursts(driver)
        assert set(seen) == {(0, 0, 1000)}


def test_a_late_visit_finds_the_latest_samples_and_says_that_some_are_missing() -> None:
    bench = Bench()
    bench.source = lambda at_us: (at_us // 20_000 % 1000, 0, 0)
    driver = bench.started(scale_g=2)
    bench.wait_ms(20 * 100)
    numbers = [x for x, _, _ in bursts(driver)]
    assert numbers == list(range(77, 109))
    assert driver.overruns == 1
    bench.wait_ms(20 * 8)
    assert [x for x, _, _ in bursts(driver)] == list(range(109, 117))
    assert driver.overruns == 1


def test_a_stopped_chip_collects_nothing_and_can_be_started_again() -> None:
    bench = Bench()
    driver = bench.started()
    driver.stop()
    driver.stop()
    bench.wait_ms(10_000)
    assert driver.read() == 0
    driver.start()
    bench.wait_ms(400)
    assert driver.read() == 0
    assert len(bursts(driver)) == BURST


def test_an_absent_chip_and_another_chip_are_errors() -> None:
    with pytest.raises(OSError, match="nobody acknowledges") as found:
        Lis3dh(I2CBus()).start()
    assert found.value.errno == errno.EIO
    with pytest.raises(OSError, match=str(errno.ENODEV)):
        Lis3dh(Bench(identity=0x32).bus).start()


def test_a_chip_that_does_not_keep_what_it_is_told_is_an_error() -> None:
    bench = Bench()
    keep = bench.chip.write
    bench.chip.write = lambda register, data: None if register == 0x23 else keep(register, data)  # type: ignore[method-assign]
    with pytest.raises(OSError, match=str(errno.EIO)):
        Lis3dh(bench.bus).start()


def read_on(bench: Bench, driver: Lis3dh) -> None:
    """Start, and read until something fails."""
    driver.start()
    while True:
        bench.wait_ms(100)
        assert set(bursts(driver)) <= {(0, 0, 1000)}


@given(st.lists(st.integers(0, 40), max_size=8))
def test_whatever_transfer_fails_it_is_an_error_and_a_new_start_reads_true_again(failing: list[int]) -> None:
    bench = Bench()
    driver = Lis3dh(bench.bus)
    for after in failing:
        bench.bus.fail(errno.ETIMEDOUT, 1, after)
        with pytest.raises(OSError, match="does not work"):
            read_on(bench, driver)
    driver.start()
    seen = []
    for _ in range(10):
        bench.wait_ms(100)
        seen += bursts(driver)
    assert len(seen) >= 32
    assert set(seen) == {(0, 0, 1000)}


def test_a_fault_in_the_middle_of_a_burst_leaves_the_last_one_as_it_was() -> None:
    bench = Bench()
    driver = bench.started()
    bench.wait_ms(160)
    driver.read()
    before = list(driver.samples)
    bench.force = (500, 500, 500)
    bench.wait_ms(160)
    read = bench.bus.readfrom_mem_into

    def torn(addr: int, memaddr: int, buf: bytearray | memoryview) -> None:
        if len(buf) > 1:
            raise OSError(errno.ETIMEDOUT, "torn")
        read(addr, memaddr, buf)

    bench.bus.readfrom_mem_into = torn  # type: ignore[method-assign]
    with pytest.raises(OSError, match="torn"):
        driver.read()
    assert list(driver.samples) == before


def test_the_self_test_passes_a_sound_chip_in_any_position_and_leaves_it_off() -> None:
    for degrees in range(0, 360, 30):
        bench = Bench()
        bench.force = (round(1000 * math.sin(math.radians(degrees))), round(1000 * math.cos(math.radians(degrees))), 0)
        assert passed(self_test(bench.bus, bench.wait_ms))
        assert bench.registers(0x20, 0x23) == [0, 0]


@pytest.mark.parametrize("force_mg", [0, 60, 1500])
def test_the_self_test_fails_a_mass_that_does_not_move_as_it_should(force_mg: int) -> None:
    bench = Bench()
    bench.chip.self_test_mg = force_mg
    assert not passed(self_test(bench.bus, bench.wait_ms))


def test_a_self_test_that_is_cut_short_leaves_the_chip_off() -> None:
    bench = Bench()
    waits = iter(range(12))

    def interrupted(ms: int) -> None:
        bench.wait_ms(ms)
        if next(waits) == 11:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        self_test(bench.bus, interrupted)
    assert bench.registers(0x20, 0x23) == [0, 0]


def test_wrong_rates_and_scales_are_refused() -> None:
    for rate_hz, scale_g in ((400, 8), (0, 8), (50, 3)):
        with pytest.raises(ValueError, match="rate or scale"):
            Lis3dh(I2CBus(), rate_hz=rate_hz, scale_g=scale_g)


def test_the_model_forbids_what_the_datasheet_forbids_and_wraps_only_over_the_outputs() -> None:
    bench = Bench()
    with pytest.raises(WrongRegister):
        bench.bus.writeto_mem(ADDRESS, 0x10, b"\0")
    bench.bus.writeto_mem(ADDRESS, 0x0F, b"\x55")
    assert bench.registers(0x0F, 0x1E, 0x20, 0x2F) == [0x33, 0x10, 0x07, 0x20]
    several = bytearray(3)
    bench.bus.readfrom_mem_into(ADDRESS, 0x1E, several)
    assert several == b"\x10\x10\x10"
    bench.bus.readfrom_mem_into(ADDRESS, 0x80 | 0x1E, several)
    assert several == b"\x10\x00\x07"


if TYPE_CHECKING:

    def drives_the_hardware_by_its_own_types(bus: machine.I2C) -> Accelerometer:
        return Lis3dh(bus)
