"""Which alarms wait for a human, in the ledger: begun with the alarm, ended by an answer, and by nothing else.

Rules that hold here
- Everything happens in the caller's transaction: the alarm and its timer are one commit, and so are an answer and the
  end of the timer.
- Whoever was told of an alarm is told of its end; what has not left yet when it is answered does not leave any more.
"""

from __future__ import annotations

import sqlalchemy as sa

from lapel_gateway.ledger.direct import Direct
from lapel_gateway.ledger.schema import OUTBOX_DONE, OUTBOX_WAITING, escalation, outbox

_BEGIN = Direct(sa.insert(escalation), ("alarm_id", "policy", "plan", "taken", "taken_ms", "next_at_ms"))
_END = Direct(
    sa.update(escalation).where(escalation.c.alarm_id == sa.bindparam("of_id")).values(next_at_ms=sa.null()),
)
_OF_ALARM = (outbox.c.key >= sa.bindparam("from_key"), outbox.c.key < sa.bindparam("to_key"))
_WITHDRAW = Direct(
    sa.update(outbox)
    .where(*_OF_ALARM, outbox.c.state == sa.bindparam("waiting"))
    .values(
        state=sa.bindparam("ended"),
        done_ms=sa.bindparam("now_ms"),
        withdrawn_ms=sa.bindparam("now_ms"),
        last_error=sa.bindparam("why"),
    )
)
_TOLD = Direct(
    sa.select(outbox.c.channel)
    .where(
        *_OF_ALARM,
        outbox.c.channel != sa.bindparam("nobody"),
        # What was withdrawn may have been delivered all the same, if it was claimed or tried before.
        sa.or_(outbox.c.withdrawn_ms.is_(None), outbox.c.leased_until_ms.is_not(None), outbox.c.attempts > 0),
    )
    .order_by(outbox.c.id)
)


def begin(connection: sa.Connection, identifier: str, now_ms: int) -> None:
    """An alarm has come: somebody is to be told, at once. In the transaction that enters the alarm."""
    values = {"alarm_id": identifier, "policy": "", "plan": "", "taken": 0}
    _BEGIN.run(connection, {**values, "taken_ms": now_ms, "next_at_ms": now_ms})


def answered(connection: sa.Connection, identifier: str, who: str, now_ms: int) -> int:
    """A human has answered: no further step, and nothing more leaves of those taken. Returns what was withdrawn."""
    _END.run(connection, {"of_id": identifier})
    of = {**key_range(step_stem(identifier)), "waiting": OUTBOX_WAITING, "ended": OUTBOX_DONE}
    return _WITHDRAW.run(connection, {**of, "now_ms": now_ms, "why": f"withdrawn: {who} answered first"})


def told_channels(connection: sa.Connection, identifier: str) -> list[str]:
    """The channels that were told of an alarm or are being told, in the order of their turn."""
    rows = _TOLD.all(connection, {**key_range(f"alarm-{identifier}-"), "nobody": ""})
    return list(dict.fromkeys(str(channel) for (channel,) in rows))


def step_stem(identifier: str) -> str:
    """What the outbox keys of an alarm's steps begin with; a number and a channel follow."""
    return f"alarm-{identifier}-step-"


def key_range(stem: str) -> dict[str, str]:
    """The outbox keys that begin with a stem, as ``from_key`` and the ``to_key`` behind the last of them."""
    return {"from_key": stem, "to_key": stem[:-1] + chr(ord(stem[-1]) + 1)}
