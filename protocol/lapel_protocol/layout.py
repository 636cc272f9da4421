"""Fixed big-endian layouts: the one way a payload is read."""

import struct

from .errors import Malformed


def fields(layout: str, payload: bytes) -> "tuple[int, ...]":
    """The values of a payload that has exactly this layout; raises Malformed."""
    if len(payload) != struct.calcsize(layout):
        raise Malformed("payload length")
    return struct.unpack(layout, payload)
