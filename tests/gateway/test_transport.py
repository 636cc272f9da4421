"""The gateway's MQTT connections against real brokers: acknowledged late, and calm when the broker is not there."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

import pytest
from structlog.testing import capture_logs

from lapel_gateway.brokers.broker import BrokerAccess
from lapel_gateway.brokers.embedded import EmbeddedBroker
from lapel_gateway.brokers.mosquitto import MosquittoProcess
from lapel_gateway.pki import Pki, TlsFiles
from lapel_gateway.transport import BrokerLink, Delivery, Reader, link, make_link
from lapel_protocol.topics import LANE_CLIP, topic
from tests.gateway.mqtt import connected

DEVICE = bytes.fromhex("0011223344556677")
NAME = topic(DEVICE, LANE_CLIP)
NOW_MS = 1_790_000_000_000
TIMEOUT_S = 15.0


@pytest.fixture(autouse=True)
def quick_retries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(link, "LAST_RETRY_S", 1)


@pytest.fixture
def broker(free_port: int) -> Iterator[EmbeddedBroker]:
    broker = EmbeddedBroker(free_port)
    broker.start()
    yield broker
    broker.stop()


class MakeLink(Protocol):
    """Makes a link of the reader that is under test."""

    def __call__(
        self, port: int, tls: TlsFiles | None = None, host: str = "127.0.0.1", name: str = "ingest"
    ) -> BrokerLink: ...


@pytest.fixture(params=["socket", "paho"])
def link_to(request: pytest.FixtureRequest) -> MakeLink:
    reader: Reader = request.param

    def make(port: int, tls: TlsFiles | None = None, host: str = "127.0.0.1", name: str = "ingest") -> BrokerLink:
        return make_link(reader, BrokerAccess(host, port, f"gateway-{name}", tls), [LANE_CLIP])

    return make


@contextmanager
def started(link: BrokerLink) -> Iterator[BrokerLink]:
    link.start()
    try:
        assert link.ready.wait(TIMEOUT_S)
        yield link
    finally:
        link.stop()


def take(link: BrokerLink, count: int) -> list[Delivery]:
    found: list[Delivery] = []
    while len(found) < count:
        more = link.receive(count - len(found), TIMEOUT_S, 0.0)
        assert more, f"{len(found)} of {count} arrived"
        found += more
    return found


def until(condition: Callable[[], bool]) -> None:
    """Wait, by the clock of a thread's event, until another thread has made the condition true."""
    pause = threading.Event()
    for _ in range(int(TIMEOUT_S / 0.02)):
        if condition():
            return
        pause.wait(0.02)
    raise AssertionError("it did not happen in time")


def test_messages_are_gathered_into_batches_in_order(link_to: MakeLink, broker: EmbeddedBroker) -> None:
    with started(link_to(broker.port)) as link, connected(broker.port, "device") as device:
        for number in range(10):
            device.publish(NAME, bytes([number]))
        deliveries = take(link, 10)
        assert [delivery.payload[0] for delivery in deliveries] == list(range(10))
        assert {delivery.topic for delivery in deliveries} == {NAME}
        assert link.receive(5, 0.0, 0.0) == []


def test_a_batch_has_no_more_messages_than_asked_for(link_to: MakeLink, broker: EmbeddedBroker) -> None:
    with started(link_to(broker.port)) as link, connected(broker.port, "device") as device:
        for number in range(5):
            device.publish(NAME, bytes([number]))
        sizes: list[int] = []
        while sum(sizes) < 5:
            sizes.append(len(link.receive(2, TIMEOUT_S, 0.05)))
        assert max(sizes) <= 2


def test_lanes_that_were_not_asked_for_do_not_arrive(link_to: MakeLink, broker: EmbeddedBroker) -> None:
    with started(link_to(broker.port)) as link, connected(broker.port, "device") as device:
        device.publish(topic(DEVICE, "event"), b"no")
        device.publish(NAME, b"yes")
        assert [delivery.payload for delivery in take(link, 1)] == [b"yes"]


def test_downlinks_arrive_in_order(link_to: MakeLink, broker: EmbeddedBroker) -> None:
    with started(link_to(broker.port)) as link, connected(broker.port, "device") as device:
        device.subscribe(topic(DEVICE, "down"))
        link.publish([(topic(DEVICE, "down"), bytes([number])) for number in range(50)])
        assert [payload[0] for _, payload in device.wait_for(50)] == list(range(50))


def test_a_broker_that_is_not_there_is_told_of_once_and_used_when_it_appears(link_to: MakeLink, free_port: int) -> None:
    link = link_to(free_port)
    broker = EmbeddedBroker(free_port)
    with capture_logs() as lines:
        link.start()
        until(lambda: bool(lines))
        link.publish([(topic(DEVICE, "down"), b"nobody hears this")])
        broker.start()
        try:
            assert link.ready.wait(TIMEOUT_S)
            with connected(free_port, "device") as device:
                device.publish(NAME, b"hello")
            assert [delivery.payload for delivery in take(link, 1)] == [b"hello"]
        finally:
            link.stop()
            broker.stop()
    assert [line["event"] for line in lines] == ["broker cannot be reached", "broker connected"]
    assert lines[0]["broker"] == f"127.0.0.1:{free_port}"
    assert "refused" in str(lines[0]["reason"])


