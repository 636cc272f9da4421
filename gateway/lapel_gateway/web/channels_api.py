"""The channels of the API: whom each reaches, and whether it works."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa
from fastapi import FastAPI

from lapel_gateway.channels.health import read_health
from lapel_gateway.ledger import reading
from lapel_gateway.web.access import User


def install(app: FastAPI, engine: sa.Engine, people: Mapping[str, str]) -> None:
    """Let ``app`` tell of these channels (`Installed.channels`)."""

    @app.get("/api/v1/channels")
    def list_channels(user: User) -> dict[str, Any]:
        with reading(engine) as connection:
            return {"channels": read_health(connection, people)}
