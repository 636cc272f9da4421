"""Non-blocking links over MicroPython's sockets, plain or TLS with a client certificate.

Connecting and the TLS handshake go on inside `send` and `recv_into`. Two things still block, as MicroPython has them:
name resolution (only when an address is not known yet, or connecting to it failed) and the public-key arithmetic of a
handshake (1 to 3 s on an RP2040). The TLS context is made once and kept: reconnecting does not cut the heap up.
"""

import select
import socket

import tls

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from .contract import TlsIdentity

_IN_PROGRESS = 115  # EINPROGRESS
_NOT_CONNECTED = 107  # ENOTCONN
_NO_MEMORY = 12  # ENOMEM
_TCP = 6
_NO_DELAY = 1


class SocketLink:
    """One connection. `context` None means plain TCP; else `hostname` is checked in the peer's certificate.

    `socket` is for a board that sets options of its own.
    """

    def __init__(self, address: "Any", context: "Any", hostname: str) -> None:
        self._context = context
        self._hostname = hostname
        self._stream: Any = None
        self._blocked = 0
        self.socket: Any = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        try:
            self.socket.setblocking(False)
            try:
                self.socket.setsockopt(_TCP, _NO_DELAY, 1)
            except (OSError, ValueError):
                pass  # a port without it sends an alarm after the answer to what went before
            try:
                self.socket.connect(address)
            except OSError as error:
                if error.errno != _IN_PROGRESS:
                    raise
        except OSError:
            self.socket.close()
            raise
        self._poll = select.poll()
        self._poll.register(self.socket, select.POLLOUT)

    @property
    def connected(self) -> bool:
        """Whether TCP is established; of the handshake this says nothing."""
        return self._stream is not None

    def send(self, data: memoryview) -> "int | None":
        """Hand over bytes; None when nothing can be taken now. After a None the same bytes must be offered first."""
        if self._stream is None and not self._establish():
            return None
        if 0 < self._blocked < len(data):
            # mbedTLS has sealed exactly these bytes already and would answer for more than it sent.
            data = data[: self._blocked]
        try:
            taken: int | None = self._stream.write(data)
        except (MemoryError, ValueError) as error:
            raise _as_os_error(error)
        self._blocked = len(data) - (taken or 0)
        return taken

    def recv_into(self, buffer: memoryview) -> "int | None":
        """Fill from the link; 0 when the peer closed, None when nothing is there."""
        if self._stream is None and not self._establish():
            return None
        try:
            got: int | None = self._stream.readinto(buffer)
        except (MemoryError, ValueError) as error:
            raise _as_os_error(error)
        return got

    def close(self) -> None:
        """Close; never raises."""
        for part in (self._stream, self.socket):
            try:
                if part is not None:
                    part.close()
            except OSError:
                continue
        self._stream = None

    def _establish(self) -> bool:
        """Whether TCP is connected, TLS being put on top at that moment. Raises OSError when connecting failed."""
        for _, event in self._poll.poll(0):
            if event & (select.POLLERR | select.POLLHUP):
                raise OSError(_NOT_CONNECTED)
            if event & select.POLLOUT:
                self._poll.unregister(self.socket)
                self._stream = self.socket
                if self._context is not None:
                    self._stream = None
                    try:
                        self._stream = self._context.wrap_socket(
                            self.socket, server_hostname=self._hostname, do_handshake_on_connect=False
                        )
                    except (MemoryError, ValueError) as error:
                        raise _as_os_error(error)
                return True
        return False


class SocketNetwork:
    """The `Network` of a board: `is_up` is the board's own word for "joined"."""

    def __init__(self, is_up: "Callable[[], bool]") -> None:
        self.is_up = is_up
        self._name = ("", 0)
        self._address: Any = None
        self._link: SocketLink | None = None
        self._identity: TlsIdentity | None = None
        self._context: Any = None

    def open(self, host: str, port: int, tls_identity: "TlsIdentity | None") -> SocketLink:
        """Begin a connection. Raises OSError, also when certificates cannot be read or do not fit the heap."""
        failed = self._link is not None and not self._link.connected
        if failed or self._address is None or self._name != (host, port):
            self._address = None
            self._address = socket.getaddrinfo(host, port, socket.AF_INET, socket.SOCK_STREAM)[0][-1]
            self._name = (host, port)
        if tls_identity is not None and tls_identity is not self._identity:
            try:
                self._context = _context(tls_identity)
            except (MemoryError, ValueError) as error:
                raise _as_os_error(error)
            self._identity = tls_identity
        if tls_identity is None:
            self._link = SocketLink(self._address, None, "")
        else:
            self._link = SocketLink(self._address, self._context, tls_identity[3])
        return self._link


def _as_os_error(error: Exception) -> OSError:
    """MicroPython's TLS raises ValueError for certificates; to the firmware it is one more way not to be connected."""
    if isinstance(error, MemoryError):
        return OSError(_NO_MEMORY)
    return OSError(str(error).strip().split("\n")[0])


def _context(identity: "TlsIdentity") -> "Any":
    """A client context that refuses every peer it cannot verify."""
    context = tls.SSLContext(tls.PROTOCOL_TLS_CLIENT)
    context.verify_mode = tls.CERT_REQUIRED  # type: ignore[attr-defined,unused-ignore]
    context.load_verify_locations(identity[0])
    context.load_cert_chain(identity[1], identity[2])
    return context
