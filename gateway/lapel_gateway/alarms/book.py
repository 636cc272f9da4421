"""What the ledger says of alarms: entered once, told of, answered, and shown on the device until it shows the end.

Rules that hold here
- Everything happens in the caller's transaction: event, alarm, its log and the outbox row are one commit.
- A repeat is byte-identical and free: it is answered again and changes nothing.
- Every step is in the alarm's log with its time and who took it.
- What a device must show is desired state: it is issued when it changes, after each hello, and whenever a heartbeat
  shows something else.
"""

from __future__ import annotations

import json
from collections.abc import Collection
from typing import Any

import sqlalchemy as sa
import structlog
from sqlalchemy.dialects.sqlite import insert

from lapel_gateway.alarms import escalations
from lapel_gateway.alarms.kinds import UNKNOWN, kind_name
from lapel_gateway.custody.downlink import Order
from lapel_gateway.ledger.direct import Direct
from lapel_gateway.ledger.outgoing import add_row, add_tallies
from lapel_gateway.ledger.schema import OUTBOX_ALARM, alarm, alarm_log, event, stored
from lapel_gateway.ledger.schema import clip as clips
from lapel_gateway.ledger.visits import running_visit
from lapel_gateway.log import printable
from lapel_gateway.people import team_of, wearer_of
from lapel_gateway.verify import Trust
from lapel_protocol import alarm as protocol_alarm
from lapel_protocol.command import ALARM_ACK, ALARM_RECEIPT, ALARM_RESOLVED, EVENT_RECEIPT
from lapel_protocol.errors import Replayed
from lapel_protocol.event import ALARM_CANCELLED, ALARM_RAISED, Event
from lapel_protocol.machine import Machine
from lapel_protocol.names import ALARM_STATE_NAMES, RESOLVED_NAMES, TRUST_NAMES
from lapel_protocol.orders import AlarmAck, AlarmReceipt, AlarmResolved, EventReceipt
from lapel_protocol.report_decoders import decode_alarm_cancelled, decode_alarm_raised
from lapel_protocol.reports import ALARM_TEST, AlarmCancelled, AlarmRaised, Heartbeat

ACKNOWLEDGED = ALARM_STATE_NAMES[protocol_alarm.ACKNOWLEDGED]
RESOLVED = ALARM_STATE_NAMES[protocol_alarm.RESOLVED]
_ANSWERED = (protocol_alarm.RECEIVED, protocol_alarm.NOTIFYING, protocol_alarm.ACKNOWLEDGED)
"""What a device shows only after a gateway's authentic answer."""

_UNANSWERED = (protocol_alarm.RAISED, protocol_alarm.SENT)
"""What it shows before one; and after it has lost its power between letting go of the record and writing that down."""

# --- what channels are told: beside these, the steps of the alarm's log ---
RAISED = "raised"  # the channel's first word of it
AGAIN = "unanswered"  # it knows, and nobody has answered yet

NOTE = "note"
"""The step of an alarm's log that holds what somebody wrote."""

DEVICE_NAME = "device"
"""Who took a step, where the device did."""

# Built once: they are used with every heartbeat.
_SHOWN = (
    sa.select(alarm)
    .where(
        alarm.c.device.in_(sa.bindparam("names", expanding=True)),
        alarm.c.boot.is_not(None),
        alarm.c.device_shows.is_distinct_from(RESOLVED),
    )
    .order_by(alarm.c.device, alarm.c.boot, alarm.c.counter)
)
_RAISED = ("kind", "test", "clip", "raised_wall_ms", "raised_mono_ms", "trust", "battery_percent")
_INSERT = insert(alarm)
_RAISE = Direct(
    _INSERT.on_conflict_do_update(index_elements=["id"], set_={name: _INSERT.excluded[name] for name in _RAISED}),
    (
        *("id", "device", "boot", "counter", "state", "person", "team", "visit", "device_state", "received_ms"),
        *("about", "detail", "untold"),
        *_RAISED,
    ),
)
_ENTER = Direct(insert(event).on_conflict_do_nothing())
_STEP = Direct(sa.insert(alarm_log), ("alarm_id", "at_ms", "step", "who", "detail"))
_ROW = sa.select(alarm).where(alarm.c.id == sa.bindparam("of_id"))
_STARTED = Direct(
    sa.select(clips.c.clip)
    .where(
        clips.c.device == sa.bindparam("of_device"),
        clips.c.alarm_boot == sa.bindparam("of_boot"),
        clips.c.alarm_counter == sa.bindparam("of_counter"),
    )
    .order_by(clips.c.clip)
)
_EARLY = Direct(
    sa.select(event.c.counter).where(
        event.c.device == sa.bindparam("of_device"),
        event.c.kind == sa.bindparam("of_kind"),
        event.c.payload == sa.bindparam("of_payload"),
    )
)
_SHOWS = sa.update(alarm).where(alarm.c.id == sa.bindparam("of_id")).values(device_shows=sa.bindparam("shows"))

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
            _raise(connection, trust, found, raised, now_ms)
        identifier = alarm_id(trust.name, found.boot, found.counter)
        row = connection.execute(_ROW, {"of_id": identifier}).one_or_none()
        if row is None:
            raise Replayed("the counter of another event")
        return answers(row)
    cancelled = decode_alarm_cancelled(found.payload)
    if not enter_event(connection, trust.name, found, record, now_ms):
        add_tallies(connection, {(trust.name, "cancel_repeated"): 1}, now_ms)
    elif not _cancel(connection, trust, cancelled, now_ms):
        add_tallies(connection, {(trust.name, "cancel_late"): 1}, now_ms)
    return [Order(trust.device, EVENT_RECEIPT, EventReceipt([(found.boot, found.counter)]).encode())]


