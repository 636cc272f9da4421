"""Key store, spool, journal and uplink under the real MicroPython with a device's heap, over real sockets and TLS."""

import json
import socket
import subprocess
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any

import pytest

from lapel_gateway.brokers.mosquitto import MosquittoProcess
from lapel_gateway.pki import Pki
from lapel_protocol.topics import topic
from lapel_sim.launcher import start
from tests.firmware.clipkit import CHAIN_KEY, DEVICE
from tests.firmware.shore import Shore
from tests.gateway.mqtt import MqttClient

pytestmark = pytest.mark.needs("micropython")

DEVICE_CODE = Path(__file__).parent / "device"
NOW_MS = 1_790_000_000_000
LANES = {"gateway-alarms": "alarm", "gateway-events": "event", "gateway-ingest": "clip"}


class Device:
    """The real MicroPython with `link_device`; what it printed is read when it has ended."""

    def __init__(self, folder: Path, port: int, kind: str, segments: int, limit_ms: int) -> None:
        arguments = [str(folder), CHAIN_KEY.hex(), str(port), kind, str(segments), str(limit_ms)]
        self._process: subprocess.Popen[bytes] = start("link_device", arguments, (), extra_path=DEVICE_CODE)

    def told(self) -> dict[str, Any]:
        output, _ = self._process.communicate(timeout=60)
        assert self._process.returncode == 0, output.decode()
        told: dict[str, Any] = {"log": []}
        for line in output.decode().splitlines():
            fields = json.loads(line)
            if "log" in fields:
                told["log"].append(fields["log"])
            else:
                told.update(fields)
        return told


class Coast(Shore):
    """The gateway half of the shore behind a real broker: three connections, as the gateway's roles have them."""

    def __init__(self, folder: Path, port: int) -> None:
        super().__init__()
        self.pki = Pki.ensure(folder / "pki", "Test")
        self.broker = MosquittoProcess(
            folder / "broker", "127.0.0.1", port, self.pki.ensure_broker(["127.0.0.1"], NOW_MS)
        )
        self.broker.start()
        self._clients: dict[str, MqttClient] = {}
        self._read: dict[str, int] = {}
        for name, lane in LANES.items():
            client = MqttClient(port, name, self.pki.ensure_role(name.removeprefix("gateway-"), NOW_MS))
            client.connect()
            client.subscribe(topic(DEVICE, lane))
            self._clients[name] = client
            self._read[name] = 0

    def give_identity(self, folder: Path, pki: Pki | None = None) -> None:
        identity = (pki or self.pki).issue_device(DEVICE, NOW_MS)
        (folder / "tls").mkdir()
        (folder / "tls" / "ca.der").write_bytes(identity.ca_der)
        (folder / "tls" / "cert.der").write_bytes(identity.certificate_der)
        (folder / "tls" / "key.der").write_bytes(identity.key_der)

    def serve(self, device: Device) -> dict[str, Any]:
        """Answer until the device has ended; what it told."""
        with ThreadPoolExecutor(1) as pool:
            told = pool.submit(device.told)
            while not told.done():
                wait([told], 0.005)
                self._read_lanes()
            return told.result()

    def _read_lanes(self) -> None:
        for name, client in self._clients.items():
            messages = client.received[self._read[name] :]
            self._read[name] += len(messages)
            for where, payload in messages:
                self.arrived(where, payload)

    def deliver(self, record: bytes) -> None:
        self._clients["gateway-ingest"].publish(topic(DEVICE, "down"), record)

    def close(self) -> None:
        for client in self._clients.values():
            client.close()
        self.broker.stop()


@pytest.fixture
def coast(tmp_path: Path, free_port: int) -> Iterator[Coast]:
    coast = Coast(tmp_path, free_port)
    yield coast
    coast.close()


@pytest.fixture
def flash(tmp_path: Path) -> Path:
    folder = tmp_path / "flash"
    folder.mkdir()
    return folder


@pytest.mark.needs("mosquitto")
def test_an_alarm_and_a_clip_go_through_mutual_tls_to_mosquitto_and_are_let_go(
    coast: Coast, flash: Path, free_port: int
) -> None:
    coast.give_identity(flash)
    told = coast.serve(Device(flash, free_port, "tls", 60, 30_000))
    assert (told["clips"], told["events"], told["epochs"], told["sent"]) == (0, 0, 0, 1), told
    held = coast.clips[told["clip"]]
    assert held.contiguous == 60
    alarms = [payload.hex() for name, payload, _, _ in coast.published if name.endswith("/alarm")]
    assert alarms == [told["alarm"]]
    assert coast.published[0][0].endswith("/alarm") or coast.hellos
    assert told["free"] > 60_000, told


@pytest.mark.needs("mosquitto")
def test_a_broker_with_a_certificate_of_another_ca_is_not_talked_to(
    coast: Coast, flash: Path, free_port: int, tmp_path: Path
) -> None:
    coast.give_identity(flash)
    (flash / "tls" / "ca.der").write_bytes(Pki.ensure(tmp_path / "other", "Other").ca_der)
    told = Device(flash, free_port, "tls", 0, 2_500).told()
    assert told["online_ms"] == -1
    assert coast.published == []
    assert told["log"] == ["uplink: connection lost: The certificate is not correctly signed by the trusted CA"]


@pytest.mark.needs("mosquitto")
def test_a_device_without_a_certificate_of_this_ca_is_not_let_in(
    coast: Coast, flash: Path, free_port: int, tmp_path: Path
) -> None:
    coast.give_identity(flash, Pki.ensure(tmp_path / "other", "Other"))
    (flash / "tls" / "ca.der").write_bytes(coast.pki.ca_der)
    told = Device(flash, free_port, "tls", 0, 2_500).told()
    assert told["online_ms"] == -1
    assert coast.published == []


def test_spoilt_certificates_are_a_complaint_and_not_a_crash(flash: Path, free_port: int) -> None:
    (flash / "tls").mkdir()
    for name in ("ca", "cert", "key"):
        (flash / "tls" / f"{name}.der").write_bytes(b"spoilt")
    told = Device(flash, free_port, "tls", 0, 2_000).told()
    assert told["log"] == ["uplink: cannot connect: invalid cert"]


def test_a_broker_that_is_not_there_is_one_line_in_the_log(flash: Path, free_port: int) -> None:
    told = Device(flash, free_port, "plain", 0, 4_000).told()
    assert told["online_ms"] == -1
    assert len(told["log"]) == 1


class StalledBroker:
    """Accepts, greets, and then reads nothing more."""

    def __init__(self, port: int) -> None:
        self._listener = socket.create_server(("127.0.0.1", port))
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()
        self.taken = 0

    def _serve(self) -> None:
        peer, _ = self._listener.accept()
        peer.recv(1000)
        peer.sendall(b"\x20\x02\x00\x00\x90\x03\x00\x01\x01")
        self.taken += 1
        self._held = peer

    def close(self) -> None:
        self._thread.join(10)
        self._listener.close()
        self._held.close()


def test_a_peer_that_stalls_makes_nothing_grow_on_the_devices_heap(flash: Path, free_port: int) -> None:
    broker = StalledBroker(free_port)
    told = Device(flash, free_port, "plain", 20, 12_000).told()
    broker.close()
    assert told["online_ms"] >= 0
    assert told["clips"] == 1
    assert told["live"] - told["early"] < 2_000, told
