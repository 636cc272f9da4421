"""The pages of the audit log: who did what, and for everybody what they did themselves.

Rules that hold here
- Whoever looks at what others did, or takes it along, is in the log for it.
- A page goes on below the last line that it showed: new lines move nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from http import HTTPStatus
from typing import Annotated, Any
from urllib.parse import urlencode

import sqlalchemy as sa
from fastapi import Depends, FastAPI, Request, Response
from fastapi.responses import StreamingResponse

from lapel_gateway.accounts.audit import OUTCOMES, Wanted, read_lines
from lapel_gateway.accounts.permissions import Permission
from lapel_gateway.accounts.principal import Principal
from lapel_gateway.describe import utc
from lapel_gateway.ledger import reading
from lapel_gateway.reports.period import PeriodError, local_day
from lapel_gateway.reports.spreadsheets import csv_bytes
from lapel_gateway.web.access import may
from lapel_gateway.web.api.audit import Before, From, Text, When, times
from lapel_gateway.web.pages.frame import ACCOUNT_PATH, Pages
from lapel_gateway.web.problems import Problem

PATH = "/audit"
CSV_PATH = PATH + ".csv"
OWN_PATH = ACCOUNT_PATH + "/log"
ROWS = 100
CSV_ROWS = 2000
"""So many lines of a file are read at once."""

COLUMNS = ("number", "at", "who", "how", "what", "about", "outcome", "detail", "address")

Auditor = Annotated[Principal, Depends(may(Permission.SEE_AUDIT))]
Owner = Annotated[Principal, Depends(may(Permission.OWN_ACCOUNT))]


def install(app: FastAPI, pages: Pages) -> None:
    """Add the pages to ``app``."""
    guard = pages.guard
    engine, zone = guard.engine, guard.installed.zone
    pages.add_section("Audit", PATH, Permission.SEE_AUDIT)

    @app.get(PATH, include_in_schema=False)
    def see_audit_log(
        request: Request,
        user: Auditor,
        who: Text = "",
        what: Text = "",
        about: Text = "",
        outcome: Text = "",
        begin: From = "",
        to: When = "",
        before: Before = None,
    ) -> Response:
        asked = {"who": who, "what": what, "about": about, "outcome": outcome, "from": begin, "to": to}
        said = ""
        try:
            wanted = wanted_of(asked)
        except PeriodError as error:
            said, wanted = str(error), wanted_of({**asked, "from": "", "to": ""})
        status = HTTPStatus.UNPROCESSABLE_ENTITY if said else HTTPStatus.OK
        return log_page(request, wanted, before, status, path=PATH, asked=asked, said=said)

    @app.get(CSV_PATH, include_in_schema=False)
    def take_audit_log(
        user: Auditor,
        who: Text = "",
        what: Text = "",
        about: Text = "",
        outcome: Text = "",
        begin: From = "",
        to: When = "",
    ) -> Response:
        asked = {"who": who, "what": what, "about": about, "outcome": outcome, "from": begin, "to": to}
        try:
            wanted = wanted_of(asked)
        except PeriodError as error:
            raise Problem(HTTPStatus.UNPROCESSABLE_ENTITY, str(error)) from None
        name = f"lapel-audit-{local_day(guard.now_ms(), zone)}.csv"
        headers = {"Content-Disposition": f'attachment; filename="{name}"'}
        return StreamingResponse(csv_of(engine, wanted), media_type="text/csv; charset=utf-8", headers=headers)

    @app.get(OWN_PATH, include_in_schema=False)
    def see_own_log(request: Request, user: Owner, before: Before = None) -> Response:
        if user.how != "session":
            raise Problem(HTTPStatus.FORBIDDEN, "this is for people who have logged in, not for tokens")
        return log_page(request, Wanted(user.name), before, path=OWN_PATH, asked={}, said="")

    def wanted_of(asked: dict[str, str]) -> Wanted:
        known = asked["outcome"] if asked["outcome"] in OUTCOMES else None
        span = times(asked["from"], asked["to"], zone)
        return Wanted(asked["who"].strip() or None, asked["what"], asked["about"], known, *span)

    def log_page(
        request: Request, wanted: Wanted, before: int | None, status: int = HTTPStatus.OK, **facts: Any
    ) -> Response:
        with reading(engine) as connection:
            found = read_lines(connection, ROWS + 1, before, wanted)
        query = urlencode({name: value for name, value in facts["asked"].items() if value})
        return pages.show(
            request,
            "audit.html",
            status,
            lines=found[:ROWS],
            older=found[ROWS - 1].id if len(found) > ROWS else None,
            later=before is not None,
            query=query,
            csv=CSV_PATH,
            outcomes=OUTCOMES,
            **facts,
        )


def csv_of(engine: sa.Engine, wanted: Wanted) -> Iterator[bytes]:
    """The lines that are wanted as a file, newest first, some at a time."""
    before: int | None = None
    while True:
        with reading(engine) as connection:
            found = read_lines(connection, CSV_ROWS, before, wanted)
        cells = (
            (one.id, utc(one.at_ms), one.who, one.how, one.what, one.about, one.outcome, one.detail, one.address)
            for one in found
        )
        contents = csv_bytes([dict(zip(COLUMNS, row, strict=True)) for row in cells], COLUMNS)
        yield contents if before is None else contents.partition(b"\n")[2]
        if len(found) < CSV_ROWS:
            return
        before = found[-1].id
