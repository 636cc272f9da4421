"""The API as the web role serves it, below HTTP's own parsing: any request is answered, and an error as a problem.

An input is method, path, query, headers and body. Half of the inputs carry a user's token. 5xx answers are crashes, and
so is an error that is no problem detail, or a change made in the name of somebody without a token.
"""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

from lapel_gateway import users
from lapel_gateway.assembly import Views
from lapel_gateway.web.api import MAX_BODY_BYTES, build_app
from tests.fuzz import genuine
from tests.fuzz.harness import READ, REFUSED, Built, Finding, forged, target
from tests.fuzz.mutation import PartMutator, framed, frames
from tests.fuzz.site import ALARM_TOPIC, CLIP_TOPIC, EVENT_TOPIC, NOW_MS, Site

_METHODS = ("GET", "POST", "HEAD", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE")


class BadAnswer(Finding):
    """An answer that no client should get."""


class Exchange:
    """One request to an ASGI application, driven to its end without a loop of its own."""

    def __init__(self, scope: dict[str, Any], bodies: list[bytes]) -> None:
        self._scope = scope
        self._bodies = bodies
        self.status = 0
        self.headers: dict[bytes, bytes] = {}
        self.body = b""

    async def receive(self) -> dict[str, Any]:
        """The next piece of the request, then that the client has gone."""
        if self._bodies:
            body = self._bodies.pop(0)
            return {"type": "http.request", "body": body, "more_body": bool(self._bodies)}
        return {"type": "http.disconnect"}

    async def send(self, message: dict[str, Any]) -> None:
        """The next piece of the answer."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self.headers = dict(message["headers"])
        else:
            self.body += message.get("body", b"")


@target("web/api", share=0.4, max_bytes=1500, cpu_ms=2000, kib=4096)
def api(scratch: Path) -> Built:
    """Every path of the API. Parts: method and path, query, header (name: value), body; a tag over 0x7f: token."""
    clip = genuine.clip(genuine.CLIP + 1, 2, alarm=True)
    site = Site(
        scratch,
        [
            (EVENT_TOPIC, genuine.event(1, genuine.payloads("hello")[0], 1)),
            (CLIP_TOPIC, clip.file),
            (ALARM_TOPIC, genuine.event(3, genuine.payloads("alarm_raised")[0], 2)),
        ],
    )
    site.restore()
    token = users.add_user(site.engine, "Ann Archer", NOW_MS, lambda size: bytes(size)).encode()
    app = build_app(site.engine, Views(scratch / "views"), lambda: NOW_MS)
    alarm = f"{genuine.DEVICE.hex()}-{genuine.BOOT}-2"
    name = f"{genuine.DEVICE.hex()}-{genuine.CLIP + 1}"
    loop = asyncio.new_event_loop()
    changes = "select (select count(*) from alarm_log where who <> 'device'), (select count(*) from tally)"

    def exchange(parts: list[tuple[int, bytes]]) -> tuple[Exchange, bool]:
        headers: list[tuple[bytes, bytes]] = []
        bodies: list[bytes] = []
        method, path, query, trusted = "GET", b"/", b"", False
        for tag, body in parts:
            way = tag & 3
            trusted = trusted or tag >= 0x80
            if way == 0:
                method, path = _METHODS[tag >> 2 & 7], body
            elif way == 1:
                query = body
            elif way == 2:
                key, _, value = body.partition(b": ")
                headers.append((key.lower(), value))
            else:
                bodies.append(body)
        if trusted:
            headers = [(key, value) for key, value in headers if key != b"authorization"]
            headers.append((b"authorization", b"Bearer " + token))
        scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": method,
            "scheme": "http",
            "path": path.decode("utf-8", "replace"),
            "raw_path": path,
            "root_path": "",
            "query_string": query,
            "headers": headers,
            "client": ("127.0.0.1", 1),
            "server": ("127.0.0.1", 2),
        }
        return Exchange(scope, bodies or [b""]), trusted

    def one(data: bytes) -> int:
        request, trusted = exchange(frames(data)[:16])
        before = site.live.execute(changes).fetchone()
        loop.run_until_complete(app(request._scope, request.receive, request.send))  # type: ignore[arg-type]
        if not 200 <= request.status < 500:
            raise BadAnswer(f"status {request.status} {request.body[:200]!r}")
        if request.status >= 400:
            kind = request.headers.get(b"content-type", b"")
            if kind != b"application/problem+json":
                raise BadAnswer(f"status {request.status} with {kind!r}")
            if request._scope["method"] != "HEAD" and json.loads(request.body)["status"] != request.status:
                raise BadAnswer("a problem that tells of another status")
        if not trusted and site.live.execute(changes).fetchone() != before:
            forged("a change without a token")
        if not trusted and request.status == 200 and request._scope["path"] != "/healthz":
            forged("an answer without a token")
        return READ if request.status < 400 else REFUSED

    base = "/api/v1"
    reads = ["/healthz", f"{base}/alarms", f"{base}/alarms/{alarm}", f"{base}/clips", f"{base}/clips/{name}"]
    reads += [f"{base}/devices", f"{base}/clips/{name}/media/mp4", f"{base}/clips/x/media/mkv", "/openapi.json"]
    seeds = [framed([(tag, path.encode())]) for path in reads for tag in (0, 0x80)]
    seeds += [
        framed([(0x80, f"{base}/{kind}".encode()), (1, query)])
        for kind in ("alarms", "clips")
        for query in (
            b"limit=3&state=received",
            b"limit=0",
            b"limit=99999999999999999999999",
            b"device=%00&state=%ff",
            b"limit=\xff",
        )
    ]
    report = f"{base}/reports/response".encode()
    seeds += [framed([(0, report)]), framed([(0x80, report)])]
    seeds += [
        framed([(0x80, report), (1, query)])
        for query in (
            b"from=2023-01-01&to=2026-12-31&team=housing",
            b"from=2023-01-01T00:00Z&to=9999-12-31",
            b"from=0001-01-01T00:00%2B14:00",
            b"to=1970-01-01&team=%00%ff",
        )
    ]
    post = 4
    resolve = f"{base}/alarms/{alarm}/resolve".encode()
    kind = (2, b"content-type: application/json")
    bodies = [b'{"reason": "true", "note": "x"}', b"{", b"[" * 1200, b'"\\ud800"']
    bodies += [
        b'{"reason":"test","note":"\\ud800"}',
        b'{"reason": "false", "note": "\\u0000"}',
        b"\xff\xfe",
        b"9" * 1200,
        b"null",
    ]
    seeds += [framed([(0x80 | post, resolve), kind, (3, body)]) for body in bodies]
    seeds += [framed([(post, resolve), kind, (3, bodies[0])]), framed([(0x80, resolve), (2, b"content-length: x")])]
    seeds += [framed([(0x80 | post, f"{base}/alarms/{alarm}/acknowledge".encode())])]
    seeds += [framed([(0x80 | post, resolve), kind, *[(3, b" " * 1000)] * (MAX_BODY_BYTES // 1000 + 1)])]
    seeds += [framed([(0, b"/api/v1/alarms"), (2, b"authorization: Bearer \xff\xfe")])]
    words = [path.encode() for path in reads] + bodies[:1] + [b"authorization: Bearer x", b"limit=2", resolve]

    def close() -> None:
        loop.close()
        site.close()

    return Built(one, seeds, PartMutator(words, 256), close)
