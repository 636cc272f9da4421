"""The API of alarms: the list of them, one whole, and what a named human does about it.

The first acknowledgement of an alarm counts. A second one is told who was first, and is noted too.
"""

from __future__ import annotations

from collections.abc import Callable
from http import HTTPStatus
from typing import Annotated, Any, Literal

import sqlalchemy as sa
from fastapi import Depends, FastAPI
from pydantic import BaseModel, ConfigDict, Field

from lapel_gateway import describe
from lapel_gateway.accounts.permissions import Permission
from lapel_gateway.accounts.principal import Principal
from lapel_gateway.alarms import core as alarms
from lapel_gateway.ledger.schema import alarm as alarm_table
from lapel_gateway.ledger.schema import alarm_log, delivery, escalation, outbox
from lapel_gateway.web.access import may
from lapel_gateway.web.api.asking import MAX_PAGE, Limit, rows
from lapel_gateway.web.models import alarms as models
from lapel_gateway.web.problems import Problem

P = Permission
SeesAlarms = Annotated[Principal, Depends(may(P.SEE_ALARMS, P.SEE_OWN))]
AnswersAlarms = Annotated[Principal, Depends(may(P.ANSWER_ALARMS))]


Reason = Literal["true", "false", "test"]
MAX_NOTE = 2000


class Note(BaseModel):
    """What somebody has to say about an alarm."""

    model_config = ConfigDict(extra="forbid")

    note: Annotated[str, Field(min_length=1, max_length=MAX_NOTE)]


class Resolution(BaseModel):
    """How an alarm ended."""

    model_config = ConfigDict(extra="forbid")

    reason: Reason
    note: Annotated[str, Field(max_length=MAX_NOTE)] = ""


def install(app: FastAPI, engine: sa.Engine, now_ms: Callable[[], int]) -> None:
    """Add the routes to ``app``."""

    @app.get("/api/v1/alarms", response_model=models.Alarms)
    def list_alarms(user: SeesAlarms, state: str | None = None, limit: Limit = 100) -> dict[str, Any]:
        query = sa.select(alarm_table).order_by(alarm_table.c.received_ms.desc(), alarm_table.c.id).limit(limit)
        if state is not None:
            query = query.where(alarm_table.c.state == state)
        if (whose := user.only(P.SEE_ALARMS)) is not None:
            query = query.where(alarm_table.c.person == whose)
        return {"alarms": [describe.alarm_words(row) for row in rows(engine, query)]}

    @app.get("/api/v1/alarms/{alarm_id}", response_model=models.AlarmWhole)
    def showalarm_whole(user: SeesAlarms, alarm_id: str) -> dict[str, Any]:
        return alarm_whole(engine, alarm_id, user.only(P.SEE_ALARMS))

    @app.post("/api/v1/alarms/{alarm_id}/acknowledge", response_model=models.AlarmWhole)
    def acknowledge(user: AnswersAlarms, alarm_id: str) -> dict[str, Any]:
        acknowledge_alarm(engine, alarm_id, user.name, now_ms())
        return alarm_whole(engine, alarm_id)

    @app.post("/api/v1/alarms/{alarm_id}/resolve", response_model=models.AlarmWhole)
    def resolve(user: AnswersAlarms, alarm_id: str, resolution: Resolution) -> dict[str, Any]:
        resolve_alarm(engine, alarm_id, user.name, resolution.reason, resolution.note, now_ms())
        return alarm_whole(engine, alarm_id)

    @app.post("/api/v1/alarms/{alarm_id}/notes", response_model=models.AlarmWhole)
    def add_note(user: AnswersAlarms, alarm_id: str, said: Note) -> dict[str, Any]:
        note_alarm(engine, alarm_id, user.name, said.note, now_ms())
        return alarm_whole(engine, alarm_id)


def acknowledge_alarm(engine: sa.Engine, alarm_id: str, who: str, now_ms: int) -> None:
    """``who`` has seen an alarm. Raises Problem when there is none, when it is their own, when somebody was first."""
    before = alarm_whole(engine, alarm_id)
    try:
        first = alarms.acknowledge(engine, alarm_id, who, now_ms)
    except alarms.OwnAlarm as error:
        raise Problem(HTTPStatus.FORBIDDEN, str(error)) from None
    if not first:
        after = alarm_whole(engine, alarm_id)
        earlier = after["acknowledged"] or after["resolved"] or before["acknowledged"]
        what = "acknowledged" if after["acknowledged"] else "resolved"
        raise Problem(HTTPStatus.CONFLICT, f"{earlier['by']} {what} this alarm at {earlier['utc']}", alarm=after)


def resolve_alarm(engine: sa.Engine, alarm_id: str, who: str, reason: Reason, note: str, now_ms: int) -> None:
    """``who`` closes an alarm. Raises Problem when there is none, when it is their own, when somebody was first."""
    alarm_whole(engine, alarm_id)
    try:
        first = alarms.resolve(engine, alarm_id, who, reason, describe.one_line(note), now_ms)
    except alarms.OwnAlarm as error:
        raise Problem(HTTPStatus.FORBIDDEN, str(error)) from None
    if not first:
        after = alarm_whole(engine, alarm_id)
        earlier = after["resolved"]
        words = f"{earlier['by']} resolved this alarm as {after['resolution']} at {earlier['utc']}"
        raise Problem(HTTPStatus.CONFLICT, words, alarm=after)


def note_alarm(engine: sa.Engine, alarm_id: str, who: str, note: str, now_ms: int) -> None:
    """``who`` adds a note to an alarm. Raises Problem when there is none, and for a note that says nothing."""
    alarm_whole(engine, alarm_id)
    try:
        alarms.add_note(engine, alarm_id, who, describe.one_line(note), now_ms)
    except alarms.AlarmError as error:
        raise Problem(HTTPStatus.UNPROCESSABLE_ENTITY, str(error)) from None


def alarm_whole(engine: sa.Engine, alarm_id: str, whose: str | None = None) -> dict[str, Any]:
    """One alarm, of ``whose`` where that is said, with its log and what was sent. Raises Problem when there is none."""
    found = rows(engine, sa.select(alarm_table).where(alarm_table.c.id == alarm_id))
    if not found or (whose is not None and found[0]["person"] != whose):
        raise Problem(HTTPStatus.NOT_FOUND, "there is no such alarm")
    newest = sa.select(alarm_log).where(alarm_log.c.alarm_id == alarm_id).order_by(alarm_log.c.id.desc())
    log = rows(engine, newest.limit(MAX_PAGE))
    sent = rows(
        engine,
        sa.select(outbox.c.channel, delivery.c.at_ms, delivery.c.outcome, delivery.c.detail)
        .join(delivery, delivery.c.outbox_id == outbox.c.id)
        .where(outbox.c.subject == alarm_id)
        .order_by(delivery.c.id.desc())
        .limit(MAX_PAGE),
    )
    called = rows(engine, sa.select(escalation).where(escalation.c.alarm_id == alarm_id))
    return {
        **describe.alarm_words(found[0]),
        "escalation": describe.escalation_words(called[0]) if called else None,
        "log": [describe.log_words(row) for row in reversed(log)],
        "deliveries": [describe.delivery_words(row) for row in reversed(sent)],
    }
