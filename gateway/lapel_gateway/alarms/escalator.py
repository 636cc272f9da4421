"""Takes the steps of alarms that nobody has answered, and writes down whom that reached.

Rules that hold here
- A step is one commit: its outbox rows, its place in the alarm's log, and when the next one is due. A kill before it
  leaves the step due, a kill after it has it taken; it is never skipped and never taken twice.
- A step whose every target fails is over at once. The catch-all alone keeps to its time: it comes round again.
- A channel that has not yet delivered one step is not given the next beside it: it is still trying.
- A channel that fails is an alarm by itself.
- A clock that was set back makes steps early, never late.
- An alarm whose step cannot be taken keeps no other waiting, and is tried again; a plan that cannot be read is chosen
  anew.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa
import structlog

from lapel_gateway import steps
from lapel_gateway.alarms import escalations
from lapel_gateway.alarms.book import AGAIN, RAISED, alarm_payload, note_step
from lapel_gateway.alarms.core import answer, notifying
from lapel_gateway.alarms.kinds import CENTRE_SILENT, DELIVERY_FAILED, kind_name
from lapel_gateway.alarms.own import note_again, raise_own
from lapel_gateway.alarms.policies import Plan, Policies, Reach
from lapel_gateway.channels.contract import Parcel
from lapel_gateway.ledger import reading, writing
from lapel_gateway.ledger.direct import Direct
from lapel_gateway.ledger.outgoing import add_row
from lapel_gateway.ledger.schema import OUTBOX_ALARM, OUTBOX_WAITING, alarm, delivery, escalation, outbox

AHEAD_MS = 1_000
"""A step that was taken later than this after now was taken before the clock was set back."""

PORTION = 16
"""Steps taken in one transaction: an alarm waits for the transaction under way."""

ESCALATOR = "escalation"
"""Who took a step, in the alarm's log."""

AGAIN_MS = 10_000
"""Until a step that met an error of this program is tried again."""

MAX_DETAIL = 500

_DUE = Direct(
    sa.select(escalation.c.alarm_id)
    .where(
        sa.or_(
            escalation.c.next_at_ms <= sa.bindparam("now_ms"),
            sa.and_(escalation.c.next_at_ms.is_not(None), escalation.c.taken_ms > sa.bindparam("ahead_ms")),
        )
    )
    .order_by(escalation.c.next_at_ms)
    .limit(sa.bindparam("most"))
)
_STATE = sa.select(escalation).where(escalation.c.alarm_id == sa.bindparam("of_id"))
_ROW = sa.select(alarm).where(alarm.c.id == sa.bindparam("of_id"))
_TAKEN = Direct(
    sa.update(escalation)
    .where(escalation.c.alarm_id == sa.bindparam("of_id"))
    .values(
        policy=sa.bindparam("of_policy"),
        plan=sa.bindparam("of_plan"),
        taken=sa.bindparam("steps_taken"),
        taken_ms=sa.bindparam("now_ms"),
        next_at_ms=sa.bindparam("due_ms"),
    )
)
_PENDING = Direct(
    sa.select(outbox.c.channel).where(
        outbox.c.key >= sa.bindparam("from_key"),
        outbox.c.key < sa.bindparam("to_key"),
        outbox.c.state == sa.bindparam("waiting"),
    )
)
_DELIVERED = (
    sa.select(delivery.c.id).where(delivery.c.outbox_id == outbox.c.id, delivery.c.outcome == "delivered").exists()
)
_OF_STEP = sa.select(outbox.c.attempts, outbox.c.state, _DELIVERED.label("delivered")).where(
    outbox.c.key >= sa.bindparam("from_key"), outbox.c.key < sa.bindparam("to_key")
)

_log = structlog.get_logger("lapel.alarms")


