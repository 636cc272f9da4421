"""What is soldered to an emulated Pico: the wearer's buttons, the pixel, the cell, and an accelerometer.

Rules that hold here:

- Pins are those of the board's own data (`lapel_device.boards.fob_pico_w`): a wire is where a technician solders it.
- A button closes to ground; let go of, its pin is whatever pull the firmware chose, as with a switch.
- Times are emulated time: a hold is as long as the firmware counts it.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping

from rp2040py.clock.clock import IAlarm
from rp2040py.external.ws2812 import Ws2812
from rp2040py.peripherals.i2c import I2CMode
from rp2040py.rp2040 import RP2040

from lapel_device.boards.lis3dh import ADDRESS, AUTO_INCREMENT, OUT_X_L
from lapel_sim.chips.lis3dh import Lis3dhChip

Pins = Mapping[str, tuple[int | str, str, str]]
Tell = Callable[[dict[str, object]], None]

STILL_MG = (0, 0, 1000)
"""What a board feels that lies on its back."""

_REFERENCE_MV = 3300
_ADC_STEPS = 4095
_FIRST_ADC_PIN = 26
_LAST_OUTPUT = 0x2D
_ROSC = 0x4006_0000 >> 12
_RANDOMBIT = 0x1C


class Parts:
    """Attach before the chip starts. `tell` is called with every colour that the pixel shows."""

    def __init__(self, rp2040: RP2040, pins: Pins, tell: Tell) -> None:
        self._rp2040 = rp2040
        self._pins = pins
        self._releases: dict[str, IAlarm] = {}
        self._pixel = Ws2812(
            self._number("light"), on_pixels=lambda colours: tell({"kind": "light", "rgb": colours[0]})
        )
        self._pixel.attach(rp2040)
        RingOscillator(rp2040)
        self.close_switch("tamper", True)  # the case is shut
        if "motion_sda" in pins:
            Accelerometer(rp2040, int(pins["motion_sda"][1].split(" ")[0][-1]))

    def _number(self, name: str) -> int:
        number = self._pins[name][0]
        if not isinstance(number, int):
            raise ValueError(f"{name} is not on a pin of the RP2040")
        return number

    def close_switch(self, name: str, closed: bool) -> None:
        """Push a button, or let it go. Raises KeyError for one that the board has not."""
        pin = self._rp2040.gpio[self._number(name)]
        if closed:
            pin.set_input_value(False)
        else:
            pin.release_input()

    def hold(self, name: str, for_ms: int) -> None:
        """Push a button and let it go after so much emulated time."""
        self.close_switch(name, True)
        alarm = self._rp2040.clock.create_alarm(lambda: self.close_switch(name, False))
        alarm.schedule(for_ms * 1_000_000)
        self._releases[name] = alarm

    def set_cell(self, millivolts: int, divider: tuple[int, int]) -> None:
        """The voltage of the cell, which the ADC sees through two resistors: to the cell, and to ground."""
        above, below = divider
        at_pin = millivolts * below // (above + below)
        channel = self._number("battery") - _FIRST_ADC_PIN
        self._rp2040.adc.channel_values[channel] = min(_ADC_STEPS, at_pin * _ADC_STEPS // _REFERENCE_MV)


class RingOscillator:
    """The random bit of the chip's ring oscillator (RP2040 datasheet section 2.17.7), which rp2040py has not.

    Without it `os.urandom` gives the same byte for ever. The bits are this machine's own.
    """

    def __init__(self, rp2040: RP2040) -> None:
        self._others = rp2040.peripherals[_ROSC]
        rp2040.peripherals[_ROSC] = self

    def read_uint32(self, offset: int) -> int:
        """A register; the bus asks."""
        return secrets.randbits(1) if offset == _RANDOMBIT else self._others.read_uint32(offset)

    def write_uint32(self, offset: int, value: int) -> None:
        """A register; the bus asks."""
        self._others.write_uint32(offset, value)

    def write_uint32_atomic(self, offset: int, value: int, atomic_type: int) -> None:
        """A register by its set, clear or toggle address; the bus asks."""
        self._others.write_uint32_atomic(offset, value, atomic_type)

    def reset(self) -> None:
        """It runs through every reset."""


class Accelerometer:
    """The simulator's own LIS3DH on one of the chip's I2C buses, of a board that lies still."""

    def __init__(self, rp2040: RP2040, bus: int) -> None:
        self._clock = rp2040.clock
        self._chip = Lis3dhChip(lambda: int(self._clock.nanos) // 1000, lambda _at: STILL_MG)
        self._bus = rp2040.i2c[bus]
        self._register: int | None = None
        self._bus.on_connect = self._connect
        self._bus.on_write_byte = self._write
        self._bus.on_read_byte = self._read

    def _connect(self, address: int, mode: int) -> None:
        if mode == I2CMode.WRITE:
            self._register = None
        self._bus.complete_connect(address == ADDRESS)

    def _write(self, value: int) -> None:
        if self._register is None:
            self._register = value
        else:
            self._chip.write(self._register, bytes([value]))
            self._go_on()
        self._bus.complete_write(True)

    def _read(self, _acknowledged: bool) -> None:
        register = self._register or 0
        value = self._chip.read(register, 1)[0]
        self._go_on()
        self._bus.complete_read(value)

    def _go_on(self) -> None:
        """The register's address goes on where its bit 7 says so, and from the last output to the first: nobody but a
        reader of the FIFO comes that far."""
        if self._register is not None and self._register & AUTO_INCREMENT:
            at = self._register & ~AUTO_INCREMENT
            self._register = AUTO_INCREMENT | (OUT_X_L if at == _LAST_OUTPUT else (at + 1) & ~AUTO_INCREMENT)
