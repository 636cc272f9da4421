"""The API's description of itself (OpenAPI 3.1), for whoever is logged in: /api/v1/openapi.json."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Depends, FastAPI
from fastapi.responses import JSONResponse

from lapel_gateway.accounts.principal import Principal
from lapel_gateway.web.access import may
from lapel_gateway.web.problems import MEDIA_TYPE

PATH = "/api/v1/openapi.json"

_PROBLEM = {
    "type": "object",
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
    },
    "required": ["type", "title", "status", "detail"],
}

REFUSALS: dict[int | str, dict[str, Any]] = {
    "default": {
        "description": "A refusal, as problem details (RFC 9457); `detail` says what to do.",
        "content": {MEDIA_TYPE: {"schema": _PROBLEM}},
    }
}

MEDIA: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The file; ranges of it where they are asked for.",
        "content": {kind: {} for kind in ("video/mp4", "video/x-matroska", "text/vtt")},
    },
    206: {
        "description": "Part of the file.",
        "content": {kind: {} for kind in ("video/mp4", "video/x-matroska", "text/vtt", "multipart/byteranges")},
    },
    400: {"description": "A range that is none.", "content": {"text/plain": {}, MEDIA_TYPE: {"schema": _PROBLEM}}},
    416: {"description": "A range that the file does not have.", "content": {"text/plain": {}}},
}

PICTURE: dict[int | str, dict[str, Any]] = {
    200: {"description": "The picture.", "content": {"image/jpeg": {}}},
}

ARCHIVE: dict[int | str, dict[str, Any]] = {
    200: {"description": "The file; ranges of it where they are asked for.", "content": {"application/zip": {}}},
    206: {"description": "Part of the file.", "content": {"application/zip": {}, "multipart/byteranges": {}}},
    400: MEDIA[400],
    416: MEDIA[416],
}


def install(app: FastAPI) -> None:
    """Let ``app`` describe itself."""

    @app.get(PATH, include_in_schema=False)
    def describe(user: Annotated[Principal, Depends(may())]) -> JSONResponse:
        return JSONResponse(app.openapi())
