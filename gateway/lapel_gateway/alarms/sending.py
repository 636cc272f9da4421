"""What a device says of the way an alarm left it: taken once, if it fits the alarm, and counted otherwise (SPEC 7.13).

It is kept with the alarm as the device measured it, by its monotonic clock, so it holds also where nobody had set that
device's clock. What is not said stays unknown.
"""

from __future__ import annotations

import sqlalchemy as sa
import structlog

from lapel_gateway.alarms.book import DEVICE_NAME, alarm_id, note_step
from lapel_gateway.alarms.kinds import UNKNOWN as UNKNOWN_KIND
from lapel_gateway.ledger.schema import alarm
from lapel_gateway.verify import Trust
from lapel_protocol.event import Event
from lapel_protocol.reports import AlarmSending

# Why a word is refused, as it is counted
UNKNOWN = "sending_unknown"  # of an alarm that the ledger has not, or knows from a heartbeat only
UNFIT = "sending_unfit"  # older than what it speaks of
AGAIN = "sending_again"  # another one about the same alarm

_log = structlog.get_logger("lapel.alarms")

_ROW = sa.select(alarm.c.kind, alarm.c.raised_mono_ms, alarm.c.sent_after_ms).where(alarm.c.id == sa.bindparam("of_id"))


def take_sending(connection: sa.Connection, trust: Trust, found: Event, said: AlarmSending, now_ms: int) -> str | None:
    """Take a verified ALARM_SENDING event that is new; returns why it is refused, None when it was taken."""
    identifier = alarm_id(trust.name, found.boot, said.counter)
    row = connection.execute(_ROW, {"of_id": identifier}).one_or_none()
    if row is None or row.kind == UNKNOWN_KIND:
        return UNKNOWN
    if found.counter <= said.counter or found.mono_ms - row.raised_mono_ms < said.after_ms:
        return UNFIT
    if row.sent_after_ms is not None:
        return AGAIN
    values = {"sent_after_ms": said.after_ms, "sent_tries": said.tries}
    connection.execute(sa.update(alarm).where(alarm.c.id == identifier).values(values))
    tries = "one try" if said.tries == 1 else f"{said.tries} tries"
    _log.info("alarm had left its device", alarm=identifier, after_ms=said.after_ms, tries=said.tries)
    note_step(connection, identifier, "sent", DEVICE_NAME, f"{said.after_ms} ms after the press; {tries}", now_ms)
    return None