def enter_event(connection: sa.Connection, name: str, found: Event, record: bytes, now_ms: int) -> bool:
    """Write an event once for ever; returns whether it was new."""
    values = {
        "device": name,
        "boot": found.boot,
        "counter": found.counter,
        "kind": found.kind,
        "wall_ms": stored(found.wall_ms),
        "mono_ms": stored(found.mono_ms),
        "trust": found.trust,
        "received_ms": now_ms,
        "payload": found.payload,
        "record": bytes(record),
    }
    return _ENTER.run(connection, values) == 1


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


class ShownAlarms:
    """The alarms of some devices that these do not show as resolved: what they are to show, and what they do show."""

    def __init__(self, connection: sa.Connection, names: Collection[str]) -> None:
        self._rows: dict[str, list[sa.Row[Any]]] = {}
        self._shows: dict[str, str] = {}
        self._strange: list[tuple[Trust, Event, Heartbeat]] = []
        for row in connection.execute(_SHOWN, {"names": sorted(names)}):
            self._rows.setdefault(row.device, []).append(row)

    def after_hello(self, name: str) -> list[Order]:
        """The answers to every one of the device's alarms."""
        return [order for row in self._open(name) for order in answers(row)]

    def by_device(self, trust: Trust, found: Event, beat: Heartbeat) -> list[Order]:
        """A heartbeat showed an alarm, or none; returns what its device should show instead.

        A device that shows another alarm, or none, has let go of every resolved one that was raised before. One that
        shows as received what the ledger does not know was answered by a gateway that has gone back in time since. One
        that shows an alarm of an earlier boot may have no record of it left to repeat: nothing else will answer it.
        """
        boot, counter = beat.alarm_boot, beat.alarm_counter
        shows = ALARM_STATE_NAMES[beat.alarm_state]
        orders: list[Order] = []
        known = False
        for row in self._open(trust.name):
            if (row.boot, row.counter) == (boot, counter):
                known = True
                if self._shows.get(row.id, row.device_shows) != shows:
                    self._shows[row.id] = shows
                wanted = row.state if row.state in (ACKNOWLEDGED, RESOLVED) else "received"
                if shows != wanted:
                    orders += answers(row)
            elif row.state == RESOLVED and (row.boot, row.counter) < (found.boot, found.counter):
                self._shows[row.id] = RESOLVED
        again = beat.alarm_state in _UNANSWERED and boot < found.boot
        if not known and (again or beat.alarm_state in _ANSWERED):
            self._strange.append((trust, found, beat))
        return orders

    def write(self, connection: sa.Connection, now_ms: int) -> None:
        """Write what the devices were seen to show."""
        for trust, found, beat in self._strange:
            _enter_shown(connection, trust, found, beat, now_ms)
        if self._shows:
            rows = [{"of_id": identifier, "shows": shows} for identifier, shows in self._shows.items()]
            connection.execute(_SHOWS, rows)

    def _open(self, name: str) -> list[sa.Row[Any]]:
        return [row for row in self._rows.get(name, []) if self._shows.get(row.id) != RESOLVED]


def _enter_shown(connection: sa.Connection, trust: Trust, found: Event, beat: Heartbeat, now_ms: int) -> None:
    """A device shows an alarm that the ledger has not, or has as one that the device let go of.

    The device may have no record of it any more, and its wearer waits: it is raised by the heartbeat's word, its kind
    not known. Should the record come after all, it completes the alarm.
    """
    identifier = alarm_id(trust.name, beat.alarm_boot, beat.alarm_counter)
    again = sa.update(alarm).where(alarm.c.id == identifier).values(device_shows=ALARM_STATE_NAMES[beat.alarm_state])
    if connection.execute(again).rowcount:
        return
    named = Event(
        ALARM_RAISED, trust.device, beat.alarm_boot, beat.alarm_counter, found.wall_ms, found.mono_ms, found.trust, b""
    )
    _raise(connection, trust, named, AlarmRaised(UNKNOWN, beat.battery_percent, 0), now_ms)


