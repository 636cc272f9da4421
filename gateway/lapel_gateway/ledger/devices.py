"""What the ledger remembers of the conversation with each device."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from lapel_gateway.ledger.schema import device as devices
from lapel_gateway.verify import Trust

# Built once: both are used with every heartbeat.
_ONE = sa.select(devices).where(devices.c.device == sa.bindparam("of_device"))
_CHANGE = sa.update(devices).where(devices.c.device == sa.bindparam("of_device"))


def record_seen(connection: sa.Connection, trust: Trust, boot: int) -> None:
    """A genuine record of ``boot`` was taken: keep the newest authenticated epoch and, if it is newer, the boot.

    A new boot starts a new conversation: the nonce and counters of the one before are over.
    """
    columns = devices.c
    mine = columns.device == trust.name
    connection.execute(
        sa.update(devices)
        .where(mine, columns.authenticated_epoch < trust.authenticated_epoch)
        .values(authenticated_epoch=trust.authenticated_epoch)
    )
    if boot > trust.boot:
        connection.execute(
            sa.update(devices)
            .where(mine, sa.or_(columns.boot.is_(None), columns.boot < boot))
            .values(boot=boot, hello_counter=None, heartbeat_counter=None, nonce=None)
        )
        trust.boot = boot


def get_device(connection: sa.Connection, name: str) -> sa.Row[Any]:
    """The row of a device that is in the registry."""
    return connection.execute(_ONE, {"of_device": name}).one()


def change_device(connection: sa.Connection, name: str, **values: object) -> None:
    """Set columns of a device's row."""
    connection.execute(_CHANGE, {"of_device": name, **values})
