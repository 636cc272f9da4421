"""What the ledger says of alarms: entered once, told of, answered, and shown on the device until it shows the end.

Rules that hold here
- Everything happens in the caller's transaction: event, alarm, its log and the outbox row are one commit.
- A repeat is byte-identical and free: it is answered again and changes nothing.
- Every step is in the alarm's log with its time and who took it.
- What a device must show is desired state: it is issued when it changes, after each hello, and whenever a heartbeat
  shows something else.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
import structlog
from sqlalchemy.dialects.sqlite import insert

from lapel_gateway.downlink import Order
from lapel_gateway.ledger.outgoing import add_outbox
from lapel_gateway.ledger.schema import OUTBOX_ALARM, alarm, alarm_log, event
from lapel_gateway.ledger.schema import clip as clips
from lapel_gateway.log import printable
from lapel_gateway.verify import Trust
from lapel_protocol import alarm as protocol_alarm
from lapel_protocol.command import ALARM_ACK, ALARM_RECEIPT, ALARM_RESOLVED, EVENT_RECEIPT
from lapel_protocol.errors import Replayed
from lapel_protocol.event import ALARM_CANCELLED, ALARM_RAISED, Event
from lapel_protocol.machine import Machine
from lapel_protocol.names import ALARM_KIND_NAMES, ALARM_STATE_NAMES, RESOLVED_NAMES
from lapel_protocol.orders import AlarmAck, AlarmReceipt, AlarmResolved, EventReceipt
from lapel_protocol.report_decoders import decode_alarm_cancelled, decode_alarm_raised
from lapel_protocol.reports import AlarmCancelled

ACKNOWLEDGED = ALARM_STATE_NAMES[protocol_alarm.ACKNOWLEDGED]
RESOLVED = ALARM_STATE_NAMES[protocol_alarm.RESOLVED]
DEVICE_NAME = "device"
"""Who took a step, where the device did."""

# Built once: it is asked with every heartbeat.
_SHOWN = (
    sa.select(alarm)
    .where(alarm.c.device == sa.bindparam("name"), alarm.c.device_shows.is_distinct_from(RESOLVED))
    .order_by(alarm.c.boot, alarm.c.counter)
)

_log = structlog.get_logger("lapel.alarms")


class AlarmError(Exception):
    """The request about an alarm cannot be met; the message says why."""


def alarm_id(device: str, boot: int, counter: int) -> str:
    """The one readable id of an alarm, from press to delivery."""
    return f"{device}-{boot}-{counter}"


def enter_alarm(connection: sa.Connection, trust: Trust, found: Event, record: bytes, now_ms: int) -> list[Order]:
    """Write a verified alarm or cancel in the caller's transaction; returns the answers to send after its commit.

    Raises Malformed when its payload cannot be read, Replayed when its counter is taken; nothing is written then.
    """
    if found.kind == ALARM_RAISED:
        raised = decode_alarm_raised(found.payload)
        if enter_event(connection, trust.name, found, record, now_ms):
            _raise(connection, trust, found, raised.kind, raised.battery_percent, raised.clip, now_ms)
        row = connection.execute(
            sa.select(alarm).where(alarm.c.id == alarm_id(trust.name, found.boot, found.counter))
        ).one_or_none()
        if row is None:
            raise Replayed("the counter of another event")
        return answers(row)
    cancelled = decode_alarm_cancelled(found.payload)
    if enter_event(connection, trust.name, found, record, now_ms):
        _cancel(connection, trust, cancelled, now_ms)
    return [Order(trust.device, EVENT_RECEIPT, EventReceipt([(found.boot, found.counter)]).encode())]


def enter_event(connection: sa.Connection, name: str, found: Event, record: bytes, now_ms: int) -> bool:
    """Write an event once for ever; returns whether it was new."""
    statement = insert(event).values(
        device=name,
        boot=found.boot,
        counter=found.counter,
        kind=found.kind,
        wall_ms=found.wall_ms,
        mono_ms=found.mono_ms,
        trust=found.trust,
        received_ms=now_ms,
        payload=found.payload,
        record=bytes(record),
    )
    return connection.execute(statement.on_conflict_do_nothing()).rowcount == 1


def answers(row: sa.Row[Any]) -> list[Order]:
    """What the device must show of one alarm, as commands: receipt, acknowledgement, resolution."""
    device = bytes.fromhex(row.device)
    orders = [Order(device, ALARM_RECEIPT, AlarmReceipt(row.boot, row.counter, row.received_ms).encode())]
    if row.acknowledged_by is not None:
        ack = AlarmAck(row.boot, row.counter, row.acknowledged_ms, row.acknowledged_by)
        orders.append(Order(device, ALARM_ACK, ack.encode()))
    if row.state == RESOLVED:
        reason = RESOLVED_NAMES.index(row.resolution)
        orders.append(Order(device, ALARM_RESOLVED, AlarmResolved(row.boot, row.counter, reason).encode()))
    return orders


def answers_after_hello(connection: sa.Connection, trust: Trust) -> list[Order]:
    """The answers to every alarm of the device that it does not show as resolved."""
    return [order for row in connection.execute(_SHOWN, {"name": trust.name}) for order in answers(row)]


def shown_by_device(connection: sa.Connection, trust: Trust, boot: int, counter: int, state: int) -> list[Order]:
    """A heartbeat of the device showed this alarm in this state (0, 0, 0 = none); returns what it should show instead.

    A device that shows no alarm has let go of every resolved one.
    """
    shows = ALARM_STATE_NAMES[state]
    orders: list[Order] = []
    for row in connection.execute(_SHOWN, {"name": trust.name}).all():
        if (row.boot, row.counter) == (boot, counter):
            if row.device_shows != shows:
                connection.execute(sa.update(alarm).where(alarm.c.id == row.id).values(device_shows=shows))
            wanted = row.state if row.state in (ACKNOWLEDGED, RESOLVED) else "received"
            if shows != wanted:
                orders += answers(row)
        elif row.state == RESOLVED:
            connection.execute(sa.update(alarm).where(alarm.c.id == row.id).values(device_shows=RESOLVED))
    return orders


def _raise(
    connection: sa.Connection, trust: Trust, found: Event, kind: int, battery: int, clip: int, now_ms: int
) -> None:
    identifier = alarm_id(trust.name, found.boot, found.counter)
    if not clip:
        started = sa.select(clips.c.clip).where(
            clips.c.device == trust.name, clips.c.alarm_boot == found.boot, clips.c.alarm_counter == found.counter
        )
        clip = connection.execute(started.order_by(clips.c.clip).limit(1)).scalar() or 0
    connection.execute(
        sa.insert(alarm).values(
            id=identifier,
            device=trust.name,
            boot=found.boot,
            counter=found.counter,
            kind=kind,
            state=ALARM_STATE_NAMES[protocol_alarm.RECEIVED],
            person=trust.person,
            device_state=trust.state,
            clip=clip or None,
            raised_wall_ms=found.wall_ms,
            raised_mono_ms=found.mono_ms,
            trust=found.trust,
            battery_percent=battery,
            received_ms=now_ms,
            untold=False,
        )
    )
    note_step(connection, identifier, "received", DEVICE_NAME, ALARM_KIND_NAMES[kind], now_ms)
    tell(connection, identifier, "raised", now_ms)
    _log.info(
        "alarm", id=identifier, kind=ALARM_KIND_NAMES[kind], person=trust.person, device_state=trust.state, clip=clip
    )
    # The cancel has its own record and may have overtaken the alarm.
    named = AlarmCancelled(found.boot, found.counter)
    early = sa.select(event.c.counter).where(
        event.c.device == trust.name, event.c.kind == ALARM_CANCELLED, event.c.payload == named.encode()
    )
    if connection.execute(early).first() is not None:
        _cancel(connection, trust, named, now_ms)


def _cancel(connection: sa.Connection, trust: Trust, cancelled: AlarmCancelled, now_ms: int) -> None:
    """The wearer's word about one alarm: noted and told; a human still has to answer."""
    identifier = alarm_id(trust.name, cancelled.boot, cancelled.counter)
    mine = sa.and_(alarm.c.id == identifier, alarm.c.cancelled_ms.is_(None))
    if connection.execute(sa.update(alarm).where(mine).values(cancelled_ms=now_ms)).rowcount:
        note_step(connection, identifier, "cancelled", DEVICE_NAME, "by its wearer", now_ms)
        tell(connection, identifier, "cancelled", now_ms)
        _log.info("alarm cancelled by its wearer", id=identifier)