def _raise(connection: sa.Connection, trust: Trust, found: Event, raised: AlarmRaised, now_ms: int) -> None:
    kind, clip = raised.kind, raised.clip
    identifier = alarm_id(trust.name, found.boot, found.counter)
    if not clip:
        of = {"of_device": trust.name, "of_boot": found.boot, "of_counter": found.counter}
        clip = next((number for (number,) in _STARTED.all(connection, of)), 0)
    # There is a row before its record where the device's heartbeat had to raise it.
    known = connection.execute(_ROW, {"of_id": identifier}).one_or_none() is not None
    values = {
        "id": identifier,
        "device": trust.name,
        "boot": found.boot,
        "counter": found.counter,
        "state": ALARM_STATE_NAMES[protocol_alarm.RECEIVED],
        "person": trust.person,
        "team": team_of(connection, trust.person),
        "visit": running_visit(connection, wearer_of(trust)),
        "device_state": trust.state,
        "received_ms": now_ms,
        "about": "",
        "detail": "",
        "untold": False,
        "kind": kind,
        "test": bool(raised.flags & ALARM_TEST),
        "clip": clip or None,
        "raised_wall_ms": stored(found.wall_ms),
        "raised_mono_ms": stored(found.mono_ms),
        "trust": found.trust,
        "battery_percent": raised.battery_percent,
    }
    _RAISE.run(connection, values)
    note_step(connection, identifier, "received", DEVICE_NAME, kind_name(kind), now_ms)
    if known:
        tell(connection, identifier, "completed", now_ms)
    else:
        escalations.begin(connection, identifier, now_ms)
    said = {"person": trust.person, "device_state": trust.state, "clip": clip}
    _log.info("alarm", alarm=identifier, kind=kind_name(kind), test=bool(raised.flags & ALARM_TEST), **said)
    # The cancel has its own record and may have overtaken the alarm.
    named = AlarmCancelled(found.boot, found.counter)
    of = {"of_device": trust.name, "of_kind": ALARM_CANCELLED, "of_payload": named.encode()}
    if _EARLY.all(connection, of):
        _cancel(connection, trust, named, now_ms)


def _cancel(connection: sa.Connection, trust: Trust, cancelled: AlarmCancelled, now_ms: int) -> bool:
    """The wearer's word about one alarm: noted and told; a human still has to answer.

    Returns False for an alarm that is not known (yet), is over, or was cancelled before: that changes nothing.
    """
    identifier = alarm_id(trust.name, cancelled.boot, cancelled.counter)
    mine = sa.and_(alarm.c.id == identifier, alarm.c.cancelled_ms.is_(None), alarm.c.resolved_ms.is_(None))
    first = connection.execute(sa.update(alarm).where(mine).values(cancelled_ms=now_ms)).rowcount == 1
    if first:
        note_step(connection, identifier, "cancelled", DEVICE_NAME, "by its wearer", now_ms)
        tell(connection, identifier, "cancelled", now_ms)
        _log.info("alarm cancelled by its wearer", alarm=identifier)
    return first


def get_alarm(connection: sa.Connection, identifier: str) -> sa.Row[Any]:
    """The row of an alarm. Raises AlarmError."""
    row = connection.execute(_ROW, {"of_id": identifier}).one_or_none()
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
    values = {"alarm_id": identifier, "at_ms": now_ms, "step": step, "who": who, "detail": detail}
    _STEP.run(connection, values)


def note_once(connection: sa.Connection, identifier: str, step: str, who: str, detail: str, now_ms: int) -> None:
    """As `note_step`, but not again what the log says already: whoever repeats it must not make the log grow."""
    same = (alarm_log.c.step == step, alarm_log.c.who == who, alarm_log.c.detail == detail)
    if connection.execute(sa.select(alarm_log.c.id).where(alarm_log.c.alarm_id == identifier, *same)).first() is None:
        note_step(connection, identifier, step, who, detail, now_ms)


def tell(connection: sa.Connection, identifier: str, what: str, now_ms: int) -> None:
    """Tell those who were told of the alarm, or are being told, what has become of it."""
    channels = escalations.told_channels(connection, identifier)
    if channels:
        text = json.dumps({**alarm_payload(get_alarm(connection, identifier)), "what": what}, sort_keys=True)
        for channel in channels:
            key = f"alarm-{identifier}-{what}@{channel}"
            add_row(connection, OUTBOX_ALARM, channel, key, identifier, text, now_ms)


def alarm_payload(row: sa.Row[Any]) -> dict[str, Any]:
    """What channels are told of an alarm, whatever happened to it."""
    return {
        "alarm": row.id,
        "device": row.device,
        "device_state": row.device_state,
        "person": row.person,
        "team": row.team,
        "kind": kind_name(row.kind),
        "about": row.about,
        "detail": row.detail,
        "test": bool(row.test),
        "visit": row.visit,
        "state": row.state,
        "clip": row.clip,
        "raised_wall_ms": row.raised_wall_ms,
        "trust": TRUST_NAMES[row.trust] if row.trust < len(TRUST_NAMES) else None,
        "battery_percent": row.battery_percent,
        "received_ms": row.received_ms,
        "cancelled_ms": row.cancelled_ms,
        "acknowledged_ms": row.acknowledged_ms,
        "acknowledged_by": row.acknowledged_by,
        "resolved_ms": row.resolved_ms,
        "resolved_by": row.resolved_by,
        "resolution": row.resolution,
    }
