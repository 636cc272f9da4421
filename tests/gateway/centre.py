"""A receiving centre for tests: listens on loopback, keeps the frames that come, answers as it is told.

Frames are read and answers are made by siadc09, which shares nothing with the gateway.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from siadc09 import message
from siadc09.account import Account

Script = Callable[[bytes, socket.socket], None]
"""What is done with a frame: (frame, connection). The connection is closed afterwards."""


class Receiver:
    """One receiver; ``script`` may be changed at any time."""

    def __init__(self, script: Script | None = None, key: bytes | None = None) -> None:
        self.key = key
        self.script = script or self.accept
        self.frames: list[bytes] = []
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._server.getsockname()[1]
        self._closing = threading.Event()
        self._threads = [threading.Thread(target=self._serve, daemon=True)]
        self._threads[0].start()

    def read(self, at: int = -1) -> Any:
        """A frame that came, opened by siadc09."""
        return message.parse_frame(self.frames[at], self.key)

    def accept(self, frame: bytes, connection: socket.socket) -> None:
        """ACK, with this machine's time where the frame was encrypted."""
        connection.sendall(self.ack(frame))

    def ack(self, frame: bytes, at: datetime | None = None) -> bytes:
        """The ACK for a frame, encrypted if that was; ``at`` defaults to the frame's own time."""
        found = message.parse_frame(frame, self.key)
        answer = message.AckMessage(found.account, seq=found.seq)
        encoded: bytes = answer.encode(timestamp=at or found.timestamp, encrypt=found.encrypted)
        return encoded

    def nak(self, unix_s: int) -> bytes:
        """A NAK that says this time."""
        encoded: bytes = message.NakMessage(Account(), datetime.fromtimestamp(unix_s, UTC)).encode()
        return encoded

    def duh(self, frame: bytes) -> bytes:
        """The DUH for a frame."""
        found = message.parse_frame(frame, self.key)
        encoded: bytes = message.DuhMessage(found.account, seq=found.seq).encode(encrypt=False)
        return encoded

    def hang(self, frame: bytes, connection: socket.socket) -> None:
        """Say nothing until the receiver is closed."""
        self._closing.wait(60)

    def close(self) -> None:
        """Stop listening and end every connection."""
        self._closing.set()
        with contextlib.suppress(OSError):
            self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()
        for thread in self._threads:
            thread.join(10)

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._server.accept()
            except OSError:
                return
            thread = threading.Thread(target=self._handle, args=(connection,), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _handle(self, connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            connection.settimeout(30)
            frame = b""
            while not frame.endswith(b"\r"):
                part = connection.recv(4096)
                if not part:
                    return
                frame += part
            self.frames.append(frame)
            self.script(frame, connection)


def framed(body: bytes, crc: int | None = None, length: int | None = None) -> bytes:
    """A frame around a body, with the CRC and length that it should have or with others."""
    crc = slow_crc(body) if crc is None else crc
    return b"\n%04X%04X%b\r" % (crc, len(body) if length is None else length, body)


def slow_crc(data: bytes) -> int:
    """CRC-16/ARC by its definition: what is left of the message after division by x^16 + x^15 + x^2 + 1.

    Bits go in lowest first, and the remainder is read the same way round.
    """
    bits = int("0" + "".join(f"{value:08b}"[::-1] for value in data), 2) << 16
    while bits.bit_length() > 16:
        bits ^= 0x18005 << (bits.bit_length() - 17)
    return int(f"{bits:016b}"[::-1], 2)
