"""What every broker offers the gateway, and how each of the gateway's connections reaches it."""

from __future__ import annotations

import contextlib
import errno
import ipaddress
import socket
import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from lapel_gateway.devices.cutting import CutOff
from lapel_gateway.pki import TlsFiles

GATEWAY_CONNECTIONS = ("alarms", "events", "ingest")
"""Connections of the gateway: one for each uplink lane, so that none waits behind another."""

STATUS_CONNECTION = "status"
"""The connection that status topics are published over, where there are any."""

DASHBOARD = "dashboard"
"""Who may read them on a broker that asks who is who, by the client certificate ``gateway-dashboard``."""
WATCH_CONNECTION = "watch"
"""The web role's, which reads what the broker tells of itself and nothing else."""

READY_TIMEOUT_S = 10.0
STOP_TIMEOUT_S = 10.0


class BrokerError(Exception):
    """The broker cannot be started or used; the message says why and what to do."""


@dataclass(frozen=True)
class BrokerAccess:
    """How one connection of the gateway reaches the broker."""

    host: str
    port: int
    client_id: str
    tls: TlsFiles | None
    """None: plain TCP, which only a loopback broker may have."""


class Broker(Protocol):
    """A broker that this process starts and stops."""

    @property
    def host(self) -> str:
        """Address to connect to from this machine."""
        ...

    @property
    def port(self) -> int:
        """TCP port."""
        ...

    @property
    def tls(self) -> bool:
        """Whether clients must show a certificate."""
        ...

    @property
    def running(self) -> bool:
        """Whether the broker's process is alive."""
        ...

    def start(self) -> None:
        """Start and return once it accepts connections. Raises BrokerError."""
        ...

    def cut(self, cut_off: CutOff) -> None:
        """Let these do nothing more, and nobody else; a broker that does not know who is who ignores it.

        Raises BrokerError.
        """
        ...

    def stop(self) -> None:
        """Stop, keeping what persistence keeps; safe to call twice."""
        ...


def check_port_free(host: str, port: int) -> None:
    """Raise BrokerError when something already listens on ``host:port`` or this user may not."""
    family, kind, protocol, _, address = _resolve(host, port)
    with socket.socket(family, kind, protocol) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(address)
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                raise BrokerError(
                    f"port {port} of {host} is taken by another program: "
                    "end that (`ss -ltnp` names it), or set [broker] port"
                ) from None
            raise BrokerError(f"cannot listen on {host} port {port}: {error.strerror}") from None


def accepts_connections(host: str, port: int) -> bool:
    """Whether a TCP connection to ``host:port`` is taken now."""
    with contextlib.suppress(OSError), socket.create_connection((host, port), timeout=0.5):
        return True
    return False


def answers_tls(host: str, port: int) -> bool:
    """Whether a server speaks TLS on ``host:port`` now, whatever it thinks of this client.

    A broker that has opened its port may still find that it cannot use its certificate.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    try:
        with (
            socket.create_connection((host, port), timeout=READY_TIMEOUT_S) as plain,
            context.wrap_socket(plain),
        ):
            return True
    except ssl.SSLEOFError:
        return False
    except ssl.SSLError:
        # Its refusal of a client without a certificate is an answer.
        return True
    except OSError:
        return False


def reachable_host(listen_host: str) -> str:
    """The address to connect to, from this machine, for a listener on ``listen_host``."""
    return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(listen_host, listen_host)


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches a listener on ``host``."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def last_lines(log_file: Path, count: int = 3) -> str:
    """The end of a broker's log, to explain why it would not start."""
    try:
        lines = log_file.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return "no log"
    return "; ".join(line.strip() for line in lines[-count:]) or "empty log"


def _resolve(host: str, port: int) -> tuple[int, int, int, str, tuple[str | int, ...]]:
    try:
        return socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]  # type: ignore[return-value]
    except socket.gaierror as error:
        raise BrokerError(f"{host} is no address of this machine: {error.strerror}") from None
