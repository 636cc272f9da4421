"""What must leave the gateway or be told to its operators, written in the same commit as its cause."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.sqlite import insert

from lapel_gateway.ledger import schema
from lapel_gateway.ledger.direct import Direct

_QUEUE = Direct(
    insert(schema.outbox).on_conflict_do_nothing(index_elements=["key"]),
    ("kind", "channel", "key", "subject", "payload", "state", "attempts", "created_ms", "next_at_ms", "last_error"),
)
_NOTE = Direct(sa.insert(schema.notice), ("kind", "device", "subject", "at_ms", "detail"))
_COUNT = insert(schema.tally)
_TALLY = Direct(
    _COUNT.on_conflict_do_update(
        index_elements=["device", "reason"],
        set_={"count": schema.tally.c.count + _COUNT.excluded.count, "last_ms": _COUNT.excluded.last_ms},
    )
)


def add_outbox(
    connection: sa.Connection, kind: str, key: str, subject: str, payload: Mapping[str, Any], now_ms: int
) -> bool:
    """Queue one thing to deliver through every channel of its kind, due at once.

    The same `key` is queued once for ever; returns whether it was new.
    """
    return add_row(connection, kind, "", key, subject, json.dumps(payload, sort_keys=True), now_ms)


def add_row(
    connection: sa.Connection, kind: str, channel: str, key: str, subject: str, payload: str, now_ms: int
) -> bool:
    """Queue one thing to deliver through one channel ("" = every one of its kind), due at once; as `add_outbox`."""
    values = {
        "kind": kind,
        "channel": channel,
        "key": key,
        "subject": subject,
        "payload": payload,
        "state": schema.OUTBOX_WAITING,
        "attempts": 0,
        "created_ms": now_ms,
        "next_at_ms": now_ms,
        "last_error": "",
    }
    return _QUEUE.run(connection, values) == 1


def add_notice(
    connection: sa.Connection,
    kind: str,
    key: str,
    device: str,
    subject: str,
    detail: str,
    now_ms: int,
    people: Sequence[str] = (),
    channels: Sequence[str] = (),
) -> bool:
    """Tell the operators something once for each `key`: a notice row and its outbox row. Returns whether it was new.

    `people` are named in what is sent, where it is for them; `channels` get it although they take no notices.
    """
    payload: dict[str, Any] = {
        "notice": kind,
        "device": device,
        "subject": subject,
        "detail": detail,
        "at_ms": now_ms,
    }
    if people:
        payload["people"] = list(people)
    if not add_outbox(connection, schema.OUTBOX_NOTICE, f"notice-{kind}-{key}", subject, payload, now_ms):
        return False
    for channel in channels:
        text = json.dumps(payload, sort_keys=True)
        own = f"notice-{kind}-{key}:{channel}"
        add_row(connection, schema.OUTBOX_NOTICE, channel, own, subject, text, now_ms)
    _NOTE.run(connection, {"kind": kind, "device": device, "subject": subject, "at_ms": now_ms, "detail": detail})
    return True


def add_tallies(connection: sa.Connection, tallies: Mapping[tuple[str, str], int], now_ms: int) -> None:
    """Add to the counters: {(device or "", reason): how many}."""
    rows = [
        {"device": device, "reason": reason, "count": count, "first_ms": now_ms, "last_ms": now_ms}
        for (device, reason), count in sorted(tallies.items())
    ]
    if rows:
        _TALLY.run_each(connection, rows)
