"""The alarm role's core, and what humans do with alarms.

Rules that hold here
- The device's receipt follows the commit that makes its alarm durable.
- Only a named human acknowledges; the first one counts.
- Traffic on the alarm lane that cannot be verified becomes one notice in a while, never silence.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
import structlog

from lapel_gateway import steps
from lapel_gateway.alarms import escalations
from lapel_gateway.alarms.book import (
    NOTE,
    RESOLVED,
    AlarmError,
    alarm_id,
    answers,
    enter_alarm,
    get_alarm,
    next_state,
    note_once,
    note_step,
    tell,
)
from lapel_gateway.custody.downlink import Order, Outcome, seal_order
from lapel_gateway.ledger import reading, writing
from lapel_gateway.ledger.devices import record_seen
from lapel_gateway.ledger.epochs import record_epochs
from lapel_gateway.ledger.outgoing import add_notice, add_tallies
from lapel_gateway.ledger.schema import EPOCH_BOOT, alarm
from lapel_gateway.log import printable
from lapel_gateway.registry import Registry
from lapel_gateway.verify import FREE_STEPS, Trust, Verifier, WalkRefused
from lapel_protocol import alarm as protocol_alarm
from lapel_protocol.errors import Malformed, ProtocolError, Replayed
from lapel_protocol.event import ALARM_KINDS, ALARM_RAISED, Event, peek_event
from lapel_protocol.limits import MAX_EVENT_RECORD_BYTES
from lapel_protocol.names import RESOLVED_NAMES
from lapel_protocol.topics import LANE_ALARM, parse_topic

__all__ = ["AlarmCore", "AlarmError", "OwnAlarm", "acknowledge", "add_note", "answer", "notifying", "resolve"]

NOTICE_WINDOW_MS = 300_000
"""One notice of unverifiable traffic for each device in this time."""

NOTICES_IN_WINDOW = 20
"""Above this many such notices in one window, further ones become a single one that names no device."""

TALLY_MS = 1_000
"""Counts of refused traffic are written at most so often; a kill loses that much of them, and nothing else."""

MAX_COSTLY = 256
"""Messages that would take long to verify and may wait for it. Their devices repeat what is turned away, if true."""

SEVERAL = "several devices"

_UNTOLD = sa.select(alarm.c.id).where(alarm.c.untold).limit(1)
_log = structlog.get_logger("lapel.alarms")


class OwnAlarm(AlarmError):
    """Somebody tried to answer the alarm that is about themselves."""


@dataclass(frozen=True, slots=True)
class _Arrived:
    """One message of the alarm lane, nothing verified."""

    position: int
    device: bytes
    payload: bytes
    trust: Trust | None
    costly: bool

    @property
    def name(self) -> str:
        """The device that its topic names."""
        return self.device.hex()


_Refused = tuple[int, str, bool, ProtocolError]  # position, device's name, whether the registry knows it, why


def _is_costly(trust: Trust | None, payload: bytes) -> bool:
    """Whether to verify it means a long walk along the chain of epochs, as forged ones want it."""
    if trust is None or len(payload) > MAX_EVENT_RECORD_BYTES:
        return False
    try:
        _, _, boot, _ = peek_event(payload)
    except ProtocolError:
        return False
    return boot - trust.authenticated_epoch > FREE_STEPS


class AlarmCore:
    """Takes the alarm lane in small batches: what is genuine in one is one commit, ahead of all other writers."""

    def __init__(
        self,
        engine: sa.Engine,
        registry: Registry,
        verifier: Verifier | None = None,
        notice_window_ms: int = NOTICE_WINDOW_MS,
    ) -> None:
        self._engine = engine
        self._registry = registry
        self._verifier = verifier or Verifier()
        self._notice_window_ms = notice_window_ms
        self._window = -1
        self._told: set[str] = set()
        self._tallies: Counter[tuple[str, str]] = Counter()
        self._tallied_ms = 0

    def handle(self, topic: str, payload: bytes, now_ms: int) -> Outcome:
        """Take one message of the alarm lane. Raises what the ledger raises; it is to be handed in again then."""
        return self.take([(topic, payload)], now_ms)

    def take(self, batch: Sequence[tuple[str, bytes]], now_ms: int) -> Outcome:
        """Take messages of the alarm lane. Raises what the ledger raises; then all are to be handed in again.

        What would take long to verify is left for a later call, unless there is nothing else, and then the first of it
        is taken: an alarm waits for one such message at most, however many there are.
        """
        arrived, refused = self._parse(batch)
        costly = [message for message in arrived if message.costly]
        for message in costly[MAX_COSTLY:]:
            refused.append((message.position, message.name, True, WalkRefused("too many wait to be verified")))
        taken = [message for message in arrived if not message.costly] or costly[:1]
        genuine: list[tuple[_Arrived, Trust, Event]] = []
        for message in taken:
            try:
                genuine.append((message, *self._verified(message, now_ms)))
            except ProtocolError as error:
                refused.append((message.position, message.name, message.trust is not None, error))
        orders = self._enter(genuine, refused, now_ms) if genuine else []
        without = {position for position, _, _, _ in refused}
        raised = [
            alarm_id(trust.name, found.boot, found.counter)
            for message, trust, found in genuine
            if found.kind == ALARM_RAISED and message.position not in without
        ]
        if orders:
            steps.reach("alarms.committed")
        for position, name, known, why in refused:
            self._unverified(name, known, batch[position][0], why, now_ms)
        downlinks = [seal_order(self._verifier, trust, order) for trust, order in orders]
        settled = [message.position for message in taken] + [position for position, _, _, _ in refused]
        return Outcome(sorted(set(settled)), downlinks, raised)

    def fault(self, topic: str, now_ms: int) -> None:
        """A message of the alarm lane met an error of this program: somebody may be pressing all the same."""
        self._unverified("", False, topic, ProtocolError("internal error"), now_ms)

    def untold(self, now_ms: int) -> list[tuple[str, bytes]]:
        """Downlinks for alarms that a human answered since the last call, in whichever process that happened.

        Called a few times a second; also writes what was counted meanwhile.
        """
        self._write_tallies(now_ms)
        with reading(self._engine) as connection:
            if connection.execute(_UNTOLD).first() is None:
                return []
        downlinks = []
        with writing(self._engine) as connection:
            rows = connection.execute(sa.select(alarm).where(alarm.c.untold)).all()
            trusts = self._registry.trust(connection, {bytes.fromhex(row.device) for row in rows})
            connection.execute(sa.update(alarm).where(alarm.c.untold).values(untold=False))
            for row in rows:
                trust = trusts[bytes.fromhex(row.device)]
                downlinks += [seal_order(self._verifier, trust, order) for order in answers(row)]
        for row in rows:
            _log.info("device is told of an answer", alarm=row.id, state=row.state)
        return downlinks

    def _parse(self, batch: Sequence[tuple[str, bytes]]) -> tuple[list[_Arrived], list[_Refused]]:
        """What can be verified, with what the registry says of its device; and what cannot even be tried."""
        named: list[tuple[int, bytes, bytes]] = []
        refused: list[_Refused] = []
        for position, (topic, payload) in enumerate(batch):
            try:
                device, lane = parse_topic(topic)
                if lane != LANE_ALARM:
                    raise Malformed("not the alarm lane")
                named.append((position, device, payload))
            except ProtocolError as error:
                refused.append((position, "", False, error))
        if not named:
            return [], refused
        with reading(self._engine) as connection:
            trusts = self._registry.trust(connection, {device for _, device, _ in named})
        return [
            _Arrived(position, device, payload, trusts.get(device), _is_costly(trusts.get(device), payload))
            for position, device, payload in named
        ], refused

    def _verified(self, message: _Arrived, now_ms: int) -> tuple[Trust, Event]:
        found = self._verifier.event(message.trust, message.device, message.payload, now_ms)
        if message.trust is None or found.kind not in ALARM_KINDS:
            raise Malformed(f"event kind {found.kind} on the alarm lane")
        if found.boot < message.trust.boot_floor:
            raise Replayed("event of a boot that was closed")
        return message.trust, found

    def _enter(
        self, genuine: Sequence[tuple[_Arrived, Trust, Event]], refused: list[_Refused], now_ms: int
    ) -> list[tuple[Trust, Order]]:
        """Write verified alarms and cancels in one commit; one whose payload says nothing joins the refused."""
        orders: list[tuple[Trust, Order]] = []
        with writing(self._engine, urgent=True) as connection:
            for message, trust, found in genuine:
                try:
                    entered = enter_alarm(connection, trust, found, message.payload, now_ms)
                except ProtocolError as error:
                    refused.append((message.position, message.name, True, error))
                    continue
                orders += [(trust, order) for order in entered]
                record_seen(connection, [(trust, found.boot)])
                record_epochs(connection, [(trust.name, found.boot, EPOCH_BOOT, True)], now_ms)
            steps.reach("alarms.written")
        return orders

    def _unverified(self, name: str, known: bool, topic: str, error: ProtocolError, now_ms: int) -> None:
        """Somebody may be pressing an alarm that this gateway cannot verify: tell the operators, not too often.

        What is not told is only counted, and written later: a flood must not keep the ledger from a true alarm.
        """
        self._tallies[name if known else "", f"alarm_{error.reason}"] += 1
        subject = self._fresh(name or printable(topic), now_ms)
        if not subject:
            return
        _log.warning(
            "unverified alarm", subject=subject, topic=printable(topic), reason=error.reason, detail=str(error)
        )
        detail = f"traffic on the alarm lane could not be verified ({error.reason}): somebody may need help"
        key = f"{subject}-{self._window}"
        with writing(self._engine) as connection:
            add_notice(connection, "unverified_alarm", key, name, subject, detail, now_ms)
        self._write_tallies(now_ms)

    def _fresh(self, subject: str, now_ms: int) -> str:
        """Whom a notice is to be about now: the subject, several at once, or "" = it was told of in this window."""
        window = now_ms // self._notice_window_ms
        if window != self._window:
            self._window, self._told = window, set()
        if subject not in self._told and len(self._told) >= NOTICES_IN_WINDOW:
            subject = SEVERAL
        if subject in self._told:
            return ""
        self._told.add(subject)
        return subject

    def _write_tallies(self, now_ms: int) -> None:
        if self._tallies and now_ms - self._tallied_ms >= TALLY_MS:
            with writing(self._engine) as connection:
                add_tallies(connection, self._tallies, now_ms)
            self._tallies.clear()
            self._tallied_ms = now_ms


def notifying(connection: sa.Connection, identifier: str, who: str, now_ms: int) -> None:
    """Somebody is being told of the alarm through the channel `who`; harmless to repeat."""
    row = get_alarm(connection, identifier)
    state = next_state(row.state, protocol_alarm.NOTIFY)
    if row.notified_ms is None:
        values = {"state": state, "notified_ms": now_ms}
        connection.execute(sa.update(alarm).where(alarm.c.id == identifier).values(values))
        note_step(connection, identifier, "notifying", who, "", now_ms)


def acknowledge(engine: sa.Engine, identifier: str, user: str, now_ms: int) -> bool:
    """`user` has seen the alarm. Returns False when somebody had acknowledged it before.

    Raises AlarmError, OwnAlarm for the alarm of the user's own.
    """
    with writing(engine) as connection:
        first = answer(connection, identifier, user, now_ms)
    steps.reach("alarms.acknowledged")
    return first


def answer(connection: sa.Connection, identifier: str, who: str, now_ms: int) -> bool:
    """Like `acknowledge`, in the caller's transaction."""
    row = get_alarm(connection, identifier)
    _not_ones_own(row, who, "acknowledge")
    if row.acknowledged_by is not None or row.state == RESOLVED:
        note_once(connection, identifier, "acknowledged again", who, "", now_ms)
        return False
    state = next_state(row.state, protocol_alarm.ACKNOWLEDGE)
    values = {"state": state, "acknowledged_ms": now_ms, "acknowledged_by": who, "untold": row.boot is not None}
    connection.execute(sa.update(alarm).where(alarm.c.id == identifier).values(values))
    note_step(connection, identifier, "acknowledged", who, "", now_ms)
    escalations.answered(connection, identifier, who, now_ms)
    tell(connection, identifier, "acknowledged", now_ms)
    _log.info("alarm acknowledged", alarm=identifier, by=who, after_ms=now_ms - row.received_ms)
    return True


