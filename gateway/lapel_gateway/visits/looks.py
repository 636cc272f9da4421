"""A look at a visit in somebody's name: what of it is theirs to see, and that they saw it.

Rules that hold here
- Positions are shown to the visit's own person and to those who may see positions. A look that shows any is in the
  audit log before they are told; a look that does not ask for them leaves no line.
"""

from __future__ import annotations

import sqlalchemy as sa
import structlog

from lapel_gateway.accounts.audit import ALLOWED, note
from lapel_gateway.accounts.permissions import Permission
from lapel_gateway.accounts.principal import Principal
from lapel_gateway.ledger import reading, writing
from lapel_gateway.settings.visits import VisitsSection
from lapel_gateway.visits.record import Sight, find_visit, see_visit

_log = structlog.get_logger("lapel.web")


def look(
    engine: sa.Engine, number: int, user: Principal, rules: VisitsSection, now_ms: int, *, where: bool = False
) -> Sight:
    """One visit as this user may see it; its positions where they are asked for. Raises NoSuchVisit."""
    everybodys = user.may(Permission.SEE_VISITS) or user.may(Permission.RUN_VISITS)
    with reading(engine) as connection:
        found = find_visit(connection, number, None if everybodys else user.name)
        shown = where and may_see_where(user, found.person)
        sight = see_visit(connection, number, None, rules, now_ms, where=shown)
    if sight.words["positions"]:
        _log.info("positions shown", visit=number, by=user.name)
        with writing(engine) as connection:
            note(connection, user.actor, now_ms, "see positions", str(number), ALLOWED)
    return sight


def may_see_where(user: Principal, person: str) -> bool:
    """Whether positions of this person are shown to the user."""
    return user.name == person or user.may(Permission.SEE_POSITIONS)
