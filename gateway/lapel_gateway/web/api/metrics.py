"""What monitoring asks: whether this process lives, whether the gateway is ready, and the figures.

Rules that hold here
- ``/healthz`` says that this process answers, and looks at nothing else: whoever restarts processes asks it.
- ``/readyz`` says whether an alarm can be taken and told now; 503 names what is not well, and nothing of anybody.
- Without a token the figures are for this machine alone. A proxy on it asks on behalf of others, so a request that came
  through one is refused, and every request where a proxy is known to stand before the gateway.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from http import HTTPStatus
from typing import Annotated
from urllib.parse import urlsplit

import sqlalchemy as sa
from fastapi import FastAPI, Header, Request
from fastapi.responses import JSONResponse, Response
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder

from lapel_gateway.loopback import is_loopback
from lapel_gateway.metrics.collector import Figures
from lapel_gateway.web.installed import Installed
from lapel_gateway.web.models import health as models
from lapel_gateway.web.problems import Problem, answer

_PASSED_ON = ("forwarded", "via", "x-forwarded-for", "x-forwarded-host", "x-real-ip")
"""What a request that came through a proxy usually carries."""


def install(app: FastAPI, engine: sa.Engine, now_ms: Callable[[], int], installed: Installed) -> None:
    """Add the addresses."""
    figures = Figures(engine, installed.watched, now_ms)

    @app.get("/healthz", response_model=models.Health)
    def health() -> JSONResponse:
        return JSONResponse({"status": "ok"})

    @app.get("/readyz", include_in_schema=False)
    def ready() -> JSONResponse:
        outcome = figures.readiness()
        checks = {
            check.name: {
                "well": check.well,
                "needed": check.needed,
                **({"detail": check.detail} if check.detail else {}),
            }
            for check in outcome.checks
        }
        if outcome.ready:
            return JSONResponse({"status": "ready", "checks": checks})
        faults = [f"{one.name}: {one.detail}" for one in outcome.checks if one.needed and not one.well]
        return answer(HTTPStatus.SERVICE_UNAVAILABLE, "; ".join(faults), checks=checks)

    if installed.scraping is None:
        return
    access = installed.scraping
    registry = CollectorRegistry()
    registry.register(figures)

    @app.get("/metrics", include_in_schema=False)
    def metrics(
        request: Request, accept: Annotated[str, Header()] = "", authorization: Annotated[str, Header()] = ""
    ) -> Response:
        if access.token:
            scheme, _, token = authorization.partition(" ")
            given = token.strip().encode("utf-8", "replace")
            if scheme.lower() != "bearer" or not secrets.compare_digest(given, access.token.encode()):
                raise Problem(
                    HTTPStatus.UNAUTHORIZED,
                    "send the token of [metrics] token_file as Authorization: Bearer",
                    {"WWW-Authenticate": "Bearer"},
                )
        elif access.proxied or not _from_here(request):
            raise Problem(
                HTTPStatus.FORBIDDEN,
                "figures are for this machine alone: set [metrics] token_file to read them elsewhere",
            )
        encode, kind = choose_encoder(accept)
        return Response(encode(registry), media_type=kind)


def _from_here(request: Request) -> bool:
    """Whether a program of this machine asks for itself, as far as can be told."""
    host = request.client.host if request.client is not None else ""
    asked = _host_named(request.headers.get("host", ""))
    return is_loopback(host) and is_loopback(asked) and not any(name in request.headers for name in _PASSED_ON)


def _host_named(header: str) -> str:
    """The host of a Host header, without its port (RFC 9110 section 7.2); "" where it names none."""
    # Not request.url: it reads the query as well, which may be any bytes.
    try:
        return urlsplit(f"//{header}").hostname or ""
    except ValueError:
        return ""
