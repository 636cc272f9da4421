"""Status topics on real brokers: what they say, what they never say, and who may read and write them."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from lapel_gateway.alarms import core as alarms
from lapel_gateway.alarms.kinds import DISK_LOW
from lapel_gateway.alarms.own import raise_own
from lapel_gateway.brokers import BrokerError, make_broker
from lapel_gateway.brokers.mosquitto import render_acl, render_config
from lapel_gateway.ledger import writing
from lapel_gateway.metrics.watched import Watched
from lapel_gateway.pki import Pki
from lapel_gateway.settings.check import check_config
from lapel_gateway.settings.config import BrokerSection, Config, GatewaySection
from lapel_gateway.settings.status import StatusSection
from lapel_gateway.status import publisher
from lapel_gateway.status.publisher import StatusPublisher, StatusTarget
from lapel_gateway.status.setup import build_publisher
from lapel_protocol.reports import ALARM_TEST, HEART_RECORDING
from tests.gateway.mqtt import MqttClient, connected
from tests.gateway.test_query_plans import everything_once
from tests.support.pair import DevicePair
from tests.waiting import wait_until

TIMEOUT_S = 30.0
PREFIX = "lapel/status"


@pytest.fixture(autouse=True)
def quick_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(publisher, "LOOK_S", 0.05)


def configured(folder: Path, port: int, kind: Any = "mosquitto", **status: Any) -> Config:
    """A gateway that publishes to its own broker."""
    return Config(
        gateway=GatewaySection(data_dir=folder / "data"),
        broker=BrokerSection(kind=kind, port=port),
        status=StatusSection(enabled=True, **status),
    )


class Board:
    """A dashboard: the newest that the broker has of each topic."""

    def __init__(self, client: MqttClient) -> None:
        self._client = client

    @property
    def topics(self) -> dict[str, str]:
        return {topic: payload.decode() for topic, payload in list(self._client.received)}

    def shows(self, **wanted: str) -> None:
        """Wait until these topics below the prefix say so; "/" is written as two underscores."""
        told = {f"{PREFIX}/{name.replace('__', '/')}": text for name, text in wanted.items()}
        wait_until(lambda: told.items() <= self.topics.items(), TIMEOUT_S)

    def device(self, name: str, **wanted: str) -> None:
        self.shows(**{f"device__{name}__{part}": text for part, text in wanted.items()})


class Site:
    """A gateway's cores, its Mosquitto with certificates, and a dashboard."""

    def __init__(self, pair: DevicePair, config: Config) -> None:
        self.pair = pair
        self.config = config
        made, self.accesses = make_broker(config, time.time_ns() // 1_000_000)
        assert made is not None
        self.broker = made
        self.pki = Pki.ensure(config.pki_dir, config.gateway.organisation)

    def files(self, who: str) -> Any:
        return self.pki.ensure_role(who, time.time_ns() // 1_000_000)

    @contextmanager
    def publishing(self) -> Iterator[StatusPublisher]:
        made = build_publisher(self.config, self.pair.engine, self.accesses["status"], lambda: self.pair.now_ms)
        made.start()
        try:
            yield made
        finally:
            made.stop()

    @contextmanager
    def board(self, *topics: str) -> Iterator[Board]:
        with connected(self.config.broker.port, "gateway-dashboard", self.files("dashboard")) as client:
            for topic in topics or (f"{PREFIX}/#", "homeassistant/#"):
                client.subscribe(topic)
            yield Board(client)


@pytest.fixture
def make_site(pair: DevicePair, tmp_path: Path, free_port: int) -> Iterator[Callable[..., Site]]:
    made: list[Site] = []

    def make(**status: Any) -> Site:
        site = Site(pair, configured(tmp_path, free_port, **status))
        site.broker.start()
        made.append(site)
        return site

    yield make
    for site in made:
        site.broker.stop()


@pytest.mark.needs("mosquitto")
def test_a_device_and_an_open_alarm_are_shown_as_they_change(make_site: Callable[..., Site], pair: DevicePair) -> None:
    site = make_site()
    with site.board() as board, site.publishing():
        board.shows(gateway__availability="online", gateway__ready="off", alarm="none")
        board.device(pair.one.name, battery="80", link="off", state="unknown", unsent="unknown")
        pair.send(pair.one.heartbeat(HEART_RECORDING, clips_held=2))
        board.device(pair.one.name, battery="79", link="on", state="recording", unsent="2")
        pair.raise_alarm(pair.one.alarm())
        board.shows(alarm="open")
        alarms.resolve(pair.engine, pair.row("alarm")["id"], "Sam", "true", "", pair.now_ms)
        board.shows(alarm="none")
        pair.now_ms += 600_000
        board.device(pair.one.name, link="off", state="unknown")


@pytest.mark.needs("mosquitto")
def test_a_drill_and_an_alarm_of_the_gateways_own_open_nothing(
    make_site: Callable[..., Site], pair: DevicePair
) -> None:
    pair.raise_alarm(pair.one.alarm(flags=ALARM_TEST))
    with writing(pair.engine) as connection:
        raise_own(connection, DISK_LOW, "/srv", "make room", pair.now_ms)
    site = make_site()
    with site.board() as board, site.publishing():
        board.shows(gateway__availability="online", alarm="none")


@pytest.mark.needs("mosquitto")
def test_who_comes_later_is_shown_everything_and_that_the_gateway_is_gone(
    make_site: Callable[..., Site], pair: DevicePair
) -> None:
    site = make_site()
    with site.publishing():
        with site.board() as board:
            board.device(pair.one.name, battery="80")
        with site.board() as board:
            board.device(pair.one.name, battery="80")
            board.shows(gateway__availability="online", alarm="none")
    with site.board() as board:
        board.shows(gateway__availability="offline")


@pytest.mark.needs("mosquitto")
def test_after_the_broker_was_away_everything_is_published_again(
    make_site: Callable[..., Site], pair: DevicePair
) -> None:
    site = make_site()
    with site.publishing():
        with site.board() as board:
            board.shows(gateway__availability="online")
        site.broker.stop()
        (site.config.broker_dir / "mosquitto.db").unlink()
        site.broker.start()
        with site.board() as board:
            board.shows(gateway__availability="online", alarm="none")
            board.device(pair.one.name, battery="80")


@pytest.mark.needs("mosquitto")
def test_home_assistant_finds_each_topic_and_a_retired_device_is_taken_back(
    make_site: Callable[..., Site], pair: DevicePair
) -> None:
    site = make_site(home_assistant=True)
    name = pair.one.name
    with site.board() as board, site.publishing():
        battery = f"homeassistant/sensor/lapel_{name}_battery/config"
        wait_until(lambda: battery in board.topics, TIMEOUT_S)
        board.device(name, battery="80")
        wait_until(lambda: len([topic for topic in board.topics if topic.endswith("/config")]) == 6, TIMEOUT_S)
        found = {topic: json.loads(text) for topic, text in board.topics.items() if topic.endswith("/config")}
        assert {one["state_topic"] for one in found.values()} < set(board.topics)
        assert {one["availability_topic"] for one in found.values()} == {f"{PREFIX}/gateway/availability"}
        assert len({one["unique_id"] for one in found.values()}) == len(found)
        pair.registry.retire(name, pair.now_ms)
        wait_until(lambda: board.topics[battery] == "", TIMEOUT_S)
        board.device(name, battery="", link="")


@pytest.mark.needs("mosquitto")
def test_nothing_that_is_published_names_a_person_a_place_or_a_hardware(
    make_site: Callable[..., Site], pair: DevicePair
) -> None:
    everything_once(pair)
    site = make_site(home_assistant=True)
    with site.board() as board, site.publishing():
        board.shows(gateway__availability="online")
        board.device(pair.one.name, link="on")
        text = json.dumps(board.topics, ensure_ascii=False)
    secret = {str(row[column]) for row in pair.rows("device") for column in ("name", "person")}
    secret |= {str(row[column]) for row in pair.rows("visit") for column in ("person", "place", "purpose", "buddy")}
    assert [word for word in secret if word and word in text] == []


@pytest.mark.needs("mosquitto")
def test_the_dashboard_reads_status_alone_and_writes_nothing(make_site: Callable[..., Site], pair: DevicePair) -> None:
    site = make_site()
    with site.board("#") as board, site.publishing():
        board.shows(alarm="none")
        board._client.publish(f"{PREFIX}/alarm", b"forged", retain=True)
        with connected(site.config.broker.port, "gateway-alarms", site.files("alarms")) as other:
            other.publish(f"{PREFIX}/alarm", b"forged", retain=True)
            other.subscribe("lapel/v1/+/+/alarm")
        assert "forged" not in board.topics.values()
        assert all(topic.startswith(PREFIX) for topic in board.topics)


def test_without_status_topics_the_broker_keeps_nothing_and_knows_no_dashboard(tmp_path: Path) -> None:
    assert "dashboard" not in render_acl()
    assert "retain_available false" in render_config("127.0.0.1", 8883, None, tmp_path)
    assert "retain_available true" in render_config("127.0.0.1", 8883, None, tmp_path, retaining=True)
    _, accesses = make_broker(Config(gateway=GatewaySection(data_dir=tmp_path / "data")), 0)
    assert "status" not in accesses


def test_a_publisher_whose_broker_is_away_ends_when_it_is_told_to(pair: DevicePair, free_port: int) -> None:
    made = StatusPublisher(pair.engine, Watched(), StatusTarget("127.0.0.1", free_port, PREFIX), lambda: pair.now_ms)
    with capture_logs() as lines:
        made.start()
        wait_until(lambda: bool(lines), TIMEOUT_S)
        made.stop()
    assert "cannot be reached" in lines[0]["event"]
    assert [thread.name for thread in threading.enumerate() if thread.name == "status"] == []


def test_a_broker_that_is_not_configured_is_named(pair: DevicePair, tmp_path: Path, free_port: int) -> None:
    config = configured(tmp_path, free_port, kind="embedded", broker="elsewhere")
    with pytest.raises(BrokerError, match=r"there is no .*elsewhere"):
        build_publisher(config, pair.engine, None, lambda: 0)
    assert [found.setting for found in check_config(config) if found.level == "error"].count("[status] broker") == 1


@pytest.mark.parametrize("topic", ["lapel/v1", "lapel/v1/x", "lapel", "a/+/b", "a/#", "$SYS", "a//b", "/a", "a b"])
def test_a_topic_that_would_reach_devices_or_is_none_is_refused(topic: str) -> None:
    with pytest.raises(ValueError, match="must be a topic"):
        StatusSection(topic=topic)


def test_a_login_is_in_no_repr() -> None:
    assert "hunter2" not in repr(StatusTarget("host", 1, "t", login=("me", "hunter2")))
