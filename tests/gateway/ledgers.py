"""A ledger of its own for each test of the gateway's outer parts."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from lapel_gateway.ledger import fresh_ledger, open_ledger, reading, writing
from lapel_gateway.ledger.outgoing import add_outbox
from lapel_gateway.ledger.schema import delivery, outbox


@contextlib.contextmanager
def new_ledger(folder: Path) -> Iterator[sa.Engine]:
    """An empty, up-to-date ledger in ``folder``, closed at the end."""
    path = folder / "ledger.sqlite"
    fresh_ledger(path)
    engine = open_ledger(path)
    try:
        yield engine
    finally:
        engine.dispose()


def queue(engine: sa.Engine, kind: str, key: str, subject: str, payload: dict[str, Any], now_ms: int) -> None:
    """Put one thing into the outbox, as the gateway's cores do."""
    with writing(engine) as connection:
        add_outbox(connection, kind, key, subject, payload, now_ms)


def rows(engine: sa.Engine, channel: str | None = None) -> list[sa.RowMapping]:
    """The outbox, oldest first; of one channel, or all."""
    query = sa.select(outbox).order_by(outbox.c.id)
    if channel is not None:
        query = query.where(outbox.c.channel == channel)
    with reading(engine) as connection:
        return list(connection.execute(query).mappings())


def attempts(engine: sa.Engine) -> list[tuple[str, str]]:
    """(outcome, detail) of every attempt, in order."""
    with reading(engine) as connection:
        return [
            (row.outcome, row.detail) for row in connection.execute(sa.select(delivery).order_by(delivery.c.id)).all()
        ]
