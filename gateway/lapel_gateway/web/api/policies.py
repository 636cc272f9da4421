"""The API of escalation policies: who is told of which alarms, after how long. They are set in ``lapel.toml``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

from fastapi import Depends, FastAPI

from lapel_gateway.accounts.permissions import Permission
from lapel_gateway.accounts.principal import Principal
from lapel_gateway.alarms.ladders import Ladder, ladder_words
from lapel_gateway.web.access import may
from lapel_gateway.web.models import policies as models


def install(app: FastAPI, ladders: Sequence[Ladder]) -> None:
    """Let ``app`` tell of these policies."""

    @app.get("/api/v1/policies", response_model=models.Policies)
    def list_policies(user: Annotated[Principal, Depends(may(Permission.SEE_CHANNELS))]) -> dict[str, Any]:
        """In the order in which they are tried; the last is for alarms that no other is for."""
        return {"policies": [ladder_words(ladder) for ladder in ladders]}