def test_a_broker_that_vanishes_is_told_of_once_and_found_again(link_to: MakeLink, broker: EmbeddedBroker) -> None:
    with capture_logs() as lines, started(link_to(broker.port)) as link:
        broker.stop()
        until(lambda: not link.ready.is_set())
        broker.start()
        assert link.ready.wait(TIMEOUT_S)
        with connected(broker.port, "device") as device:
            device.publish(NAME, b"again")
        assert [delivery.payload for delivery in take(link, 1)] == [b"again"]
    assert [line["event"] for line in lines] == ["broker connected", "broker connection lost", "broker connected"]


def test_a_name_that_leads_nowhere_is_told_of(link_to: MakeLink, free_port: int) -> None:
    link = link_to(free_port, host="no-such-host.invalid")
    with capture_logs() as lines:
        link.start()
        until(lambda: bool(lines))
        link.stop()
    assert lines[0]["event"] == "broker cannot be reached"
    assert lines[0]["reason"]


def test_a_connection_that_was_never_made_can_be_stopped(link_to: MakeLink, free_port: int) -> None:
    link = link_to(free_port)
    link.start()
    link.stop()
    assert not link.ready.is_set()


# -- with Mosquitto, which keeps sessions and asks for certificates ---------------------------------------------------


@pytest.fixture
def mosquitto(tmp_path: Path, free_port: int) -> Iterator[tuple[MosquittoProcess, Pki]]:
    pki = Pki.ensure(tmp_path / "pki", "Test")
    broker = MosquittoProcess(tmp_path / "broker", "127.0.0.1", free_port, pki.ensure_broker(["127.0.0.1"], NOW_MS))
    broker.start()
    yield broker, pki
    broker.stop()


def device_files(pki: Pki, folder: Path) -> TlsFiles:
    from cryptography import x509
    from cryptography.hazmat.primitives import serialization

    identity = pki.issue_device(DEVICE, NOW_MS)
    files = TlsFiles(pki.ca_file, folder / "device.pem", folder / "device.key")
    certificate = x509.load_der_x509_certificate(identity.certificate_der)
    files.certificate_file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    key = serialization.load_der_private_key(identity.key_der, None)
    files.key_file.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return files


@pytest.mark.needs("mosquitto")
def test_what_was_not_acknowledged_comes_again_and_what_was_does_not(
    link_to: MakeLink, mosquitto: tuple[MosquittoProcess, Pki], tmp_path: Path
) -> None:
    broker, pki = mosquitto
    tls = pki.ensure_role("ingest", NOW_MS)
    with (
        started(link_to(broker.port, tls)) as link,
        connected(broker.port, DEVICE.hex(), device_files(pki, tmp_path)) as device,
    ):
        for number in range(6):
            device.publish(NAME, bytes([number]))
        link.acknowledge(take(link, 6)[:4])
    with started(link_to(broker.port, tls)) as link:
        assert [delivery.payload[0] for delivery in take(link, 2)] == [4, 5]
        link.acknowledge(take(link, 0))


@pytest.mark.needs("mosquitto")
def test_an_acknowledgement_never_goes_out_on_a_later_connection(
    link_to: MakeLink, mosquitto: tuple[MosquittoProcess, Pki], tmp_path: Path
) -> None:
    broker, pki = mosquitto
    with started(link_to(broker.port, pki.ensure_role("ingest", NOW_MS))) as link:
        files = device_files(pki, tmp_path)
        with connected(broker.port, DEVICE.hex(), files) as device:
            device.publish(NAME, b"first")
        (early,) = take(link, 1)
        broker.stop()
        until(lambda: not link.ready.is_set())
        broker.start()
        assert link.ready.wait(TIMEOUT_S)
        (again,) = take(link, 1)
        assert (again.payload, again.connection) == (b"first", early.connection + 1)
        link.acknowledge([early])
        with connected(broker.port, DEVICE.hex(), files) as device:
            device.publish(NAME, b"second")
        link.acknowledge(take(link, 1))
    with started(link_to(broker.port, pki.ensure_role("ingest", NOW_MS))) as link:
        assert [delivery.payload for delivery in take(link, 1)] == [b"first"]


# Paho leaves the socket of a failed handshake to the garbage collector, which says so.
SOCKET_OF_A_FAILED_HANDSHAKE = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


@SOCKET_OF_A_FAILED_HANDSHAKE
@pytest.mark.needs("mosquitto")
def test_a_broker_of_another_ca_is_refused_aloud(
    link_to: MakeLink, mosquitto: tuple[MosquittoProcess, Pki], tmp_path: Path
) -> None:
    broker, _ = mosquitto
    stranger = Pki.ensure(tmp_path / "stranger", "Other")
    link = link_to(broker.port, stranger.ensure_role("ingest", NOW_MS))
    with capture_logs() as lines:
        link.start()
        until(lambda: bool(lines))
        link.stop()
    assert lines[0]["event"] == "broker cannot be reached"
    assert "certificate" in str(lines[0]["reason"]).lower()


@SOCKET_OF_A_FAILED_HANDSHAKE
@pytest.mark.needs("mosquitto")
def test_a_certificate_that_the_broker_does_not_know_is_told_of(
    link_to: MakeLink, mosquitto: tuple[MosquittoProcess, Pki], tmp_path: Path
) -> None:
    broker, pki = mosquitto
    stranger = Pki.ensure(tmp_path / "stranger", "Other").ensure_role("ingest", NOW_MS)
    link = link_to(broker.port, TlsFiles(pki.ca_file, stranger.certificate_file, stranger.key_file))
    with capture_logs() as lines:
        link.start()
        until(lambda: bool(lines))
        link.stop()
    assert lines[0]["event"] in ("broker cannot be reached", "broker connection lost")
