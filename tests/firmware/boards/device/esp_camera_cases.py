"""The ESP32 camera driver on a model of the camera module."""

from lapel_device.boards.esp_camera import EspCamera
from lapel_sim.chips.arducam_mega import default_frame
from lapel_sim.machine_models.clock import clock
from lapel_sim.machine_models.esp_camera import SensorPart
from lapel_sim.machine_models.judging import fails_in_a_task, fails_with, finish, within_ms
from lapel_sim.machine_models.wiring import wiring

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

EIO, ENODEV, EINVAL, ETIMEDOUT = 5, 19, 22, 110
PINS: "dict[str, Any]" = {
    "data_pins": [11, 9, 8, 10, 12, 18, 17, 16],
    "pclk_pin": 13,
    "vsync_pin": 6,
    "href_pin": 7,
    "sda_pin": 4,
    "scl_pin": 5,
    "xclk_pin": 15,
}


def camera(max_frame_bytes: int = 16384) -> "tuple[EspCamera, SensorPart]":
    wiring.reset("esp32")
    part = SensorPart()
    wiring.parts["sensor"] = part
    return EspCamera(PINS, max_frame_bytes), part


def a_frame_arrives_with_its_time_and_size() -> None:
    driver, part = camera()
    within_ms(50, driver.start, 640, 480)
    assert driver.sensor == "OV2640"
    for number in range(1, 5):
        before_us = clock.now_us
        frame, ticks, width, height = finish(driver.capture(), 10)
        assert bytes(frame) == default_frame(number, 640, 480)
        assert (width, height) == (640, 480)
        captured_us = ticks * 1000 - (clock.ticks_us - clock.now_us)
        assert before_us <= captured_us + 1000
        assert clock.now_us - before_us <= part.period_us + 15_000


def a_frame_larger_than_the_limit_is_dropped() -> None:
    driver, part = camera(5000)
    part.frame = lambda number, width, height: b"\xff\xd8" + bytes(4999 if number == 1 else 4998)
    driver.start(320, 240)
    assert len(finish(driver.capture())[0]) == 0
    assert len(finish(driver.capture())[0]) == 5000


def a_camera_without_a_sensor_is_an_error_and_can_be_tried_again() -> None:
    driver, part = camera()
    part.present = False
    fails_with(ENODEV, driver.start, 640, 480)
    fails_in_a_task(ENODEV, driver.capture())
    driver.stop()
    part.present = True
    driver.start(640, 480)
    assert len(finish(driver.capture())[0]) > 1000


def a_sensor_that_hangs_is_given_up_after_a_second() -> None:
    driver, part = camera()
    driver.start(640, 480)
    finish(driver.capture())
    part.hangs = True
    before_us = clock.now_us
    fails_in_a_task(ETIMEDOUT, driver.capture())
    assert 1_000_000 <= clock.now_us - before_us <= 1_050_000
    part.hangs = False
    driver.stop()
    driver.start(640, 480)
    finish(driver.capture())


def a_frame_that_is_no_jpeg_is_an_error_and_counted() -> None:
    driver, part = camera()
    part.frame = lambda number, width, height: bytes(100)
    driver.start(640, 480)
    fails_in_a_task(EIO, driver.capture())
    part.frame = lambda number, width, height: b""
    fails_in_a_task(EIO, driver.capture())
    assert driver.broken == 1


def a_stopped_camera_is_off_and_a_size_must_be_one_of_its_own() -> None:
    driver, part = camera()
    driver.stop()
    driver.start(640, 480)
    assert part.on
    driver.stop()
    assert not part.on
    driver.stop()
    fails_with(EINVAL, driver.start, 100, 100)
    driver.start(1280, 720)
    driver.start(320, 240)
    assert part.on
