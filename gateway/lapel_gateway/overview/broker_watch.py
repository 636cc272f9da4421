"""What the broker tells of itself: whether it can be reached, and its ``$SYS`` figures where it gives any.

The web role's own connection: it subscribes to ``$SYS`` alone, hears no device, and its access list lets it do no more.
"""

from __future__ import annotations

import math
import ssl
import threading
import time
from collections.abc import Callable
from typing import Any

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from lapel_gateway.brokers import BrokerAccess
from lapel_gateway.describe import moment
from lapel_gateway.log import printable
from lapel_gateway.transport.link import KEEP_ALIVE_S

_ROOT = "$SYS/broker/"
FIGURES = {
    "clients/connected": "clients_connected",
    "clients/disconnected": "clients_away",
    "store/messages/count": "messages_held",
    "store/messages/bytes": "bytes_held",
    "publish/messages/dropped": "messages_dropped",
    "load/messages/received/1min": "messages_in_a_minute",
    "load/messages/sent/1min": "messages_out_a_minute",
}
"""Mosquitto's topics (mosquitto(8), "Broker status") and our names for them. It tells a figure when that has changed:
one that has not since we are connected is not known."""

_ALIVE = _ROOT + "uptime"
"""The figure that always changes: as long as it comes, the others hold."""

PATIENCE_S = 20.0
"""A broker that told nothing for so long gives no figures: Mosquitto tells them every ten seconds or sooner."""

RETRY_S = (1, 30)
MAX_NUMBER = 24
"""Characters of a figure; a broker is not trusted with more."""


class BrokerWatch:
    """A connection that looks at the broker. Threads may ask for `words` side by side."""

    def __init__(self, access: BrokerAccess, now_ms: Callable[[], int]) -> None:
        self._access = access
        self._now_ms = now_ms
        self._lock = threading.Lock()
        self._since_ms: int | None = None
        self._asked_s = 0.0
        self._figures: dict[str, float] = {}
        self._told_s = float("-inf")
        self._trouble = "not connected yet"
        self._refused = False
        self._answered = True
        self._asks = True
        # A session of its own at each connect: figures that waited for it would be old ones.
        self._client = client = mqtt.Client(CallbackAPIVersion.VERSION2, access.client_id, clean_session=True)
        client.reconnect_delay_set(*RETRY_S)
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

    def stop(self) -> None:
        """Take leave of the broker."""
        self._client.disconnect()
        self._client.loop_stop()

    def words(self) -> dict[str, Any]:
        """Whether the broker is there, since when, and its figures or why there are none; see `FIGURES`."""
        with self._lock:
            connected = self._since_ms is not None
            now_s = time.monotonic()
            fresh = now_s - self._told_s < PATIENCE_S
            why = None
            if not connected:
                why = "the broker is away"
            elif self._refused:
                why = "the broker does not let the gateway read $SYS"
            elif not fresh:
                waited = not self._asks or now_s - self._asked_s >= PATIENCE_S
                why = "this broker tells nothing of itself" if waited else "the broker has not told any yet"
            return {
                "connected": connected,
                "since": moment(self._since_ms),
                "trouble": None if connected else self._trouble,
                "figures": dict(self._figures) if why is None else None,
                "why_no_figures": why,
            }

    def _on_connect(
        self, client: mqtt.Client, _data: Any, _flags: mqtt.ConnectFlags, code: ReasonCode, _more: Properties | None
    ) -> None:
        if code.is_failure:
            self._away(f"it refuses the gateway: {code}")
            return
        with self._lock:
            self._since_ms, self._asked_s, self._refused = self._now_ms(), time.monotonic(), False
            self._figures, self._told_s = {}, float("-inf")
            # Some brokers, rumqttd among them, throw out who asks for $SYS: those are only connected to.
            self._asks = self._asks and self._answered
            self._answered = not self._asks
            asks = self._asks
        if asks:
            client.subscribe([(_ALIVE, 0), *((_ROOT + name, 0) for name in FIGURES)])

    def _on_connect_fail(self, _client: mqtt.Client, _data: Any) -> None:
        with self._lock:
            # Whatever answers next may be another broker.
            self._asks = self._answered = True
        self._away("it cannot be reached")

    def _on_disconnect(
        self,
        _client: mqtt.Client,
        _data: Any,
        _flags: mqtt.DisconnectFlags,
        code: ReasonCode,
        _more: Properties | None,
    ) -> None:
        self._away(f"the connection was lost: {code}")

    def _on_subscribe(
        self, _client: mqtt.Client, _data: Any, _mid: int, codes: list[ReasonCode], _more: Properties | None
    ) -> None:
        with self._lock:
            self._answered = True
            self._refused = all(code.is_failure for code in codes)

    def _on_message(self, _client: mqtt.Client, _data: Any, message: mqtt.MQTTMessage) -> None:
        told_s = time.monotonic()
        if message.topic == _ALIVE:
            with self._lock:
                self._told_s = told_s
            return
        name = FIGURES.get(message.topic.removeprefix(_ROOT))
        try:
            value = float(message.payload[:MAX_NUMBER])
        except ValueError:
            return
        if name is not None and math.isfinite(value):
            with self._lock:
                self._figures[name] = value
                self._told_s = told_s

    def _away(self, why: str) -> None:
        with self._lock:
            self._since_ms, self._figures, self._trouble = None, {}, printable(why)
