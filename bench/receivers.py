"""``python -m bench.receivers FOLDER COUNT``: webhook receivers that verify what they take, and one that never answers.

A process of its own, so that its times are those of the gateway. Reads the receivers' secrets from FOLDER/receiver-N;
says which ports they listen on, the last being the one that hangs; at each line on standard input it prints a line of
JSON and begins anew: for each receiver that answers, [alarm, message id, milliseconds from the alarm's commit at the
gateway to here] of every verified ``alarm.raised``, how many messages came in all, and how many were refused.
"""

from __future__ import annotations

import json
import socket
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from standardwebhooks.webhooks import Webhook, WebhookVerificationError


class Receiver:
    """One webhook endpoint on a free loopback port."""

    def __init__(self, secret: str) -> None:
        self._verifier = Webhook(secret)
        self._lock = threading.Lock()
        self._clear()
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                good = receiver.take(body, {name.lower(): value for name, value in self.headers.items()})
                self.send_response(204 if good else 401)
                self.end_headers()

            def log_message(self, format: str, *arguments: object) -> None:
                """What is measured is told at the end."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = int(self._server.server_address[1])
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def take(self, body: bytes, headers: dict[str, str]) -> bool:
        """Verify one message; False when it is not genuine."""
        arrived_ms = time.time_ns() / 1e6
        try:
            self._verifier.verify(body, headers)
        except WebhookVerificationError:
            with self._lock:
                self._refused += 1
            return False
        message = json.loads(body)
        with self._lock:
            self._messages += 1
            if message["type"] == "alarm.raised" and message["data"]["device"]:
                data = message["data"]
                self._raised.append((data["alarm"], headers["webhook-id"], arrived_ms - data["received_ms"]))
        return True

    def told(self) -> dict[str, Any]:
        """What came since the last call."""
        with self._lock:
            told = {"raised": self._raised, "messages": self._messages, "refused": self._refused}
            self._clear()
        return told

    def _clear(self) -> None:
        self._raised: list[tuple[str, str, float]] = []
        self._messages = 0
        self._refused = 0


def main() -> None:
    """Listen until standard input ends."""
    folder, count = Path(sys.argv[1]), int(sys.argv[2])
    receivers = [Receiver((folder / f"receiver-{number}").read_text()) for number in range(count)]
    hung = socket.create_server(("127.0.0.1", 0), backlog=64)  # takes connections, and says nothing
    print(json.dumps([*(receiver.port for receiver in receivers), hung.getsockname()[1]]), flush=True)
    for _ in sys.stdin:
        print(json.dumps([receiver.told() for receiver in receivers]), flush=True)


if __name__ == "__main__":
    main()
