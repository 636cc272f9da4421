"""What there is to be allowed, and which role is allowed what: the one table of it.

Rules that hold here
- A permission is what a route asks for; a role is a set of permissions; a user has one role or more. Code asks for
  permissions, never for a role.
- The names are kept in the ledger (scopes of tokens) and in settings: a name that was used keeps its meaning.
- ``-own`` permissions are about what belongs to the user alone: alarms, clips and visits whose person they are.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import Literal, get_args

RoleName = Literal["wearer", "responder", "evidence", "technician", "operator", "auditor"]
ROLE_NAMES: tuple[RoleName, ...] = get_args(RoleName)


class Permission(StrEnum):
    """One thing that somebody may do."""

    SEE_OWN = "see-own"
    SEE_LIVE = "see-live"
    SEE_ALARMS = "see-alarms"
    ANSWER_ALARMS = "answer-alarms"
    RUN_OWN_VISITS = "run-own-visits"
    SEE_VISITS = "see-visits"
    RUN_VISITS = "run-visits"
    SEE_POSITIONS = "see-positions"
    SEE_RISKS = "see-risks"
    KEEP_RISKS = "keep-risks"
    SEE_PEOPLE = "see-people"
    KEEP_PEOPLE = "keep-people"
    SEE_ALARM_CLIPS = "see-alarm-clips"
    SEE_CLIPS = "see-clips"
    PLAY_CLIPS = "play-clips"
    PASS_ON_CLIPS = "pass-on-clips"
    SEE_DEVICES = "see-devices"
    HAND_OUT_DEVICES = "hand-out-devices"
    SET_DEVICES = "set-devices"
    SEE_CHANNELS = "see-channels"
    SEE_REPORTS = "see-reports"
    KEEP_USERS = "keep-users"
    SEE_AUDIT = "see-audit"
    OWN_ACCOUNT = "own-account"


P = Permission

RECORDED = frozenset({P.PLAY_CLIPS, P.SEE_POSITIONS, P.SEE_AUDIT})
"""Permissions whose use goes into the audit log although nothing is changed by it."""

ROLES: Mapping[RoleName, frozenset[Permission]] = {
    "wearer": frozenset({P.OWN_ACCOUNT, P.SEE_OWN, P.RUN_OWN_VISITS, P.SEE_RISKS}),
    "responder": frozenset(
        {
            P.OWN_ACCOUNT,
            P.SEE_LIVE,
            P.SEE_ALARMS,
            P.ANSWER_ALARMS,
            P.SEE_VISITS,
            P.RUN_VISITS,
            P.SEE_POSITIONS,
            P.SEE_RISKS,
            P.KEEP_RISKS,
            P.SEE_PEOPLE,
            P.KEEP_PEOPLE,
            P.SEE_ALARM_CLIPS,
            P.PLAY_CLIPS,
            P.SEE_DEVICES,
            P.HAND_OUT_DEVICES,
            P.SEE_CHANNELS,
            P.SEE_REPORTS,
        }
    ),
    "evidence": frozenset(
        {
            P.OWN_ACCOUNT,
            P.SEE_ALARMS,
            P.SEE_ALARM_CLIPS,
            P.SEE_CLIPS,
            P.PLAY_CLIPS,
            P.PASS_ON_CLIPS,
            P.SEE_DEVICES,
            P.SEE_PEOPLE,
            P.SEE_REPORTS,
        }
    ),
    "technician": frozenset(
        {P.OWN_ACCOUNT, P.SEE_DEVICES, P.HAND_OUT_DEVICES, P.SET_DEVICES, P.SEE_CHANNELS, P.SEE_PEOPLE}
    ),
    "operator": frozenset(
        {
            P.OWN_ACCOUNT,
            P.KEEP_USERS,
            P.SEE_AUDIT,
            P.SEE_DEVICES,
            P.SET_DEVICES,
            P.SEE_CHANNELS,
            P.SEE_REPORTS,
            P.SEE_PEOPLE,
            P.KEEP_PEOPLE,
        }
    ),
    "auditor": frozenset(
        {
            P.OWN_ACCOUNT,
            P.SEE_AUDIT,
            P.SEE_ALARMS,
            P.SEE_ALARM_CLIPS,
            P.SEE_CLIPS,
            P.SEE_VISITS,
            P.SEE_DEVICES,
            P.SEE_CHANNELS,
            P.SEE_REPORTS,
            P.SEE_PEOPLE,
        }
    ),
}


def permissions_of(roles: Iterable[str]) -> frozenset[Permission]:
    """What somebody with these roles may do; a role that there is not any more gives nothing."""
    return frozenset(one for role in roles if role in ROLE_NAMES for one in ROLES[role])


def parse_scopes(text: str | None) -> frozenset[Permission] | None:
    """A token's scopes as the ledger keeps them; None = whatever the roles give. Unknown ones give nothing."""
    if text is None:
        return None
    known = {str(one) for one in Permission}
    return frozenset(Permission(one) for one in text.split() if one in known)
