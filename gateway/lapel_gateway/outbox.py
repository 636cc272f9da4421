"""The outbox: whatever has to leave the gateway, and how often that was tried.

Rules that hold here
- A row is made in the transaction of its cause (an alarm, an assembled clip) and settled in a transaction of its own:
  nothing is lost between, and a repeat after a crash carries the same key.
- A row without a channel is for every configured channel of its kind; it becomes one row for each before delivery.
- A channel gets one parcel after the other, alarms before notices before clips, and never waits for another channel.
- A row is given up by nobody: it is tried until it is delivered, at growing and randomised intervals. Its attempts and
  last error stand in the ledger.
- Nothing here sleeps, starts threads or reads a clock: time, randomness and channels are arguments. ``deliver`` has the
  threads.

One process plays the deliver role at a time. Leases only keep a mistaken second one from sending everything twice.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from lapel_gateway import steps
from lapel_gateway.channels.contract import Channel, DeliveryError, NothingToSend, Parcel
from lapel_gateway.ledger import reading, writing
from lapel_gateway.ledger.direct import Direct
from lapel_gateway.ledger.schema import (
    OUTBOX_ALARM,
    OUTBOX_DONE,
    OUTBOX_FAILED,
    OUTBOX_NOTICE,
    OUTBOX_WAITING,
    delivery,
    outbox,
)

LEASE_MS = 3_600_000
"""Longer than any delivery takes: copying a clip of hours to a slow share, encoding it, or waiting behind others for a
channel that hangs."""

MAX_ERROR_CHARACTERS = 500

AHEAD_MS = 1_000
"""A row that was made later than this after now was made before the clock was set back."""

DELIVERED = "delivered"
SKIPPED = "skipped"
RETRY = "retry"
REFUSED = "refused"

FAN_OUT = 16
"""Rows that are handed on to their channels in one transaction: after an outage there may be thousands, and an alarm
waits for the transaction under way."""

_URGENCY = sa.case(
    (outbox.c.kind == sa.bindparam("alarm"), sa.literal_column("0")),
    (outbox.c.kind == sa.bindparam("notice"), sa.literal_column("1")),
    else_=sa.literal_column("2"),
)
_URGENT_KINDS = {"alarm": OUTBOX_ALARM, "notice": OUTBOX_NOTICE}
_DUE = (
    outbox.c.state == sa.bindparam("waiting"),
    sa.or_(
        outbox.c.next_at_ms <= sa.bindparam("now_ms"),
        # A clock that was set back: nothing waits longer than the policy says, and what is new does not wait at all.
        outbox.c.next_at_ms > sa.bindparam("latest_ms"),
        sa.and_(outbox.c.attempts == sa.literal_column("0"), outbox.c.created_ms > sa.bindparam("ahead_ms")),
    ),
    sa.or_(outbox.c.leased_until_ms.is_(None), outbox.c.leased_until_ms <= sa.bindparam("now_ms")),
)
_ONE = outbox.c.id == sa.bindparam("of_id")
_PARCEL = ("id", "kind", "key", "subject", "payload", "attempts", "created_ms")

# Built once and run by the driver: each is a part of a transaction that alarms may be waiting for.
_NEXT = Direct(
    sa.select(*(outbox.c[name] for name in _PARCEL))
    .where(outbox.c.channel == sa.bindparam("of_channel"), *_DUE)
    .order_by(_URGENCY, outbox.c.next_at_ms, outbox.c.id)
    .limit(sa.bindparam("most"))
)
_HAND_ON = Direct(
    sa.insert(outbox),
    ("kind", "channel", "key", "subject", "payload", "state", "attempts", "created_ms", "next_at_ms", "last_error"),
)
_LEASE = Direct(sa.update(outbox).where(_ONE).values(leased_until_ms=sa.bindparam("until_ms")))
_FINISH = Direct(
    sa.update(outbox)
    .where(_ONE)
    .values(state=sa.bindparam("ended"), done_ms=sa.bindparam("now_ms"), last_error=sa.bindparam("why"))
)
_DELIVERED = Direct(
    sa.update(outbox)
    .where(_ONE, outbox.c.state == sa.bindparam("waiting"))
    .values(
        state=sa.bindparam("ended"),
        attempts=sa.bindparam("made"),
        done_ms=sa.bindparam("now_ms"),
        leased_until_ms=sa.null(),
        last_error=sa.literal_column("''"),
    )
)
_AGAIN = Direct(
    sa.update(outbox)
    .where(_ONE, outbox.c.state == sa.bindparam("waiting"))
    .values(
        attempts=sa.bindparam("made"),
        next_at_ms=sa.bindparam("at_ms"),
        leased_until_ms=sa.null(),
        last_error=sa.bindparam("why"),
    )
)
_STILL = Direct(sa.select(outbox.c.id).where(_ONE, outbox.c.state == sa.bindparam("waiting")))
_ATTEMPT = Direct(sa.insert(delivery), ("outbox_id", "at_ms", "took_ms", "outcome", "detail"))
_OTHERS = Direct(
    sa.select(outbox.c.id)
    .where(
        outbox.c.state == sa.bindparam("waiting"),
        outbox.c.kind == sa.bindparam("of_kind"),
        outbox.c.subject == sa.bindparam("of_subject"),
    )
    .limit(sa.bindparam("most"))
)


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
    """What an attempt came to. ``detail`` is for people, "" when delivered; skipped: there was nothing to send."""

    outcome: str
    detail: str = ""
    took_ms: int = 0
    retry_after_ms: int | None = None


Follow = Callable[[sa.Connection, Parcel, bool, int], None]
"""What follows a delivery, in the transaction that settles it: (connection, parcel, whether no other channel's row of
this kind and subject waits any more, now)."""


Failed = Callable[[sa.Connection, Parcel, str, int], None]
"""What follows an attempt that told nobody, in the transaction that settles it: (connection, parcel, why, now); why is
"" where there was nothing to send."""


class Outbox:
    """The ledger's outbox and the channels that empty it."""

    def __init__(
        self,
        engine: sa.Engine,
        channels: Sequence[Channel],
        policy: RetryPolicy,
        chance: Callable[[], float],
        follow: Mapping[str, Follow] | None = None,
        failed: Failed | None = None,
    ) -> None:
        """``chance`` gives numbers in [0, 1); ``follow`` says, by kind, what follows a delivery, ``failed`` what
        follows an attempt that came to none."""
        self.engine = engine
        self.channels = {channel.name: channel for channel in channels}
        if len(self.channels) != len(channels):
            raise ValueError("two channels have the same name")
        self._policy = policy
        self._chance = chance
        self._follow_up = follow or {}
        self._failed = failed

    def release(self) -> int:
        """Free what a dead process of this role had claimed; returns how many rows. Call once, before claiming."""
        claimed = sa.update(outbox).where(outbox.c.state == OUTBOX_WAITING, outbox.c.leased_until_ms > 0)
        with writing(self.engine) as connection:
            # Not NULL: that a row was claimed before stays known, because it may have been delivered then.
            return connection.execute(claimed.values(leased_until_ms=0)).rowcount

    def stranded(self) -> dict[str, int]:
        """Waiting rows of channels that are not configured (any more): {channel: rows}."""
        waiting = sa.select(outbox.c.channel, sa.func.count()).where(
            outbox.c.state == OUTBOX_WAITING, outbox.c.channel != "", outbox.c.channel.not_in(list(self.channels))
        )
        with reading(self.engine) as connection:
            return {row[0]: row[1] for row in connection.execute(waiting.group_by(outbox.c.channel))}

    def next_due_ms(self) -> int | None:
        """When the next row falls due; None when none waits."""
        waiting = sa.select(sa.func.min(outbox.c.next_at_ms)).where(
            outbox.c.state == OUTBOX_WAITING,
            sa.func.coalesce(outbox.c.leased_until_ms, 0) == 0,
            outbox.c.channel.in_(["", *self.channels]),
        )
        with reading(self.engine) as connection:
            due: int | None = connection.execute(waiting).scalar_one()
            return due

    def claim(self, now_ms: int, room: Mapping[str, int] | None = None) -> list[Parcel]:
        """Take the most urgent due rows of each channel; they are this process's now.

        ``room``: how many a channel takes, by default one of each. Of several all but the first are alarms: what is
        less urgent must not stand before an alarm that comes next.
        """
        wanted = {name: 1 if room is None else room.get(name, 0) for name in self.channels}
        names = [name for name, most in wanted.items() if most > 0]
        if not self._anything_due(now_ms, names):
            return []
        parcels: list[Parcel] = []
        more = True
        while more:
            with writing(self.engine) as connection:
                more = self._fan_out(connection, now_ms)
                if not more:
                    for name in names:
                        parcels += self._claim_some(connection, name, now_ms, wanted[name])
        steps.reach("outbox.claimed")
        return parcels

    def wanted(self, parcel: Parcel) -> bool:
        """Whether a claimed parcel is still to be delivered: its alarm may have been answered since."""
        with reading(self.engine) as connection:
            return bool(_STILL.all(connection, {"of_id": parcel.id, "waiting": OUTBOX_WAITING}))

    def attempt(self, parcel: Parcel, now_ms: int) -> Outcome:
        """Hand a parcel to its channel, which may block. What went wrong is in the outcome."""
        try:
            self.channels[parcel.channel].deliver(parcel, now_ms)
        except DeliveryError as error:
            return Outcome(REFUSED if error.refused else RETRY, str(error), retry_after_ms=error.retry_after_ms)
        except NothingToSend as reason:
            return Outcome(SKIPPED, str(reason))
        steps.reach("outbox.delivered")
        return Outcome(DELIVERED)

    def settle(self, parcel: Parcel, outcome: Outcome, now_ms: int) -> None:
        """Write down what an attempt came to, and when the next one is due. Harmless to repeat for a delivered row."""
        self.settle_all([(parcel, outcome)], now_ms)

    def try_again(self, parcel: Parcel, outcome: Outcome, now_ms: int) -> None:
        """As `settle` of an attempt that failed, where what else follows from that is at fault."""
        with writing(self.engine) as connection:
            self._put_off(connection, parcel, outcome, now_ms)

    def settle_all(self, attempts: Sequence[tuple[Parcel, Outcome]], now_ms: int) -> None:
        """As `settle`, for several attempts in one commit: all of them, or none."""
        with writing(self.engine) as connection:
            for parcel, outcome in attempts:
                self._settle(connection, parcel, outcome, now_ms)
        steps.reach("outbox.settled")

    def run_due(self, now_ms: int) -> int:
        """Deliver everything that is due, here and now, one after another; returns how many attempts were made."""
        attempts = 0
        while parcels := self.claim(now_ms):
            for parcel in parcels:
                self.settle(parcel, self.attempt(parcel, now_ms), now_ms)
                attempts += 1
        return attempts

    def _settle(self, connection: sa.Connection, parcel: Parcel, outcome: Outcome, now_ms: int) -> None:
        attempts = parcel.attempts + 1
        detail = outcome.detail[:MAX_ERROR_CHARACTERS]
        attempt = {"outbox_id": parcel.id, "at_ms": now_ms, "took_ms": outcome.took_ms, "detail": detail}
        _ATTEMPT.run(connection, {**attempt, "outcome": outcome.outcome})
        change = {"of_id": parcel.id, "waiting": OUTBOX_WAITING, "made": attempts}
        if outcome.outcome in (DELIVERED, SKIPPED):
            _DELIVERED.run(connection, {**change, "ended": OUTBOX_DONE, "now_ms": now_ms})
            if outcome.outcome == DELIVERED:
                self._follow(connection, parcel, now_ms)
        else:
            self._put_off(connection, parcel, outcome, now_ms)
        if outcome.outcome != DELIVERED and self._failed is not None:
            self._failed(connection, parcel, "" if outcome.outcome == SKIPPED else detail, now_ms)

    def _put_off(self, connection: sa.Connection, parcel: Parcel, outcome: Outcome, now_ms: int) -> None:
        attempts = parcel.attempts + 1
        due_ms = now_ms + self._wait_ms(attempts, outcome)
        change = {"of_id": parcel.id, "waiting": OUTBOX_WAITING, "made": attempts, "at_ms": due_ms}
        _AGAIN.run(connection, {**change, "why": outcome.detail[:MAX_ERROR_CHARACTERS]})

    def _anything_due(self, now_ms: int, names: list[str]) -> bool:
        """A look without the write lock: most calls find nothing."""
        with reading(self.engine) as connection:
            return any(self._next_rows(connection, name, now_ms, 1) for name in ("", *names))

    def _fan_out(self, connection: sa.Connection, now_ms: int) -> bool:
        """Hand new rows on to the channels that take their kind; whether there may be more than one portion of them."""
        rows = self._next_rows(connection, "", now_ms, FAN_OUT)
        for row_id, kind, key, subject, payload, _, created_ms in rows:
            takers = [channel.name for channel in self.channels.values() if kind in channel.kinds]
            for name in takers:
                handed = {"kind": kind, "channel": name, "key": f"{key}@{name}", "subject": subject, "payload": payload}
                due = {"created_ms": created_ms, "next_at_ms": now_ms}
                _HAND_ON.run(connection, {**handed, **due, "state": OUTBOX_WAITING, "attempts": 0, "last_error": ""})
            why = "" if takers else f"no channel is configured for {kind}"
            _FINISH.run(connection, {"of_id": row_id, "ended": OUTBOX_DONE, "now_ms": now_ms, "why": why})
        return len(rows) == FAN_OUT

    def _claim_some(self, connection: sa.Connection, channel: str, now_ms: int, most: int) -> list[Parcel]:
        """The most urgent due rows of a channel, if there are any; they are this process's now."""
        claimed: list[Parcel] = []
        for row_id, kind, key, subject, text, attempts, created_ms in self._next_rows(
            connection, channel, now_ms, most
        ):
            if claimed and kind != OUTBOX_ALARM:
                break
            payload = _payload(text)
            if payload is not None:
                _LEASE.run(connection, {"of_id": row_id, "until_ms": now_ms + LEASE_MS})
                claimed.append(Parcel(row_id, kind, channel, key, subject, payload, attempts, created_ms))
            else:
                why = "its payload is not a JSON object"
                _FINISH.run(connection, {"of_id": row_id, "ended": OUTBOX_FAILED, "now_ms": now_ms, "why": why})
        return claimed

    def _next_rows(self, connection: sa.Connection, channel: str, now_ms: int, most: int) -> list[tuple[Any, ...]]:
        """The most urgent due rows of a channel, "" = not handed on to any yet: the columns of `_PARCEL`."""
        times = {"now_ms": now_ms, "ahead_ms": now_ms + AHEAD_MS, "latest_ms": now_ms + self._policy.max_ms}
        of = {"of_channel": channel, "waiting": OUTBOX_WAITING, "most": most, **times, **_URGENT_KINDS}
        return _NEXT.all(connection, of)

    def _follow(self, connection: sa.Connection, parcel: Parcel, now_ms: int) -> None:
        follow = self._follow_up.get(parcel.kind)
        if follow is None:
            return
        of = {"waiting": OUTBOX_WAITING, "of_kind": parcel.kind, "of_subject": parcel.subject, "most": 1}
        follow(connection, parcel, not _OTHERS.all(connection, of), now_ms)

    def _wait_ms(self, attempts: int, outcome: Outcome) -> int:
        if outcome.outcome == REFUSED:
            return self._policy.wait_ms(61, self._chance())
        wait_ms = self._policy.wait_ms(attempts, self._chance())
        return min(max(wait_ms, outcome.retry_after_ms or 0), self._policy.max_ms)


def _payload(text: str) -> dict[str, Any] | None:
    try:
        payload = json.loads(text)
    except ValueError:
        return None
    return payload if isinstance(payload, dict) else None
