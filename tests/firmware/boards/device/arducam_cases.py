"""The Arducam Mega driver on a model of the camera."""

from machine import SPI, Pin

from lapel_device.boards.arducam_mega import ArducamMega
from lapel_sim.chips.arducam_mega import ArducamMegaChip, default_frame
from lapel_sim.machine_models.clock import clock
from lapel_sim.machine_models.judging import fails_in_a_task, fails_with, finish, within_ms
from lapel_sim.machine_models.wiring import wiring

EIO, ENODEV, EINVAL, ETIMEDOUT = 5, 19, 22, 110


def camera_on_its_bus(chip: ArducamMegaChip, max_frame_bytes: int = 12288) -> ArducamMega:
    wiring.attach_spi(10, 11, 12, 13, chip)
    spi = SPI(1, baudrate=8_000_000, sck=Pin(10), mosi=Pin(11), miso=Pin(12))
    return ArducamMega(spi, Pin(13, Pin.OUT, value=1), max_frame_bytes)


def a_frame_arrives_whole_with_its_time_and_size() -> None:
    chip = ArducamMegaChip()
    camera = camera_on_its_bus(chip)
    within_ms(50, camera.start, 640, 480)
    for number in (1, 2, 3):
        asked_us = clock.now_us
        frame, ticks, width, height = finish(camera.capture())
        assert bytes(frame) == default_frame(number, 640, 480)
        assert (width, height) == (640, 480)
        exposed_us = ticks * 1000 - (clock.ticks_us - clock.now_us)
        assert asked_us - 1000 <= exposed_us <= clock.now_us - chip.capture_us, (asked_us, exposed_us, clock.now_us)
    assert camera.sensor == "3MP-2"
    assert camera.broken == 0


def a_frame_is_read_in_one_burst_and_never_holds_the_processor() -> None:
    chip = ArducamMegaChip()
    chip.frame = lambda number, width, height: b"\xff\xd8" + bytes(11_000)
    camera = camera_on_its_bus(chip)
    camera.start(320, 240)
    finish(camera.capture())
    bursts, before_us = chip.bursts, clock.now_us
    finish(camera.capture(), 50)
    assert chip.bursts == bursts + 1
    assert clock.now_us - before_us < chip.capture_us + 25_000, "an 11 kB frame takes 11 ms on the bus"


def a_large_frame_is_read_in_pieces() -> None:
    chip = ArducamMegaChip()
    whole = b"\xff\xd8" + bytes(at * 5 & 0xFF for at in range(69_998))
    chip.frame = lambda number, width, height: whole
    camera = camera_on_its_bus(chip, 80_000)
    camera.start(1280, 720)
    frame, _, _, _ = finish(camera.capture(), 50)
    assert bytes(frame) == whole
    assert chip.bursts == 3


def a_frame_larger_than_the_buffer_is_dropped_and_the_next_is_good() -> None:
    chip = ArducamMegaChip()
    chip.frame = lambda number, width, height: b"\xff\xd8" + bytes(12_287 if number == 1 else 12_286)
    camera = camera_on_its_bus(chip)
    camera.start(640, 480)
    assert len(finish(camera.capture())[0]) == 0
    assert len(finish(camera.capture())[0]) == 12_288


def a_camera_that_is_not_there_is_an_error_at_once() -> None:
    chip = ArducamMegaChip()
    chip.present = False
    camera = camera_on_its_bus(chip)
    fails_with(ENODEV, within_ms, 50, camera.start, 640, 480)
    camera.stop()


def a_size_that_it_has_not_is_an_error() -> None:
    fails_with(EINVAL, camera_on_its_bus(ArducamMegaChip()).start, 800, 600)


def a_strange_sensor_is_refused() -> None:
    camera = camera_on_its_bus(ArducamMegaChip(0x51))
    camera.start(640, 480)
    fails_in_a_task(ENODEV, camera.capture())


def a_sensor_that_hangs_is_given_up_after_a_second_and_works_after_a_restart() -> None:
    chip = ArducamMegaChip()
    camera = camera_on_its_bus(chip)
    camera.start(640, 480)
    finish(camera.capture())
    chip.never_done = True
    before_us = clock.now_us
    fails_in_a_task(ETIMEDOUT, camera.capture())
    assert 1_000_000 <= clock.now_us - before_us < 1_050_000
    camera.stop()
    chip.never_done = False
    chip.never_idle = True
    camera.start(640, 480)
    fails_in_a_task(ETIMEDOUT, camera.capture())
    chip.never_idle = False
    camera.stop()
    camera.start(640, 480)
    assert len(finish(camera.capture())[0]) > 1000


def a_camera_unplugged_within_a_recording_is_an_error() -> None:
    chip = ArducamMegaChip()
    camera = camera_on_its_bus(chip)
    camera.start(640, 480)
    finish(camera.capture())
    chip.present = False
    fails_in_a_task(None, camera.capture())
    chip.present = True
    chip.power_on()
    camera.stop()
    camera.start(640, 480)
    assert len(finish(camera.capture())[0]) > 1000


def a_frame_that_is_no_jpeg_is_an_error_and_counted() -> None:
    chip = ArducamMegaChip()
    chip.frame = lambda number, width, height: bytes(5000)
    camera = camera_on_its_bus(chip)
    camera.start(640, 480)
    fails_in_a_task(EIO, camera.capture())
    chip.empty = True
    fails_in_a_task(EIO, camera.capture())
    assert camera.broken == 2


def a_stopped_camera_sleeps() -> None:
    chip = ArducamMegaChip()
    camera = camera_on_its_bus(chip)
    camera.start(640, 480)
    finish(camera.capture())
    assert not chip.asleep
    camera.stop()
    assert chip.asleep
    camera.stop()


def a_second_chip_on_the_bus_is_not_disturbed() -> None:
    chip, other = ArducamMegaChip(), ArducamMegaChip()
    camera = camera_on_its_bus(chip)
    wiring.attach_spi(10, 11, 12, 9, other)
    Pin(9, Pin.OUT, value=1)
    camera.start(640, 480)
    finish(camera.capture())
    assert other.captures == 0
