"""The answer of a gateway that serves."""

from __future__ import annotations

from lapel_gateway.web.models.shapes import Shape


class Health(Shape):
    """That the gateway answers."""

    status: str
