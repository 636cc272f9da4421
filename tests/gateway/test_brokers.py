"""From settings to a broker: each kind, started, and reached by the gateway's own connections."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from lapel_gateway.brokers import GATEWAY_CONNECTIONS, BrokerError, make_broker
from lapel_gateway.brokers.mosquitto import MosquittoProcess
from lapel_gateway.settings.config import Config, load_config
from lapel_gateway.settings.template import write_template
from lapel_protocol.topics import topic
from tests.gateway.mqtt import connected

NOW_MS = 1_790_000_000_000
DEVICE = bytes(8)


def config(folder: Path, **broker: Any) -> Config:
    path = folder / "lapel.toml"
    path.unlink(missing_ok=True)
    write_template(path, {"broker": broker})
    return load_config(path)


@pytest.mark.parametrize("kind", ["embedded", pytest.param("mosquitto", marks=pytest.mark.needs("mosquitto"))])
def test_the_gateways_connections_reach_the_broker_that_it_started(tmp_path: Path, free_port: int, kind: str) -> None:
    broker, access = make_broker(config(tmp_path, kind=kind, port=free_port), NOW_MS)
    assert broker is not None
    assert broker.tls is (kind == "mosquitto")
    broker.start()
    try:
        for role in GATEWAY_CONNECTIONS:
            assert (access[role].host, access[role].port) == (broker.host, broker.port)
            with connected(access[role].port, access[role].client_id, access[role].tls) as client:
                client.publish(topic(DEVICE, "down"))
    finally:
        broker.stop()
    assert not broker.running


def test_no_two_connections_share_a_client_id_or_a_certificate(tmp_path: Path, free_port: int) -> None:
    _, access = make_broker(config(tmp_path, kind="mosquitto", port=free_port), NOW_MS)
    assert len({one.client_id for one in access.values()}) == len(GATEWAY_CONNECTIONS)
    assert len({one.tls.certificate_file for one in access.values() if one.tls}) == len(GATEWAY_CONNECTIONS)


def test_an_external_broker_is_reached_and_not_started(tmp_path: Path) -> None:
    files = {"ca_file": "ca.pem", "certificate_file": "{role}.pem", "key_file": "{role}.key"}
    broker, access = make_broker(config(tmp_path, kind="external", host="mqtt.example.org", port=8883, **files), NOW_MS)
    assert broker is None
    assert (access["ingest"].host, access["ingest"].port) == ("mqtt.example.org", 8883)
    assert access["ingest"].tls is not None
    assert access["ingest"].tls.key_file == tmp_path / "ingest.key"


def test_the_embedded_broker_refuses_an_address_that_others_could_reach(tmp_path: Path) -> None:
    with pytest.raises(BrokerError, match="checks no certificates"):
        make_broker(config(tmp_path, kind="embedded", host="0.0.0.0"), NOW_MS)


def test_a_mosquitto_without_certificates_is_for_loopback_only(tmp_path: Path) -> None:
    with pytest.raises(BrokerError, match="loopback only"):
        MosquittoProcess(tmp_path, "0.0.0.0", 1883, None)
    plain = MosquittoProcess(tmp_path, "127.0.0.1", 1883, None)
    plain.write_config()
    text = plain.config_file.read_text()
    assert "listener 1883 127.0.0.1\n" in text
    assert "allow_anonymous true" in text
    assert not plain.tls


def test_open_files_are_raised_to_what_the_system_permits() -> None:
    script = (
        "import resource\n"
        "from lapel_gateway.brokers.mosquitto import raise_open_files\n"
        "_, hard = resource.getrlimit(resource.RLIMIT_NOFILE)\n"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))\n"
        "assert raise_open_files() >= hard\n"
        "assert resource.getrlimit(resource.RLIMIT_NOFILE) == (hard, hard)\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True)
