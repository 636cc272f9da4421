"""MicroPython's `rp2`, made of models."""

from lapel_sim.machine_models.flash import whole_flash as Flash  # noqa: N812 - MicroPython's name

__all__ = ["Flash"]
