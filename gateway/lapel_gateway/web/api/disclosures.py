"""The part of the API about clips that were passed on."""

from __future__ import annotations

from collections.abc import Callable
from http import HTTPStatus
from typing import Annotated, Any

import sqlalchemy as sa
from fastapi import Depends, FastAPI
from pydantic import BaseModel, ConfigDict, Field

from lapel_gateway.accounts.permissions import Permission
from lapel_gateway.accounts.principal import Principal
from lapel_gateway.describe import parse_clip_name
from lapel_gateway.viewing.disclosures import (
    MAX_RECIPIENT_CHARACTERS,
    MAX_REFERENCE_CHARACTERS,
    Disclosure,
    DisclosureError,
    enter_disclosure,
    list_disclosures,
)
from lapel_gateway.web.access import may
from lapel_gateway.web.models import clips as models
from lapel_gateway.web.problems import Problem

Seer = Annotated[Principal, Depends(may(Permission.SEE_CLIPS))]
Keeper = Annotated[Principal, Depends(may(Permission.PASS_ON_CLIPS))]


class PassedOn(BaseModel):
    """To whom a clip was passed on; ``passed_ms`` is Unix time, now if it is not said."""

    model_config = ConfigDict(extra="forbid")

    kind: Annotated[str, Field(max_length=16)]
    recipient: Annotated[str, Field(max_length=MAX_RECIPIENT_CHARACTERS)]
    reference: Annotated[str, Field(max_length=MAX_REFERENCE_CHARACTERS)] = ""
    passed_ms: Annotated[int | None, Field(ge=0, lt=1 << 53)] = None


def install(app: FastAPI, engine: sa.Engine, now_ms: Callable[[], int]) -> None:
    """Let ``app`` enter and show to whom clips were passed on."""

    @app.get("/api/v1/clips/{clip_id}/disclosures", response_model=models.Disclosures)
    def disclosures(user: Seer, clip_id: str) -> dict[str, Any]:
        return {"disclosures": list_disclosures(engine, _named(clip_id))}

    @app.post("/api/v1/clips/{clip_id}/disclosures", status_code=HTTPStatus.CREATED, response_model=models.Disclosures)
    def disclose(user: Keeper, clip_id: str, passed: PassedOn) -> dict[str, Any]:
        clip, now = _named(clip_id), now_ms()
        at_ms = now if passed.passed_ms is None else passed.passed_ms
        try:
            enter_disclosure(
                engine, clip, Disclosure(passed.kind, passed.recipient, passed.reference, at_ms), user.name, now
            )
        except DisclosureError as error:
            raise Problem(HTTPStatus.UNPROCESSABLE_ENTITY, str(error)) from None
        return {"disclosures": list_disclosures(engine, clip)}


def _named(clip_id: str) -> tuple[str, int]:
    named = parse_clip_name(clip_id)
    if named is None:
        raise Problem(HTTPStatus.NOT_FOUND, "there is no such clip")
    return named
