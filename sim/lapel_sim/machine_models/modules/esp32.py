"""MicroPython's `esp32`, made of models."""

from lapel_sim.machine_models.flash import Partition

__all__ = ["Partition"]
