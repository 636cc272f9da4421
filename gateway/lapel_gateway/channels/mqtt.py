"""MQTT: alarms and notices as JSON on one topic of a broker, for dashboards and other systems.

Rules that hold here
- QoS 1, one connection for each message: delivered means that the broker has acknowledged it (PUBACK).
- MQTT 5 unless 3.1.1 is asked for: only 5 tells whether the broker took a message or threw it away (reason codes).
- A message may come again; ``id`` is the same for every attempt, and so is every other byte.
- An attempt ends within the timeout, except that each of connecting and the TLS handshake has one for itself.
- Neither the login nor the message appears in an error.
"""

from __future__ import annotations

import json
import math
import ssl
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from lapel_gateway.channels.contract import DeliveryError, Parcel
from lapel_gateway.channels.webhook import message_fields
from lapel_gateway.ledger.schema import OUTBOX_ALARM
from lapel_gateway.log import printable

Version = Literal["5", "3.1.1"]

MAX_ANSWER = 300
"""Characters of a broker's answer that are kept for the operator."""

_TURN_S = 1.0


@dataclass(frozen=True)
class Target:
    """Where messages go. ``timeout_s`` bounds an attempt; ``login`` is (user, password); ``tls`` None is plain TCP."""

    host: str
    port: int
    topic: str
    retain: bool
    version: Version
    timeout_s: float
    login: tuple[str, str] | None = field(default=None, repr=False)
    tls: ssl.SSLContext | None = field(default=None, repr=False)


class ClosingSocket(ssl.SSLSocket):
    """Closes itself when the handshake fails; the library would leave that to the garbage collector."""

    def do_handshake(self, block: bool = False) -> None:
        """Raises what the handshake raises."""
        try:
            super().do_handshake(block)
        except BaseException:
            self.close()
            raise


class MqttChannel:
    """One topic of one broker."""

    def __init__(self, name: str, target: Target, kinds: Sequence[str] = (OUTBOX_ALARM,)) -> None:
        """``name`` as in the configuration."""
        self.name = f"mqtt:{name}"
        self.kinds = frozenset(kinds)
        self._target = target

    def deliver(self, parcel: Parcel, now_ms: int) -> None:
        """Publish the parcel once and wait for the broker's answer. Raises DeliveryError."""
        host = self._target.host
        try:
            _Attempt(self._target).publish(message_bytes(parcel))
        except TimeoutError:
            raise DeliveryError(f"{host}: no answer within {self._target.timeout_s:g} s") from None
        except (OSError, ValueError) as error:
            words = printable(str(error) or type(error).__name__, MAX_ANSWER)
            raise DeliveryError(f"{host}: {words}") from None


def message_bytes(parcel: Parcel) -> bytes:
    """The JSON of a parcel: {"id", "type", "timestamp", "data"}, the same for every attempt."""
    message = {"id": parcel.message_id, **message_fields(parcel)}
    return json.dumps(message, ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode()


class _Attempt:
    """One connection, from CONNECT to DISCONNECT, driven by the thread that calls it."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self._deadline = time.monotonic() + target.timeout_s
        self._welcome: ReasonCode | None = None
        self._answers: dict[int, ReasonCode] = {}
        version = MQTTProtocolVersion.MQTTv5 if target.version == "5" else MQTTProtocolVersion.MQTTv311
        self._client = client = mqtt.Client(CallbackAPIVersion.VERSION2, protocol=version)
        client.connect_timeout = target.timeout_s
        if target.tls is not None:
            target.tls.sslsocket_class = ClosingSocket
            client.tls_set_context(target.tls)
        if target.login is not None:
            client.username_pw_set(*target.login)
        client.on_connect = self._on_connect
        client.on_publish = self._on_publish

    def publish(self, body: bytes) -> None:
        """Raises DeliveryError for a refusal, TimeoutError, OSError and ValueError for what never came so far."""
        target, client = self._target, self._client
        # The library waits for a handshake as long as for a sign of life.
        keepalive_s = max(1, math.ceil(target.timeout_s))
        try:
            client.connect(target.host, target.port, keepalive_s)
            while self._welcome is None:
                self._turn()
            self._check("refuses the connection", self._welcome)
            properties = None
            if target.version == "5":
                properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
                properties.ContentType = "application/json"
            number = client.publish(target.topic, body, qos=1, retain=target.retain, properties=properties).mid
            while number not in self._answers:
                self._turn()
            self._check(f"refuses messages on {target.topic}", self._answers[number])
        finally:
            client.disconnect()
            if (left := client.socket()) is not None:
                left.close()

    def _turn(self) -> None:
        left_s = self._deadline - time.monotonic()
        if left_s <= 0:
            raise TimeoutError
        done = self._client.loop(min(left_s, _TURN_S))
        if done != MQTTErrorCode.MQTT_ERR_SUCCESS and (self._welcome is None or not self._welcome.is_failure):
            raise ConnectionError(mqtt.error_string(done))

    def _check(self, what: str, code: ReasonCode) -> None:
        if code.is_failure:
            words = printable(str(code), MAX_ANSWER)
            raise DeliveryError(f"{self._target.host} {what}: {words}", refused=True)

    def _on_connect(
        self, _client: mqtt.Client, _data: Any, _flags: mqtt.ConnectFlags, code: ReasonCode, _more: Properties | None
    ) -> None:
        self._welcome = code

    def _on_publish(
        self, _client: mqtt.Client, _data: Any, number: int, code: ReasonCode, _more: Properties | None
    ) -> None:
        self._answers[number] = code
