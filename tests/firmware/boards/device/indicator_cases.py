"""Lights, motor and buzzer on models of pins and PWM."""

from machine import PWM, Pin

from lapel_device.boards.indicator import Indicator
from lapel_device.boards.pixel_light import PixelLight
from lapel_device.boards.pwm_light import PwmLight
from lapel_sim.machine_models.wiring import wiring

TYPE_CHECKING = False
if TYPE_CHECKING:
    from lapel_device.boards.indicator import Light


def indicator(light: "Light") -> Indicator:
    return Indicator(light, PWM(Pin(7), freq=20_000, duty_u16=0), PWM(Pin(14), freq=1000, duty_u16=0), 40_000)


def a_ws2812_shows_the_colour_in_its_own_order() -> None:
    shown = indicator(PixelLight(Pin(6, Pin.OUT, value=0), 2, 255))
    line = wiring.line(6)
    assert line.pixels == bytes(6), "dark from the beginning"
    shown.set(0x804020, False, 0)
    assert line.pixels == b"\x40\x80\x20\x40\x80\x20"
    dim = PixelLight(Pin(6, Pin.OUT), 1, 51)
    dim.show(0xFF0000)
    assert line.pixels == b"\x00\x33\x00"


def a_light_of_three_outputs_shows_the_colour() -> None:
    outputs = [PWM(Pin(pin), freq=1000, duty_u16=0) for pin in (16, 17, 18)]
    shown = indicator(PwmLight(outputs[0], outputs[1], outputs[2]))
    shown.set(0xFF8000, False, 0)
    assert [wiring.line(pin).duty for pin in (16, 17, 18)] == [(1000, 65535), (1000, 32896), (1000, 0)]
    PwmLight(outputs[0], outputs[1], outputs[2], common_anode=True).show(0xFF8000)
    assert [wiring.line(pin).duty[1] for pin in (16, 17, 18)] == [0, 32639, 65535]


def a_buzz_and_a_tone_come_and_go() -> None:
    shown = indicator(PixelLight(Pin(6, Pin.OUT)))
    motor, buzzer = wiring.line(7), wiring.line(14)
    shown.set(0, True, 880)
    assert (motor.duty, buzzer.duty) == ((20_000, 40_000), (880, 32768))
    shown.set(0, False, 1320)
    assert (motor.duty[1], buzzer.duty) == (0, (1320, 32768))
    shown.set(0, False, 0)
    assert buzzer.duty[1] == 0


def a_light_that_does_not_change_is_not_sent_again() -> None:
    shown = indicator(PixelLight(Pin(6, Pin.OUT)))
    shown.set(0xFF0000, False, 0)
    wiring.line(6).pixels = b"untouched"
    shown.set(0xFF0000, True, 440)
    assert wiring.line(6).pixels == b"untouched"
