"""A link by a subscriber of our own: MQTT 3.1.1 over a plain or TLS socket, read in large pieces.

Rules that hold here (besides those of the package)
- One thread reads, parses and reconnects. Whoever acknowledges or publishes sends at once, without waiting for it, as
  far as the socket takes it; the rest is the thread's.
- While nobody takes what was read, the next reading is put off a little: many messages then cost one wake-up.
- OpenSSL's connections are not to be used by two threads at once, so everything on a TLS socket is under `_lock`.
- Downlinks under way when a connection is lost go out again, marked as repeats, if the broker kept the session; else
  they are forgotten, as a broker that lost its state has lost others.
"""

from __future__ import annotations

import contextlib
import random
import select
import socket
import ssl
import threading
import time
from collections import deque
from collections.abc import Iterable, Sequence
from typing import Any

import structlog

from lapel_gateway.brokers import BrokerAccess
from lapel_gateway.log import Repeats
from lapel_gateway.transport import link as settings
from lapel_gateway.transport import wire
from lapel_gateway.transport.link import KEEP_ALIVE_S, MAX_IN_FLIGHT, MAX_QUEUED, Delivery
from lapel_gateway.transport.waiting import Waiting
from lapel_protocol.topics import lane_filter

READ_BYTES = 1 << 20
"""Read at once, at most; a plain socket gives what is there."""

CONNECT_TIMEOUT_S = 5.0
PING_AFTER_S = KEEP_ALIVE_S / 2
"""Silence of ours or of the broker's, after which it is asked for a sign of life: half of what it is told to expect."""

ANSWER_TIMEOUT_S = 15.0
"""How long the broker may take to answer CONNECT or PINGREQ."""

LINGER_S = 0.002
"""How long the next reading is put off while messages wait to be taken."""

PAUSE_S = 0.5
"""How long the thread sleeps at most while too much waits to be taken, before it looks whether to say a word."""

LEAVE_S = 1.0
"""How long the broker is given to take what was sent before DISCONNECT."""

MAX_MID = 65_535

_log = structlog.get_logger("lapel.transport")


