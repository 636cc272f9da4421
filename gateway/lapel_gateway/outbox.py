"""The outbox: whatever has to leave the gateway, and how often that was tried.

Rules that hold here
- A row is made in the transaction of its cause (an alarm, an assembled clip) and settled in a transaction of its own:
  nothing is lost between, and a repeat after a crash carries the same key.
- A row without a channel is for every configured channel of its kind; it becomes one row for each before delivery.
- A channel gets one parcel at a time, alarms before notices before clips, and never waits for another channel.
- A row is given up by nobody: it is tried until it is delivered, at growing and randomised intervals. Its attempts and
  last error stand in the ledger.
- Nothing here sleeps, starts threads or reads a clock: time, randomness and channels are arguments. ``deliver`` has the
  threads.

One process plays the deliver role at a time. Leases only keep a mistaken second one from sending everything twice.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from lapel_gateway import steps
from lapel_gateway.channels.contract import Channel, DeliveryError, Parcel
from lapel_gateway.ledger import reading, writing
from lapel_gateway.ledger.schema import (
    OUTBOX_ALARM,
    OUTBOX_DONE,
    OUTBOX_FAILED,
    OUTBOX_NOTICE,
    OUTBOX_WAITING,
    delivery,
    outbox,
)

LEASE_MS = 900_000
"""Longer than any delivery takes: copying a clip of hours to a slow share, or encoding it."""

MAX_ERROR_CHARACTERS = 500

DELIVERED = "delivered"
RETRY = "retry"
REFUSED = "refused"

_URGENCY = sa.case((outbox.c.kind == OUTBOX_ALARM, 0), (outbox.c.kind == OUTBOX_NOTICE, 1), else_=2)


@dataclass(frozen=True)
class RetryPolicy:
    """How long to wait after the n-th failed attempt: doubling from ``first_ms`` to ``max_ms``, less random jitter.

    ``jitter`` is the share of the wait that chance may take away (0 to 1), so that many rows do not come back at once.
    """

    first_ms: int = 1_000
    max_ms: int = 300_000
    factor: float = 2.0
    jitter: float = 0.25

    def wait_ms(self, attempts: int, chance: float) -> int:
        """The wait after ``attempts`` (1 or more) failed attempts; ``chance`` in [0, 1) decides the jitter."""
        # The exponent is bounded, because a row may have failed for months.
        wait = min(self.max_ms, self.first_ms * self.factor ** min(attempts - 1, 60))
        return max(1, round(wait * (1 - self.jitter * chance)))


@dataclass(frozen=True)
class Outcome:
    """What an attempt came to. ``detail`` is for people, "" when delivered."""

    outcome: str
    detail: str = ""
    took_ms: int = 0
    retry_after_ms: int | None = None


Follow = Callable[[sa.Connection, Parcel, bool, int], None]
"""What follows a delivery, in the transaction that settles it: (connection, parcel, whether no other channel's row of
this kind and subject waits any more, now)."""


class Outbox:
    """The ledger's outbox and the channels that empty it."""

    def __init__(
        self,
        engine: sa.Engine,
        channels: Sequence[Channel],
        policy: RetryPolicy,
        chance: Callable[[], float],
        follow: Mapping[str, Follow] | None = None,
    ) -> None:
        """``chance`` gives numbers in [0, 1); ``follow`` says, by kind, what follows a delivery."""
        self._engine = engine
        self.channels = {channel.name: channel for channel in channels}
        if len(self.channels) != len(channels):
            raise ValueError("two channels have the same name")
        self._policy = policy
        self._chance = chance
        self._follow_up = follow or {}

    def release(self) -> int:
        """Free what a dead process of this role had claimed; returns how many rows. Call once, before claiming."""
        claimed = sa.update(outbox).where(outbox.c.state == OUTBOX_WAITING, outbox.c.leased_until_ms.is_not(None))
        with writing(self._engine) as connection:
            return connection.execute(claimed.values(leased_until_ms=None)).rowcount

    def stranded(self) -> dict[str, int]:
        """Waiting rows of channels that are not configured (any more): {channel: rows}."""
        waiting = sa.select(outbox.c.channel, sa.func.count()).where(
            outbox.c.state == OUTBOX_WAITING, outbox.c.channel != "", outbox.c.channel.not_in(list(self.channels))
        )
        with reading(self._engine) as connection:
            return {row[0]: row[1] for row in connection.execute(waiting.group_by(outbox.c.channel))}

    def next_due_ms(self) -> int | None:
        """When the next row falls due; None when none waits."""
        waiting = sa.select(sa.func.min(outbox.c.next_at_ms)).where(
            outbox.c.state == OUTBOX_WAITING,
            outbox.c.leased_until_ms.is_(None),
            outbox.c.channel.in_(["", *self.channels]),
        )
        with reading(self._engine) as connection:
            due: int | None = connection.execute(waiting).scalar_one()
            return due

    def claim(self, now_ms: int, free: Collection[str] | None = None) -> list[Parcel]:
        """Take the most urgent due row of each free channel (all channels by default); they are this process's now."""
        names = [name for name in self.channels if free is None or name in free]
        if not self._anything_due(now_ms, names):
            return []
        parcels: list[Parcel] = []
        with writing(self._engine) as connection:
            self._fan_out(connection, now_ms)
            for name in names:
                row = connection.execute(
                    sa.select(outbox)
                    .where(outbox.c.channel == name, *_due(now_ms))
                    .order_by(_URGENCY, outbox.c.next_at_ms, outbox.c.id)
                    .limit(1)
                ).one_or_none()
                if row is None:
                    continue
                payload = _payload(row.payload)
                if payload is None:
                    _give_up(connection, row.id, now_ms, "its payload is not a JSON object")
                    continue
                claimed = sa.update(outbox).where(outbox.c.id == row.id).values(leased_until_ms=now_ms + LEASE_MS)
                connection.execute(claimed)
                parcels.append(
                    Parcel(row.id, row.kind, name, row.key, row.subject, payload, row.attempts, row.created_ms)
                )
        steps.reach("outbox.claimed")
        return parcels

    def attempt(self, parcel: Parcel, now_ms: int) -> Outcome:
        """Hand a parcel to its channel, which may block. What went wrong is in the outcome."""
        try:
            self.channels[parcel.channel].deliver(parcel, now_ms)
        except DeliveryError as error:
            return Outcome(REFUSED if error.refused else RETRY, str(error), retry_after_ms=error.retry_after_ms)
        steps.reach("outbox.delivered")
        return Outcome(DELIVERED)

    def settle(self, parcel: Parcel, outcome: Outcome, now_ms: int) -> None:
        """Write down what an attempt came to, and when the next one is due. Harmless to repeat for a delivered row."""
        attempts = parcel.attempts + 1
        detail = outcome.detail[:MAX_ERROR_CHARACTERS]
        with writing(self._engine) as connection:
            connection.execute(
                sa.insert(delivery).values(
                    outbox_id=parcel.id, at_ms=now_ms, took_ms=outcome.took_ms, outcome=outcome.outcome, detail=detail
                )
            )
            change = sa.update(outbox).where(outbox.c.id == parcel.id, outbox.c.state == OUTBOX_WAITING)
            if outcome.outcome == DELIVERED:
                connection.execute(
                    change.values(
                        state=OUTBOX_DONE, attempts=attempts, done_ms=now_ms, leased_until_ms=None, last_error=""
                    )
                )
                self._follow(connection, parcel, now_ms)
            else:
                wait_ms = self._wait_ms(attempts, outcome)
                connection.execute(
                    change.values(
                        attempts=attempts, next_at_ms=now_ms + wait_ms, leased_until_ms=None, last_error=detail
                    )
                )
        steps.reach("outbox.settled")

    def run_due(self, now_ms: int) -> int:
        """Deliver everything that is due, here and now, one after another; returns how many attempts were made."""
        attempts = 0
        while parcels := self.claim(now_ms):
            for parcel in parcels:
                self.settle(parcel, self.attempt(parcel, now_ms), now_ms)
                attempts += 1
        return attempts

    def _anything_due(self, now_ms: int, names: list[str]) -> bool:
        """A look without the write lock: most calls find nothing."""
        due = sa.select(outbox.c.id).where(outbox.c.channel.in_(["", *names]), *_due(now_ms)).limit(1)
        with reading(self._engine) as connection:
            return connection.execute(due).first() is not None

    def _fan_out(self, connection: sa.Connection, now_ms: int) -> None:
        open_rows = sa.select(outbox).where(outbox.c.channel == "", *_due(now_ms)).order_by(outbox.c.id)
        for row in connection.execute(open_rows).all():
            takers = [channel.name for channel in self.channels.values() if row.kind in channel.kinds]
            for name in takers:
                connection.execute(
                    sa.insert(outbox).values(
                        kind=row.kind,
                        channel=name,
                        key=f"{row.key}@{name}",
                        subject=row.subject,
                        payload=row.payload,
                        state=OUTBOX_WAITING,
                        attempts=0,
                        created_ms=row.created_ms,
                        next_at_ms=now_ms,
                        last_error="",
                    )
                )
            words = "" if takers else f"no channel is configured for {row.kind}"
            connection.execute(
                sa.update(outbox)
                .where(outbox.c.id == row.id)
                .values(state=OUTBOX_DONE, done_ms=now_ms, last_error=words)
            )

    def _follow(self, connection: sa.Connection, parcel: Parcel, now_ms: int) -> None:
        follow = self._follow_up.get(parcel.kind)
        if follow is None:
            return
        others = sa.select(sa.func.count()).where(
            outbox.c.kind == parcel.kind, outbox.c.subject == parcel.subject, outbox.c.state == OUTBOX_WAITING
        )
        follow(connection, parcel, not connection.execute(others).scalar_one(), now_ms)

    def _wait_ms(self, attempts: int, outcome: Outcome) -> int:
        if outcome.outcome == REFUSED:
            return self._policy.wait_ms(61, self._chance())
        wait_ms = self._policy.wait_ms(attempts, self._chance())
        return min(max(wait_ms, outcome.retry_after_ms or 0), self._policy.max_ms)


def _due(now_ms: int) -> tuple[sa.ColumnElement[bool], ...]:
    return (
        outbox.c.state == OUTBOX_WAITING,
        outbox.c.next_at_ms <= now_ms,
        sa.or_(outbox.c.leased_until_ms.is_(None), outbox.c.leased_until_ms <= now_ms),
    )


def _payload(text: str) -> dict[str, Any] | None:
    try:
        payload = json.loads(text)
    except ValueError:
        return None
    return payload if isinstance(payload, dict) else None


def _give_up(connection: sa.Connection, row_id: int, now_ms: int, why: str) -> None:
    change = sa.update(outbox).where(outbox.c.id == row_id)
    connection.execute(change.values(state=OUTBOX_FAILED, done_ms=now_ms, last_error=why))
