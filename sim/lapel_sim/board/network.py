"""The board's bearer: the firmware's own sockets and TLS, every connection led through the world's link proxy."""

import time

from lapel_device.boards.net import SocketNetwork

from . import ops
from .wire import LOOPBACK

TYPE_CHECKING = False
if TYPE_CHECKING:
    from lapel_device.boards.contract import Link, TlsIdentity

    from .wire import Wire

_ASK_EVERY_MS = 200
_SOL_SOCKET = 1
_SO_SNDBUF = 7
_host_ms = time.ticks_ms  # type: ignore[attr-defined,unused-ignore]


class RoutedNetwork:
    """Asks the world whether the bearer is joined and by which local port a broker is reached."""

    def __init__(self, wire: "Wire", options: "dict[str, object]") -> None:
        self._wire = wire
        self._sockets = SocketNetwork(self.is_up)
        self._send_buffer_bytes = int(str(options["send_buffer_bytes"]))
        self._costs: dict[str, float] = options["costs"]  # type: ignore[assignment]
        self._up = False
        self._asked_ms = _host_ms() - _ASK_EVERY_MS

    def is_up(self) -> bool:
        now = _host_ms()
        if now - self._asked_ms >= _ASK_EVERY_MS:
            self._asked_ms = now
            self._up = self._wire.call(ops.NETWORK_UP) == 1
        return self._up

    def open(self, host: str, port: int, tls: "TlsIdentity | None") -> "Link":
        link = self._sockets.open(LOOPBACK, self._wire.route(host, port), tls)
        # The host would buffer megabytes, behind which an alarm would wait; a board's TCP stack has a few segments.
        link.socket.setsockopt(_SOL_SOCKET, _SO_SNDBUF, self._send_buffer_bytes)
        if self._costs and tls is not None:
            return SlowLink(self._wire, link, self._costs["handshake_ms"], self._costs["tls_ms_per_kib"])
        return link


class SlowLink:
    """A TLS link that takes the processor time of the board that is simulated."""

    def __init__(self, wire: "Wire", link: "Link", handshake_ms: float, ms_per_kib: float) -> None:
        from .costs import spend

        self._spend = spend
        self._wire = wire
        self._link = link
        self._handshake_ms = int(handshake_ms)
        self._ms_per_kib = ms_per_kib
        self._owed_ms = 0.0

    def send(self, data: memoryview) -> "int | None":
        taken = self._link.send(data)
        if taken is not None:
            if self._handshake_ms:
                self._spend(self._wire, ops.WORK_HANDSHAKE, self._handshake_ms)
                self._handshake_ms = 0
            self._owed_ms += taken * self._ms_per_kib / 1024
            if self._owed_ms >= 1:
                self._spend(self._wire, ops.WORK_TLS, int(self._owed_ms))
                self._owed_ms -= int(self._owed_ms)
        return taken

    def recv_into(self, buffer: memoryview) -> "int | None":
        return self._link.recv_into(buffer)

    def close(self) -> None:
        self._link.close()
