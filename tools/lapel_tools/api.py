"""The gateway's HTTP API from a command line: one named user's token, refusals in words.

A token comes from the environment or a file, never from an argument: arguments are seen by every process.
"""

from __future__ import annotations

import ipaddress
import os
import stat
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote, urlsplit

import httpx
import typer

from lapel_gateway.settings.config import ConfigError, find_config, load_config
from lapel_tools.console import FAILED, NOT_FOUND, UNREACHABLE, USAGE, CommandError, warn

TOKEN_VARIABLE = "LAPEL_TOKEN"
URL_VARIABLE = "LAPEL_URL"
DEFAULT_URL = "http://127.0.0.1:8480"
TIMEOUT_S = 20.0

TokenFileOption = Annotated[
    Path | None, typer.Option("--token-file", help=f"File with your token; otherwise {TOKEN_VARIABLE} holds it.")
]
UrlOption = Annotated[
    str | None, typer.Option("--url", help=f"The gateway's API; otherwise {URL_VARIABLE}, or as lapel.toml says.")
]

_STATUS_CODES = {401: USAGE, 403: USAGE, 404: NOT_FOUND, 422: USAGE}


def read_token(token_file: Path | None) -> str | None:
    """The user's token, or None when there is none. Raises CommandError for a file that cannot be used."""
    if token_file is None:
        return os.environ.get(TOKEN_VARIABLE, "").strip() or None
    try:
        if stat.S_IMODE(token_file.stat().st_mode) & 0o077:
            raise CommandError(f"{token_file} can be read by others: chmod 600 {token_file}")
        return token_file.read_text(encoding="ascii").strip() or None
    except (OSError, UnicodeDecodeError) as error:
        raise CommandError(f"token file {token_file} cannot be read: {error}") from None


class Api:
    """One gateway, as one user."""

    def __init__(self, url: str | None, token: str | None, config: Path | None = None) -> None:
        """Raises CommandError when there is no token or the address is no http address."""
        if token is None:
            raise CommandError(f"in whose name? Put your token in {TOKEN_VARIABLE}, or name --token-file")
        self.url = (url or os.environ.get(URL_VARIABLE) or _configured_url(config)).rstrip("/")
        address = urlsplit(self.url)
        if address.scheme not in ("http", "https") or not address.hostname:
            raise CommandError(f"{self.url} is not an http or https address")
        if address.scheme == "http" and not _is_loopback(address.hostname):
            warn(f"{self.url} is plain http: anyone on the way can read your token")
        self.headers = {"authorization": f"Bearer {token}"}
        """Of every request; a secret."""

    def get(self, *path: str, **query: str) -> Any:
        """The answer's JSON. Raises CommandError."""
        return self._request("GET", path, query, None)

    def put(self, *path: str, body: dict[str, Any]) -> Any:
        """The answer's JSON. Raises CommandError."""
        return self._request("PUT", path, {}, body)

    def post(self, *path: str, body: dict[str, Any] | None = None) -> Any:
        """The answer's JSON. Raises CommandError."""
        return self._request("POST", path, {}, body)

    def _request(self, method: str, path: tuple[str, ...], query: dict[str, str], body: Any) -> Any:
        address = f"{self.url}/api/v1/{'/'.join(quote(part, safe='') for part in path)}"
        try:
            answer = httpx.request(
                method, address, params=query, json=body, headers=self.headers, timeout=TIMEOUT_S, trust_env=False
            )
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise CommandError(
                f"the gateway at {self.url} does not answer ({error}): does `lapel gateway run` run there?",
                UNREACHABLE,
            ) from None
        try:
            value = answer.json()
        except (ValueError, RecursionError):
            raise CommandError(f"{self.url} answers, but is not a Lapel gateway", UNREACHABLE) from None
        if answer.is_success:
            return value
        detail = value.get("detail") if isinstance(value, dict) else None
        raise CommandError(
            str(detail or f"refused with {answer.status_code}"), _STATUS_CODES.get(answer.status_code, FAILED)
        )


def _configured_url(config: Path | None) -> str:
    try:
        web = load_config(find_config(config)).web
    except ConfigError:
        if config is not None:
            raise
        return DEFAULT_URL
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(web.host, web.host)
    return f"http://{f'[{host}]' if ':' in host else host}:{web.port}"


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except (ValueError, RecursionError):
        return False
