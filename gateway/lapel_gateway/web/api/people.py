"""The API of people: who belongs to which team, and how they are reached."""

from __future__ import annotations

from collections.abc import Callable
from http import HTTPStatus
from typing import Annotated, Any

import sqlalchemy as sa
import structlog
from fastapi import Depends, FastAPI
from pydantic import BaseModel, ConfigDict, Field

from lapel_gateway import people
from lapel_gateway.accounts.permissions import Permission
from lapel_gateway.accounts.principal import Principal
from lapel_gateway.describe_visits import person_words
from lapel_gateway.people import PersonError
from lapel_gateway.web.access import may
from lapel_gateway.web.models import people as models
from lapel_gateway.web.problems import Problem

MAX_TEXT = 500
"""Characters of any text; the core has closer bounds and words for them."""

SeesPeople = Annotated[Principal, Depends(may(Permission.SEE_PEOPLE))]
KeepsPeople = Annotated[Principal, Depends(may(Permission.KEEP_PEOPLE))]

Text = Annotated[str, Field(max_length=MAX_TEXT)]

_log = structlog.get_logger("lapel.web")


class NewPerson(BaseModel):
    """What is known of a person."""

    model_config = ConfigDict(extra="forbid")

    team: Text = ""
    phone: Text = ""


def install(app: FastAPI, engine: sa.Engine, now_ms: Callable[[], int]) -> None:
    """Add the routes to ``app``."""

    @app.get("/api/v1/people", response_model=models.People)
    def list_people(user: SeesPeople) -> dict[str, Any]:
        return {"people": [person_words(person) for person in people.list_people(engine)]}

    @app.put("/api/v1/people/{name}", response_model=models.Person)
    def set_person(name: str, new: NewPerson, user: KeepsPeople) -> dict[str, Any]:
        try:
            made = people.set_person(engine, name, new.team, new.phone, now_ms())
        except PersonError as error:
            raise Problem(HTTPStatus.UNPROCESSABLE_ENTITY, str(error)) from None
        _log.info("person set", by=user.name)
        return person_words(made)
