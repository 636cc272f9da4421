"""The I2S microphone driver on a model of the port and of a microphone."""

from machine import Pin

from lapel_device.boards.i2s_microphone import I2sMicrophone
from lapel_sim.machine_models.clock import clock
from lapel_sim.machine_models.i2s import MicrophonePart
from lapel_sim.machine_models.judging import fails_with, within_ms
from lapel_sim.machine_models.wiring import wiring

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

RATE = 16000


def ramp(number: int) -> int:
    """24-bit samples, told apart for two seconds, that a gain of four does not saturate."""
    return (number % 16000 - 8000) << 6


def microphone(sample: "Callable[[int], int]" = ramp, gain_bits: int = 2) -> "tuple[I2sMicrophone, MicrophonePart]":
    part = MicrophonePart(sample)
    wiring.parts["microphone"] = part
    frame_bytes = 8 if wiring.port == "rp2" else 4
    return I2sMicrophone(0, Pin(20), Pin(21), Pin(14), 16384, frame_bytes, gain_bits), part


def words(buffer: bytearray, size: int) -> "list[int]":
    values = []
    for at in range(0, size, 2):
        value = buffer[at] | buffer[at + 1] << 8
        values.append(value - 65536 if value & 0x8000 else value)
    return values


def a_reading_takes_what_is_there_and_never_waits() -> None:
    driver, _ = microphone()
    driver.start(RATE)
    buffer = bytearray(3200)
    assert within_ms(0, driver.readinto, buffer) == 0
    clock.advance(20_000)
    assert within_ms(0, driver.readinto, buffer) == 640
    assert words(buffer, 640) == [(number - 8000) // 1 for number in range(320)]
    clock.advance(100_000)
    assert within_ms(0, driver.readinto, buffer) == 3200
    assert words(buffer, 3200) == [number - 8000 for number in range(320, 1920)]
    assert driver.peak == 8000 - 320


def a_flash_erase_and_a_busy_loop_lose_no_sample() -> None:
    driver, part = microphone()
    driver.start(RATE)
    buffer = bytearray(3200)
    got: list[int] = []
    for gap_us in (20_000, 50_000, 100_000, 20_000, 120_000, 20_000, 20_000):
        clock.without_interrupts(gap_us)
        size = driver.readinto(buffer)
        got.extend(words(buffer, size))
    clock.advance(20_000)
    size = driver.readinto(buffer)
    got.extend(words(buffer, size))
    assert got == [number - 8000 for number in range(len(got))]
    assert len(got) == 370 * 16
    assert (driver.overruns, part.lost_frames) == (0, 0)


def a_loop_that_was_away_for_too_long_is_counted() -> None:
    driver, part = microphone()
    driver.start(RATE)
    driver.readinto(bytearray(64))
    clock.advance(200_000)
    driver.readinto(bytearray(3200))
    assert driver.overruns == 1
    assert part.lost_frames > 0


def a_sample_is_amplified_and_saturates() -> None:
    driver, _ = microphone(lambda number: (100, -100, 0x7FFFFF, -0x800000)[number % 4] << (0 if number % 4 > 1 else 8))
    driver.start(RATE)
    clock.advance(1000)
    buffer = bytearray(32)
    assert driver.readinto(buffer) == 32
    assert words(buffer, 8) == [400, -400, 32767, -32768]
    driver, _ = microphone(lambda number: 0x7FFFFF, 0)
    driver.start(RATE)
    clock.advance(1000)
    driver.readinto(buffer)
    assert words(buffer, 2) == [32767]


def a_microphone_that_says_nothing_is_seen_by_its_peak() -> None:
    driver, part = microphone()
    part.present = False
    driver.start(RATE)
    clock.advance(50_000)
    assert driver.readinto(bytearray(640)) == 640
    assert driver.peak == 0


def a_stopped_microphone_drops_what_was_not_read() -> None:
    driver, part = microphone()
    driver.stop()
    driver.start(RATE)
    clock.advance(50_000)
    driver.stop()
    assert not part.running
    assert driver.readinto(bytearray(640)) == 0
    driver.start(RATE)
    assert part.running
    clock.advance(10_000)
    assert driver.readinto(bytearray(640)) == 320
    driver.stop()
    driver.stop()


def a_buffer_of_any_even_size_is_filled() -> None:
    driver, _ = microphone()
    driver.start(RATE)
    clock.advance(60_000)
    seen: list[int] = []
    for size in (2, 6, 318, 320, 322, 640):
        buffer = bytearray(size)
        assert driver.readinto(buffer) == size
        seen.extend(words(buffer, size))
    assert seen == [number - 8000 for number in range(len(seen))]


def an_i2s_on_wrong_pins_is_an_error() -> None:
    wiring.parts["microphone"] = MicrophonePart(ramp)
    fails_with(None, I2sMicrophone(0, Pin(20), Pin(22), Pin(14), 16384, 8).start, RATE)


def an_esp32_keeps_one_channel_and_holds_out_twice_as_long() -> None:
    wiring.reset("esp32")
    driver, part = microphone()
    driver.start(RATE)
    clock.advance(250_000)
    buffer = bytearray(8000)
    assert driver.readinto(buffer) == 8000
    assert part.lost_frames == 0
    assert driver.overruns == 0
