"""Requests for exports, and the rule of two: one person asks, another agrees, and for a day the clip can be exported.

Rules that hold here
- Nobody agrees to what they asked for themselves, in whatever spelling of their name.
- What was asked for is agreed to within a day, and holds for a day from then; for that clip alone.
- The rule is a setting. Where it is not set, whoever asks has agreed, and the command line needs no request; one that
  is named has to be good all the same. Once it is set, what one person agreed to alone holds no more.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from lapel_gateway.describe import clip_name, moment
from lapel_gateway.ledger import reading, writing
from lapel_gateway.ledger.schema import clip as clips
from lapel_gateway.ledger.schema import export_request as requests
from lapel_gateway.one_line import one_line

HOLDS_MS = 86_400_000
MAX_REASON_CHARACTERS = 300
MAX_REFERENCE_CHARACTERS = 100

# --- state, in words ---
WAITING = "waiting"
APPROVED = "approved"
OVER = "over"


class ApprovalError(Exception):
    """It cannot be asked for, agreed to, or exported; the message says why and what to do."""


class NoSuchRequest(ApprovalError):
    """There is no request of that number for that clip."""


@dataclass(frozen=True)
class Standing:
    """A request that was agreed to and holds; ``due``: its export is to be made."""

    number: int
    clip: tuple[str, int]
    due: bool


def ask_export(
    engine: sa.Engine, clip: tuple[str, int], reason: str, reference: str, by: str, now_ms: int, *, two_needed: bool
) -> dict[str, Any]:
    """Ask for a clip's export, and agree to it where one person is enough; returns the request in words.

    Raises ApprovalError.
    """
    reason = one_line("the reason", reason, MAX_REASON_CHARACTERS, ApprovalError)
    reference = one_line("the case's reference", reference, MAX_REFERENCE_CHARACTERS, ApprovalError)
    if not reason and not reference:
        raise ApprovalError("say in some words why it is to be exported, or give the case's reference")
    with writing(engine) as connection:
        held = sa.select(clips.c.contiguous).where(clips.c.device == clip[0], clips.c.clip == clip[1])
        if not connection.execute(held).scalar():
            raise ApprovalError(f"nothing of clip {clip_name(*clip)} is here yet: there is nothing to export")
        values: dict[str, Any] = {"device": clip[0], "clip": clip[1], "asked_ms": now_ms, "asked_by": by}
        if not two_needed:
            values |= {"approved_ms": now_ms, "approved_by": by}
        added = connection.execute(sa.insert(requests).values(reason=reason, reference=reference, **values))
        number = added.inserted_primary_key
        return _words(_row(connection, clip, number[0] if number else 0), now_ms)


def approve_export(engine: sa.Engine, clip: tuple[str, int], number: int, by: str, now_ms: int) -> dict[str, Any]:
    """Agree to somebody else's request; returns it in words. Raises ApprovalError."""
    with writing(engine) as connection:
        row = _row(connection, clip, number)
        if _same(row["asked_by"], by):
            raise ApprovalError("you asked for it yourself: somebody else has to agree")
        if _state(row, now_ms) != WAITING:
            done = f"{row['approved_by']} agreed to it" if row["approved_ms"] is not None else "it is over: ask anew"
            raise ApprovalError(f"request {number} does not wait any more: {done}")
        agreed = {"approved_ms": now_ms, "approved_by": by}
        connection.execute(sa.update(requests).where(requests.c.id == number).values(agreed))
        return _words(_row(connection, clip, number), now_ms)


def check_export(
    connection: sa.Connection, clip: tuple[str, int], number: int, now_ms: int, *, two_needed: bool
) -> sa.RowMapping:
    """Refuse an export to which nobody agreed, or that is over; returns the request's row. Raises ApprovalError."""
    row = _row(connection, clip, number)
    state = _state(row, now_ms)
    if state == WAITING:
        raise ApprovalError(f"nobody has agreed to request {number} yet: another person does so on the clip's page")
    if state == OVER:
        raise ApprovalError(f"request {number} is more than a day old: ask anew on the clip's page")
    if two_needed and _alone(row):
        raise ApprovalError(f"request {number} is of one person alone, and two are needed now: ask anew")
    return row


