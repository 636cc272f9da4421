"""A link by paho-mqtt: slower than our own, and a client that many others use (rules of the package)."""

from __future__ import annotations

import ssl
import sys
import threading
import time
from collections.abc import Iterable, Sequence
from typing import Any

import paho.mqtt.client as mqtt
import structlog
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from lapel_gateway.brokers import BrokerAccess
from lapel_gateway.log import Repeats
from lapel_gateway.transport import link as settings
from lapel_gateway.transport.link import KEEP_ALIVE_S, MAX_IN_FLIGHT, MAX_QUEUED, Delivery
from lapel_gateway.transport.waiting import Waiting
from lapel_protocol.topics import lane_filter

_log = structlog.get_logger("lapel.transport")


class PahoLink:
    """A connection by paho-mqtt that subscribes to some lanes of every device."""

    def __init__(self, access: BrokerAccess, lanes: Sequence[str]) -> None:
        self._access = access
        self._lanes = lanes
        self._waiting = Waiting()
        self._connection = 0
        self._repeats = Repeats()
        self._stopping = False
        self.ready = threading.Event()
        """Set while the broker has this connection's subscriptions."""
        self._client = client = mqtt.Client(
            CallbackAPIVersion.VERSION2, access.client_id, clean_session=False, manual_ack=True
        )
        client.max_inflight_messages_set(MAX_IN_FLIGHT)
        client.max_queued_messages_set(MAX_QUEUED)
        client.reconnect_delay_set(settings.FIRST_RETRY_S, settings.LAST_RETRY_S)  # type: ignore[arg-type]
        if access.tls is not None:
            files = access.tls
            client.tls_set(
                str(files.ca_file),
                str(files.certificate_file),
                str(files.key_file),
                tls_version=ssl.PROTOCOL_TLS_CLIENT,
            )
        client.on_connect = self._on_connect
        client.on_connect_fail = self._on_connect_fail
        client.on_disconnect = self._on_disconnect
        client.on_subscribe = self._on_subscribe
        client.on_message = self._on_message

    def start(self) -> None:
        """Begin to connect; returns at once."""
        self._client.connect_async(self._access.host, self._access.port, KEEP_ALIVE_S)
        self._client.loop_start()

    def receive(self, most: int, wait_s: float, gather_s: float) -> list[Delivery]:
        """Wait up to ``wait_s`` seconds for a message, then up to ``gather_s`` for more, ``most`` in all."""
        return self._waiting.take(most, wait_s, gather_s)

    @property
    def backlog_bytes(self) -> int:
        """What was read from the broker and nobody has received yet."""
        return self._waiting.size_bytes

    def acknowledge(self, deliveries: Iterable[Delivery]) -> None:
        """Let the broker forget these messages."""
        for delivery in deliveries:
            if delivery.connection == self._connection:
                self._client.ack(delivery.mid, delivery.qos)

    def publish(self, downlinks: Sequence[tuple[str, bytes]]) -> None:
        """Send commands, as far as the broker can be reached now."""
        for name, payload in downlinks:
            if not self._client.is_connected():
                return
            sent = self._client.publish(name, payload, qos=1)
            if sent.rc != MQTTErrorCode.MQTT_ERR_SUCCESS:
                self._tell("downlinks are dropped", mqtt.error_string(sent.rc))

    def stop(self) -> None:
        """Take leave of the broker and end the connection's thread."""
        self._stopping = True
        # Make room, so that the reading thread is not stuck while it is asked to end.
        self._waiting.clear()
        self._client.disconnect()
        self._client.loop_stop()

    def _on_connect(
        self, _client: mqtt.Client, _data: Any, _flags: mqtt.ConnectFlags, code: ReasonCode, _more: Properties | None
    ) -> None:
        if code.is_failure:
            self._tell("broker refuses the gateway", str(code))
            return
        self._connection += 1
        self._client.subscribe([(lane_filter(lane), 1) for lane in self._lanes])
        self._repeats.over("broker")
        _log.info("broker connected", **self._where())

    def _on_connect_fail(self, _client: mqtt.Client, _data: Any) -> None:
        # Paho calls this inside its handler and keeps the reason to itself.
        error = sys.exc_info()[1]
        self._tell("broker cannot be reached", str(error) or type(error).__name__)

    def _on_disconnect(
        self,
        _client: mqtt.Client,
        _data: Any,
        _flags: mqtt.DisconnectFlags,
        code: ReasonCode,
        _more: Properties | None,
    ) -> None:
        self.ready.clear()
        if not self._stopping:
            self._tell("broker connection lost", str(code))

    def _on_subscribe(
        self, _client: mqtt.Client, _data: Any, _mid: int, codes: list[ReasonCode], _more: Properties | None
    ) -> None:
        refused = [str(code) for code in codes if code.is_failure]
        if refused:
            _log.error("broker refuses a subscription: check its access list", reason=refused[0], **self._where())
        else:
            self.ready.set()

    def _on_message(self, _client: mqtt.Client, _data: Any, message: mqtt.MQTTMessage) -> None:
        delivery = Delivery(message.topic, bytes(message.payload), message.mid, message.qos, self._connection)
        self._waiting.put([delivery])
        while not (self._waiting.room(1.0) or self._stopping):
            continue

    def _tell(self, what: str, reason: str) -> None:
        """Say once that the broker is out of reach, whatever the reason; repeats are counted for a minute."""
        times = self._repeats.tell(time.time_ns() // 1_000_000, "broker")
        if times:
            _log.warning(what, reason=reason, times=times, **self._where())

    def _where(self) -> dict[str, Any]:
        access = self._access
        return {"broker": f"{access.host}:{access.port}", "client": access.client_id, "tls": access.tls is not None}
