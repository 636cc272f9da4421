"""The part of the API in which a clip's export is asked for, agreed to, and fetched. See `viewing.approvals`.

Rules that hold here
- Whoever fetches an export has looked at the clip: for the reason that the request gives, which its wearer is shown.
"""

from __future__ import annotations

from collections.abc import Callable
from http import HTTPStatus
from typing import Annotated, Any

import sqlalchemy as sa
from fastapi import Depends, FastAPI, Path
from fastapi.responses import FileResponse
from pydantic import BaseModel, ConfigDict, Field

from lapel_gateway.accounts.audit import note
from lapel_gateway.accounts.permissions import Permission
from lapel_gateway.accounts.principal import Principal
from lapel_gateway.ledger import writing
from lapel_gateway.viewing import looks
from lapel_gateway.viewing.approvals import (
    MAX_REASON_CHARACTERS,
    MAX_REFERENCE_CHARACTERS,
    ApprovalError,
    NoSuchRequest,
    approve_export,
    ask_export,
    check_made,
    list_requests,
)
from lapel_gateway.viewing.looks import Reason
from lapel_gateway.viewing.packing import ExportArea
from lapel_gateway.web import schema
from lapel_gateway.web.access import may
from lapel_gateway.web.api.clips import LARGEST_NUMBER, enter, row_of
from lapel_gateway.web.models import clips as models
from lapel_gateway.web.problems import Problem

PATH = "/api/v1/clips/{clip_id}/export-requests"

Seer = Annotated[Principal, Depends(may(Permission.SEE_CLIPS))]
Keeper = Annotated[Principal, Depends(may(Permission.PASS_ON_CLIPS))]
Number = Annotated[int, Path(ge=1, le=LARGEST_NUMBER)]


class Wanted(BaseModel):
    """Why a clip is to be exported: in words, or by the reference of a case."""

    model_config = ConfigDict(extra="forbid")

    reason: Annotated[str, Field(max_length=MAX_REASON_CHARACTERS)] = ""
    reference: Annotated[str, Field(max_length=MAX_REFERENCE_CHARACTERS)] = ""


def install(
    app: FastAPI,
    engine: sa.Engine,
    area: ExportArea,
    now_ms: Callable[[], int],
    reason_ms: int,
    *,
    two_needed: bool,
) -> None:
    """Add the routes to ``app``. A reason holds for ``reason_ms``; ``two_needed``: the rule of two is set."""

    @app.get(PATH, response_model=models.ExportRequests)
    def export_requests(user: Seer, clip_id: str) -> dict[str, Any]:
        return {"requests": list_requests(engine, key_of(engine, clip_id, user), now_ms())}

    @app.post(PATH, status_code=HTTPStatus.CREATED, response_model=models.ExportRequest)
    def ask_for_export(user: Keeper, clip_id: str, wanted: Wanted) -> dict[str, Any]:
        try:
            key = key_of(engine, clip_id, user)
            said = (wanted.reason, wanted.reference)
            return ask_export(engine, key, *said, user.name, now_ms(), two_needed=two_needed)
        except ApprovalError as error:
            raise problem_of(error) from None

    @app.post(PATH + "/{number}/approve", response_model=models.ExportRequest)
    def agree_to_export(user: Keeper, clip_id: str, number: Number) -> dict[str, Any]:
        try:
            return approve_export(engine, key_of(engine, clip_id, user), number, user.name, now_ms())
        except ApprovalError as error:
            raise problem_of(error) from None

    @app.get(PATH + "/{number}/file", response_class=FileResponse, responses=schema.ARCHIVE)
    def fetch_export(user: Keeper, clip_id: str, number: Number) -> FileResponse:
        row, now = row_of(engine, clip_id, user), now_ms()
        try:
            made = check_made(engine, (row["device"], row["clip"]), number, now, two_needed=two_needed)
        except ApprovalError as error:
            raise problem_of(error) from None
        path = area.path(number)
        if not path.is_file():
            raise Problem(HTTPStatus.NOT_FOUND, f"what was made for request {number} is missing: ask anew")
        with writing(engine) as connection:
            note(connection, user.actor, now, "fetch export", clip_id, detail=f"request {number}")
        why = Reason(looks.EVIDENCE, made["reason"], made["reference"])
        enter(engine, row, user, why, now, reason_ms)
        return FileResponse(path, media_type="application/zip", filename=f"{clip_id}.zip")


def key_of(engine: sa.Engine, clip_id: str, user: Principal) -> tuple[str, int]:
    """(device, number) of a clip that somebody may know of. Raises Problem."""
    row = row_of(engine, clip_id, user)
    return row["device"], row["clip"]


def problem_of(error: ApprovalError) -> Problem:
    """A refusal as a problem."""
    status = HTTPStatus.NOT_FOUND if isinstance(error, NoSuchRequest) else HTTPStatus.CONFLICT
    return Problem(status, str(error))
