"""A paho client for tests that waits for the broker's answers instead of for time to pass."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion

from lapel_gateway.pki import TlsFiles

ANSWER_TIMEOUT_S = 10.0


class Refused(Exception):
    """The broker did not take the connection."""


class MqttClient:
    """One MQTT 3.1.1 connection; messages are kept in the order of arrival."""

    def __init__(self, port: int, client_id: str = "", tls: TlsFiles | None = None, clean: bool = True) -> None:
        self.received: list[tuple[str, bytes]] = []
        self._port = port
        self._arrived = threading.Condition()
        self._connected = threading.Event()
        self._reason: Any = None
        self._granted: set[int] = set()
        self._published: set[int] = set()
        self._lost = False
        self._paho = paho.Client(CallbackAPIVersion.VERSION2, client_id=client_id, clean_session=clean)
        self._paho.on_connect = self._on_connect
        self._paho.on_message = self._on_message
        self._paho.on_subscribe = self._on_subscribe
        self._paho.on_publish = self._on_publish
        self._paho.on_disconnect = self._on_disconnect
        if tls is not None:
            context = ssl.create_default_context(cafile=str(tls.ca_file))
            if tls.certificate_file.exists():
                context.load_cert_chain(tls.certificate_file, tls.key_file)
            self._paho.tls_set_context(context)

    def connect(self) -> None:
        """Connect and wait for CONNACK. Raises Refused."""
        try:
            self._paho.connect("127.0.0.1", self._port, keepalive=30)
        except (OSError, ssl.SSLError) as error:
            raise Refused(str(error)) from error
        self._paho.loop_start()
        if not self._connected.wait(ANSWER_TIMEOUT_S) or self._lost or self._reason.is_failure:
            self._paho.loop_stop()
            raise Refused(str(self._reason))

    def close(self) -> None:
        self._paho.disconnect()
        self._paho.loop_stop()

    def subscribe(self, topic: str) -> None:
        """Subscribe with QoS 1 and wait for SUBACK."""
        _, number = self._paho.subscribe(topic, qos=1)
        with self._arrived:
            assert self._arrived.wait_for(lambda: number in self._granted, ANSWER_TIMEOUT_S)

    def publish(self, topic: str, payload: bytes = b"x", retain: bool = False) -> None:
        """Publish with QoS 1 and wait for PUBACK, which tells nothing about permission."""
        with self._arrived:
            number = self._paho.publish(topic, payload, qos=1, retain=retain).mid
            assert self._arrived.wait_for(lambda: number in self._published or self._lost, ANSWER_TIMEOUT_S)
        if self._lost:
            raise Refused("the broker closed the connection")

    def settle(self) -> list[tuple[str, bytes]]:
        """Everything that the broker had for this client when its publishers were answered: SUBACK comes after it."""
        self.subscribe("barrier/none")
        return self.received

    def wait_for(self, count: int) -> list[tuple[str, bytes]]:
        with self._arrived:
            assert self._arrived.wait_for(lambda: len(self.received) >= count, ANSWER_TIMEOUT_S), len(self.received)
        return self.received

    def _on_connect(self, _client: Any, _data: Any, _flags: Any, reason: Any, _properties: Any) -> None:
        self._reason = reason
        self._connected.set()

    def _on_message(self, _client: Any, _data: Any, message: paho.MQTTMessage) -> None:
        with self._arrived:
            self.received.append((message.topic, bytes(message.payload)))
            self._arrived.notify_all()

    def _on_publish(self, _client: Any, _data: Any, number: int, _reason: Any, _properties: Any) -> None:
        with self._arrived:
            self._published.add(number)
            self._arrived.notify_all()

    def _on_disconnect(self, _client: Any, _data: Any, _flags: Any, _reason: Any, _properties: Any) -> None:
        with self._arrived:
            self._lost = True
            self._arrived.notify_all()
        self._connected.set()

    def _on_subscribe(self, _client: Any, _data: Any, number: int, _reasons: Any, _properties: Any) -> None:
        with self._arrived:
            self._granted.add(number)
            self._arrived.notify_all()


@contextmanager
def connected(port: int, client_id: str = "", tls: TlsFiles | None = None, clean: bool = True) -> Iterator[MqttClient]:
    """A connected client, closed at the end of the block. Raises Refused."""
    client = MqttClient(port, client_id, tls, clean)
    client.connect()
    try:
        yield client
    finally:
        client.close()
