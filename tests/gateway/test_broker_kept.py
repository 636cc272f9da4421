"""A Mosquitto that ends by itself is started again, and one that a killed gateway left without a trace is found."""

from __future__ import annotations

import itertools
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from lapel_gateway import service
from lapel_gateway.brokers.broker import BrokerError, accepts_connections
from lapel_gateway.brokers.mosquitto import MosquittoProcess
from lapel_gateway.devices.cutting import CutOff
from lapel_gateway.ending import Ending
from lapel_gateway.keystore import KeyStore
from lapel_gateway.ledger import open_ledger
from lapel_gateway.pki import DeviceIdentity, Pki, TlsFiles, create_organisation_key
from lapel_gateway.registry import Registry
from lapel_gateway.service import Gateway
from lapel_gateway.settings.config import BrokerSection, Config, GatewaySection, KeysSection
from lapel_protocol.topics import topic
from tests.gateway.mqtt import connected
from tests.waiting import wait_until

pytestmark = pytest.mark.needs("mosquitto")

TIMEOUT_S = 20.0


@pytest.fixture
def config(tmp_path: Path, free_port: int) -> Config:
    data = tmp_path / "data"
    KeyStore.create(data / "keys" / "master.key")
    create_organisation_key(data / "keys" / "private.pem", data / "keys" / "organisation.pem")
    return Config(
        gateway=GatewaySection(data_dir=data, roles=["ingest"]),
        keys=KeysSection(organisation_private_key_file=data / "keys" / "private.pem"),
        broker=BrokerSection(kind="mosquitto", port=free_port),
    )


@pytest.fixture
def kept(config: Config) -> Iterator[Gateway]:
    """A gateway that looks after its broker, as `service.run` has it do."""
    gateway, ending = Gateway(config), Ending()
    gateway.start()
    keeper = threading.Thread(target=gateway.keep_broker, args=(ending,))
    keeper.start()
    yield gateway
    ending.ask()
    keeper.join()
    assert gateway.stop()


def mosquitto_pid(config: Config) -> int:
    return int((config.broker_dir / "mosquitto.pid").read_text(encoding="ascii"))


def test_a_broker_that_was_killed_is_started_again_and_the_gateway_is_back_on_it(kept: Gateway, config: Config) -> None:
    assert kept.wait_ready(TIMEOUT_S)
    before = mosquitto_pid(config)
    os.kill(before, signal.SIGKILL)
    wait_until(lambda: kept.broker is not None and kept.broker.running and mosquitto_pid(config) != before, TIMEOUT_S)
    wait_until(lambda: accepts_connections("127.0.0.1", config.broker.port), TIMEOUT_S)
    assert kept.wait_ready(TIMEOUT_S)


def test_a_device_that_is_marked_lost_elsewhere_is_not_heard_any_more_until_it_is_found(
    kept: Gateway, config: Config, tmp_path: Path
) -> None:
    pki = Pki.ensure(config.pki_dir, "Test")
    now_ms = time.time_ns() // 1_000_000
    engine = open_ledger(config.ledger_file)
    try:
        elsewhere = Registry(engine, KeyStore.load(config.master_key_file))
        package = elsewhere.provision(
            "camera 1", "", kept.organisation, "127.0.0.1", config.broker.port, "127.0.0.1", now_ms, 0, pki.issue_device
        )
        assert package.identity is not None
        name, alarms = package.device.hex(), topic(package.device, "alarm")
        with (
            connected(config.broker.port, "gateway-alarms", pki.ensure_role("alarms", now_ms)) as gateway,
            connected(config.broker.port, name, pem_files(package.identity, tmp_path)) as device,
        ):
            gateway.subscribe("lapel/v1/+/+/alarm")
            probes = itertools.count()

            def heard() -> bool:
                probe = b"%d" % next(probes)
                device.publish(alarms, probe)
                return (alarms, probe) in gateway.settle()

            assert heard()
            elsewhere.mark_lost(name, now_ms)
            wait_until(lambda: not heard(), TIMEOUT_S)
            elsewhere.mark_found(name, now_ms)
            wait_until(heard, TIMEOUT_S)
    finally:
        engine.dispose()


