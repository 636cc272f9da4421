"""From a device's records to the control room and the evidence share: ingest, alarms and the deliver role together."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from lapel_gateway.alarms import core as alarms
from lapel_gateway.alarms.core import AlarmCore
from lapel_gateway.channels.secret_file import SecretError
from lapel_gateway.custody.ingest import IngestCore
from lapel_gateway.deliver import VIEWS_FOLDER, DeliverRole, build_role, wall_ms
from lapel_gateway.ledger import reading
from lapel_gateway.ledger.schema import alarm as alarm_table
from lapel_gateway.ledger.schema import clip as clips
from lapel_gateway.settings.channels import WebhookSection
from lapel_gateway.settings.config import Config, DeliverSection, ForwardSection, GatewaySection
from lapel_gateway.viewing.approvals import ask_export, list_requests
from lapel_gateway.viewing.live_pictures import LiveArea
from lapel_gateway.viewing.packing import ExportArea
from lapel_protocol.clip import TRUST_GATEWAY
from lapel_protocol.event import ALARM_RAISED, Event, seal_event
from lapel_protocol.reports import ALARM_PANIC, AlarmRaised
from lapel_protocol.topics import LANE_ALARM, topic
from tests.gateway.footage import ordinary_clip
from tests.gateway.ledgers import new_ledger, rows
from tests.gateway.sealed import BOOT, NOW_MS, SealedClip, Site
from tests.gateway.test_webhook import SECRET, Receiver
from tests.waiting import wait_until

WAIT_S = 60


class Post:
    """A control room: a webhook receiver that can be waited for."""

    def __init__(self, receiver: Receiver) -> None:
        self._receiver = receiver
        self._came = threading.Condition()
        receiver.answer = self._answer

    def _answer(self, handler: Any) -> None:
        handler.send_response(204)
        with self._came:
            self._came.notify_all()

    def messages(self) -> list[dict[str, Any]]:
        return [json.loads(body) for _, body in self._receiver.got]

    def wait_for(self, kind: str) -> dict[str, Any]:
        with self._came:
            assert self._came.wait_for(lambda: any(m["type"] == kind for m in self.messages()), WAIT_S), kind
        return next(message for message in self.messages() if message["type"] == kind)


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with new_ledger(tmp_path) as engine:
        yield Site(tmp_path, engine)


@pytest.fixture
def post(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Post, str]]:
    for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    receiver = Receiver()
    yield Post(receiver), receiver.url
    receiver.close()


def configured(tmp_path: Path, url: str, secret: str = SECRET) -> Config:
    secret_file = tmp_path / "secret"
    secret_file.write_text(secret)
    secret_file.chmod(0o600)
    (tmp_path / "share").mkdir(exist_ok=True)
    return Config(
        gateway=GatewaySection(data_dir=tmp_path),
        webhook=[WebhookSection(name="desk", url=url, secret_file=secret_file)],
        forward=ForwardSection(directory=tmp_path / "share"),
        deliver=DeliverSection(retry_first_s=0.05),
    )


@pytest.fixture
def role(site: Site, tmp_path: Path, post: tuple[Post, str]) -> Iterator[DeliverRole]:
    role = build_role(configured(tmp_path, post[1]), site.engine, site.registry, site.organisation)
    role.start()
    yield role
    assert role.stop(timeout_s=WAIT_S)


def raise_alarm(site: Site, counter: int = 2) -> str:
    device = bytes.fromhex(site.device)
    payload = AlarmRaised(ALARM_PANIC, 80, 0).encode()
    event = Event(ALARM_RAISED, device, BOOT, counter, NOW_MS, 9_000, TRUST_GATEWAY, payload)
    record = seal_event(site.epoch_keys(BOOT), event)
    AlarmCore(site.engine, site.registry).handle(topic(device, LANE_ALARM), record, NOW_MS + 500)
    return f"{site.device}-{BOOT}-{counter}"


def state_of(site: Site, sealed: SealedClip) -> str:
    with reading(site.engine) as connection:
        return str(connection.execute(sa.select(clips.c.state).where(clips.c.clip == sealed.clip)).scalar_one())


def test_an_alarm_reaches_the_control_room_and_the_ledger_says_so(
    site: Site, role: DeliverRole, post: tuple[Post, str]
) -> None:
    alarm_id = raise_alarm(site)

    message = post[0].wait_for("alarm.raised")
    assert (message["data"]["alarm"], message["data"]["kind"], message["data"]["person"]) == (
        alarm_id,
        "panic",
        "Zoë Quinn",
    )
    alarms.acknowledge(site.engine, alarm_id, "Ann", NOW_MS + 900)
    alarms.resolve(site.engine, alarm_id, "Ann", "test", "", NOW_MS + 999)
    assert post[0].wait_for("alarm.acknowledged")["data"]["acknowledged_by"] == "Ann"
    assert post[0].wait_for("alarm.resolved")["data"]["resolution"] == "test"


def test_telling_somebody_makes_a_received_alarm_a_notifying_one(
    site: Site, role: DeliverRole, post: tuple[Post, str]
) -> None:
    alarm_id = raise_alarm(site)
    post[0].wait_for("alarm.raised")
    assert role.stop(timeout_s=WAIT_S)

    with reading(site.engine) as connection:
        row = connection.execute(sa.select(alarm_table).where(alarm_table.c.id == alarm_id)).one()
    assert row.state == "notifying"


def test_a_clip_that_arrives_is_assembled_forwarded_and_announced(
    site: Site, role: DeliverRole, post: tuple[Post, str], tmp_path: Path
) -> None:
    sealed = site.seal(ordinary_clip().matroska())
    site.hold(sealed)

    message = post[0].wait_for("notice.clip_ready")
    assert message["data"]["clip"]["id"] == sealed.name
    assert role.stop(timeout_s=WAIT_S)
    # The forwarding was queued with the announcement; stopping let what was under way end.
    deliver_rest(site, tmp_path, post[1])

    folder = tmp_path / "share" / sealed.device
    assert (folder / f"{sealed.name}.mkv").read_bytes() == sealed.plain
    assert json.loads((folder / f"{sealed.name}.json").read_text())["assembly"]["form"] == "opened"
    assert state_of(site, sealed) == "delivered"
    assert {row["state"] for row in rows(site.engine)} == {"done"}


def deliver_rest(site: Site, tmp_path: Path, url: str, now_ms: int = NOW_MS + 10**9) -> None:
    """Deliver what is due here and now, with the same configuration."""
    role = build_role(configured(tmp_path, url), site.engine, site.registry, site.organisation)
    role.outbox.release()
    role.outbox.run_due(now_ms)


def test_records_that_come_again_after_delivery_change_nothing(
    site: Site, tmp_path: Path, post: tuple[Post, str]
) -> None:
    sealed = site.seal(b"plain" * 3000)
    site.hold(sealed)
    deliver_rest(site, tmp_path, post[1])
    assert state_of(site, sealed) == "delivered"

    site.hold(sealed)
    deliver_rest(site, tmp_path, post[1])

    assert state_of(site, sealed) == "delivered"
    assert [message["type"] for message in post[0].messages()] == ["notice.clip_ready"]


def test_a_clip_that_a_restored_vault_had_lost_is_assembled_again_when_it_comes_again(
    site: Site, tmp_path: Path, post: tuple[Post, str]
) -> None:
    sealed = site.seal(b"plain" * 3000)
    site.hold(sealed)
    deliver_rest(site, tmp_path, post[1])
    site.vault.path(sealed.device, sealed.clip).write_bytes(sealed.file(1, ended=False))
    core = IngestCore(site.engine, site.vault, site.registry, site.organisation)
    core.recover(NOW_MS + 10**6)
    core.close()
    assert state_of(site, sealed) != "delivered"

    site.hold(sealed, now_ms=NOW_MS + 2 * 10**6)
    deliver_rest(site, tmp_path, post[1], NOW_MS + 2 * 10**9)

    assert state_of(site, sealed) == "delivered"
    assert site.views.path(sealed.device, sealed.clip, "clip.mkv").read_bytes() == sealed.plain


@pytest.mark.usefixtures("role")
def test_the_role_makes_the_exports_that_were_asked_for(site: Site, tmp_path: Path) -> None:
    sealed = site.seal(b"plain" * 3000)
    site.hold(sealed)
    key = (sealed.device, sealed.clip)
    ask_export(site.engine, key, "hearing", "", "Eve", wall_ms(), two_needed=False)
    wait_until(lambda: list_requests(site.engine, key, wall_ms())[0]["file"] is not None, WAIT_S)
    assert ExportArea(tmp_path / VIEWS_FOLDER).path(1).is_file()


def test_a_control_room_that_is_away_does_not_hold_up_the_share(site: Site, tmp_path: Path, free_port: int) -> None:
    sealed = site.seal(b"plain" * 3000)
    site.hold(sealed)
    raise_alarm(site)

    config = configured(tmp_path, f"http://127.0.0.1:{free_port}/")
    role = build_role(config, site.engine, site.registry, site.organisation)
    for _ in range(3):
        for parcel in role.outbox.claim(NOW_MS + 60_000):
            role.outbox.settle(parcel, role.outbox.attempt(parcel, NOW_MS + 60_000), NOW_MS + 60_000)

    assert state_of(site, sealed) == "delivered"
    waiting = rows(site.engine, "webhook:desk")
    assert {row["state"] for row in waiting} == {"waiting"}
    assert all("ConnectError" in row["last_error"] for row in waiting if row["attempts"])


def test_a_role_without_its_signing_secret_does_not_start(site: Site, tmp_path: Path) -> None:
    weak = base64.b64encode(b"short").decode()

    with pytest.raises(SecretError):
        build_role(configured(tmp_path, "http://127.0.0.1:1/", weak), site.engine, site.registry, site.organisation)


def test_the_view_area_is_beside_the_vault(site: Site, tmp_path: Path) -> None:
    assert site.views.root == tmp_path / VIEWS_FOLDER


def test_who_looks_at_a_clip_while_it_comes_in_is_given_its_picture_until_the_role_stops(
    site: Site, tmp_path: Path, post: tuple[Post, str]
) -> None:
    role = build_role(configured(tmp_path, post[1]), site.engine, site.registry, site.organisation)
    sealed = site.seal(ordinary_clip().matroska())
    site.arrive(sealed, 0, len(sealed.segments))
    area = LiveArea(tmp_path / VIEWS_FOLDER)
    area.ask(sealed.name)
    role.start()
    try:
        wait_until(lambda: area.see(sealed.name).picture == ordinary_clip().frames[-1][1], WAIT_S)
    finally:
        assert role.stop(timeout_s=WAIT_S)

    assert not area.see(sealed.name).picture
