"""Fixed big-endian layouts: the one way a payload is read; and the mark of what a device does without."""

import struct

from .errors import Malformed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeVar

    Function = TypeVar("Function", bound=Callable[..., object])


def gateway_only(function: "Function") -> "Function":
    """Marks a function or method that no device calls: a board's build leaves it out, which spares its heap."""
    return function


def fields(layout: str, payload: bytes) -> "tuple[int, ...]":
    """The values of a payload that has exactly this layout; raises Malformed."""
    if len(payload) != struct.calcsize(layout):
        raise Malformed("payload length")
    return struct.unpack(layout, payload)
