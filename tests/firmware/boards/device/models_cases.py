"""The models themselves: what hardware would not forgive is not forgiven here."""

import time

import machine
import neopixel
from machine import ADC, I2C, PWM, SPI, UART, Pin

from lapel_sim.chips.arducam_mega import ArducamMegaChip
from lapel_sim.chips.sdcard import SdCardChip
from lapel_sim.machine_models.clock import clock
from lapel_sim.machine_models.faults import Misuse
from lapel_sim.machine_models.flash import NorFlash
from lapel_sim.machine_models.judging import fails_with
from lapel_sim.machine_models.wiring import wiring

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable


def misuses(action: "Callable[..., object]", *arguments: object, **options: object) -> None:
    try:
        action(*arguments, **options)
    except Misuse:
        return
    raise AssertionError("it was let pass")


def refuses(kind: "type[Exception]", action: "Callable[..., object]", *arguments: object, **options: object) -> None:
    try:
        action(*arguments, **options)
    except kind:
        return
    raise AssertionError("it was let pass")


def camera_bus(baudrate: int = 8_000_000, polarity: int = 0) -> "tuple[SPI, Pin, ArducamMegaChip]":
    chip = ArducamMegaChip()
    wiring.attach_spi(10, 11, 12, 13, chip)
    spi = SPI(1, baudrate=baudrate, polarity=polarity, sck=Pin(10), mosi=Pin(11), miso=Pin(12))
    return spi, Pin(13, Pin.OUT, value=1), chip


def a_clock_that_is_too_fast_or_of_the_wrong_mode_is_misuse() -> None:
    for baudrate, polarity in ((20_000_000, 0), (8_000_000, 1)):
        wiring.reset("rp2")
        spi, cs, _ = camera_bus(baudrate, polarity)
        cs.value(0)
        misuses(spi.write, b"\x40")


def a_chip_select_left_low_is_misuse_when_the_next_chip_is_spoken_to() -> None:
    spi, cs, _ = camera_bus()
    other = ArducamMegaChip()
    wiring.attach_spi(10, 11, 12, 9, other)
    second = Pin(9, Pin.OUT, value=1)
    cs.value(0)
    second.value(0)
    misuses(spi.write, b"\x40")


def a_command_cut_short_or_a_missing_dummy_byte_is_misuse() -> None:
    spi, cs, _ = camera_bus()
    clock.advance(1_000_000)
    cs.value(0)
    spi.write(b"\x40\x00")  # without the byte of nothing, the value was never read
    misuses(cs.value, 1)
    cs.value(0)
    misuses(spi.write, b"\x80\x55\x66")


def a_register_that_is_written_while_the_sensor_is_busy_is_misuse() -> None:
    spi, cs, _ = camera_bus()
    cs.value(0)
    misuses(spi.write, b"\xa0\x01")


def a_card_is_not_spoken_to_fast_before_it_is_ready_or_while_it_writes() -> None:
    chip = SdCardChip(1024)
    wiring.attach_spi(18, 19, 16, 17, chip)
    spi = SPI(0, baudrate=400_000, sck=Pin(18), mosi=Pin(19), miso=Pin(16))
    cs = Pin(17, Pin.OUT, value=1)
    spi.write(b"\xff" * 10)
    spi.init(baudrate=1_000_000)
    cs.value(0)
    misuses(spi.write, b"\x40\0\0\0\0\x95")
    spi.init(baudrate=400_000)
    spi.write(b"\xff\x40\0\0\0\0\x95\xff\xff\xff")
    misuses(spi.write, b"\x13")


def a_card_that_was_given_too_few_clocks_does_not_hear() -> None:
    chip = SdCardChip(1024)
    wiring.attach_spi(18, 19, 16, 17, chip)
    spi = SPI(0, baudrate=400_000, sck=Pin(18), mosi=Pin(19), miso=Pin(16))
    cs = Pin(17, Pin.OUT, value=1)
    spi.write(b"\xff" * 9)
    cs.value(0)
    spi.write(b"\x40\0\0\0\0\x95")
    assert spi.read(4, 0xFF) == b"\xff\xff\xff\xff"  # type: ignore[attr-defined]


