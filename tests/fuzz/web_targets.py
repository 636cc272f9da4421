"""The API as the web role serves it, below HTTP's own parsing: any request is answered, and an error as a problem.

An input is method, path, query, headers and body. Half of the inputs carry a user's token. 5xx answers are crashes, and
so is an error that is no problem detail, or a change made in the name of somebody without a token.
"""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

from lapel_gateway.settings.accounts import AccountsSection
from lapel_gateway.viewing.assembly import Views
from lapel_gateway.web.app import MAX_BODY_BYTES, build_app
from lapel_gateway.web.installed import Installed
from tests.fuzz import genuine
from tests.fuzz.harness import READ, REFUSED, Built, Finding, forged, target
from tests.fuzz.mutation import PartMutator, framed, frames
from tests.fuzz.site import ALARM_TOPIC, CLIP_TOPIC, EVENT_TOPIC, NOW_MS, Site
from tests.support.accounts import token_of

_METHODS = ("GET", "POST", "HEAD", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE")
OPEN = ("/healthz", "/readyz", "/metrics", "/login", "/static/lapel.css")
"""What is shown to anybody."""


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


def _visit_seeds(base: str, post: int, put: int) -> list[bytes]:
    """Requests about visits, risks and people: as they should be, and with what breaks texts, numbers and times."""
    kind = (2, b"content-type: application/json")
    visits, risks, people = (f"{base}/{name}" for name in ("visits", "risks", "people"))
    planned = b'{"place": "4 High St LS1 4AB", "present": "Bo", "planned": "2023-11-15T09:00", "zone": "Europe/London"}'
    risk = b'{"place": "4 high street", "about": "Mr Bo", "note": "x", "review": "2024-01-01", "zone": "UTC"}'
    sent = [
        (visits, b'{"place": "x", "person": "Bo", "expected_min": 5, "check_in_min": 1}'),
        (visits, planned),
        (visits, b'{"place": "\\ud800", "planned": "0001-01-01T00:00+14:00"}'),
        (visits, b'{"place": "x", "planned": "9999-12-31T23:59", "zone": "\\u0000"}'),
        (visits, b'{"place": "x", "expected_min": 1e400, "buddy": "\\u202e"}'),
        (risks, risk),
        (risks, b'{"about": "\\udfff", "note": "\\ud800", "review": "2024-02-30"}'),
        (f"{visits}/1/extend", b'{"minutes": 10}'),
        (f"{visits}/1/end", b'{"note": "x"}'),
        (f"{visits}/2/cancel", b'{"note": "\\ud800"}'),
        (f"{visits}/99999999999999999999/end", b"{}"),
        (f"{risks}/1/review", b'{"review": "2024-06-01T00:00Z", "note": null}'),
    ]
    seeds = [framed([(tag | post, path.encode()), kind, (3, body)]) for path, body in sent for tag in (0, 0x80)]
    bare = [f"{visits}/1/start", f"{visits}/1/check-in", f"{risks}/1/end"]
    seeds += [framed([(tag | post, path.encode())]) for path in bare for tag in (0, 0x80)]
    seeds += [framed([(0x80, path.encode())]) for path in (visits, f"{visits}/1", risks, people)]
    seeds += [framed([(0x80, visits.encode()), (1, query)]) for query in (b"every=true", b"person=%ff&state=%00")]
    person = b'{"team": "North", "phone": "\\ud800"}'
    names = ("Bo", "%ff", "x" * 60, "..")
    seeds += [framed([(0x80 | put, f"{people}/{name}".encode()), kind, (3, person)]) for name in names]
    return seeds


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
    token = token_of(site.engine, "Ann Archer", NOW_MS).encode()
    plenty = Installed(accounts=AccountsSection(requests_per_min=1_000_000))
    app = build_app(site.engine, Views(scratch / "views"), lambda: NOW_MS, plenty)
    alarm = f"{genuine.DEVICE.hex()}-{genuine.BOOT}-2"
    name = f"{genuine.DEVICE.hex()}-{genuine.CLIP + 1}"
    loop = asyncio.new_event_loop()
    counted = ("tally", "visit_log", "risk", "person")
    counts = "".join(f", (select count(*) from {table})" for table in counted)
    changes = f"select (select count(*) from alarm_log where who <> 'device'){counts}"

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
        if not 200 <= request.status < 500 and request._scope["path"] != "/readyz":
            raise BadAnswer(f"status {request.status} {request.body[:200]!r}")
        if request.status >= 400:
            kind = request.headers.get(b"content-type", b"")
            page = kind.startswith(b"text/html") and not request._scope["path"].startswith("/api/")
            if kind != b"application/problem+json" and not page:
                raise BadAnswer(f"status {request.status} with {kind!r}")
            if not page and request._scope["method"] != "HEAD" and json.loads(request.body)["status"] != request.status:
                raise BadAnswer("a problem that tells of another status")
        if not trusted and site.live.execute(changes).fetchone() != before:
            forged("a change without a token")
        if not trusted and request.status == 200 and request._scope["path"] not in OPEN:
            forged("an answer without a token")
        return READ if request.status < 400 else REFUSED

    base = "/api/v1"
    reads = [
        "/healthz",
        "/readyz",
        "/metrics",
        f"{base}/alarms",
        f"{base}/alarms/{alarm}",
        f"{base}/clips",
        f"{base}/clips/{name}",
    ]
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
    post, put = 4, 12
    seeds += _visit_seeds(base, post, put)
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
