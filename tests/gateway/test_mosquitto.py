"""A real Mosquitto with the generated configuration: who may connect, write and read, and what is kept."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from lapel_gateway.brokers.broker import BrokerError, accepts_connections
from lapel_gateway.brokers.mosquitto import MosquittoProcess
from lapel_gateway.pki import Pki, TlsFiles
from lapel_protocol.limits import MAX_MESSAGE_BYTES
from lapel_protocol.topics import topic
from tests.gateway.mqtt import MqttClient, Refused, connected

pytestmark = pytest.mark.needs("mosquitto")

NOW_MS = 1_790_000_000_000
DEVICE_A = bytes.fromhex("00aa00aa00aa00aa")
DEVICE_B = bytes.fromhex("00bb00bb00bb00bb")
LANES = ("alarm", "event", "clip", "down")


class Site:
    """A broker and everyone's certificates in one folder."""

    def __init__(self, folder: Path, port: int) -> None:
        self.folder = folder
        self.port = port
        self.pki = Pki.ensure(folder / "pki", "Test")
        self.broker = MosquittoProcess(folder / "broker", "127.0.0.1", port, self.own_files())

    def own_files(self) -> TlsFiles:
        return self.pki.ensure_broker(["127.0.0.1"], NOW_MS)

    def files(self, who: str, pki: Pki | None = None) -> TlsFiles:
        """PEM files of a role, or of a device given by its hex id."""
        pki = pki or self.pki
        if who.startswith("gateway-"):
            return pki.ensure_role(who.removeprefix("gateway-"), NOW_MS)
        identity = pki.issue_device(bytes.fromhex(who), NOW_MS)
        files = TlsFiles(self.pki.ca_file, self.folder / f"{who}.pem", self.folder / f"{who}.key")
        certificate = x509.load_der_x509_certificate(identity.certificate_der)
        files.certificate_file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        key = serialization.load_der_private_key(identity.key_der, None)
        files.key_file.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        return files

    def client(self, who: str, client_id: str = "", clean: bool = True) -> MqttClient:
        client = MqttClient(self.port, client_id or who, self.files(who), clean)
        client.connect()
        return client


@pytest.fixture
def site(tmp_path: Path, free_port: int) -> Iterator[Site]:
    site = Site(tmp_path, free_port)
    site.broker.start()
    yield site
    site.broker.stop()


# Who may write what: for the topics of device A, and the reader that would see it arrive.
READER = {"alarm": "gateway-alarms", "event": "gateway-events", "clip": "gateway-ingest", "down": DEVICE_A.hex()}
WRITERS = {
    DEVICE_A.hex(): {"alarm", "event", "clip"},
    DEVICE_B.hex(): set[str](),
    "gateway-alarms": {"down"},
    "gateway-events": {"down"},
    "gateway-ingest": {"down"},
    "gateway-stranger": set[str](),
}
READERS = {
    DEVICE_A.hex(): {topic(DEVICE_A, "down")},
    DEVICE_B.hex(): {topic(DEVICE_B, "down")},
    "gateway-alarms": {topic(device, "alarm") for device in (DEVICE_A, DEVICE_B)},
    "gateway-events": {topic(device, "event") for device in (DEVICE_A, DEVICE_B)},
    "gateway-ingest": {topic(device, "clip") for device in (DEVICE_A, DEVICE_B)},
    "gateway-stranger": set[str](),
}


@pytest.mark.parametrize("writer", WRITERS)
def test_each_identity_writes_its_own_lanes_and_nothing_else(site: Site, writer: str) -> None:
    with ExitStack() as stack:
        readers = {name: site.client(name) for name in set(READER.values()) - {writer}}
        for reader in readers.values():
            stack.callback(reader.close)
            reader.subscribe("lapel/v1/#")
        with connected(site.port, writer, site.files(writer)) as client:
            for lane in LANES:
                client.publish(topic(DEVICE_A, lane))
        for lane in LANES:
            if READER[lane] != writer:
                arrived = topic(DEVICE_A, lane) in [name for name, _ in readers[READER[lane]].settle()]
                assert arrived == (lane in WRITERS[writer]), f"{writer} writes {lane}"


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("wish", ["lapel/v1/#", "#"])
def test_each_identity_reads_its_own_lanes_and_nothing_else_whatever_it_subscribes_to(
    site: Site, reader: str, wish: str
) -> None:
    # The listener asks first; the writers who share its identity must not take its connection over.
    with connected(site.port, reader, site.files(reader)) as listener:
        listener.subscribe(wish)
        for device in (DEVICE_A, DEVICE_B):
            for lane in LANES:
                name = device.hex() if lane != "down" else "gateway-ingest"
                if name == reader:
                    listener.publish(topic(device, lane))
                    continue
                with connected(site.port, name, site.files(name)) as writer:
                    writer.publish(topic(device, lane))
        assert {name for name, _ in listener.settle()} == READERS[reader]


def test_another_devices_certificate_cannot_take_over_a_session_by_its_client_id(site: Site) -> None:
    with connected(site.port, DEVICE_A.hex(), site.files(DEVICE_A.hex())) as victim:
        victim.subscribe(topic(DEVICE_A, "down"))
        with connected(site.port, DEVICE_A.hex(), site.files(DEVICE_B.hex())):
            with connected(site.port, "gateway-ingest", site.files("gateway-ingest")) as gateway:
                gateway.publish(topic(DEVICE_A, "down"), b"for A")
            assert victim.wait_for(1) == [(topic(DEVICE_A, "down"), b"for A")]


