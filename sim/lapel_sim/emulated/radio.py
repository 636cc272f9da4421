"""The radio of an emulated Pico W, and the network that it joins: rp2040py's CYW43439, behind it this machine alone.

Rules that hold here:

- The access point is rp2040py's own; it takes any password.
- The network has one host, `GATEWAY`: a connection to it goes to 127.0.0.1 of this machine, same port. Nothing else is
  reached, nor looked up: what runs on an emulated board talks to nobody outside.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from rp2040py.external.cyw43 import Cyw43439, net
from rp2040py.external.cyw43.nat import GATEWAY_IP, ArpResponder, DhcpServer, TcpReflector
from rp2040py.rp2040 import RP2040

SSID = "RP2040PY-GUEST"
GATEWAY = ".".join(map(str, GATEWAY_IP))
"""The address by which firmware on the board reaches this machine."""

_HERE = "127.0.0.1"


class Radio:
    """The chip on the Pico W's own pins; an `ExternalDevice` of rp2040py."""

    def __init__(self) -> None:
        self._chip = Cyw43439()

    def attach(self, rp2040: RP2040) -> None:
        """Solder it on, before the processor starts."""
        self._chip.attach(rp2040)
        network = OnlyThisMachine(rp2040, self._chip.bus.queue_rx_ethernet_frame)
        self._chip.bus.nat_bridge = network  # type: ignore[assignment]


class OnlyThisMachine:
    """What is behind the access point: an address by DHCP, the gateway's own by ARP, and TCP to it."""

    def __init__(self, rp2040: RP2040, send: Callable[[bytes], None]) -> None:
        """`send` gives the guest an Ethernet frame."""
        self._send = send
        self._answering = (ArpResponder(), DhcpServer())
        self._tcp = TcpReflector(rp2040, send, connect_fn=_connect)

    def reset(self) -> None:
        """The guest left the network: its connections are gone."""
        self._tcp.reset()

    def handle_outbound_ethernet_frame(self, frame: bytes) -> None:
        """A frame of the guest's."""
        ethernet = net.parse_ethernet(frame)
        if ethernet is None:
            return
        for responder in self._answering:
            answer = responder.maybe_handle(ethernet)
            if answer is not None:
                self._send(answer)
                return
        if ethernet.ethertype == net.ETHERTYPE_IPV4:
            packet = net.parse_ipv4(ethernet.payload)
            if packet is not None:
                self._tcp.maybe_handle(ethernet, packet)


async def _connect(host: str, port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    if host != GATEWAY:
        raise ConnectionRefusedError(f"{host} is not on this network")
    return await asyncio.open_connection(_HERE, port)
