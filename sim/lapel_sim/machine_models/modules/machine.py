"""MicroPython's `machine`, made of models; see lapel_sim.machine_models."""

from lapel_sim.machine_models.pin import Pin
from lapel_sim.machine_models.spi import SPI, SoftSPI

__all__ = ["SPI", "Pin", "SoftSPI"]
