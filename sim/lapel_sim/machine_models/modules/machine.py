"""MicroPython's `machine`, made of models; see lapel_sim.machine_models."""

from lapel_sim.machine_models.adc import ADC
from lapel_sim.machine_models.i2c import I2C, SoftI2C
from lapel_sim.machine_models.i2s import I2S
from lapel_sim.machine_models.pin import Pin
from lapel_sim.machine_models.pwm import PWM
from lapel_sim.machine_models.spi import SPI, SoftSPI
from lapel_sim.machine_models.system import (
    PWRON_RESET,
    RTC,
    SOFT_RESET,
    WDT,
    WDT_RESET,
    bitstream,
    reset,
    reset_cause,
    unique_id,
)
from lapel_sim.machine_models.uart import UART

__all__ = [
    "ADC",
    "I2C",
    "I2S",
    "PWM",
    "PWRON_RESET",
    "RTC",
    "SOFT_RESET",
    "SPI",
    "UART",
    "WDT",
    "WDT_RESET",
    "Pin",
    "SoftI2C",
    "SoftSPI",
    "bitstream",
    "reset",
    "reset_cause",
    "unique_id",
]