def check_made(
    engine: sa.Engine, clip: tuple[str, int], number: int, now_ms: int, *, two_needed: bool
) -> sa.RowMapping:
    """The row of a request whose file can be handed out. Raises ApprovalError."""
    with reading(engine) as connection:
        row = check_export(connection, clip, number, now_ms, two_needed=two_needed)
    if row["made_ms"] is None:
        why = f"it could not be made so far: {row['trouble']}" if row["trouble"] else "it is being made"
        raise ApprovalError(f"request {number} is not ready, {why}; ask again")
    return row


def standing_exports(connection: sa.Connection, now_ms: int, *, two_needed: bool) -> list[Standing]:
    """What was agreed to and holds, the request that has waited longest first."""
    near = (requests.c.approved_ms > now_ms - HOLDS_MS, requests.c.approved_ms < now_ms + HOLDS_MS)
    rows = connection.execute(sa.select(requests).where(*near).order_by(requests.c.id)).mappings()
    return [
        Standing(row["id"], (row["device"], row["clip"]), row["made_ms"] is None and not (two_needed and _alone(row)))
        for row in rows
    ]


def note_made(engine: sa.Engine, number: int, size: int, sha256: str, now_ms: int) -> None:
    """A request's file is there."""
    made = {"made_ms": now_ms, "made_bytes": size, "made_sha256": sha256, "trouble": ""}
    with writing(engine) as connection:
        connection.execute(sa.update(requests).where(requests.c.id == number).values(made))


def note_trouble(engine: sa.Engine, number: int, trouble: str) -> None:
    """A request's file cannot be made now."""
    with writing(engine) as connection:
        connection.execute(sa.update(requests).where(requests.c.id == number).values(trouble=trouble))


def list_requests(engine: sa.Engine, clip: tuple[str, int], now_ms: int, limit: int = 100) -> list[dict[str, Any]]:
    """A clip's requests in words, the newest first."""
    query = sa.select(requests).where(requests.c.device == clip[0], requests.c.clip == clip[1])
    with reading(engine) as connection:
        rows = connection.execute(query.order_by(requests.c.id.desc()).limit(limit)).mappings()
        return [_words(row, now_ms) for row in rows]


def _row(connection: sa.Connection, clip: tuple[str, int], number: int) -> sa.RowMapping:
    query = sa.select(requests).where(requests.c.id == number)
    query = query.where(requests.c.device == clip[0], requests.c.clip == clip[1])
    row = connection.execute(query).mappings().one_or_none()
    if row is None:
        raise NoSuchRequest(f"there is no request {number} to export clip {clip_name(*clip)}")
    return row


def _alone(row: sa.RowMapping) -> bool:
    return _same(row["asked_by"], row["approved_by"])


def _state(row: sa.RowMapping, now_ms: int) -> str:
    since_ms = row["asked_ms"] if row["approved_ms"] is None else row["approved_ms"]
    if not -HOLDS_MS < now_ms - since_ms < HOLDS_MS:
        return OVER
    return WAITING if row["approved_ms"] is None else APPROVED


def _same(one: str, other: str) -> bool:
    return " ".join(one.split()).casefold() == " ".join(other.split()).casefold()


def _words(row: sa.RowMapping, now_ms: int) -> dict[str, Any]:
    approved, made = moment(row["approved_ms"]), moment(row["made_ms"])
    return {
        "number": row["id"],
        "clip": clip_name(row["device"], row["clip"]),
        "state": _state(row, now_ms),
        "asked": {**(moment(row["asked_ms"]) or {}), "by": row["asked_by"]},
        "reason": row["reason"],
        "reference": row["reference"] or None,
        "approved": None if approved is None else {**approved, "by": row["approved_by"]},
        "file": None if made is None else {"made": made, "bytes": row["made_bytes"], "sha256": row["made_sha256"]},
        "trouble": row["trouble"] or None,
    }
