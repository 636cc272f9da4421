"""MicroPython's `network`, made of models."""

from lapel_sim.machine_models.radio import PPP, WLAN
from lapel_sim.machine_models.wiring import wiring

STA_IF = 0
AP_IF = 1

__all__ = ["AP_IF", "PPP", "STA_IF", "WLAN"]


def __getattr__(name: str) -> int:
    """Constants that differ between the ports."""
    port = 0 if wiring.port == "rp2" else 1
    codes = {
        "STAT_IDLE": (0, 1000),
        "STAT_CONNECTING": (1, 1001),
        "STAT_GOT_IP": (3, 1010),
        "STAT_WRONG_PASSWORD": (-3, 202),
        "STAT_NO_AP_FOUND": (-2, 201),
    }
    if name not in codes:
        raise AttributeError(name)
    return codes[name][port]
