"""Which alarms wait for a human, in the ledger: begun with the alarm, ended by an answer, and by nothing else."""

from __future__ import annotations

import sqlalchemy as sa

from lapel_gateway.ledger.direct import Direct
from lapel_gateway.ledger.schema import escalation

_BEGIN = Direct(sa.insert(escalation), ("alarm_id", "policy", "plan", "taken", "taken_ms", "next_at_ms"))


def begin(connection: sa.Connection, identifier: str, now_ms: int) -> None:
    """An alarm has come: somebody is to be told, at once. In the transaction that enters the alarm."""
    values = {"alarm_id": identifier, "policy": "", "plan": "", "taken": 0}
    _BEGIN.run(connection, {**values, "taken_ms": now_ms, "next_at_ms": now_ms})
