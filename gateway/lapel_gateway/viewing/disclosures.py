"""That clips were passed on: to whom, when, under which reference, and by whom.

An entry is made by the person who passes a clip on, after its export. Entries are never changed; a wrong one is said by
another.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from lapel_gateway.describe import clip_name, moment
from lapel_gateway.ledger import reading, writing
from lapel_gateway.ledger.schema import clip as clips
from lapel_gateway.ledger.schema import disclosure
from lapel_gateway.one_line import one_line
from lapel_protocol.limits import MAX_NAME_BYTES

POLICE = "police"
KINDS = (POLICE, "court", "subject", "employer", "other")
"""Of recipients: ``subject`` is who is seen in the clip, ``employer`` the organisation's own people."""

MAX_RECIPIENT_CHARACTERS = 200
MAX_REFERENCE_CHARACTERS = 100


class DisclosureError(Exception):
    """The entry cannot be made; the message says why and what to do."""


@dataclass(frozen=True)
class Disclosure:
    """One entry. ``recipient`` in words, ``reference`` of the recipient's case, "" for none; Unix milliseconds."""

    kind: str
    recipient: str
    reference: str
    passed_ms: int


def enter_disclosure(engine: sa.Engine, clip: tuple[str, int], what: Disclosure, by: str, now_ms: int) -> None:
    """Enter that a clip, named by (device, clip), was passed on. Raises DisclosureError."""
    if what.kind not in KINDS:
        raise DisclosureError(f"the recipient is one of {', '.join(KINDS)}")
    if what.passed_ms > now_ms:
        raise DisclosureError("a clip is entered as passed on after it was, not before")
    by = one_line("whoever passed it on", by, MAX_NAME_BYTES, DisclosureError, needed=True, in_bytes=True)
    recipient = one_line("the recipient", what.recipient, MAX_RECIPIENT_CHARACTERS, DisclosureError)
    if not recipient:
        raise DisclosureError("say who has the clip now: a force and an officer, a court, a name")
    reference = one_line("the reference", what.reference, MAX_REFERENCE_CHARACTERS, DisclosureError)
    device, number = clip
    with writing(engine) as connection:
        held = sa.select(clips.c.contiguous).where(clips.c.device == device, clips.c.clip == number)
        segments = connection.execute(held).scalar()
        if segments is None:
            raise DisclosureError(f"there is no clip {clip_name(device, number)}")
        if not segments:
            raise DisclosureError(f"clip {clip_name(device, number)} is not here: nobody can have passed it on")
        connection.execute(
            sa.insert(disclosure).values(
                device=device,
                clip=number,
                passed_ms=what.passed_ms,
                kind=what.kind,
                recipient=recipient,
                reference=reference,
                by=by,
                entered_ms=now_ms,
            )
        )


def list_disclosures(engine: sa.Engine, clip: tuple[str, int] | None = None, limit: int = 100) -> list[dict[str, Any]]:
    """Entries in words, the newest first; of one clip, or of all."""
    query = sa.select(disclosure).order_by(disclosure.c.id.desc()).limit(limit)
    if clip is not None:
        query = query.where(disclosure.c.device == clip[0], disclosure.c.clip == clip[1])
    with reading(engine) as connection:
        return [disclosure_words(row) for row in connection.execute(query).mappings()]


def disclosure_words(row: sa.RowMapping) -> dict[str, Any]:
    """An entry in words."""
    return {
        "clip": clip_name(row["device"], row["clip"]),
        "kind": row["kind"],
        "recipient": row["recipient"],
        "reference": row["reference"] or None,
        "passed": moment(row["passed_ms"]),
        "entered": {**(moment(row["entered_ms"]) or {}), "by": row["by"]},
    }
