"""What a role needs of a connection to the broker, whoever reads it."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence
from typing import NamedTuple, Protocol

KEEP_ALIVE_S = 30
FIRST_RETRY_S = 0.25
LAST_RETRY_S = 5.0
"""Back-off between attempts to reach the broker; it doubles from the first to the last. Three connections in all, so
short: what devices send before the gateway has subscribed again is lost and has to be repeated."""

MAX_WAITING_BYTES = 32 << 20
"""Messages read and not taken yet; beyond it the connection is read no further. Twice what Mosquitto is configured to
have under way to one client: Debian's 2.0.11, and any other broker, may keep to no such limit."""

MESSAGE_OVERHEAD_BYTES = 512
"""What a waiting message costs beside its payload, so that a flood of empty ones is bounded too."""

MAX_IN_FLIGHT = 512
"""Downlinks sent and not acknowledged by the broker."""

MAX_QUEUED = 20_000
"""Downlinks waiting behind those: a kilobyte each at most."""


class Delivery(NamedTuple):
    """One message as the broker handed it in."""

    topic: str
    payload: bytes | memoryview
    mid: int
    qos: int
    connection: int
    """Which connection it came on; its acknowledgement belongs there."""


class Link(Protocol):
    """What a role needs of a connection."""

    def start(self) -> None:
        """Begin to connect; returns at once."""

    def receive(self, most: int, wait_s: float, gather_s: float) -> list[Delivery]:
        """Wait up to ``wait_s`` seconds for a message, then up to ``gather_s`` for more, ``most`` in all."""

    def acknowledge(self, deliveries: Iterable[Delivery]) -> None:
        """Let the broker forget these messages."""

    def publish(self, downlinks: Sequence[tuple[str, bytes]]) -> None:
        """Send commands, as far as the broker can be reached now."""

    def stop(self) -> None:
        """Take leave of the broker and end the connection's thread."""


class BrokerLink(Link, Protocol):
    """A link to a broker, which tells when it is in service."""

    ready: threading.Event
    """Set while the broker has this connection's subscriptions."""

    @property
    def backlog_bytes(self) -> int:
        """What was read from the broker and nobody has received yet."""
        ...