def pem_files(identity: DeviceIdentity, folder: Path) -> TlsFiles:
    files = TlsFiles(folder / "ca.pem", folder / "device.pem", folder / "device.key")
    for path, der in ((files.ca_file, identity.ca_der), (files.certificate_file, identity.certificate_der)):
        path.write_bytes(x509.load_der_x509_certificate(der).public_bytes(serialization.Encoding.PEM))
    key = serialization.load_der_private_key(identity.key_der, None)
    files.key_file.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return files


class Unwilling:
    """A broker that starts at the third attempt."""

    host, port, tls = "127.0.0.1", 1883, False

    def __init__(self) -> None:
        self.attempts: list[float] = []
        self.running = False

    def start(self) -> None:
        self.attempts.append(time.monotonic())
        if len(self.attempts) < 3:
            raise BrokerError("not yet")
        self.running = True

    def cut(self, cut_off: CutOff) -> None:
        pass

    def stop(self) -> None:
        self.running = False


def test_a_broker_that_does_not_start_is_tried_again_ever_more_slowly(
    config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "BROKER_LOOK_S", 0.01)
    monkeypatch.setattr(service, "BROKER_RETRY_S", (0.2, 10.0))
    gateway, ending, broker = Gateway(config), Ending(), Unwilling()
    gateway.broker = broker
    keeper = threading.Thread(target=gateway.keep_broker, args=(ending,))
    keeper.start()
    wait_until(lambda: broker.running, TIMEOUT_S)
    ending.ask()
    keeper.join()
    first, second, third = broker.attempts
    assert second - first >= 0.2
    assert third - second >= 0.4
    assert gateway.stop()


def test_a_gateway_whose_broker_does_not_start_goes_on_telling_that_it_is_alive(
    config: Config, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(service, "BROKER_LOOK_S", 0.01)
    gateway, ending, broker = Gateway(config), Ending(), Unwilling()
    gateway.broker = broker
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(TIMEOUT_S)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        keeper = threading.Thread(target=gateway.keep_broker, args=(ending,))
        keeper.start()
        try:
            assert [manager.recv(64) for _ in range(20)] == [b"WATCHDOG=1"] * 20
            assert len(broker.attempts) == 1  # the next is a second away
        finally:
            ending.ask()
            keeper.join()
    assert gateway.stop()


def test_a_broker_whose_gateway_was_killed_before_it_noted_it_is_ended_at_the_next_start(
    tmp_path: Path, free_port: int
) -> None:
    def broker() -> Any:
        pki = Pki.ensure(tmp_path / "pki", "Test")
        own = pki.ensure_broker(["127.0.0.1"], time.time_ns() // 1_000_000)
        return MosquittoProcess(tmp_path / "broker", "127.0.0.1", free_port, own)

    script = (
        "import os, sys, time; from pathlib import Path\n"
        "from lapel_gateway.pki import Pki\n"
        "from lapel_gateway.brokers.mosquitto import MosquittoProcess\n"
        f"folder = Path({str(tmp_path)!r})\n"
        "own = Pki.ensure(folder / 'pki', 'Test').ensure_broker(['127.0.0.1'], time.time_ns() // 1_000_000)\n"
        f"MosquittoProcess(folder / 'broker', '127.0.0.1', {free_port}, own).start()\n"
        "os._exit(9)\n"
    )
    subprocess.run([sys.executable, "-c", script], check=False)
    pid_file = tmp_path / "broker" / "mosquitto.pid"
    left = int(pid_file.read_text())
    pid_file.unlink()
    assert accepts_connections("127.0.0.1", free_port)
    mine = broker()
    try:
        mine.start()
        assert mine.running
    finally:
        mine.stop()
        with suppress(ProcessLookupError):
            os.kill(left, signal.SIGKILL)
