"""Publishes the status topics: a thread of the deliver role with a connection of its own."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import paho.mqtt.client as mqtt
import sqlalchemy as sa
import structlog
from paho.mqtt.enums import CallbackAPIVersion

from lapel_gateway.ledger import reading
from lapel_gateway.log import printable
from lapel_gateway.metrics.watched import Watched
from lapel_gateway.status.discovery import AVAILABILITY, OFFLINE, ONLINE, discovery
from lapel_gateway.status.words import read_words

LOOK_S = 2.0
"""Between two looks at what has changed."""

KEEP_ALIVE_S = 30
RETRY_S = (1, 30)
STOP_S = 3.0

_log = structlog.get_logger("lapel.status")


@dataclass(frozen=True)
class StatusTarget:
    """Where to publish. ``prefix`` is Home Assistant's, "" for none; ``login`` is (user, password)."""

    host: str
    port: int
    topic: str
    prefix: str = ""
    client_id: str = ""
    login: tuple[str, str] | None = field(default=None, repr=False)
    tls: ssl.SSLContext | None = field(default=None, repr=False)


class StatusPublisher:
    """Keeps the retained topics as the ledger has it, until it is stopped."""

    def __init__(self, engine: sa.Engine, watched: Watched, target: StatusTarget, now_ms: Callable[[], int]) -> None:
        self._engine = engine
        self._watched = watched
        self._target = target
        self._now_ms = now_ms
        self._sent: dict[str, str] = {}
        self._fresh = threading.Event()
        self._connected = threading.Event()
        self._stopping = threading.Event()
        self._trouble = ""
        self._client = client = mqtt.Client(CallbackAPIVersion.VERSION2, target.client_id)
        client.reconnect_delay_set(*RETRY_S)
        client.will_set(f"{target.topic}/{AVAILABILITY}", OFFLINE, qos=1, retain=True)
        if target.login is not None:
            client.username_pw_set(*target.login)
        if target.tls is not None:
            client.tls_set_context(target.tls)
        client.on_connect = self._on_connect
        client.on_connect_fail = self._on_connect_fail
        client.on_disconnect = self._on_disconnect
        self._thread = threading.Thread(target=self._run, name="status", daemon=True)

    def start(self) -> None:
        """Begin to connect and to publish; returns at once."""
        self._client.connect_async(self._target.host, self._target.port, KEEP_ALIVE_S)
        self._client.loop_start()
        self._thread.start()

    def stop(self) -> None:
        """Say that nothing is published any more, and take leave."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(STOP_S)
        if self._connected.is_set():
            gone = self._client.publish(f"{self._target.topic}/{AVAILABILITY}", OFFLINE, qos=1, retain=True)
            gone.wait_for_publish(STOP_S)
        self._client.disconnect()
        self._client.loop_stop()

    def _run(self) -> None:
        while not self._stopping.is_set():
            if self._connected.is_set():
                try:
                    self._publish()
                except sa.exc.SQLAlchemyError as error:
                    self._tell("status topics wait for the ledger", str(error).partition("\n")[0])
                except Exception:  # noqa: BLE001 - were this thread to end, the topics would stand still for ever
                    _log.exception("publishing status failed unexpectedly and is tried again")
            self._stopping.wait(LOOK_S)

    def _publish(self) -> None:
        with reading(self._engine) as connection:
            words = read_words(connection, self._watched, self._now_ms())
        target = self._target
        wanted = {f"{target.topic}/{path}": text for path, text in words.items()}
        if target.prefix:
            wanted |= discovery(target.prefix, target.topic, words)
        wanted[f"{target.topic}/{AVAILABILITY}"] = ONLINE
        if self._fresh.is_set():
            self._fresh.clear()
            self._sent = {}
        for topic, text in wanted.items():
            if self._sent.get(topic) != text:
                self._client.publish(topic, text, qos=1, retain=True)
                self._sent[topic] = text
        self._tell("", "")

    def _on_connect(self, _client: Any, _data: Any, _flags: Any, reason: Any, _properties: Any) -> None:
        if reason.is_failure:
            self._tell("the broker of the status topics refuses this gateway", printable(str(reason)))
            return
        self._fresh.set()
        self._connected.set()
        _log.info("status broker connected", host=self._target.host, port=self._target.port)

    def _on_connect_fail(self, _client: Any, _data: Any) -> None:
        self._tell("the broker of the status topics cannot be reached", self._target.host)

    def _on_disconnect(self, _client: Any, _data: Any, _flags: Any, reason: Any, _properties: Any) -> None:
        self._connected.clear()
        if not self._stopping.is_set():
            self._tell("the broker of the status topics is lost", printable(str(reason)))

    def _tell(self, what: str, reason: str) -> None:
        """Log what is wrong once, until it is another thing or nothing."""
        if what and what != self._trouble:
            _log.warning(what, reason=reason)
        self._trouble = what
