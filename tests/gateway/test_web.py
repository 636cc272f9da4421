"""The API: what a user sees, what a user's name is put to, and what nobody gets without a token."""

from __future__ import annotations

import json
import resource
import socket
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import sqlalchemy as sa

from lapel_gateway.accounts import users
from lapel_gateway.alarms.core import AlarmCore
from lapel_gateway.alarms.escalator import Escalator
from lapel_gateway.alarms.policies import Policies, Reach
from lapel_gateway.deliver import make_outbox
from lapel_gateway.ledger import reading
from lapel_gateway.ledger.schema import OUTBOX_ALARM
from lapel_gateway.ledger.schema import clip as clips
from lapel_gateway.outbox import RetryPolicy
from lapel_gateway.viewing.assembly import Assembler, Views
from lapel_gateway.web.server import WebError, WebRole
from lapel_protocol.clip import TRUST_GATEWAY
from lapel_protocol.event import ALARM_RAISED, Event, seal_event
from lapel_protocol.reports import ALARM_PANIC, AlarmRaised
from lapel_protocol.topics import LANE_ALARM, topic
from tests.gateway.footage import ordinary_clip
from tests.gateway.ledgers import new_ledger, rows
from tests.gateway.sealed import BOOT, NOW_MS, Site, public_half
from tests.gateway.test_outbox import Recorder
from tests.support.accounts import BY, token_of

LATER_MS = NOW_MS + 60_000


@dataclass
class Desk:
    """The API over a gateway with one device, and two people who use it."""

    site: Site
    client: httpx.Client
    ann: dict[str, str]
    ben: dict[str, str]
    channels: Sequence[str] = ("webhook:desk",)

    def get(self, path: str, **query: Any) -> httpx.Response:
        return self.client.get(path, headers=self.ann, params=query)

    @property
    def escalator(self) -> Escalator:
        return Escalator(self.site.engine, Policies(), Reach(dict.fromkeys(self.channels, "")))

    def deliver(self) -> None:
        """Let every channel take what waits for it."""
        recorders = [Recorder(name) for name in self.channels]
        make_outbox(self.site.engine, recorders, RetryPolicy(), self.escalator, lambda: 0.0).run_due(LATER_MS)

    def raise_alarm(self, counter: int = 2) -> str:
        """An alarm comes in, as its device sealed it; returns its id."""
        device = bytes.fromhex(self.site.device)
        payload = AlarmRaised(ALARM_PANIC, 80, 5).encode()
        event = Event(ALARM_RAISED, device, BOOT, counter, NOW_MS, 9_000, TRUST_GATEWAY, payload)
        record = seal_event(self.site.epoch_keys(BOOT), event)
        core = AlarmCore(self.site.engine, self.site.registry)
        assert core.handle(topic(device, LANE_ALARM), record, NOW_MS + 500).downlinks
        self.escalator.advance(NOW_MS + 500)
        return f"{self.site.device}-{BOOT}-{counter}"


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    with new_ledger(tmp_path) as engine:
        site = Site(tmp_path, engine)
        tokens = [token_of(engine, name, NOW_MS) for name in ("Ann Archer", "Ben")]
        headers = [{"authorization": f"Bearer {token}", "X-Lapel-Reason": "an incident"} for token in tokens]
        with serving(engine, site.views) as client:
            yield Desk(site, client, headers[0], headers[1])


@contextmanager
def serving(engine: sa.Engine, views: Views) -> Iterator[httpx.Client]:
    """A client of the API as it is really served, its clock standing still."""
    role = WebRole(engine, views, "127.0.0.1", 0, now_ms=lambda: LATER_MS)
    role.start()
    try:
        with httpx.Client(base_url=role.url, trust_env=False, timeout=30) as client:
            yield client
    finally:
        assert role.stop()


def problem(response: httpx.Response) -> dict[str, Any]:
    assert response.headers["content-type"] == "application/problem+json"
    body: dict[str, Any] = response.json()
    assert body["status"] == response.status_code
    return body


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/api/v1/alarms"),
        ("GET", "/api/v1/alarms/x"),
        ("POST", "/api/v1/alarms/x/acknowledge"),
        ("POST", "/api/v1/alarms/x/resolve"),
        ("POST", "/api/v1/alarms/x/notes"),
        ("GET", "/api/v1/clips"),
        ("GET", "/api/v1/clips/x"),
        ("GET", "/api/v1/clips/x/media/mp4"),
        ("GET", "/api/v1/devices"),
        ("GET", "/api/v1/reports/response"),
    ],
)
def test_nothing_is_told_or_done_without_a_users_token(desk: Desk, method: str, path: str) -> None:
    for authorization in (None, "", "Bearer", "Bearer wrong", "Basic QW5uOng=", "Bearer " + "x" * 5000):
        headers = {} if authorization is None else {"authorization": authorization}

        response = desk.client.request(method, path, headers=headers, json={"reason": "true"})

        assert response.status_code == 401
        assert response.headers["www-authenticate"] == "Bearer"
        assert "lapel user token add" in problem(response)["detail"]


