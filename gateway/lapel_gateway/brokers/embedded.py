"""The embedded broker: rumqttd, from the PyPI package iotcore, in a child process that ends with this one.

For trying out and for tests. It checks no certificates, so it listens on loopback only and says so; it keeps nothing
across a restart, which costs time but no evidence, because only the gateway's receipt ends a device's resends.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import iotcore

from lapel_gateway.brokers.broker import READY_TIMEOUT_S, STOP_TIMEOUT_S, BrokerError, check_port_free, is_loopback
from lapel_gateway.devices.cutting import CutOff
from lapel_protocol.limits import MAX_MESSAGE_BYTES

MAX_INFLIGHT = 512
"""Messages under way to one client, as for Mosquitto."""

MAX_CONNECTIONS = 1024

SEGMENT_BYTES = 32 << 20
SEGMENT_COUNT = 4
"""rumqttd keeps each topic's messages in a ring of segments: 128 MiB for a slow gateway, then the oldest are lost."""


def render_config(port: int) -> str:
    """rumqttd's TOML for a plain MQTT 3.1.1 listener on 127.0.0.1."""
    return f"""\
id = 0

[router]
id = 0
max_connections = {MAX_CONNECTIONS}
max_outgoing_packet_count = {MAX_INFLIGHT}
max_segment_size = {SEGMENT_BYTES}
max_segment_count = {SEGMENT_COUNT}

[v4.1]
name = "lapel"
listen = "127.0.0.1:{port}"
next_connection_delay_ms = 1

[v4.1.connections]
connection_timeout_ms = 60000
max_payload_size = {MAX_MESSAGE_BYTES + 1024}
max_inflight_count = {MAX_INFLIGHT}
dynamic_filters = true
"""


class EmbeddedBroker:
    """An unauthenticated broker on 127.0.0.1."""

    tls = False
    host = "127.0.0.1"

    def __init__(self, port: int, host: str = "127.0.0.1") -> None:
        """Raises BrokerError for a ``host`` that other machines could reach."""
        if not is_loopback(host):
            raise BrokerError(
                f"the embedded broker checks no certificates and listens on 127.0.0.1 only, not on {host}: "
                'set [broker] kind = "mosquitto"'
            )
        self.port = port
        self._broker: iotcore.Broker | None = None

    @property
    def running(self) -> bool:
        """Whether the child process is alive."""
        return self._broker is not None and self._broker.is_running

    def start(self) -> None:
        """Start the child process and wait until it accepts connections. Raises BrokerError."""
        if self.running:
            return
        check_port_free(self.host, self.port)
        with tempfile.TemporaryDirectory(prefix="lapel-broker-") as folder:
            config = Path(folder) / "rumqttd.toml"
            config.write_text(render_config(self.port), encoding="utf-8")
            broker = iotcore.Broker(config_path=str(config))
            try:
                broker.start(READY_TIMEOUT_S)
            except (OSError, RuntimeError) as error:
                raise BrokerError(f"the embedded broker does not start: {error}") from None
        self._broker = broker

    def cut(self, cut_off: CutOff) -> None:
        """Nothing: without certificates nobody is anybody."""

    def stop(self) -> None:
        """End the child process; what it held is gone."""
        broker, self._broker = self._broker, None
        if broker is not None:
            broker.stop(STOP_TIMEOUT_S)
