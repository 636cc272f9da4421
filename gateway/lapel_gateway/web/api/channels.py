"""The channels of the API: whom each reaches, and whether it works."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import sqlalchemy as sa
from fastapi import Depends, FastAPI

from lapel_gateway.accounts.permissions import Permission
from lapel_gateway.accounts.principal import Principal
from lapel_gateway.channels.health import read_health
from lapel_gateway.ledger import reading
from lapel_gateway.web.access import may
from lapel_gateway.web.models import channels as models


def install(app: FastAPI, engine: sa.Engine, people: Mapping[str, str]) -> None:
    """Let ``app`` tell of these channels (`Installed.channels`)."""

    @app.get("/api/v1/channels", response_model=models.Channels)
    def list_channels(user: Annotated[Principal, Depends(may(Permission.SEE_CHANNELS))]) -> dict[str, Any]:
        with reading(engine) as connection:
            return {"channels": read_health(connection, people)}