def test_a_disabled_user_is_refused_at_once(desk: Desk) -> None:
    assert desk.get("/api/v1/devices").status_code == 200
    users.disable_user(desk.site.engine, "Ann Archer", BY, NOW_MS)

    assert desk.get("/api/v1/devices").status_code == 401


def test_health_needs_no_token_and_tells_nothing_but_health(desk: Desk) -> None:
    response = desk.client.get("/healthz")

    assert (response.status_code, response.json()) == (200, {"status": "ok"})


def test_without_a_ledger_the_process_lives_and_is_not_ready(tmp_path: Path) -> None:
    engine = sa.create_engine(f"sqlite:///{tmp_path / 'missing' / 'ledger.sqlite'}")
    with serving(engine, Views(tmp_path)) as client:
        assert client.get("/healthz").status_code == 200
        assert problem(client.get("/readyz"))["detail"] == "ledger: it cannot be read"
        assert "lapel_ready 0.0" in client.get("/metrics").text


def test_an_alarm_is_listed_with_who_when_and_how_far_the_time_can_be_believed(desk: Desk) -> None:
    alarm_id = desk.raise_alarm()

    (alarm,) = desk.get("/api/v1/alarms").json()["alarms"]

    assert (alarm["id"], alarm["kind"], alarm["state"], alarm["person"]) == (alarm_id, "panic", "received", "Zoë Quinn")
    assert alarm["raised"]["trust"] == "gateway"
    assert alarm["received"]["ms"] == NOW_MS + 500
    assert alarm["acknowledged"] is None
    assert alarm["clip_id"] == f"{desk.site.device}-5"


def test_a_note_is_one_line_in_the_alarms_log_under_its_users_name(desk: Desk) -> None:
    alarm_id = desk.raise_alarm()
    path = f"/api/v1/alarms/{alarm_id}/notes"
    for _ in range(2):  # as a browser that heard no answer sends it
        response = desk.client.post(path, headers=desk.ben, json={"note": " the line\nis busy\x07 "})

    assert response.status_code == 200
    notes = [line for line in response.json()["log"] if line["step"] == "note"]
    assert [(line["who"], line["detail"]) for line in notes] == [("Ben", "the line is busy")]
    (told,) = desk.get("/api/v1/live").json()["alarms"][alarm_id]["notes"]
    assert (told["who"], told["note"], told["at"]["ms"]) == ("Ben", "the line is busy", LATER_MS)


@pytest.mark.parametrize("note", ["", " \n ", "x" * 2001])
def test_a_note_that_says_nothing_or_never_ends_is_refused(desk: Desk, note: str) -> None:
    alarm_id = desk.raise_alarm()

    response = desk.client.post(f"/api/v1/alarms/{alarm_id}/notes", headers=desk.ben, json={"note": note})

    assert response.status_code == 422
    assert desk.get("/api/v1/live").json()["alarms"][alarm_id]["notes"] == []


def test_an_acknowledgement_carries_its_users_name_to_ledger_log_and_outbox(desk: Desk) -> None:
    alarm_id = desk.raise_alarm()
    desk.deliver()

    response = desk.client.post(f"/api/v1/alarms/{alarm_id}/acknowledge", headers=desk.ann)

    assert response.status_code == 200
    alarm = response.json()
    assert alarm["state"] == "acknowledged"
    assert (alarm["acknowledged"]["by"], alarm["acknowledged"]["ms"]) == ("Ann Archer", LATER_MS)
    assert [(line["step"], line["who"]) for line in alarm["log"]] == [
        ("received", "device"),
        ("step", "escalation"),
        ("notifying", "webhook:desk"),
        ("acknowledged", "Ann Archer"),
    ]
    told = [json.loads(row["payload"])["what"] for row in rows(desk.site.engine) if row["kind"] == OUTBOX_ALARM]
    assert told == ["raised", "acknowledged"]


def test_a_second_acknowledgement_is_told_who_was_first_and_changes_nothing(desk: Desk) -> None:
    alarm_id = desk.raise_alarm()
    desk.client.post(f"/api/v1/alarms/{alarm_id}/acknowledge", headers=desk.ann)

    response = desk.client.post(f"/api/v1/alarms/{alarm_id}/acknowledge", headers=desk.ben)

    assert response.status_code == 409
    body = problem(response)
    assert body["detail"] == "Ann Archer acknowledged this alarm at 2025-10-09T08:54:20.000Z"
    assert body["alarm"]["acknowledged"]["by"] == "Ann Archer"