def test_a_client_without_a_certificate_is_refused(site: Site) -> None:
    nobody = TlsFiles(site.pki.ca_file, site.folder / "none.pem", site.folder / "none.key")
    with pytest.raises(Refused), connected(site.port, DEVICE_A.hex(), nobody):
        pass


def test_a_certificate_of_another_ca_is_refused(site: Site) -> None:
    stranger = Pki.ensure(site.folder / "other", "Test")
    files = site.files(DEVICE_A.hex(), stranger)
    with pytest.raises(Refused), connected(site.port, DEVICE_A.hex(), files):
        pass


def test_the_largest_message_passes_and_a_larger_one_is_never_delivered(site: Site) -> None:
    name = topic(DEVICE_A, "clip")
    with connected(site.port, "gateway-ingest", site.files("gateway-ingest")) as gateway:
        gateway.subscribe("lapel/v1/+/+/clip")
        with connected(site.port, DEVICE_A.hex(), site.files(DEVICE_A.hex())) as device:
            device.publish(name, bytes(MAX_MESSAGE_BYTES + 1))
            device.publish(name, bytes(MAX_MESSAGE_BYTES))
        assert [len(payload) for _, payload in gateway.settle()] == [MAX_MESSAGE_BYTES]


def test_messages_for_an_absent_gateway_outlast_a_restart_of_the_broker(site: Site) -> None:
    site.client("gateway-alarms", clean=False).close()
    absent = site.client("gateway-alarms", clean=False)
    absent.subscribe("lapel/v1/+/+/alarm")
    absent.close()
    with connected(site.port, DEVICE_A.hex(), site.files(DEVICE_A.hex())) as device:
        device.publish(topic(DEVICE_A, "alarm"), b"help")
    site.broker.stop()
    assert not accepts_connections("127.0.0.1", site.port)
    site.broker.start()
    back = site.client("gateway-alarms", clean=False)
    assert back.wait_for(1) == [(topic(DEVICE_A, "alarm"), b"help")]
    back.close()


def test_more_than_mosquittos_default_of_a_thousand_messages_wait_for_an_absent_gateway(site: Site) -> None:
    absent = site.client("gateway-events", clean=False)
    absent.subscribe("lapel/v1/+/+/event")
    absent.close()
    with connected(site.port, DEVICE_A.hex(), site.files(DEVICE_A.hex())) as device:
        for number in range(1500):
            device.publish(topic(DEVICE_A, "event"), number.to_bytes(4, "big"))
    back = site.client("gateway-events", clean=False)
    assert [int.from_bytes(payload, "big") for _, payload in back.wait_for(1500)] == list(range(1500))
    back.close()


def test_nothing_is_retained(site: Site) -> None:
    device = site.client(DEVICE_A.hex())
    with pytest.raises(Refused):
        device.publish(topic(DEVICE_A, "alarm"), b"old", retain=True)
    device.close()
    with connected(site.port, "gateway-alarms", site.files("gateway-alarms")) as gateway:
        gateway.subscribe("lapel/v1/+/+/alarm")
        assert gateway.settle() == []


def test_a_taken_port_is_named(site: Site) -> None:
    second = MosquittoProcess(site.folder / "second", "127.0.0.1", site.port, site.own_files())
    with pytest.raises(BrokerError, match=rf"port {site.port} of 127\.0\.0\.1 is taken"):
        second.start()
    assert not second.running


def test_a_missing_program_is_named_with_its_remedy(tmp_path: Path, free_port: int) -> None:
    site = Site(tmp_path, free_port)
    broker = MosquittoProcess(tmp_path / "broker", "127.0.0.1", free_port, site.own_files(), "mosquitto-absent")
    with pytest.raises(BrokerError, match="mosquitto-absent is not installed: apt install mosquitto"):
        broker.start()


def test_a_damaged_certificate_is_reported_in_mosquittos_own_words(tmp_path: Path, free_port: int) -> None:
    site = Site(tmp_path, free_port)
    site.own_files().certificate_file.write_text("damaged")
    with pytest.raises(BrokerError, match=r"mosquitto ended with status .*certificate"):
        site.broker.start()


def test_keys_and_access_list_are_private(site: Site) -> None:
    for path in (*site.folder.glob("pki/*.key"), site.folder / "broker" / "acl"):
        assert path.stat().st_mode & 0o077 == 0, path


def test_the_broker_of_a_gateway_that_was_killed_is_ended_at_the_next_start(tmp_path: Path, free_port: int) -> None:
    site = Site(tmp_path, free_port)
    script = (
        "import sys, os; from pathlib import Path\n"
        "from tests.gateway.test_mosquitto import Site\n"
        f"Site(Path({str(tmp_path)!r}), {free_port}).broker.start()\n"
        "os._exit(9)\n"
    )
    subprocess.run([sys.executable, "-c", script], cwd=Path(__file__).parents[2], check=False)
    left = int((tmp_path / "broker" / "mosquitto.pid").read_text())
    assert accepts_connections("127.0.0.1", free_port)
    try:
        site.broker.start()
        assert site.broker.running
        assert accepts_connections("127.0.0.1", free_port)
        site.broker.stop()
        assert not accepts_connections("127.0.0.1", free_port)
    finally:
        with suppress(ProcessLookupError):
            os.kill(left, signal.SIGKILL)
