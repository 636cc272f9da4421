"""The embedded broker: loopback only, messages up to the protocol's limit, gone when stopped."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from lapel_gateway.brokers.broker import BrokerError, accepts_connections
from lapel_gateway.brokers.embedded import EmbeddedBroker
from lapel_protocol.limits import MAX_MESSAGE_BYTES
from tests.gateway.mqtt import MqttClient, connected


@pytest.fixture
def broker(free_port: int) -> Iterator[EmbeddedBroker]:
    broker = EmbeddedBroker(free_port)
    broker.start()
    yield broker
    broker.stop()


def test_the_largest_message_passes_whole(broker: EmbeddedBroker) -> None:
    payload = bytes(range(256)) * (MAX_MESSAGE_BYTES // 256)
    with connected(broker.port, "reader") as reader, connected(broker.port, "writer") as writer:
        reader.subscribe("lapel/v1/+/+/clip")
        writer.publish("lapel/v1/00/0011223344556677/clip", payload)
        assert reader.wait_for(1) == [("lapel/v1/00/0011223344556677/clip", payload)]


def test_messages_wait_for_an_absent_gateway_in_order(broker: EmbeddedBroker) -> None:
    absent = MqttClient(broker.port, "gateway-ingest", clean=False)
    absent.connect()
    absent.subscribe("lapel/v1/+/+/event")
    absent.close()
    with connected(broker.port, "device") as device:
        for number in range(300):
            device.publish("lapel/v1/00/0011223344556677/event", bytes([number % 256]))
    with connected(broker.port, "gateway-ingest", clean=False) as back:
        assert [payload[0] for _, payload in back.wait_for(300)] == [number % 256 for number in range(300)]


@pytest.mark.parametrize("host", ["0.0.0.0", "192.0.2.1", "::", "lapel.example.org"])
def test_an_address_that_other_machines_could_reach_is_refused(host: str, free_port: int) -> None:
    with pytest.raises(BrokerError, match="checks no certificates"):
        EmbeddedBroker(free_port, host)


def test_a_taken_port_is_named(broker: EmbeddedBroker) -> None:
    with pytest.raises(BrokerError, match=rf"port {broker.port} of 127\.0\.0\.1 is taken"):
        EmbeddedBroker(broker.port).start()


def test_stopping_frees_the_port_and_starting_again_works(broker: EmbeddedBroker) -> None:
    broker.stop()
    assert not broker.running
    assert not accepts_connections(broker.host, broker.port)
    broker.stop()
    broker.start()
    assert broker.running
    assert accepts_connections(broker.host, broker.port)
