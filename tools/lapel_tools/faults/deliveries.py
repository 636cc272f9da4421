"""The deliver role in a fault schedule: the real outbox and assembler, and a receiver that sometimes declines.

Video is not made here: a schedule has no time for it, and what is copied for viewing says nothing of what is lost.
"""

from __future__ import annotations

import random
from array import array
from collections import deque
from collections.abc import Callable
from pathlib import Path

import sqlalchemy as sa

from lapel_gateway.alarms.escalator import Escalator
from lapel_gateway.alarms.policies import EVERYONE, Policies, Policy, Reach, Step
from lapel_gateway.channels.contract import Channel, DeliveryError, Parcel
from lapel_gateway.custody.vault import Vault
from lapel_gateway.deliver import make_outbox
from lapel_gateway.ledger.schema import OUTBOX_ALARM, OUTBOX_FORWARD, OUTBOX_NOTICE
from lapel_gateway.outbox import RETRY, Outcome, RetryPolicy
from lapel_gateway.viewing.assembly import MP4, Assembler, Copies, Views
from lapel_gateway.viewing.media import Survey
from lapel_gateway.viewing.unseal import KeyRing
from lapel_gateway.viewing.viewcopy import ViewCopy

_POLICY = RetryPolicy(first_ms=500, max_ms=4_000)
_POLICIES = Policies([Policy("two-steps", (Step((EVERYONE,), 1_500), Step((EVERYONE,), 2_500)), repeat=1)], 5_000)


class Receiver:
    """Whoever is told of alarms, notices and clips: outlives the gateway. `told` holds every key that arrived."""

    name = "receiver"
    kinds = frozenset({OUTBOX_ALARM, OUTBOX_NOTICE, OUTBOX_FORWARD})

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self.declines = 0.0  # the chance that it declines a parcel
        self.declined = 0
        self.told: set[str] = set()

    def deliver(self, parcel: Parcel, now_ms: int) -> None:
        """See Channel.deliver."""
        if self._rng.random() < self.declines:
            self.declined += 1
            raise DeliveryError("not now")
        self.told.add(parcel.key.partition("@")[0])


class Deliveries:
    """The outbox of a gateway's process, which was just started, and what that process has not settled yet."""

    def __init__(
        self,
        engine: sa.Engine,
        vault: Vault,
        views: Views,
        keys: KeyRing,
        receiver: Receiver,
        chance: Callable[[], float],
    ) -> None:
        channels: list[Channel] = [Assembler(engine, vault, views, keys, _no_video), receiver]
        self._escalator = Escalator(engine, _POLICIES, Reach({receiver.name: ""}))
        self._outbox = make_outbox(engine, channels, _POLICY, self._escalator, chance)
        self._claimed: deque[Parcel] = deque()
        self._unsettled: tuple[Parcel, Outcome] | None = None
        self._outbox.release()

    @property
    def busy(self) -> bool:
        """Whether this process has claimed something and not settled it."""
        return bool(self._unsettled or self._claimed)

    def run_due(self, now_ms: int) -> None:
        """Deliver everything that is due; like the role's threads it goes on where the ledger had stopped it."""
        while self._unsettled or self._claimed or self._claim(now_ms):
            if self._unsettled is None:
                parcel = self._claimed.popleft()
                self._unsettled = parcel, self._attempt(parcel, now_ms)
            self._outbox.settle(*self._unsettled, now_ms)
            self._unsettled = None

    def _attempt(self, parcel: Parcel, now_ms: int) -> Outcome:
        try:
            return self._outbox.attempt(parcel, now_ms)
        except Exception as error:  # noqa: BLE001 - as in lapel_gateway.deliver: the ledger may be full, for example
            return Outcome(RETRY, type(error).__name__)

    def _claim(self, now_ms: int) -> bool:
        self._escalator.advance(now_ms)
        self._claimed.extend(self._outbox.claim(now_ms))
        return bool(self._claimed)


def _no_video(folder: Path) -> Copies:
    (folder / MP4).write_bytes(b"no video in fault schedules")
    survey = Survey(array("q"), 0, 0, 0, 0, 0, 0, 0, 0, (), torn=False, damaged=False, last_frame_ms=0, end_ms=0)
    return Copies(survey, ViewCopy(True, 0, 0, 0, array("q"), 0))