def get_alarm(connection: sa.Connection, identifier: str) -> sa.Row[Any]:
    """The row of an alarm. Raises AlarmError."""
    row = connection.execute(sa.select(alarm).where(alarm.c.id == identifier)).one_or_none()
    if row is None:
        raise AlarmError(f"there is no alarm {printable(identifier)}: `lapel alarm list` shows them")
    return row


def next_state(state: str, what: int) -> str:
    """The state that the protocol's table gives for an event (`lapel_protocol.alarm`). Raises BadTransition."""
    machine = Machine(protocol_alarm.TRANSITIONS, ALARM_STATE_NAMES.index(state))
    machine.handle(what)
    return ALARM_STATE_NAMES[machine.state]


def note_step(connection: sa.Connection, identifier: str, step: str, who: str, detail: str, now_ms: int) -> None:
    """Write one step into an alarm's log."""
    connection.execute(
        sa.insert(alarm_log).values(alarm_id=identifier, at_ms=now_ms, step=step, who=who, detail=detail)
    )


def tell(connection: sa.Connection, identifier: str, what: str, now_ms: int) -> None:
    """Queue what happened to the alarm for every channel."""
    row = get_alarm(connection, identifier)
    payload = {
        "what": what,
        "alarm": identifier,
        "device": row.device,
        "device_state": row.device_state,
        "person": row.person,
        "kind": ALARM_KIND_NAMES[row.kind],
        "state": row.state,
        "clip": row.clip,
        "raised_wall_ms": row.raised_wall_ms,
        "received_ms": row.received_ms,
        "cancelled_ms": row.cancelled_ms,
        "acknowledged_ms": row.acknowledged_ms,
        "acknowledged_by": row.acknowledged_by,
        "resolved_ms": row.resolved_ms,
        "resolved_by": row.resolved_by,
        "resolution": row.resolution,
    }
    add_outbox(connection, OUTBOX_ALARM, f"alarm-{identifier}-{what}", identifier, payload, now_ms)
