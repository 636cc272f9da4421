"""MQTT: the gateway's connections, each with its own thread, session and certificate.

Rules that hold here
- A message is acknowledged to the broker only when a core says so (`acknowledge`); until then it stays the broker's.
- An acknowledgement goes out on the connection that its message came on, or not at all: after a reconnection the broker
  hands the message in again, and a repeat is free.
- Downlinks are published only while connected. Nothing is kept for later: what is lost is issued again after a hello.
- A broker that is missing, refuses or vanishes is told of once, and once more when it is back.
- What was read and not taken yet is bounded in bytes; beyond it the connection is read no further.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from lapel_gateway.brokers import BrokerAccess
from lapel_gateway.transport.link import BrokerLink, Delivery, Link
from lapel_gateway.transport.paho_link import PahoLink
from lapel_gateway.transport.socket_link import SocketLink

__all__ = ["BrokerLink", "Delivery", "Link", "PahoLink", "Reader", "SocketLink", "make_link"]

Reader = Literal["socket", "paho"]
"""Which subscriber reads: our own, or paho-mqtt."""


def make_link(reader: Reader, access: BrokerAccess, lanes: Sequence[str]) -> BrokerLink:
    """A link that subscribes to these lanes of every device. Raises OSError when its certificates cannot be read."""
    return SocketLink(access, lanes) if reader == "socket" else PahoLink(access, lanes)
