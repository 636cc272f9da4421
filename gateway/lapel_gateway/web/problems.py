"""Errors of the API as problem details (RFC 9457): one shape for every refusal, with words for people."""

from __future__ import annotations

from collections.abc import Callable
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from lapel_gateway.web.headers import HEADERS

MEDIA_TYPE = "application/problem+json"


class Problem(Exception):
    """A refusal. ``extra`` members go into the answer beside status, title and detail."""

    def __init__(self, status: int, detail: str, headers: dict[str, str] | None = None, **extra: Any) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.headers = headers
        self.extra = extra


class BodyLimit:
    """ASGI middleware: refuses a request body longer than ``max_bytes`` before it is in memory."""

    def __init__(self, app: ASGIApp, max_bytes: int) -> None:
        self._app = app
        self._max_bytes = max_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, counting what comes."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        received = 0

        async def counted() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > self._max_bytes:
                raise HTTPException(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"no request needs {self._max_bytes} bytes")
            return message

        await self._app(scope, counted, send)


def answer(status: int, detail: str, headers: dict[str, str] | None = None, **extra: Any) -> JSONResponse:
    """A problem as a response."""
    body = {"type": "about:blank", "title": HTTPStatus(status).phrase, "status": status, "detail": detail, **extra}
    return JSONResponse(body, status, headers, MEDIA_TYPE)


Page = Callable[[Request, Problem], Response | None]


def install(app: FastAPI, page: Page) -> None:
    """Let every error of ``app`` become a problem; an unexpected one tells nothing but that it happened.

    ``page`` makes a page of a problem where a person asked for one, and returns None where a program did.
    """

    def tell(request: Request, problem: Problem) -> Response:
        made = page(request, problem)
        return answer(problem.status, problem.detail, problem.headers, **problem.extra) if made is None else made

    @app.exception_handler(Problem)
    def on_problem(request: Request, problem: Problem) -> Response:
        return tell(request, problem)

    @app.exception_handler(HTTPException)
    def on_http(request: Request, error: HTTPException) -> Response:
        return tell(request, Problem(error.status_code, str(error.detail), dict(error.headers or {})))

    @app.exception_handler(RequestValidationError)
    def on_validation(request: Request, error: RequestValidationError) -> Response:
        faults = [f"{'.'.join(str(part) for part in fault['loc'])}: {fault['msg']}" for fault in error.errors()]
        return tell(request, Problem(HTTPStatus.UNPROCESSABLE_ENTITY, "; ".join(faults)[:1000]))

    @app.exception_handler(Exception)
    def on_fault(request: Request, error: Exception) -> Response:
        words = "the gateway could not do that; its log says why"
        response = tell(request, Problem(HTTPStatus.INTERNAL_SERVER_ERROR, words))
        response.headers.update(HEADERS)  # this one is answered outside of every middleware
        return response