def a_pin_that_cannot_do_it_is_an_error_and_one_of_the_radio_misuse() -> None:
    refuses(ValueError, SPI, 0, sck=Pin(10), mosi=Pin(19), miso=Pin(16))
    refuses(ValueError, UART, 0, tx=Pin(8), rx=Pin(1))
    refuses(ValueError, I2C, 0, sda=Pin(6), scl=Pin(7))
    refuses(ValueError, ADC, Pin(2))
    refuses(ValueError, Pin, 30)
    misuses(Pin, 23)
    wiring.reset("esp32")
    misuses(ADC, Pin(15))
    misuses(Pin, 36)
    refuses(ValueError, Pin, 25)


def an_input_that_is_written_is_misuse() -> None:
    misuses(Pin(5, Pin.IN).value, 1)


def a_slice_has_one_frequency() -> None:
    PWM(Pin(14), freq=1000, duty_u16=100)
    misuses(PWM, Pin(15), freq=2000, duty_u16=100)
    PWM(Pin(16), freq=2000, duty_u16=100)
    wiring.reset("esp32")
    for number in range(4):
        PWM(Pin(4 + number), freq=1000 + number, duty_u16=100)
    misuses(PWM, Pin(9), freq=5000, duty_u16=100)


def a_page_is_programmed_whole_and_stays_in_the_flash() -> None:
    flash = NorFlash(2)
    misuses(flash.writeblocks, 0, bytes(4), 0)
    misuses(flash.writeblocks, 0, bytes(256), 8)
    misuses(flash.writeblocks, 2, bytes(256), 0)
    flash.writeblocks(0, b"\x0f" * 256, 256)
    flash.writeblocks(0, b"\xf1" * 256, 256)
    assert flash.content[256] == 0x01
    flash.writeblocks(0, b"\xaa" * 4096)
    assert flash.content[0] == 0xAA


def an_interrupt_waits_for_the_end_of_a_flash_erase() -> None:
    seen: list[int] = []
    pin = Pin(3, Pin.IN, Pin.PULL_UP)
    pin.irq(lambda line: seen.append(clock.now_us), Pin.IRQ_FALLING, hard=True)
    clock.at(10_000, lambda: wiring.drive(3, 0))
    clock.at(20_000, lambda: wiring.drive(3, None))
    clock.without_interrupts(45_000)
    assert seen == [45_000]


def a_neopixel_and_a_bitstream_have_the_times_of_a_ws2812() -> None:
    chain = neopixel.NeoPixel(Pin(6), 1)
    chain[0] = (1, 2, 3)
    chain.write()
    assert wiring.line(6).pixels == b"\x02\x01\x03"
    misuses(machine.bitstream, Pin(6, Pin.OUT), 0, (400, 850, 400, 850), b"\0\0\0")


def a_bus_with_nothing_on_it_acknowledges_nothing() -> None:
    bus = I2C(0, sda=Pin(4), scl=Pin(5))
    fails_with(5, bus.readfrom_mem_into, 0x18, 0x0F, bytearray(1))


def a_sleep_costs_the_test_nothing_and_is_exact() -> None:
    before = time.ticks_ms()  # type: ignore[attr-defined,unused-ignore]
    time.sleep_ms(90_000)  # type: ignore[attr-defined,unused-ignore]
    assert time.ticks_diff(time.ticks_ms(), before) == 90_000  # type: ignore[attr-defined,unused-ignore]


def a_fault_that_no_part_of_the_board_can_have_is_misuse() -> None:
    from lapel_device.boards import fob_pico_w
    from lapel_sim.machine_models.bench import Bench

    bench = Bench(fob_pico_w.BOARD, fob_pico_w.PINS)
    bench.set({"cell_mv": 3300, "point": {"up": False}, "flash": {"broken": True}})
    assert (bench.cell_mv, bench.point.up, bench.flash.broken) == (3300, False, True)
    misuses(bench.set, {"card": {"present": False}})
    misuses(bench.set, {"point": {"upp": False}})
