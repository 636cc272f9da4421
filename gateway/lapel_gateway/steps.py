"""Named points between durable steps.

A core calls ``reach(name)`` right after each step whose order matters after a crash. In service nothing happens there;
the seeded fault suite installs a hook that raises, which is what a kill between two steps looks like to the ledger and
the vault.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

POINTS = {
    "registry.sealed": "a new device's row is committed, its package not yet written",
    "ingest.verified": "a batch is verified, nothing written",
    "ingest.vault_placed": "authentic bytes are in the vault's files, not yet durable",
    "ingest.vault_synced": "authentic bytes are durable, the ledger does not know of them",
    "vault.put_back": "clips' files have what the vault's journal says, durably; the journal says it still",
    "vault.files_synced": "clips' files are durable, the half of the journal that has them too is not free yet",
    "ingest.ledger_written": "the ledger's transaction is written, not committed",
    "ingest.ledger_committed": "vault and ledger agree, nobody was told",
    "alarms.written": "an alarm's rows are written, not committed",
    "alarms.committed": "an alarm is durable, nobody was told",
    "alarms.acknowledged": "a human's acknowledgement is durable, the device was not told",
    "escalation.written": "steps of escalations are written, not committed",
    "escalation.taken": "steps of escalations are durable, nothing of them has left",
    "visits.written": "what a person did with a visit is written, not committed",
    "visits.committed": "what a person did with a visit is durable, its device was not told",
    "visits.due_written": "what was due of visits is written, with its alarms, not committed",
    "visits.due_committed": "what was due of visits is durable, no device was told",
    "assembly.opened": "a clip's Matroska is written beside its place",
    "assembly.copied": "the copies for viewing are written beside their place",
    "assembly.published": "the view folder is in place and durable, the ledger does not know",
    "assembly.committed": "the clip is marked as assembled and its forwarding is queued",
    "outbox.claimed": "parcels are leased to this process",
    "outbox.delivered": "a channel took a parcel, the ledger does not know",
    "outbox.settled": "the outcome of an attempt is durable",
    "recovery.demoted": "a clip whose vault bytes are missing is taken back to what the vault holds",
}

_hook: Callable[[str], None] | None = None


def reach(name: str) -> None:
    """Say that the durable step ``name`` (a key of POINTS) is done."""
    if _hook is not None:
        if name not in POINTS:
            raise ValueError(f"unknown step {name}")
        _hook(name)


@contextlib.contextmanager
def hooked(hook: Callable[[str], None]) -> Iterator[None]:
    """Call ``hook`` at every point inside the block; whatever it raises is raised there."""
    global _hook
    before, _hook = _hook, hook
    try:
        yield
    finally:
        _hook = before