class Escalator:
    """The steps of every alarm, by the configured policies and channels."""

    def __init__(self, engine: sa.Engine, policies: Policies, reach: Reach, answering: Mapping[str, str] | None = None):
        """``answering``: channels whose taking an alarm is a human's answer, as agreed with a receiving centre, and
        who that is."""
        self._engine = engine
        self._policies = policies
        self._reach = reach
        self._answering = answering or {}

    def advance(self, now_ms: int) -> int:
        """Take every step that is due; returns how many were."""
        taken = 0
        while self._any_due(now_ms):
            with writing(self._engine) as connection:
                due = [identifier for (identifier,) in _DUE.all(connection, _now(now_ms, PORTION))]
                for identifier in due:
                    self._take_alone(connection, identifier, now_ms)
                steps.reach("escalation.written")
            steps.reach("escalation.taken")
            taken += len(due)
        return taken

    def next_due_ms(self) -> int | None:
        """When the next step falls due; None when no alarm waits for an answer."""
        with reading(self._engine) as connection:
            due: int | None = connection.execute(sa.select(sa.func.min(escalation.c.next_at_ms))).scalar_one()
            return due

    def told(self, connection: sa.Connection, parcel: Parcel, _last: bool, now_ms: int) -> None:
        """A channel has taken a parcel of an alarm (`outbox.Follow`)."""
        notifying(connection, parcel.subject, parcel.channel, now_ms)
        if parcel.attempts:
            note_again(connection, DELIVERY_FAILED, parcel.channel, "it delivers again", now_ms)
        if parcel.channel in self._answering and parcel.payload.get("what") in (RAISED, AGAIN):
            answer(connection, parcel.subject, self._answering[parcel.channel], now_ms)

    def failed(self, connection: sa.Connection, parcel: Parcel, error: str, now_ms: int) -> None:
        """An attempt has failed, or there was nothing to send (``error`` ""): the policy may have to move on at once
        (`outbox.Failed`)."""
        if parcel.kind != OUTBOX_ALARM:
            return
        if error:
            detail = f"{parcel.channel} does not deliver alarms: {error}"[:MAX_DETAIL]
            raise_own(connection, DELIVERY_FAILED, parcel.channel, detail, now_ms)
        if parcel.attempts or parcel.payload.get("what") not in (RAISED, AGAIN):
            return
        state = connection.execute(_STATE, {"of_id": parcel.subject}).one_or_none()
        if state is None or state.next_at_ms is None or state.next_at_ms <= now_ms or not state.taken:
            return
        number = state.taken - 1
        row = connection.execute(_ROW, {"of_id": parcel.subject}).one()
        if self._plan(state, row, now_ms).stage(number).catch_all:
            return
        keys = escalations.key_range(f"{escalations.step_stem(parcel.subject)}{number}@")
        rows = connection.execute(_OF_STEP, keys).all()
        if any(row.delivered or (row.state == OUTBOX_WAITING and not row.attempts) for row in rows):
            return
        note_step(connection, parcel.subject, "moved on", ESCALATOR, "the step reached nobody", now_ms)
        moved = sa.update(escalation).where(escalation.c.alarm_id == parcel.subject)
        connection.execute(moved.values(next_at_ms=now_ms))

    def link(self, channel: str, error: str, now_ms: int) -> None:
        """A tested link fails, or works again (``error`` "")."""
        with writing(self._engine) as connection:
            if error:
                detail = f"{channel} does not answer: {error}"[:MAX_DETAIL]
                if raise_own(connection, CENTRE_SILENT, channel, detail, now_ms) is None:
                    note_again(connection, CENTRE_SILENT, channel, detail, now_ms)
            else:
                note_again(connection, CENTRE_SILENT, channel, "it answers again", now_ms)

    def _any_due(self, now_ms: int) -> bool:
        """A look without the write lock: most calls find nothing."""
        with reading(self._engine) as connection:
            return bool(_DUE.all(connection, _now(now_ms, 1)))

    def _take_alone(self, connection: sa.Connection, identifier: str, now_ms: int) -> None:
        try:
            with connection.begin_nested():
                self._take(connection, identifier, now_ms)
        except sa.exc.SQLAlchemyError:
            raise
        except Exception:  # noqa: BLE001 - were it raised, this alarm would keep every other from being told
            _log.exception(
                "an escalation step failed and is tried again", alarm=identifier, again_in_s=AGAIN_MS // 1000
            )
            later = sa.update(escalation).where(escalation.c.alarm_id == identifier)
            connection.execute(later.values(taken_ms=now_ms, next_at_ms=now_ms + AGAIN_MS))

    def _plan(self, state: sa.Row[Any], row: sa.Row[Any], now_ms: int) -> Plan:
        """The alarm's plan; chosen now where it has none yet, or none that can be read."""
        try:
            if state.plan:
                return Plan.from_json(state.plan)
        except ValueError:
            _log.error("the plan of an alarm cannot be read and is chosen anew", alarm=row.id)
        return self._policies.plan_for(row.team, kind_name(row.kind), now_ms)

    def _take(self, connection: sa.Connection, identifier: str, now_ms: int) -> None:
        state = connection.execute(_STATE, {"of_id": identifier}).one()
        row = connection.execute(_ROW, {"of_id": identifier}).one()
        plan = self._plan(state, row, now_ms)
        stage = plan.stage(state.taken)
        without = row.about if row.kind in (DELIVERY_FAILED, CENTRE_SILENT) else ""
        channels = self._reach.channels(stage.targets, without)
        keys = escalations.key_range(escalations.step_stem(identifier))
        pending = {channel for (channel,) in _PENDING.all(connection, {**keys, "waiting": OUTBOX_WAITING})}
        told = set(escalations.told_channels(connection, identifier))
        payload = {**alarm_payload(row), "policy": plan.policy, "step": state.taken + 1, "stage": stage.words}
        asked = [channel for channel in channels if channel not in pending]
        for channel in asked:
            what = AGAIN if channel in told else RAISED
            text = json.dumps({**payload, "what": what}, sort_keys=True)
            key = f"{escalations.step_stem(identifier)}{state.taken}@{channel}"
            add_row(connection, OUTBOX_ALARM, channel, key, identifier, text, now_ms)
        # A step that asks nobody new is no step to wait for.
        wait_ms = stage.delay_ms if asked or stage.catch_all else 0
        _TAKEN.run(
            connection,
            {
                "of_id": identifier,
                "of_policy": plan.policy,
                "of_plan": plan.to_json(),
                "steps_taken": state.taken + 1,
                "now_ms": now_ms,
                "due_ms": now_ms + wait_ms,
            },
        )
        whom = ", ".join(asked) or ("each is still being tried" if channels else "no channel of it is configured")
        note_step(connection, identifier, "step", ESCALATOR, f"{plan.policy}, {stage.words}: {whom}", now_ms)
        _log.info("escalation step", alarm=identifier, policy=plan.policy, stage=stage.words, channels=asked)


def _now(now_ms: int, most: int) -> dict[str, int]:
    return {"now_ms": now_ms, "ahead_ms": now_ms + AHEAD_MS, "most": most}
