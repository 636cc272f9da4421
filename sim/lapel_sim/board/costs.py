"""Charges the board's own slowness for work that this machine does in no time, by wrapping the functions that do it.

Loaded only when the world asks for costs, and before the firmware, so that the firmware imports the wrapped functions.
"""

import time

from lapel_device.keystore import KeyStore
from lapel_protocol import wrap
from lapel_protocol.stream import SegmentSealer

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

_sleep_ms = time.sleep_ms  # type: ignore[attr-defined,unused-ignore]


def _slowed(function: "Callable[..., Any]", cost_ms: float) -> "Callable[..., Any]":
    """The same function, after the time that it takes on the board."""

    def slow(*arguments: object) -> object:
        _sleep_ms(int(cost_ms))
        return function(*arguments)

    return slow


def charge(costs: "dict[str, float]") -> None:
    """Make sealing, stepping the key chain and wrapping seeds take as long as `costs` says."""
    SegmentSealer.seal = _slowed(SegmentSealer.seal, costs["seal_ms"])  # type: ignore[method-assign]
    KeyStore.step = _slowed(KeyStore.step, costs["ratchet_ms"])  # type: ignore[method-assign]
    wrap.wrap_seed = _slowed(wrap.wrap_seed, costs["wrap_ms"])
