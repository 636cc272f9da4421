"""What routes ask the ledger with."""

from __future__ import annotations

from typing import Annotated, Any

import sqlalchemy as sa
from fastapi import Query

from lapel_gateway.ledger import reading

MAX_PAGE = 500
"""Rows in one answer."""

Limit = Annotated[int, Query(ge=1, le=MAX_PAGE)]


def rows(engine: sa.Engine, query: sa.Select[Any]) -> list[sa.RowMapping]:
    """What the ledger says, in a transaction of its own."""
    with reading(engine) as connection:
        return list(connection.execute(query).mappings())