@pytest.mark.parametrize("reason", ["true", "false", "test"])
def test_an_alarm_is_resolved_with_a_reason_and_a_note(desk: Desk, reason: str) -> None:
    alarm_id = desk.raise_alarm()
    desk.client.post(f"/api/v1/alarms/{alarm_id}/acknowledge", headers=desk.ann)

    response = desk.client.post(
        f"/api/v1/alarms/{alarm_id}/resolve",
        headers=desk.ben,
        json={"reason": reason, "note": "called\x00 back\nall well"},
    )

    assert response.status_code == 200
    alarm = response.json()
    assert (alarm["state"], alarm["resolution"], alarm["note"]) == ("resolved", reason, "called back all well")
    assert alarm["resolved"]["by"] == "Ben"


def test_a_second_resolution_is_told_who_was_first(desk: Desk) -> None:
    alarm_id = desk.raise_alarm()
    desk.client.post(f"/api/v1/alarms/{alarm_id}/resolve", headers=desk.ann, json={"reason": "test"})

    response = desk.client.post(f"/api/v1/alarms/{alarm_id}/resolve", headers=desk.ben, json={"reason": "true"})
    late = desk.client.post(f"/api/v1/alarms/{alarm_id}/acknowledge", headers=desk.ben)

    assert problem(response)["detail"].startswith("Ann Archer resolved this alarm as test at ")
    assert problem(late)["detail"].startswith("Ann Archer resolved this alarm at ")


@pytest.mark.parametrize(
    "body", [None, {}, {"reason": "maybe"}, {"reason": "true", "by": "Ben"}, {"reason": "true", "note": "x" * 2001}, []]
)
def test_a_resolution_that_is_none_is_refused_with_what_is_wrong(desk: Desk, body: Any) -> None:
    alarm_id = desk.raise_alarm()

    response = desk.client.post(f"/api/v1/alarms/{alarm_id}/resolve", headers=desk.ann, json=body)

    assert response.status_code == 422
    assert problem(response)["detail"]
    assert desk.get(f"/api/v1/alarms/{alarm_id}").json()["state"] == "received"


def test_a_body_that_is_too_long_is_refused_before_it_is_in_memory(desk: Desk) -> None:
    path = "/api/v1/alarms/x/resolve"
    before_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    declared = desk.client.post(path, content=b" " * 100_000)
    try:
        streamed = desk.client.post(path, content=(b" " * 65_536 for _ in range(4_000))).status_code
    except httpx.HTTPError:  # the server may close the connection while it is still being sent to
        streamed = 413

    assert problem(declared)["status"] == 413
    assert streamed == 413
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_kib < 64 << 10


def test_an_alarm_shows_which_channels_were_told(desk: Desk) -> None:
    alarm_id = desk.raise_alarm()
    desk.deliver()

    (told,) = desk.get(f"/api/v1/alarms/{alarm_id}").json()["deliveries"]

    assert (told["channel"], told["outcome"]) == ("webhook:desk", "delivered")


@pytest.mark.parametrize(
    "path",
    [
        "/api/v1/alarms/none",
        "/api/v1/clips/none",
        "/api/v1/clips/00112233aabbccdd-05",
        "/api/v1/clips/../../etc/media/mp4",
        "/api/v1/clips/00112233aabbccdd-5/media/mp4",
        "/api/v1/nothing",
    ],
)
def test_what_is_not_there_is_a_problem_with_words(desk: Desk, path: str) -> None:
    response = desk.get(path)

    assert response.status_code == 404
    assert problem(response)["title"] == "Not Found"


def test_clips_are_listed_and_narrowed_by_device_and_state(desk: Desk) -> None:
    for number in (5, 6, 7):
        desk.site.hold(desk.site.seal(b"plain", number))
    Assembler(desk.site.engine, desk.site.vault, desk.site.views, desk.site.keys()).assemble(
        desk.site.device, 6, NOW_MS
    )

    everything = desk.get("/api/v1/clips").json()["clips"]
    assembled = desk.get("/api/v1/clips", state="assembled").json()["clips"]
    nobody = desk.get("/api/v1/clips", device="ffffffffffffffff").json()["clips"]

    assert [clip["clip"] for clip in everything] == [7, 6, 5]
    assert [clip["clip"] for clip in assembled] == [6]
    assert nobody == []
    assert len(desk.get("/api/v1/clips", limit=2).json()["clips"]) == 2
    assert desk.get("/api/v1/clips", limit=0).status_code == 422