def resolve(engine: sa.Engine, identifier: str, user: str, resolution: str, note: str, now_ms: int) -> bool:
    """`user` closes the alarm as "true", "false" or "test". Returns False when it was closed.

    Raises AlarmError, OwnAlarm for the alarm of the user's own that nobody else has acknowledged.
    """
    if resolution not in RESOLVED_NAMES[1:]:
        raise AlarmError(f"an alarm is resolved as {', '.join(RESOLVED_NAMES[1:])}, not as {resolution!r}")
    with writing(engine) as connection:
        row = get_alarm(connection, identifier)
        if row.acknowledged_by is None:
            _not_ones_own(row, user, "resolve")
        if row.state == RESOLVED:
            note_once(connection, identifier, "resolved again", user, resolution, now_ms)
            return False
        values = {
            "state": next_state(row.state, protocol_alarm.RESOLVE),
            "resolved_ms": now_ms,
            "resolved_by": user,
            "resolution": resolution,
            "note": note,
            "untold": row.boot is not None,
        }
        connection.execute(sa.update(alarm).where(alarm.c.id == identifier).values(values))
        note_step(connection, identifier, "resolved", user, f"{resolution}: {note}" if note else resolution, now_ms)
        escalations.answered(connection, identifier, user, now_ms)
        tell(connection, identifier, "resolved", now_ms)
    steps.reach("alarms.acknowledged")
    _log.info("alarm resolved", alarm=identifier, by=user, resolution=resolution, after_ms=now_ms - row.received_ms)
    return True


def add_note(engine: sa.Engine, identifier: str, user: str, note: str, now_ms: int) -> None:
    """Write what `user` has to say into the alarm's log, whatever its state, one line that says something. Sending the
    same words twice writes them once. Raises AlarmError."""
    if not note.strip():
        raise AlarmError("a note says something")
    with writing(engine) as connection:
        get_alarm(connection, identifier)
        note_once(connection, identifier, NOTE, user, note, now_ms)


def _not_ones_own(row: sa.Row[Any], who: str, what: str) -> None:
    """Whoever asks for help may be made to call it off, so that another has to answer. Raises OwnAlarm."""
    if row.person and " ".join(who.split()).casefold() == " ".join(row.person.split()).casefold():
        raise OwnAlarm(f"{printable(who)} cannot {what} an alarm of their own: somebody else has to")
