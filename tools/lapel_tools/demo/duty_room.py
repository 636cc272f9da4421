"""The duty room: a webhook endpoint that believes nothing unsigned, and a responder who answers through the API."""

from __future__ import annotations

import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

_MAX_BODY_BYTES = 1 << 20


class DutyRoom:
    """Listens on a free loopback port; `messages` are (Unix ms of arrival, verified body), each message once."""

    def __init__(self) -> None:
        self.messages: list[tuple[int, dict[str, Any]]] = []
        self.refused = 0
        self._changed = threading.Condition()
        self._seen: set[str] = set()
        self._verifier: Webhook | None = None
        room = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                size = int(self.headers.get("Content-Length", 0))
                body = self.rfile.read(size) if size <= _MAX_BODY_BYTES else b""
                self.send_response(204 if room.take(body, dict(self.headers.items())) else 401)
                self.end_headers()

            def log_message(self, format: str, *arguments: object) -> None:
                """The terminal belongs to the story."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/lapel"
        self._thread = threading.Thread(target=self._server.serve_forever, name="duty room", daemon=True)
        self._thread.start()

    def trust(self, secret: str) -> None:
        """Accept messages signed with this secret."""
        self._verifier = Webhook(secret)

    def take(self, body: bytes, headers: dict[str, str]) -> bool:
        """Verify and keep one message; False when its signature is not good."""
        arrived_ms = time.time_ns() // 1_000_000
        try:
            if self._verifier is None:
                raise WebhookVerificationError("no secret yet")
            self._verifier.verify(body, {name.lower(): value for name, value in headers.items()})
        except WebhookVerificationError:
            self.refused += 1
            return False
        identifier = next(value for name, value in headers.items() if name.lower() == "webhook-id")
        with self._changed:
            if identifier not in self._seen:
                self._seen.add(identifier)
                self.messages.append((arrived_ms, json.loads(body)))
                self._changed.notify_all()
        return True

    def wait(self, kind: str, timeout_s: float) -> tuple[int, dict[str, Any]] | None:
        """The first message of a type (such as "alarm.raised"), or None when none has come in time."""
        with self._changed:
            self._changed.wait_for(lambda: any(body["type"] == kind for _, body in self.messages), timeout_s)
            return next(((at, body) for at, body in self.messages if body["type"] == kind), None)

    def close(self) -> None:
        """Stop listening."""
        self._server.shutdown()
        self._server.server_close()


class Responder:
    """A human who answers alarms, by name, with a token of their own."""

    def __init__(self, url: str, token_file: Path) -> None:
        self._client = httpx.Client(
            base_url=url, headers={"Authorization": f"Bearer {token_file.read_text().strip()}"}, timeout=10.0
        )

    def acknowledge(self, alarm: str) -> None:
        """I have seen it."""
        self._client.post(f"/api/v1/alarms/{alarm}/acknowledge").raise_for_status()

    def resolve(self, alarm: str, reason: str, note: str) -> None:
        """It is over."""
        self._client.post(f"/api/v1/alarms/{alarm}/resolve", json={"reason": reason, "note": note}).raise_for_status()

    def close(self) -> None:
        """Let the connection go."""
        self._client.close()