class SocketLink:
    """A connection of our own that subscribes to some lanes of every device."""

    def __init__(self, access: BrokerAccess, lanes: Sequence[str]) -> None:
        """Raises OSError when the certificates cannot be read."""
        self._access = access
        self._filters = [lane_filter(lane) for lane in lanes]
        self._tls = _context(access)
        self._waiting = Waiting()
        self._repeats = Repeats()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"mqtt-{access.client_id}", daemon=True)
        self._lock = threading.Lock()
        self._wake_in, self._wake_out = socket.socketpair()
        # Everything below is under `_lock`, but read by the thread alone without it.
        self._socket: socket.socket | None = None
        self._out = bytearray()
        self._connected = False
        self._connection = 0
        self._sent_s = 0.0
        self._mid = 0
        self._in_flight: dict[int, bytes] = {}
        self._queued: deque[tuple[str, bytes]] = deque()
        self.ready = threading.Event()
        """Set while the broker has this connection's subscriptions."""

    def start(self) -> None:
        """Begin to connect; returns at once."""
        self._thread.start()

    def receive(self, most: int, wait_s: float, gather_s: float) -> list[Delivery]:
        """Wait up to ``wait_s`` seconds for a message, then up to ``gather_s`` for more, ``most`` in all."""
        return self._waiting.take(most, wait_s, gather_s)

    @property
    def backlog_bytes(self) -> int:
        """What was read from the broker and nobody has received yet."""
        return self._waiting.size_bytes

    def acknowledge(self, deliveries: Iterable[Delivery]) -> None:
        """Let the broker forget these messages."""
        with self._lock:
            now = self._connection
            mids = [delivery.mid for delivery in deliveries if delivery.qos and delivery.connection == now]
            if mids and self._connected:
                self._send(wire.pubacks(mids))

    def publish(self, downlinks: Sequence[tuple[str, bytes]]) -> None:
        """Send commands, as far as the broker can be reached now."""
        if not downlinks:
            return
        dropped = False
        with self._lock:
            if not self._connected:
                return
            for downlink in downlinks:
                if len(self._queued) < MAX_QUEUED:
                    self._queued.append(downlink)
                else:
                    dropped = True
            self._send_queued()
        if dropped:
            self._tell("downlinks are dropped", f"{MAX_QUEUED} wait already")

    def stop(self) -> None:
        """Take leave of the broker and end the connection's thread."""
        self._stopping.set()
        self._waiting.clear()
        self._wake()
        if self._thread.is_alive():
            self._thread.join()
        self._wake_in.close()
        self._wake_out.close()

    # -- the thread -------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        retry_s = settings.FIRST_RETRY_S
        while not self._stopping.is_set():
            try:
                self._serve()
            except (OSError, wire.MqttFault) as error:
                # A handshake's timeout and the like have no text of their own.
                reason = str(error) or type(error).__name__
                served = self._connected
                self._over()
                if not self._stopping.is_set():
                    self._tell("broker connection lost" if served else "broker cannot be reached", reason)
                retry_s = settings.FIRST_RETRY_S if served else retry_s
            except _RefusedError as refusal:
                self._over()
                self._tell("broker refuses the gateway", str(refusal))
            except Exception:  # noqa: BLE001 - a link never ends by itself; what happened is logged
                self._over()
                _log.exception("internal error", **self._where())
            if not self._stopping.is_set():
                # Spread out, so that the connections of many gateways do not come back as one.
                self._stopping.wait(random.uniform(0.5, 1.0) * retry_s)
                retry_s = min(2 * retry_s, settings.LAST_RETRY_S)

    def _serve(self) -> None:
        """Connect, and carry messages until the connection is lost or the link is stopped."""
        connection = self._connect()
        with self._lock:
            self._socket = connection
            self._out.clear()
            self._send(wire.connect(self._access.client_id, KEEP_ALIVE_S))
        inbound = wire.Inbound(self._connection + 1)
        poller = select.poll()
        poller.register(self._wake_out, select.POLLIN)
        poller.register(connection, 0)
        asked_s: float | None = time.monotonic()
        """When an answer began to be waited for; None = the broker owes none."""
        heard_s = time.monotonic()
        more = False
        while not self._stopping.is_set():
            read = self._waiting.room(0 if not self._waiting.full else PAUSE_S)
            poller.modify(connection, (select.POLLIN if read else 0) | (select.POLLOUT if self._out else 0))
            # A half-open connection takes what we send and says nothing: our own words are no sign of life.
            silent_s = min(self._sent_s, heard_s)
            due_s = silent_s + PING_AFTER_S if asked_s is None else asked_s + ANSWER_TIMEOUT_S
            wait_s = 0.0 if more or not read else max(0.0, due_s - time.monotonic())
            events = dict(poller.poll(wait_s * 1000))
            if self._wake_out.fileno() in events:
                self._wake_out.recv(4096)
            state = events.get(connection.fileno(), 0)
            if state & select.POLLOUT:
                with self._lock:
                    self._send(b"")
            if read and (more or state & ~select.POLLOUT):
                data, more = self._read(connection)
                if data:
                    asked_s = None
                    heard_s = time.monotonic()
                    self._take(inbound, data)
            now = time.monotonic()
            if asked_s is None and now - min(self._sent_s, heard_s) >= PING_AFTER_S:
                asked_s = now
                with self._lock:
                    self._send(wire.PINGREQ)
            elif asked_s is not None and read and now - asked_s >= ANSWER_TIMEOUT_S:
                raise wire.MqttFault("the broker does not answer")
        self._leave(connection)

    def _connect(self) -> socket.socket:
        access = self._access
        plain = socket.create_connection((access.host, access.port), CONNECT_TIMEOUT_S)
        try:
            plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            whole = self._tls.wrap_socket(plain, server_hostname=access.host) if self._tls else plain
        except BaseException:
            plain.close()
            raise
        whole.setblocking(False)
        return whole

    def _read(self, connection: socket.socket) -> tuple[bytes, bool]:
        """(what there is to read, whether there is more that no poll would tell of). Raises OSError at the end."""
        with self._lock if self._tls else contextlib.nullcontext():
            try:
                data = connection.recv(READ_BYTES)
            except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
                return b"", False
            if not data:
                raise ConnectionResetError("the broker closed the connection")
            return data, isinstance(connection, ssl.SSLSocket) and connection.pending() > 0

    def _take(self, inbound: wire.Inbound, data: bytes) -> None:
        deliveries = inbound.take(data)
        for control in inbound.controls:
            self._control(control)
        inbound.controls.clear()
        if deliveries:
            if not self._connected:
                raise wire.MqttFault("a message before the connection was accepted")
            self._waiting.put(deliveries)
            self._waiting.linger(LINGER_S)

    def _control(self, control: wire.Control) -> None:
        if control.kind == wire.CONNACK and not self._connected:
            resumed, refusal = wire.connack_of(control.body)
            if refusal:
                raise _RefusedError(refusal)
            self._accepted(resumed)
        elif not self._connected:
            raise wire.MqttFault("a packet before the connection was accepted")
        elif control.kind == wire.PUBACK:
            with self._lock:
                self._in_flight.pop(wire.puback_of(control.body), None)
                self._send_queued()
        elif control.kind == wire.SUBACK:
            _, granted = wire.suback_of(control.body)
            if all(granted) and len(granted) == len(self._filters):
                self.ready.set()
            else:
                _log.error(
                    "broker refuses a subscription: check its access list", reason="not granted", **self._where()
                )
        elif control.kind != wire.PINGRESP:
            raise wire.MqttFault(f"packet of type {control.kind >> 4}")

    def _accepted(self, resumed: bool) -> None:
        with self._lock:
            self._connection += 1
            self._connected = True
            if not resumed:
                self._in_flight.clear()
                self._queued.clear()
            for mid, message in self._in_flight.items():
                self._in_flight[mid] = wire.again(message)
            self._send(wire.subscribe(self._next_mid(), self._filters) + b"".join(self._in_flight.values()))
            self._send_queued()
        self._repeats.over("broker")
        _log.info("broker connected", **self._where())

    def _leave(self, connection: socket.socket) -> None:
        """Say goodbye, and wait until the broker has closed: an unread rest would turn our close into a reset."""
        with self._lock:
            self._out += wire.DISCONNECT if self._connected else b""
            rest = bytes(self._out)
        with contextlib.suppress(OSError):
            connection.settimeout(LEAVE_S)
            connection.sendall(rest)
            deadline = time.monotonic() + LEAVE_S
            while connection.recv(READ_BYTES) and time.monotonic() < deadline:
                continue
        self._over()

    def _over(self) -> None:
        """The connection is gone."""
        self.ready.clear()
        with self._lock:
            connection, self._socket = self._socket, None
            self._connected = False
            self._out.clear()
        if connection is not None:
            with contextlib.suppress(OSError):
                connection.close()

    # -- under `_lock` ----------------------------------------------------------------------------------------------

    def _send(self, data: bytes) -> None:
        """Send what waits and then `data`, as far as the socket takes it now; the thread sends the rest."""
        self._sent_s = time.monotonic()
        if self._out:
            self._out += data
            data = bytes(self._out)
        if self._socket is None or not data:
            return
        try:
            sent = self._socket.send(data)
        except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
            sent = 0
        except OSError:
            # The thread meets the same error when it reads, and tells of it.
            sent = len(data)
        self._out = bytearray(data[sent:])
        if self._out and threading.current_thread() is not self._thread:
            self._wake()

    def _send_queued(self) -> None:
        """Send as many downlinks as may be under way."""
        packets = []
        while self._queued and len(self._in_flight) < MAX_IN_FLIGHT:
            name, payload = self._queued.popleft()
            mid = self._next_mid()
            self._in_flight[mid] = message = wire.publish(name, payload, mid)
            packets.append(message)
        if packets:
            self._send(b"".join(packets))

    def _next_mid(self) -> int:
        while True:
            self._mid = self._mid % MAX_MID + 1
            if self._mid not in self._in_flight:
                return self._mid

    # ---------------------------------------------------------------------------------------------------------------

    def _wake(self) -> None:
        with contextlib.suppress(OSError):
            self._wake_in.send(b"\0", socket.MSG_DONTWAIT)

    def _tell(self, what: str, reason: str) -> None:
        """Say once that the broker is out of reach, whatever the reason; repeats are counted for a minute."""
        times = self._repeats.tell(time.time_ns() // 1_000_000, "broker")
        if times:
            _log.warning(what, reason=reason, times=times, **self._where())

    def _where(self) -> dict[str, Any]:
        access = self._access
        return {"broker": f"{access.host}:{access.port}", "client": access.client_id, "tls": access.tls is not None}


class _RefusedError(Exception):
    """The broker does not want this client."""


def _context(access: BrokerAccess) -> ssl.SSLContext | None:
    if access.tls is None:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_verify_locations(str(access.tls.ca_file))
    context.load_cert_chain(str(access.tls.certificate_file), str(access.tls.key_file))
    return context
