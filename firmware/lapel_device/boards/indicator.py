"""Light, vibration motor and buzzer as the contract's `Indicator`. The light is one of pixel_light and pwm_light.

`set` is called on each change only; what does not change is not touched again.
"""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Protocol

    from machine import PWM

    class Light(Protocol):
        def show(self, rgb: int) -> None:
            """Show 0xRRGGBB."""
            ...


MOTOR_HZ = 20_000  # above what is heard
_HALF = 32768


class Indicator:
    """`motor_duty`: of 65535, so that a 3 V motor bears a full cell."""

    def __init__(self, light: "Light", motor: "PWM", buzzer: "PWM", motor_duty: int = 46000) -> None:
        self._light = light
        self._motor = motor
        self._buzzer = buzzer
        self._motor_duty = motor_duty
        self._rgb = -1
        self._vibrate = False
        self._buzzer_hz = 0
        self.set(0, False, 0)

    def set(self, rgb: int, vibrate: bool, buzzer_hz: int) -> None:
        """See contract.Indicator."""
        if rgb != self._rgb:
            self._rgb = rgb
            self._light.show(rgb)
        if vibrate != self._vibrate:
            self._vibrate = vibrate
            self._motor.duty_u16(self._motor_duty if vibrate else 0)
        if buzzer_hz != self._buzzer_hz:
            self._buzzer_hz = buzzer_hz
            if buzzer_hz:
                self._buzzer.freq(buzzer_hz)
            self._buzzer.duty_u16(_HALF if buzzer_hz else 0)
