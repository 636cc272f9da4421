"""One device's connection to the broker: TCP, with TLS by a certificate of its own where the installation has one.

TLS runs over memory buffers here: asyncio's own keeps 256 KiB for each connection, which is more than a gigabyte for a
fleet. As on a device it is TLS 1.2 with a full handshake at every connection; sessions are not resumed.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

from lapel_sim.fleet.packets import PacketError, Reader

_READ_BYTES = 1 << 16


class Owner(Protocol):
    """Whom a connection tells what happens."""

    def opened(self) -> None:
        """Bytes can be sent: TCP and TLS are up."""

    def packet(self, kind: int, flags: int, body: bytes) -> None:
        """The broker sent a packet."""

    def lost(self, reason: str) -> None:
        """The connection is over; told once, and not after `close`."""


def tls_context(ca_file: Path, identity_file: Path) -> ssl.SSLContext:
    """A device's context: the broker's CA, and the device's certificate and key in one PEM file. Raises OSError."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.load_verify_locations(ca_file)
    context.load_cert_chain(identity_file)
    return context


class _Plain:
    """TCP as it is."""

    ready = True

    def begin(self) -> bytes:
        """Bytes to send first."""
        return b""

    def sealed(self, data: bytes) -> bytes:
        """The bytes on the wire."""
        return data

    def received(self, data: bytes) -> tuple[list[bytes], bytes]:
        """(what the broker said, what has to be answered at once)."""
        return [data], b""


class _Tls:
    """One TLS session. Its methods raise ssl.SSLError."""

    def __init__(self, context: ssl.SSLContext, server_hostname: str) -> None:
        self.ready = False
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._session = context.wrap_bio(self._incoming, self._outgoing, server_hostname=server_hostname)

    def begin(self) -> bytes:
        self._shake()
        return self._outgoing.read()

    def sealed(self, data: bytes) -> bytes:
        self._session.write(data)
        return self._outgoing.read()

    def received(self, data: bytes) -> tuple[list[bytes], bytes]:
        self._incoming.write(data)
        if not self.ready:
            self._shake()
        return (list(self._pieces()) if self.ready else []), self._outgoing.read()

    def _shake(self) -> None:
        try:
            self._session.do_handshake()
        except ssl.SSLWantReadError:
            return
        self.ready = True

    def _pieces(self) -> Iterator[bytes]:
        while True:
            try:
                piece = self._session.read(_READ_BYTES)
            except ssl.SSLWantReadError:
                return
            if not piece:
                return
            yield piece


class Connection(asyncio.Protocol):
    """Made for one attempt to connect, and for nothing after it."""

    def __init__(self, owner: Owner, context: ssl.SSLContext | None, server_hostname: str) -> None:
        self._owner: Owner | None = owner
        self._reader = Reader()
        self._transport: asyncio.WriteTransport | None = None
        self._layer = _Plain() if context is None else _Tls(context, server_hostname)

    # -- what asyncio calls -----------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """TCP is up."""
        if self._owner is None or not isinstance(transport, asyncio.WriteTransport):
            transport.close()
            return
        self._transport = transport
        transport.write(self._layer.begin())
        if self._layer.ready:
            self._owner.opened()

    def data_received(self, data: bytes) -> None:
        """Bytes came from the broker."""
        was_ready = self._layer.ready
        try:
            pieces, answer = self._layer.received(data)
        except ssl.SSLError as error:
            self._fail(f"TLS: {error.reason or error}")
            return
        if answer and self._transport is not None:
            self._transport.write(answer)
        if self._layer.ready and not was_ready and self._owner is not None:
            self._owner.opened()
        try:
            for piece in pieces:
                for kind, flags, body in self._reader.feed(piece):
                    if self._owner is None:
                        return
                    self._owner.packet(kind, flags, body)
        except PacketError as error:
            self._fail(str(error))

    def connection_lost(self, error: Exception | None) -> None:
        """TCP is down."""
        self._fail("closed by the broker" if error is None else str(error) or type(error).__name__)

    # -- what the device calls --------------------------------------------------------------------------------------

    def send(self, data: bytes) -> None:
        """Hand bytes to the connection; nothing happens once it is over."""
        if self._transport is not None and self._owner is not None:
            self._transport.write(self._layer.sealed(data))

    def close(self) -> None:
        """End it, and tell nobody."""
        self._owner = None
        if self._transport is not None:
            self._transport.abort()

    def _fail(self, reason: str) -> None:
        owner, self._owner = self._owner, None
        if self._transport is not None:
            self._transport.abort()
        if owner is not None:
            owner.lost(reason)
