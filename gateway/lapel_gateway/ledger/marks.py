"""What the ledger knows of its pairing with a vault (`lapel_gateway.custody.doubts`), and what is in doubt since."""

from __future__ import annotations

from collections.abc import Iterator

import sqlalchemy as sa
from sqlalchemy.dialects.sqlite import insert

from lapel_gateway.ledger.clips import UNFINISHED
from lapel_gateway.ledger.direct import Direct
from lapel_gateway.ledger.schema import OUTBOX_ASSEMBLE, outbox, vault_mark
from lapel_gateway.ledger.schema import clip as clips

_ONLY = 1  # there is one row
_HELD = clips.c.state.not_in([sa.literal_column(f"'{state}'") for state in UNFINISHED])
_DEVICE = clips.c.device == sa.bindparam("of_device")
_HELD_OF = Direct(sa.select(clips.c.clip, clips.c.sealed_bytes).where(_DEVICE, _HELD))
_HELD_ONE = Direct(sa.select(clips.c.sealed_bytes).where(_DEVICE, clips.c.clip == sa.bindparam("of_clip"), _HELD))
_NEXT_DEVICE = Direct(sa.select(sa.func.min(clips.c.device)).where(clips.c.device > sa.bindparam("after")))
_COMPLETED = Direct(
    sa.select(outbox.c.subject).where(
        outbox.c.id > sa.bindparam("after"), outbox.c.kind == sa.literal_column(f"'{OUTBOX_ASSEMBLE}'")
    )
)


def get_mark(connection: sa.Connection) -> tuple[bytes, int] | None:
    """(mark, newest outbox row when it was set), None = never paired."""
    row = connection.execute(sa.select(vault_mark.c.mark, vault_mark.c.outbox_id)).one_or_none()
    return None if row is None else (row.mark, row.outbox_id)


def set_mark(connection: sa.Connection, mark: bytes) -> None:
    """Everything that the ledger claims was found in the vault that carries this mark, and the other way about."""
    newest = sa.select(sa.func.coalesce(sa.func.max(outbox.c.id), 0)).scalar_subquery()
    statement = insert(vault_mark).values(id=_ONLY, mark=mark, outbox_id=newest)
    connection.execute(
        statement.on_conflict_do_update(
            index_elements=["id"],
            set_={"mark": statement.excluded.mark, "outbox_id": statement.excluded.outbox_id},
        )
    )


def devices_with_clips(connection: sa.Connection) -> Iterator[str]:
    """Every device that has a clip, found by steps through the index."""
    after = ""
    while True:
        ((after,),) = _NEXT_DEVICE.all(connection, {"after": after})
        if after is None:
            return
        yield after


def held_of(connection: sa.Connection, device: str) -> dict[int, int]:
    """{clip: bytes in the vault} of the clips of a device that the gateway holds whole."""
    return dict(_HELD_OF.all(connection, {"of_device": device}))


def held_since(connection: sa.Connection, outbox_id: int) -> list[tuple[str, int, int]]:
    """(device, clip, bytes in the vault) of the held clips that were completed after this outbox row."""
    keys = sorted({subject for (subject,) in _COMPLETED.all(connection, {"after": outbox_id})})
    found = []
    for subject in keys:
        device, _, clip = subject.rpartition("-")
        for (size,) in _HELD_ONE.all(connection, {"of_device": device, "of_clip": int(clip)}):
            found.append((device, int(clip), size))
    return found
