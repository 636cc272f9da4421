"""What the ledger remembers of the conversation with each device.

A batch hears from hundreds of devices: their rows are read by one statement and written by few.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any

import sqlalchemy as sa

from lapel_gateway.ledger.direct import Direct
from lapel_gateway.ledger.schema import device as devices
from lapel_gateway.verify import Trust

# Built once: all of them are used with every heartbeat.
_ROWS = sa.select(devices).where(devices.c.device.in_(sa.bindparam("names", expanding=True)))
_CHANGE = sa.update(devices).where(devices.c.device == sa.bindparam("of_device"))
_PROVED = Direct(
    sa.update(devices)
    .where(devices.c.device == sa.bindparam("of_device"), devices.c.authenticated_epoch < sa.bindparam("proved"))
    .values(authenticated_epoch=sa.bindparam("proved"))
)
_BOOTED = Direct(
    sa.update(devices)
    .where(
        devices.c.device == sa.bindparam("of_device"),
        sa.or_(devices.c.boot.is_(None), devices.c.boot < sa.bindparam("of_boot")),
    )
    .values(boot=sa.bindparam("of_boot"), hello_counter=sa.null(), heartbeat_counter=sa.null(), nonce=sa.null())
)


class Desk:
    """The row of one device, and what is to be changed in it."""

    __slots__ = ("_values", "changed")

    def __init__(self, row: sa.RowMapping) -> None:
        self._values: dict[str, Any] = dict(row)
        self.changed: dict[str, Any] = {}

    def __getattr__(self, name: str) -> Any:
        """A column, with its change."""
        try:
            return self._values[name]
        except KeyError:
            raise AttributeError(name) from None

    def change(self, **values: object) -> None:
        """Set columns."""
        self._values.update(values)
        self.changed.update(values)


class Desks:
    """The rows of some devices that are in the registry. Raises KeyError for another."""

    def __init__(self, connection: sa.Connection, names: Collection[str]) -> None:
        rows = connection.execute(_ROWS, {"names": sorted(names)}).mappings()
        self._desks = {row["device"]: Desk(row) for row in rows}

    def __getitem__(self, name: str) -> Desk:
        return self._desks[name]

    def write(self, connection: sa.Connection) -> None:
        """Write what was changed."""
        alike: dict[tuple[str, ...], list[dict[str, Any]]] = {}
        for name, desk in self._desks.items():
            if desk.changed:
                columns = tuple(sorted(desk.changed))
                alike.setdefault(columns, []).append({"of_device": name, **desk.changed})
                desk.changed = {}
        for rows in alike.values():
            connection.execute(_CHANGE, rows)


def record_seen(connection: sa.Connection, seen: Iterable[tuple[Trust, int]]) -> None:
    """Genuine records of these boots were taken: keep the newest authenticated epochs and, where newer, the boots.

    A new boot starts a new conversation: the nonce and counters of the one before are over.
    """
    rows = list(seen)
    if rows:
        _PROVED.run_each(connection, [{"of_device": one.name, "proved": one.authenticated_epoch} for one, _ in rows])
    newer = [(trust, boot) for trust, boot in rows if boot > trust.boot]
    if newer:
        _BOOTED.run_each(connection, [{"of_device": trust.name, "of_boot": boot} for trust, boot in newer])
        for trust, boot in newer:
            trust.boot = boot
