"""A real Mosquitto with the generated configuration: what is kept, what is bounded, and how it starts and ends.

Who may connect, write and read is the matter of tests/redteam/test_broker_takeover.py.
"""

from __future__ import annotations

import functools
import itertools
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from lapel_gateway.brokers import GATEWAY_CONNECTIONS, mosquitto
from lapel_gateway.brokers.broker import BrokerError, accepts_connections
from lapel_gateway.brokers.mosquitto import MosquittoProcess
from lapel_gateway.custody.credit import ALARM_WINDOW_BYTES, LEAST_WINDOW_BYTES, SHARE_BYTES
from lapel_gateway.devices.cutting import CUT_ALL, CUT_TO_ALARMS, CutOff
from lapel_gateway.pki import Pki, TlsFiles
from lapel_protocol.limits import MAX_MESSAGE_BYTES
from lapel_protocol.topics import topic
from tests.gateway.mqtt import MqttClient, Refused, connected
from tests.waiting import wait_until

pytestmark = pytest.mark.needs("mosquitto")

NOW_MS = 1_790_000_000_000
DEVICE_A = bytes.fromhex("00aa00aa00aa00aa")
LAST = 1 << 30
WAIT_S = 10.0
FLEET_WITHIN_THE_QUEUE = 750
"""Devices that send clips within the same two minutes."""


class Site:
    """A broker and everyone's certificates in one folder."""

    def __init__(self, folder: Path, port: int) -> None:
        self.folder = folder
        self.port = port
        self.pki = Pki.ensure(folder / "pki", "Test")
        self.broker = MosquittoProcess(folder / "broker", "127.0.0.1", port, self.own_files())

    def own_files(self) -> TlsFiles:
        return self.pki.ensure_broker(["127.0.0.1"], NOW_MS)

    def files(self, who: str) -> TlsFiles:
        """PEM files of a role, or of a device given by its hex id."""
        if who.startswith("gateway-"):
            return self.pki.ensure_role(who.removeprefix("gateway-"), NOW_MS)
        identity = self.pki.issue_device(bytes.fromhex(who), NOW_MS)
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


def publish_numbered(site: Site, count: int, start: int = 0) -> None:
    with connected(site.port, DEVICE_A.hex(), site.files(DEVICE_A.hex())) as device:
        for number in range(start, start + count):
            device.publish(topic(DEVICE_A, "event"), number.to_bytes(4, "big"))


def absent_reader(site: Site) -> None:
    """The gateway's events connection has a session and is away."""
    absent = site.client("gateway-events", clean=False)
    absent.subscribe("lapel/v1/+/+/event")
    absent.close()


def everything(site: Site) -> list[int]:
    """What waited for the events connection, up to the message numbered LAST, which was published after all others."""
    back = site.client("gateway-events", clean=False)
    kept: list[int] = []
    while LAST not in kept:
        kept = numbers(back.wait_for(len(kept) + 1))
    back.close()
    return kept[:-1]


def numbers(messages: list[tuple[str, bytes]]) -> list[int]:
    return [int.from_bytes(payload, "big") for _, payload in messages]


def test_more_than_mosquittos_default_of_a_thousand_messages_wait_for_an_absent_gateway(site: Site) -> None:
    absent_reader(site)
    publish_numbered(site, 1500)
    back = site.client("gateway-events", clean=False)
    assert numbers(back.wait_for(1500)) == list(range(1500))
    back.close()