def test_a_clips_files_are_served_whole_and_in_ranges(desk: Desk) -> None:
    sealed = desk.site.seal(ordinary_clip().matroska())
    desk.site.hold(sealed)
    Assembler(desk.site.engine, desk.site.vault, desk.site.views, desk.site.keys()).assemble(
        desk.site.device, 5, NOW_MS
    )
    mkv = f"/api/v1/clips/{sealed.name}/media/mkv"

    whole = desk.get(mkv)
    part = desk.client.get(mkv, headers={**desk.ann, "range": "bytes=100-199"})
    mp4 = desk.get(f"/api/v1/clips/{sealed.name}/media/mp4")
    vtt = desk.get(f"/api/v1/clips/{sealed.name}/media/vtt")

    assert whole.content == sealed.plain
    assert (part.status_code, part.content) == (206, sealed.plain[100:200])
    assert (mp4.headers["content-type"], mp4.content[4:8]) == ("video/mp4", b"ftyp")
    assert vtt.text.startswith("WEBVTT")
    assert f'filename="{sealed.name}.mkv"' in whole.headers["content-disposition"]


def test_media_that_cannot_be_had_says_why(desk: Desk) -> None:
    waiting, sealed = desk.site.seal(b"plain", 5), desk.site.seal(b"plain", 6)
    desk.site.hold(waiting)
    desk.site.hold(sealed)
    keys = desk.site.keys(public_half(desk.site.organisation))
    Assembler(desk.site.engine, desk.site.vault, desk.site.views, keys).assemble(desk.site.device, 6, NOW_MS)

    early = desk.get(f"/api/v1/clips/{waiting.name}/media/mp4")
    locked = desk.get(f"/api/v1/clips/{sealed.name}/media/mp4")
    other = desk.get(f"/api/v1/clips/{sealed.name}/media/exe")

    assert (early.status_code, problem(early)["detail"]) == (
        409,
        f"clip {waiting.name} is held: it is not assembled yet",
    )
    assert "private key is kept elsewhere" in problem(locked)["detail"]
    assert problem(other)["status"] == 422


def test_devices_are_listed_without_their_keys(desk: Desk) -> None:
    response = desk.get("/api/v1/devices")

    (device,) = response.json()["devices"]
    assert (device["device"], device["name"], device["person"], device["state"]) == (
        desk.site.device,
        "camera 7",
        "Zoë Quinn",
        "active",
    )
    assert "key" not in response.text


def test_a_row_with_numbers_that_nobody_knows_is_shown_all_the_same(desk: Desk) -> None:
    desk.site.hold(desk.site.seal(b"plain", 5))
    with desk.site.engine.begin() as connection:
        connection.execute(sa.update(clips).values(trust=99, notice=77, wall_ms=2**62))

    (clip,) = desk.get("/api/v1/clips").json()["clips"]

    assert clip["started"] == {"ms": 2**62, "utc": None, "trust": "unknown (99)"}
    assert clip["notice"]["outcome"] == "unknown (77)"


def test_a_fault_inside_tells_nothing_but_that_it_happened(desk: Desk) -> None:
    with desk.site.engine.begin() as connection:
        connection.exec_driver_sql("DROP TABLE tally")
        connection.exec_driver_sql("ALTER TABLE clip RENAME TO clips")

    response = desk.get("/api/v1/clips")

    assert response.status_code == 500
    assert "clip" not in problem(response)["detail"]


# --- served ---


def test_the_role_serves_on_loopback_and_ends_cleanly(desk: Desk) -> None:
    role = WebRole(desk.site.engine, desk.site.views, "127.0.0.1", 0)
    role.start()
    try:
        with httpx.Client(trust_env=False) as client:
            assert client.get(f"{role.url}/healthz").json() == {"status": "ok"}
            assert client.get(f"{role.url}/api/v1/devices", headers=desk.ann).status_code == 200
    finally:
        assert role.stop()

    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", role.port), timeout=1).close()


def test_an_address_that_is_taken_is_an_error_that_says_what_to_do(desk: Desk) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        role = WebRole(desk.site.engine, desk.site.views, "127.0.0.1", taken.getsockname()[1])
        with pytest.raises(WebError, match=r"Address already in use; change \[web\]"):
            role.start()


def test_two_people_at_once_are_both_answered_and_one_is_first(desk: Desk) -> None:
    alarm_id = desk.raise_alarm()
    desk.deliver()
    role = WebRole(desk.site.engine, desk.site.views, "127.0.0.1", 0)
    role.start()
    try:

        def acknowledge(headers: dict[str, str]) -> int:
            url = f"{role.url}/api/v1/alarms/{alarm_id}/acknowledge"
            with httpx.Client(trust_env=False) as client:
                return client.post(url, headers=headers).status_code

        with ThreadPoolExecutor(8) as pool:
            answers = list(pool.map(acknowledge, [desk.ann, desk.ben] * 4))
    finally:
        assert role.stop()

    assert sorted(answers) == [200] + [409] * 7
    with reading(desk.site.engine) as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM outbox WHERE kind = 'alarm'").scalar_one() == 2
