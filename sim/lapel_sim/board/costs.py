"""Charges the board's own slowness for work that this machine does in no time, by wrapping the functions that do it.

Loaded only when the world asks for costs, and before the firmware, so that the firmware imports the wrapped functions.
"""

import time

from lapel_device.keystore import KeyStore
from lapel_protocol import wrap
from lapel_protocol.stream import SegmentSealer

from . import ops

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from .wire import Wire

_sleep_ms = time.sleep_ms  # type: ignore[attr-defined,unused-ignore]


def spend(wire: "Wire", work: int, ms: int) -> None:
    """Take as long as the board would for a piece of `ops.WORK_...`, and tell the world."""
    _sleep_ms(ms)
    wire.call(ops.CHARGED, work, ms * 1000)


def _slowed(wire: "Wire", work: int, function: "Callable[..., Any]", cost_ms: float) -> "Callable[..., Any]":
    """The same function, after the time that it takes on the board."""

    def slow(*arguments: object) -> object:
        spend(wire, work, int(cost_ms))
        return function(*arguments)

    return slow


def charge(wire: "Wire", costs: "dict[str, float]") -> None:
    """Make sealing, stepping the key chain and wrapping seeds take as long as `costs` says."""
    SegmentSealer.seal = _slowed(  # type: ignore[method-assign]
        wire, ops.WORK_SEAL, SegmentSealer.seal, costs["seal_ms"]
    )
    KeyStore.step = _slowed(wire, ops.WORK_RATCHET, KeyStore.step, costs["ratchet_ms"])  # type: ignore[method-assign]
    wrap.wrap_seed = _slowed(wire, ops.WORK_WRAP, wrap.wrap_seed, costs["wrap_ms"])