@pytest.fixture
def saving_site(tmp_path: Path, free_port: int, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    """The same, saving each second."""
    monkeypatch.setattr(mosquitto, "AUTOSAVE_S", 1)
    site = Site(tmp_path, free_port)
    site.broker.start()
    yield site
    site.broker.stop()


def wait_saved(site: Site, payload: bytes) -> None:
    """Wait until the broker has this payload on its disk."""
    store = site.broker.directory / "mosquitto.db"
    wait_until(lambda: store.exists() and payload in store.read_bytes(), 30)


def test_a_broker_that_is_killed_loses_what_came_since_its_last_save_and_keeps_the_rest_in_order(
    saving_site: Site,
) -> None:
    absent_reader(saving_site)
    publish_numbered(saving_site, 100, 0x41414100)
    wait_saved(saving_site, (0x41414100 + 99).to_bytes(4, "big"))
    publish_numbered(saving_site, 50, 0x41414100 + 100)
    saving_site.broker.kill()
    saving_site.broker.start()
    publish_numbered(saving_site, 1, LAST)
    kept = everything(saving_site)
    assert 100 <= len(kept) <= 150
    assert kept == list(range(0x41414100, 0x41414100 + len(kept)))


def test_a_broker_that_is_killed_again_and_again_always_starts_and_still_takes_messages(saving_site: Site) -> None:
    absent_reader(saving_site)
    for number in range(4):
        first = 0x42420000 + 1000 * number
        publish_numbered(saving_site, 200, first)
        wait_saved(saving_site, first.to_bytes(4, "big"))  # the kill falls near a save, or into the next one
        saving_site.broker.kill()
        saving_site.broker.start()
    publish_numbered(saving_site, 1, LAST)
    kept = everything(saving_site)
    assert kept == sorted(kept)
    assert {0x42420000 + 1000 * number for number in range(4)} <= set(kept)


def test_a_session_that_was_never_saved_is_gone_after_a_kill_and_its_owner_subscribes_again(site: Site) -> None:
    """Why the gateway subscribes at each connection, and why a PUBACK of the meantime is worth nothing."""
    absent_reader(site)
    site.broker.kill()
    site.broker.start()
    publish_numbered(site, 1, 7)
    back = site.client("gateway-events", clean=False)
    assert back.settle() == []
    back.subscribe("lapel/v1/+/+/event")
    publish_numbered(site, 1, 8)
    assert numbers(back.wait_for(1)) == [8]
    back.close()


def test_a_full_queue_of_clips_drops_clips_that_were_acknowledged_and_no_alarm(
    tmp_path: Path, free_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a PUBACK is worth, and why credit keeps the sum of windows below the limit (SPEC section 9.3)."""
    limit = 1 << 20
    monkeypatch.setattr(mosquitto, "MAX_QUEUED_BYTES", limit)
    site = Site(tmp_path, free_port)
    site.broker.start()
    try:
        for role, lane in (("ingest", "clip"), ("alarms", "alarm")):
            absent = site.client(f"gateway-{role}", clean=False)
            absent.subscribe(f"lapel/v1/+/+/{lane}")
            absent.close()
        with connected(site.port, DEVICE_A.hex(), site.files(DEVICE_A.hex())) as device:
            for _ in range(3 * limit // MAX_MESSAGE_BYTES):
                device.publish(topic(DEVICE_A, "clip"), bytes(MAX_MESSAGE_BYTES))
            for number in range(50):
                device.publish(topic(DEVICE_A, "alarm"), bytes([number]))
        ingest = site.client("gateway-ingest", clean=False)
        kept = len(ingest.settle())
        ingest.close()
        assert 0.9 * limit <= kept * MAX_MESSAGE_BYTES <= 1.1 * limit
        alarms = site.client("gateway-alarms", clean=False)
        assert [payload[0] for _, payload in alarms.wait_for(50)] == list(range(50))
        alarms.close()
    finally:
        site.broker.stop()


def test_the_limits_fit_each_other() -> None:
    """Each with its reason in brokers/mosquitto.py; together they must leave room for what credit grants."""
    # While it can be kept, all credit together fits into the queue of an absent gateway, and so do some alarms' clips.
    assert SHARE_BYTES + 16 * ALARM_WINDOW_BYTES <= mosquitto.MAX_QUEUED_BYTES
    # Up to this many devices that send clips at once; of more, what does not fit is dropped and sent again.
    assert SHARE_BYTES // LEAST_WINDOW_BYTES >= FLEET_WITHIN_THE_QUEUE
    # Three lanes may be full at once, with as much again for sessions and messages under way, before data is refused.
    assert 2 * len(GATEWAY_CONNECTIONS) * mosquitto.MAX_QUEUED_BYTES <= mosquitto.MEMORY_LIMIT_BYTES
    assert mosquitto.MAX_INFLIGHT * MAX_MESSAGE_BYTES <= mosquitto.MAX_QUEUED_BYTES // 4
    assert MAX_MESSAGE_BYTES < mosquitto.MAX_PACKET_BYTES


@pytest.mark.parametrize(
    "line",
    [
        "use_identity_as_username true",
        "use_username_as_clientid true",
        "require_certificate true",
        "allow_anonymous false",
        "per_listener_settings false",
        "retain_available false",
        f"message_size_limit {MAX_MESSAGE_BYTES}",
        "persistence true",
        "autosave_on_changes false",
        f"autosave_interval {mosquitto.AUTOSAVE_S}",
        "tls_version tlsv1.2",
        "queue_qos0_messages false",
    ],
)
def test_what_safety_rests_on_is_in_the_configuration(tmp_path: Path, line: str) -> None:
    """Each of these was seen to matter; what it does is shown on the running broker in tests/redteam."""
    files = TlsFiles(tmp_path / "ca", tmp_path / "cert", tmp_path / "key")
    assert line in mosquitto.render_config("0.0.0.0", 8883, files, tmp_path).splitlines()


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


# -- who is cut off ---------------------------------------------------------------------------------------------------

DEVICE_B = bytes.fromhex("00bb00bb00bb00bb")


def revoking(folder: Path, port: int) -> tuple[Site, MosquittoProcess]:
    site = Site(folder, port)
    site.broker = MosquittoProcess(
        folder / "broker",
        "127.0.0.1",
        port,
        site.own_files(),
        revoked=functools.partial(site.pki.revocation_list, now_ms=NOW_MS),
    )
    site.broker.start()
    return site, site.broker


def serial_of(files: TlsFiles) -> int:
    return x509.load_pem_x509_certificate(files.certificate_file.read_bytes()).serial_number


@pytest.mark.parametrize(
    ("cut", "heard"),
    [(CUT_ALL, set()), (CUT_TO_ALARMS, {"alarm"})],
)
def test_a_device_that_is_cut_off_is_not_heard_any_more_on_the_connection_that_it_has(
    tmp_path: Path, free_port: int, cut: str, heard: set[str]
) -> None:
    site, broker = revoking(tmp_path, free_port)
    try:
        with (
            connected(site.port, "gateway-events", site.files("gateway-events")) as events,
            connected(site.port, "gateway-alarms", site.files("gateway-alarms")) as alarms,
            connected(site.port, DEVICE_A.hex(), site.files(DEVICE_A.hex())) as lost,
            connected(site.port, DEVICE_B.hex(), site.files(DEVICE_B.hex())) as other,
        ):
            events.subscribe("lapel/v1/+/+/event")
            alarms.subscribe("lapel/v1/+/+/alarm")
            lost.publish(topic(DEVICE_A, "event"), b"before")
            assert events.wait_for(1) == [(topic(DEVICE_A, "event"), b"before")]

            broker.cut(CutOff({DEVICE_A.hex(): cut}))
            # The broker answers no signal: the list is read once an event of the one is not heard and the other's is.
            probes = itertools.count()

            def heard_still() -> bool:
                probe = b"%d" % next(probes)
                lost.publish(topic(DEVICE_A, "event"), probe)
                other.publish(topic(DEVICE_B, "event"), probe)
                wait_until(lambda: (topic(DEVICE_B, "event"), probe) in events.received, WAIT_S)
                return (topic(DEVICE_A, "event"), probe) in events.received

            wait_until(lambda: not heard_still(), WAIT_S)
            lost.publish(topic(DEVICE_A, "alarm"), b"help")
            other.publish(topic(DEVICE_B, "alarm"), b"mine")
            wait_until(lambda: (topic(DEVICE_B, "alarm"), b"mine") in alarms.received, WAIT_S)
            told = list(alarms.received)
            assert {name for name, payload in told if payload == b"help"} == {topic(DEVICE_A, lane) for lane in heard}
    finally:
        broker.stop()


def test_a_revoked_certificate_does_not_connect_after_the_brokers_next_start_and_others_do(
    tmp_path: Path, free_port: int
) -> None:
    site, broker = revoking(tmp_path, free_port)
    try:
        lost, other = site.files(DEVICE_A.hex()), site.files(DEVICE_B.hex())
        come_and_go(site.port, DEVICE_A.hex(), lost)
        broker.cut(CutOff({DEVICE_A.hex(): CUT_ALL}, (serial_of(lost),)))
        broker.stop()
        broker.start()
        come_and_go(site.port, DEVICE_B.hex(), other)
        with pytest.raises(Refused):
            come_and_go(site.port, DEVICE_A.hex(), lost)

        broker.cut(CutOff())
        broker.stop()
        broker.start()
        come_and_go(site.port, DEVICE_A.hex(), lost)
    finally:
        broker.stop()


def come_and_go(port: int, who: str, files: TlsFiles) -> None:
    """Connect and leave. Raises Refused."""
    client = MqttClient(port, who, files)
    client.connect()
    client.close()
