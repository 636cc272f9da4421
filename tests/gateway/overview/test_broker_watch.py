"""What is told of the broker: its own figures where it gives them, and that it is away when it is."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from lapel_gateway.brokers import make_broker, watch_access
from lapel_gateway.brokers.broker import Broker, BrokerAccess
from lapel_gateway.overview import broker_watch
from lapel_gateway.overview.broker_watch import BrokerWatch
from lapel_gateway.settings.config import BrokerSection, Config, GatewaySection
from lapel_protocol.topics import topic
from tests.gateway.mqtt import connected
from tests.gateway.test_mosquitto import DEVICE_A, Site
from tests.waiting import wait_until

NOW_MS = 1_790_000_000_000
TIMEOUT_S = 30.0


def installation(folder: Path, kind: str, port: int, **more: Any) -> Config:
    return Config(
        gateway=GatewaySection(data_dir=folder),
        broker=BrokerSection.model_validate({"kind": kind, "port": port, **more}),
    )


def broker_of(config: Config) -> Broker:
    broker, _ = make_broker(config, NOW_MS)
    assert broker is not None
    return broker


@contextmanager
def running(broker: Broker) -> Iterator[Broker]:
    broker.start()
    try:
        yield broker
    finally:
        broker.stop()


@contextmanager
def watching(access: BrokerAccess | None) -> Iterator[BrokerWatch]:
    assert access is not None
    watch = BrokerWatch(access, lambda: NOW_MS)
    watch.start()
    try:
        yield watch
    finally:
        watch.stop()


def until(watch: BrokerWatch, found: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    """What is told once it is this."""
    wait_until(lambda: found(watch.words()), TIMEOUT_S)
    return watch.words()


@pytest.mark.needs("mosquitto")
def test_mosquitto_tells_its_connections_and_queues_to_the_gateway(tmp_path: Path, free_port: int) -> None:
    site = Site(tmp_path, free_port)
    name = "gateway-watch"
    with running(site.broker), watching(BrokerAccess("127.0.0.1", free_port, name, site.files(name))) as watch:
        words = until(watch, lambda words: words["figures"] is not None)
        assert (words["connected"], words["since"]["ms"], words["trouble"]) == (True, NOW_MS, None)

        away = site.client("gateway-alarms", clean=False)
        away.subscribe("lapel/v1/+/+/alarm")
        away.close()
        with connected(site.port, DEVICE_A.hex(), site.files(DEVICE_A.hex())) as device:
            device.publish(topic(DEVICE_A, "alarm"), b"help")
        # The watch is connected; the gateway is away, and a message waits for it.
        figures = until(watch, lambda words: (words["figures"] or {}).get("bytes_held", 0) > 0)["figures"]
        assert figures["messages_held"] >= 1


@pytest.mark.needs("mosquitto")
def test_a_broker_that_goes_away_is_said_to_be_and_none_of_its_figures_stays(tmp_path: Path, free_port: int) -> None:
    config = installation(tmp_path, "mosquitto", free_port)
    with watching(watch_access(config, NOW_MS)) as watch:
        assert until(watch, lambda words: words["trouble"] == "it cannot be reached")["connected"] is False
        with running(broker_of(config)):
            until(watch, lambda words: words["figures"] is not None)
        words = until(watch, lambda words: not words["connected"])
        assert (words["figures"], words["why_no_figures"]) == (None, "the broker is away")
        with running(broker_of(config)):
            until(watch, lambda words: words["connected"])


@pytest.mark.needs("mosquitto")
def test_the_watch_hears_no_device(tmp_path: Path, free_port: int) -> None:
    config = installation(tmp_path, "mosquitto", free_port)
    access = watch_access(config, NOW_MS)
    assert access is not None
    with running(broker_of(config)), connected(free_port, access.client_id, access.tls) as spy:
        spy.subscribe("lapel/#")
        _, roles = make_broker(config, NOW_MS)
        with connected(free_port, roles["alarms"].client_id, roles["alarms"].tls) as gateway:
            gateway.publish("lapel/v1/00/00aa00aa00aa00aa/down", b"secret")
        assert spy.settle() == []


def test_a_broker_without_figures_is_said_to_give_none(
    tmp_path: Path, free_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(broker_watch, "PATIENCE_S", 0.5)
    config = installation(tmp_path, "embedded", free_port)
    with running(broker_of(config)), watching(watch_access(config, NOW_MS)) as watch:
        words = until(watch, lambda words: words["why_no_figures"] == "this broker tells nothing of itself")
    assert (words["connected"], words["figures"]) == (True, None)


def test_an_external_broker_without_a_certificate_for_it_is_not_watched(tmp_path: Path) -> None:
    for role in ("alarms", "events", "ingest"):
        (tmp_path / f"{role}.pem").touch()
        (tmp_path / f"{role}.key").touch()
    files = {"ca_file": tmp_path / "ca.pem"}
    files |= {"certificate_file": tmp_path / "{role}.pem", "key_file": tmp_path / "{role}.key"}
    config = installation(tmp_path, "external", 8883, **files)
    assert watch_access(config, NOW_MS) is None

    (tmp_path / "watch.pem").touch()
    (tmp_path / "watch.key").touch()
    access = watch_access(config, NOW_MS)
    assert access is not None
    assert access.client_id == "gateway-watch"
