"""The API of devices."""

from __future__ import annotations

from typing import Annotated, Any

import sqlalchemy as sa
from fastapi import Depends, FastAPI

from lapel_gateway import describe
from lapel_gateway.accounts.permissions import Permission
from lapel_gateway.accounts.principal import Principal
from lapel_gateway.ledger.schema import device as device_table
from lapel_gateway.web.access import may
from lapel_gateway.web.api.asking import rows
from lapel_gateway.web.models import devices as models

SeesDevices = Annotated[Principal, Depends(may(Permission.SEE_DEVICES))]


def install(app: FastAPI, engine: sa.Engine) -> None:
    """Add the routes to ``app``."""

    @app.get("/api/v1/devices", response_model=models.Devices)
    def list_devices(user: SeesDevices) -> dict[str, Any]:
        query = sa.select(device_table).order_by(device_table.c.name, device_table.c.provisioned_ms)
        return {"devices": [describe.device_words(row) for row in rows(engine, query)]}
