"""That people look at recordings of others: who, when, and why.

Rules that hold here
- Whoever looks at somebody else's clip says why, before they see any of it. That holds for twelve hours (a setting) and
  one session; programs, which have no session, say so with every request or once for as long.
- Whoever looks at their own clip needs no reason, and is entered too.
- Entries are only ever added; the ledger refuses every change of one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from lapel_gateway.accounts.principal import Principal
from lapel_gateway.describe import clip_name, moment
from lapel_gateway.ledger import reading, writing
from lapel_gateway.ledger.schema import clip as clips
from lapel_gateway.ledger.schema import clip_view
from lapel_gateway.one_line import one_line

KINDS = {
    "incident": "An incident",
    "complaint": "A complaint",
    "evidence": "A request for evidence",
    "quality": "A check of quality",
    "other": "Something else",
}
"""Of reasons that can be given, in words."""

OWN = "own"
"""The reason of whoever looks at their own clip."""

EVIDENCE = "evidence"
OTHER = "other"

MAX_REASON_CHARACTERS = 300
MAX_REFERENCE_CHARACTERS = 100


class LookError(Exception):
    """The reason cannot be taken; the message says why and what to do."""


@dataclass(frozen=True)
class Reason:
    """Why somebody looks. ``kind`` is one of `KINDS`, ``reference`` a case's, "" for none."""

    kind: str
    text: str
    reference: str = ""

    def checked(self) -> Reason:
        """The same as it is kept. Raises LookError."""
        if self.kind not in KINDS:
            raise LookError(f"the kind of a reason is one of {', '.join(KINDS)}")
        text = one_line("the reason", self.text, MAX_REASON_CHARACTERS, LookError)
        reference = one_line("the case's reference", self.reference, MAX_REFERENCE_CHARACTERS, LookError)
        if not text and (self.kind == OTHER or not reference):
            raise LookError("say in some words why you look, or give the case's reference")
        return Reason(self.kind, text, reference)


def is_own(row: sa.RowMapping, user: Principal) -> bool:
    """Whether somebody is the person of a clip."""
    return bool(row["person"]) and row["person"] == user.name


def may_look(connection: sa.Connection, row: sa.RowMapping, user: Principal, since_ms: int) -> bool:
    """Whether somebody may see a clip as it is: it is their own, or they said why after ``since_ms``."""
    return is_own(row, user) or _entered(connection, row, user, since_ms)


def enter_look(
    engine: sa.Engine, row: sa.RowMapping, user: Principal, reason: Reason | None, now_ms: int, since_ms: int
) -> None:
    """Enter that somebody looks at a clip; without ``reason`` at their own, which is entered once after ``since_ms``.

    The same reason given again after ``since_ms`` adds nothing. Raises LookError.
    """
    kept = Reason(OWN, "") if reason is None else reason.checked()
    with writing(engine) as connection:
        if _entered(connection, row, user, since_ms, kept):
            return
        connection.execute(
            sa.insert(clip_view).values(
                device=row["device"],
                clip=row["clip"],
                at_ms=now_ms,
                by=user.name,
                how=user.how,
                session=user.session,
                kind=kept.kind,
                reason=kept.text,
                reference=kept.reference,
            )
        )


def admit(engine: sa.Engine, row: sa.RowMapping, user: Principal, said: str | None, now_ms: int, since_ms: int) -> bool:
    """Whether somebody may see a clip now; enters the look where that is still to be done.

    ``said``: a reason that came with the request itself. Raises LookError.
    """
    with reading(engine) as connection:
        entered = _entered(connection, row, user, since_ms)
    if entered and said is None:
        return True
    own = is_own(row, user)
    if not own and said is None:
        return False
    enter_look(engine, row, user, None if own else Reason(OTHER, said or ""), now_ms, since_ms)
    return True


def seen_lately(
    connection: sa.Connection, keys: list[tuple[str, int]], user: Principal, since_ms: int
) -> set[tuple[str, int]]:
    """Those of some clips, (device, number), that somebody has given a reason for after ``since_ms``."""
    found = set()
    mine = (clip_view.c.by == user.name, clip_view.c.at_ms > since_ms, _here(user))
    for device, number in keys:
        one = sa.select(clip_view.c.id).where(clip_view.c.device == device, clip_view.c.clip == number, *mine)
        if connection.execute(one.limit(1)).first() is not None:
            found.add((device, number))
    return found


def list_looks(
    engine: sa.Engine,
    clip: tuple[str, int] | None = None,
    of_person: str | None = None,
    limit: int = 100,
    before: int | None = None,
) -> list[dict[str, Any]]:
    """Who looked, in words, the newest first: at one clip, or by others at any clip of a person; below a number."""
    query = sa.select(clip_view, clips.c.start_ms).join(
        clips, sa.and_(clips.c.device == clip_view.c.device, clips.c.clip == clip_view.c.clip)
    )
    if clip is not None:
        query = query.where(clip_view.c.device == clip[0], clip_view.c.clip == clip[1])
    if of_person is not None:
        query = query.where(clips.c.person == of_person, clip_view.c.by != of_person)
    if before is not None:
        query = query.where(clip_view.c.id < before)
    with reading(engine) as connection:
        rows = connection.execute(query.order_by(clip_view.c.id.desc()).limit(limit)).mappings()
        return [look_words(row) for row in rows]


def look_words(row: sa.RowMapping) -> dict[str, Any]:
    """An entry in words."""
    return {
        "number": row["id"],
        "clip": clip_name(row["device"], row["clip"]),
        "clip_started": moment(row["start_ms"]),
        "seen": {**(moment(row["at_ms"]) or {}), "by": row["by"]},
        "how": row["how"],
        "kind": row["kind"],
        "reason": row["reason"] or None,
        "reference": row["reference"] or None,
    }


def _here(user: Principal) -> sa.ColumnElement[bool]:
    """What was said within the same session; by a program, without one."""
    if user.session is None:
        return clip_view.c.session.is_(None)
    return clip_view.c.session == user.session


def _entered(
    connection: sa.Connection, row: sa.RowMapping, user: Principal, since_ms: int, reason: Reason | None = None
) -> bool:
    query = sa.select(clip_view.c.id).where(
        clip_view.c.device == row["device"],
        clip_view.c.clip == row["clip"],
        clip_view.c.by == user.name,
        clip_view.c.at_ms > since_ms,
        _here(user),
    )
    if reason is not None:
        same = (clip_view.c.kind == reason.kind, clip_view.c.reason == reason.text)
        query = query.where(*same, clip_view.c.reference == reason.reference)
    return connection.execute(query.limit(1)).first() is not None
