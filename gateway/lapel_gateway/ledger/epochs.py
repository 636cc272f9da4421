"""The account of every epoch of every device: boot, clip, burned, lost or unknown. None may go missing silently."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.sqlite import insert

from lapel_gateway.ledger.direct import Direct
from lapel_gateway.ledger.schema import EPOCH_CLIP, EPOCH_UNKNOWN, clip, device, epoch

MAX_REPORT_EPOCHS = 4096
"""Epochs accounted for on one report: a device in the wrong hands may claim any number; an honest one goes on later."""


# Built once. Epochs that were accounted for before are not asked for: a device may have had many thousands.
_OPEN = (
    sa.select(epoch.c.device, epoch.c.epoch)
    .join(device, device.c.device == epoch.c.device)
    .where(epoch.c.device.in_(sa.bindparam("names", expanding=True)), epoch.c.epoch >= device.c.ledger_to)
)
_MISSING = (
    sa.select(epoch.c.device, epoch.c.epoch)
    .join(device, device.c.device == epoch.c.device)
    .where(
        epoch.c.used_for == EPOCH_CLIP,
        ~sa.exists().where(clip.c.device == epoch.c.device, clip.c.clip == epoch.c.epoch),
    )
)
_MISSING_ONE = Direct(
    _MISSING.where(epoch.c.device == sa.bindparam("of_device"), epoch.c.epoch == sa.bindparam("of_epoch"))
)
_ENTER = insert(epoch)
_BETTER = Direct(
    _ENTER.on_conflict_do_update(
        index_elements=["device", "epoch"],
        set_={"used_for": _ENTER.excluded.used_for, "proved": _ENTER.excluded.proved},
        where=sa.or_(
            sa.and_(_ENTER.excluded.proved, sa.not_(epoch.c.proved)),
            sa.and_(epoch.c.used_for == sa.literal_column(f"'{EPOCH_UNKNOWN}'"), sa.not_(epoch.c.proved)),
        ),
    )
)


def record_epochs(connection: sa.Connection, rows: Iterable[tuple[str, int, str, bool]], now_ms: int) -> None:
    """Enter (device, epoch, used for, proved) rows. A proof replaces hearsay, and hearsay replaces `unknown`."""
    values = [
        {"device": device, "epoch": number, "used_for": used_for, "proved": proved, "known_ms": now_ms}
        for device, number, used_for, proved in sorted(set(rows))
    ]
    if not values:
        return
    _BETTER.run_each(connection, values)


def account(
    connection: sa.Connection, reports: Mapping[str, tuple[int, Sequence[tuple[int, str]], int]], now_ms: int
) -> dict[str, tuple[int, list[int]]]:
    """Enter devices' own reports and say how far their accounts are complete.

    A report is (the first epoch not accounted for before, [(epoch, used for), ...] ascending, the first epoch that it
    does not speak of). Whatever lies below that and neither was reported nor is known becomes `unknown`. Returns for
    each device (the first epoch that is not accounted for now, the epochs newly unknown).
    """
    hearsay = [(name, number, used_for, False) for name, (_, rows, _) in reports.items() for number, used_for in rows]
    record_epochs(connection, hearsay, now_ms)
    known: dict[str, set[int]] = {name: set() for name in reports}
    for row in connection.execute(_OPEN, {"names": sorted(reports)}):
        known[row.device].add(row.epoch)
    results = {}
    for name, (done, _, report_end) in reports.items():
        end = max(done, min(report_end, done + MAX_REPORT_EPOCHS))
        results[name] = end, [number for number in range(done, end) if number not in known[name]]
    unknown = [(name, number, EPOCH_UNKNOWN, False) for name, (_, gone) in results.items() for number in gone]
    record_epochs(connection, unknown, now_ms)
    return results


def unknown_epochs(connection: sa.Connection) -> dict[str, list[int]]:
    """The epochs of every device of which nobody knows what they were, ascending, and those of `missing_clips`."""
    query = sa.select(epoch.c.device, epoch.c.epoch).where(epoch.c.used_for == sa.literal_column(f"'{EPOCH_UNKNOWN}'"))
    missing = _MISSING.where(epoch.c.epoch >= device.c.ledger_to - MAX_REPORT_EPOCHS)
    return _by_device([*connection.execute(query).all(), *connection.execute(missing).all()])


def missing_clips(connection: sa.Connection, reports: Mapping[str, Sequence[int]]) -> dict[str, list[int]]:
    """Which of these epochs, that devices call clips, nothing ever came of; by device, ascending.

    A device that says "clip" of an epoch and has nothing to send was told that it is held, by this gateway before it
    was restored from an older backup.
    """
    found = []
    for name, ones in reports.items():
        for one in ones:
            found += _MISSING_ONE.all(connection, {"of_device": name, "of_epoch": one})
    return _by_device(found)


def _by_device(rows: Iterable[Sequence[Any]]) -> dict[str, list[int]]:
    found: dict[str, list[int]] = {}
    for row in sorted((name, number) for name, number in rows):
        found.setdefault(row[0], []).append(row[1])
    return found
