"""MQTT 3.1.1 by hand over TLS: an attacker's client says what a library would not, and waits for each answer.

Every call returns when the broker has answered, so nothing here waits for time to pass.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import struct
from types import TracebackType
from typing import Self

from lapel_gateway.pki import TlsFiles

ANSWER_S = 10.0
_CONNACK, _PUBLISH, _PUBACK, _SUBACK, _PINGRESP = 2, 3, 4, 9, 13


class Refused(Exception):
    """The broker ended the connection, or said no to it; the message is its word, or TLS's."""


def context_of(files: TlsFiles | None, ca_file: object) -> ssl.SSLContext:
    """A client's TLS as strict as a device's; without `files` it shows no certificate."""
    context = ssl.create_default_context(cafile=str(ca_file))
    if files is not None:
        context.load_cert_chain(files.certificate_file, files.key_file)
    return context


def _text(value: str | bytes) -> bytes:
    raw = value.encode() if isinstance(value, str) else value
    return struct.pack(">H", len(raw)) + raw


class Wire:
    """One connection. Raises Refused wherever the broker does not go along."""

    def __init__(
        self,
        port: int,
        context: ssl.SSLContext,
        client_id: str = "",
        *,
        username: str | None = None,
        will: tuple[str, bytes, bool] | None = None,
        clean: bool = True,
    ) -> None:
        """`will` is (topic, payload, retained)."""
        self.arrived: list[tuple[str, bytes]] = []
        self._buffer = bytearray()
        self._number = 0
        self._socket: socket.socket = socket.create_connection(("127.0.0.1", port), timeout=ANSWER_S)
        try:
            self._socket = context.wrap_socket(self._socket, server_hostname="127.0.0.1")
            flags = (2 if clean else 0) | (0x80 if username is not None else 0)
            body = _text(client_id)
            if will is not None:
                flags |= 0x04 | 0x08 | (0x20 if will[2] else 0)
                body += _text(will[0]) + _text(will[1])
            if username is not None:
                body += _text(username)
            self._send(0x10, b"\x00\x04MQTT\x04" + bytes([flags]) + struct.pack(">H", 60) + body)
            code = self._until(_CONNACK)[1]
            if code:
                raise Refused(f"CONNACK {code}")
        except OSError as error:
            self._socket.close()
            raise Refused(str(error)) from error
        except Refused:
            self._socket.close()
            raise

    def publish(self, topic: str, payload: bytes, retain: bool = False) -> None:
        """With QoS 1; the broker's PUBACK tells nothing about permission."""
        self._number += 1
        self._send(0x32 | (1 if retain else 0), _text(topic) + struct.pack(">H", self._number) + payload)
        self._until(_PUBACK)

    def subscribe(self, topic: str) -> int:
        """Returns what was granted: 0 to 2, or 0x80."""
        self._number += 1
        self._send(0x82, struct.pack(">H", self._number) + _text(topic) + b"\x01")
        return self._until(_SUBACK)[2]

    def settle(self) -> list[tuple[str, bytes]]:
        """Everything that the broker had for this client before now: a PINGRESP comes behind it."""
        self._send(0xC0, b"")
        self._until(_PINGRESP)
        return self.arrived

    def vanish(self) -> None:
        """Without a DISCONNECT, so that the broker publishes the will."""
        with contextlib.suppress(OSError):  # the broker may have been first
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()

    def close(self) -> None:
        """With one."""
        with contextlib.suppress(Refused):
            self._send(0xE0, b"")
        self._socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _send(self, head: int, body: bytes) -> None:
        size, length = len(body), bytearray()
        while True:
            length.append((size & 0x7F) | (0x80 if size > 0x7F else 0))
            size >>= 7
            if not size:
                break
        try:
            self._socket.sendall(bytes([head]) + length + body)
        except OSError as error:
            raise Refused(str(error)) from error

    def _until(self, kind: int) -> bytes:
        """The body of the next packet of this kind; publications before it are kept and acknowledged."""
        while True:
            head, body = self._packet()
            if head >> 4 == kind:
                return body
            if head >> 4 == _PUBLISH:
                (length,) = struct.unpack_from(">H", body)
                at = 2 + length
                if head & 6:
                    self._send(0x40, body[at : at + 2])
                    at += 2
                self.arrived.append((body[2 : 2 + length].decode(), body[at:]))

    def _packet(self) -> tuple[int, bytes]:
        while True:
            size = shift = 0
            for at, byte in enumerate(self._buffer[1:5], 1):
                size |= (byte & 0x7F) << shift
                shift += 7
                if not byte & 0x80:
                    end = at + 1 + size
                    if len(self._buffer) >= end:
                        packet = self._buffer[0], bytes(self._buffer[at + 1 : end])
                        del self._buffer[:end]
                        return packet
                    break
            try:
                more = self._socket.recv(65536)
            except OSError as error:
                raise Refused(str(error)) from error
            if not more:
                raise Refused("the broker closed the connection")
            self._buffer += more
