"""The account of every epoch of every device: boot, clip, burned, lost or unknown. None may go missing silently."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import sqlalchemy as sa
from sqlalchemy.dialects.sqlite import insert

from lapel_gateway.ledger.schema import EPOCH_UNKNOWN, device, epoch

MAX_REPORT_EPOCHS = 4096
"""Epochs accounted for on one report: a device in the wrong hands may claim any number; an honest one goes on later."""


def record_epochs(connection: sa.Connection, rows: Iterable[tuple[str, int, str, bool]], now_ms: int) -> None:
    """Enter (device, epoch, used for, proved) rows. A proof replaces hearsay, and hearsay replaces `unknown`."""
    values = [
        {"device": device, "epoch": number, "used_for": used_for, "proved": proved, "known_ms": now_ms}
        for device, number, used_for, proved in sorted(set(rows))
    ]
    if not values:
        return
    statement = insert(epoch)
    better = sa.or_(
        sa.and_(statement.excluded.proved, sa.not_(epoch.c.proved)),
        sa.and_(epoch.c.used_for == EPOCH_UNKNOWN, sa.not_(epoch.c.proved)),
    )
    connection.execute(
        statement.on_conflict_do_update(
            index_elements=["device", "epoch"],
            set_={"used_for": statement.excluded.used_for, "proved": statement.excluded.proved},
            where=better,
        ),
        values,
    )


def account(
    connection: sa.Connection, name: str, reported: Sequence[tuple[int, str]], report_end: int, now_ms: int
) -> tuple[int, list[int]]:
    """Enter the own report of the device `name` and say how far its account is complete.

    `reported` is (epoch, used for), ascending; `report_end` is the first epoch that the report does not speak of.
    Whatever lies below it and neither was reported nor is known becomes `unknown`. Returns (the first epoch that is not
    accounted for, the epochs newly unknown).
    """
    record_epochs(connection, ((name, number, used_for, False) for number, used_for in reported), now_ms)
    done = int(connection.execute(sa.select(device.c.ledger_to).where(device.c.device == name)).scalar_one())
    end = max(done, min(report_end, done + MAX_REPORT_EPOCHS))
    known = set(
        connection.execute(
            sa.select(epoch.c.epoch).where(epoch.c.device == name, epoch.c.epoch >= done, epoch.c.epoch < end)
        ).scalars()
    )
    unknown = [number for number in range(done, end) if number not in known]
    record_epochs(connection, ((name, number, EPOCH_UNKNOWN, False) for number in unknown), now_ms)
    return end, unknown
