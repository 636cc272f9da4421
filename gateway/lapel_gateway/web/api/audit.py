"""The API of the audit log: who did what, and was it let; for everybody what they did themselves."""

from __future__ import annotations

from dataclasses import asdict
from datetime import tzinfo
from http import HTTPStatus
from typing import Annotated, Any, Literal

from fastapi import Depends, FastAPI, Query

from lapel_gateway.accounts.audit import Wanted, read_lines
from lapel_gateway.accounts.permissions import Permission
from lapel_gateway.accounts.principal import Principal
from lapel_gateway.describe import moment
from lapel_gateway.ledger import reading
from lapel_gateway.reports.period import PeriodError, parse_bound, parse_moment
from lapel_gateway.web.access import may
from lapel_gateway.web.guard import Guard
from lapel_gateway.web.models import users as models
from lapel_gateway.web.problems import Problem

MAX_ROWS = 500
LARGEST_NUMBER = (1 << 53) - 1

Outcome = Literal["done", "allowed", "refused"]
Text = Annotated[str, Query(max_length=200)]
When = Annotated[str, Query(max_length=64)]
From = Annotated[str, Query(alias="from", max_length=64)]
Before = Annotated[int | None, Query(ge=1, le=LARGEST_NUMBER)]
Auditor = Annotated[Principal, Depends(may(Permission.SEE_AUDIT))]
Anybody = Annotated[Principal, Depends(may(Permission.OWN_ACCOUNT))]


def install(app: FastAPI, guard: Guard) -> None:
    """Add the routes to ``app``."""
    engine, zone = guard.engine, guard.installed.zone

    @app.get("/api/v1/audit", response_model=models.Audit)
    def audit(
        user: Auditor,
        who: Annotated[str | None, Query(max_length=200)] = None,
        what: Text = "",
        about: Text = "",
        outcome: Outcome | None = None,
        begin: From = "",
        to: When = "",
        before: Before = None,
        limit: Annotated[int, Query(ge=1, le=MAX_ROWS)] = 100,
    ) -> dict[str, Any]:
        try:
            wanted = Wanted(who, what, about, outcome, *times(begin, to, zone))
        except PeriodError as error:
            raise Problem(HTTPStatus.UNPROCESSABLE_ENTITY, str(error)) from None
        return read(limit, before, wanted)

    @app.get("/api/v1/me/audit", response_model=models.Audit)
    def own_audit(
        user: Anybody, before: Before = None, limit: Annotated[int, Query(ge=1, le=MAX_ROWS)] = 100
    ) -> dict[str, Any]:
        return read(limit, before, Wanted(user.name))

    def read(limit: int, before: int | None, wanted: Wanted) -> dict[str, Any]:
        with reading(engine) as connection:
            found = read_lines(connection, limit, before, wanted)
        return {"lines": [_line_words(asdict(line)) for line in found]}


def times(begin: str, end: str, zone: tzinfo | None) -> tuple[int | None, int | None]:
    """From when, and up to when: dates of ``zone``, the last one included, or times. Raises PeriodError."""
    return parse_moment(begin, zone) if begin else None, parse_bound(end, zone, last=True) if end else None


def _line_words(line: dict[str, Any]) -> dict[str, Any]:
    return {"at": moment(line.pop("at_ms")), **line}
