"""What the outbox asks of a channel: take one parcel, or say why not.

Rules that hold here
- A channel is called from its own thread, one parcel at a time; it may block, and nothing else waits for it.
- A parcel may come again although it was delivered (the gateway was killed in between): its ``message_id`` is the same.
- Returning means delivered. Anything else is a DeliveryError, whose message tells an operator what to do, or
  NothingToSend.
- A channel may be supervised: its link is tested in a thread of its own, also while a parcel is under way.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable


@dataclass(frozen=True)
class Parcel:
    """One thing to deliver through one channel."""

    id: int
    kind: str  # OUTBOX_... of the ledger's schema
    channel: str
    key: str  # the same for every attempt
    subject: str  # readable id of the alarm, clip or notice
    payload: dict[str, Any]
    attempts: int  # made before this one
    created_ms: int

    @property
    def message_id(self) -> str:
        """An opaque id that receivers recognise repeats by; only letters, digits and underscores."""
        return "msg_" + hashlib.sha256(self.key.encode()).hexdigest()[:40]


class DeliveryError(Exception):
    """The parcel was not delivered, and is tried again.

    ``refused`` says that the other side understood and declined, so that a quick repeat is pointless.
    ``retry_after_ms`` is the wait that the other side asked for.
    """

    def __init__(self, message: str, *, refused: bool = False, retry_after_ms: int | None = None) -> None:
        super().__init__(message)
        self.refused = refused
        self.retry_after_ms = retry_after_ms


class NothingToSend(Exception):
    """The channel's receiver is, by its settings, not told of this parcel: done, and nobody was told."""


class Channel(Protocol):
    """A way out of the gateway."""

    @property
    def name(self) -> str:
        """Unique among the configured channels; at most 64 characters."""

    @property
    def kinds(self) -> frozenset[str]:
        """Kinds of outbox rows that it takes."""

    def deliver(self, parcel: Parcel, now_ms: int) -> None:
        """Deliver, durably where that is the channel's to say. Raises DeliveryError or NothingToSend."""


@runtime_checkable
class Supervised(Protocol):
    """A channel whose link is tested while there is nothing to deliver."""

    @property
    def name(self) -> str:
        """As the channel's."""

    @property
    def supervision_s(self) -> float:
        """Seconds between two tests; 0 for none."""

    def check(self, now_ms: int) -> None:
        """Test the link, in bounded time. Raises DeliveryError."""
