"""What passes on a device's link, told apart: TLS handshakes and framing, MQTT's own bytes, records.

Over TLS the record headers are read (RFC 5246 section 6.2.1) and the overhead of the cipher suite that the broker chose
is taken off; without TLS the MQTT packets are (MQTT 3.1.1 sections 2.2 and 3.3). Pings are counted apart, so that an
activity costs the same however long somebody waited in it.
"""

from __future__ import annotations

import threading
from collections import defaultdict
from dataclasses import dataclass, fields
from typing import Self

_RECORD_HEADER_BYTES = 5
_HANDSHAKE, _APPLICATION = 22, 23
_SERVER_HELLO = 2
_TLS12 = b"\x03\x03"
# Explicit nonce and tag of a record: RFC 5288 section 3, RFC 6655 section 3, RFC 7905 section 2.
_GCM, _CCM_8, _CHACHA = 8 + 16, 8 + 8, 16
_SUITES = {
    0x009C: _GCM, 0x009D: _GCM, 0x009E: _GCM, 0x009F: _GCM,
    0xC02B: _GCM, 0xC02C: _GCM, 0xC02F: _GCM, 0xC030: _GCM,
    0xC09C: _GCM, 0xC09D: _GCM, 0xC09E: _GCM, 0xC09F: _GCM, 0xC0AC: _GCM, 0xC0AD: _GCM,
    0xC0A0: _CCM_8, 0xC0A1: _CCM_8, 0xC0AE: _CCM_8, 0xC0AF: _CCM_8,
    0xCCA8: _CHACHA, 0xCCA9: _CHACHA, 0xCCAA: _CHACHA,
}  # fmt: skip
_PING_BYTES = 2
_PUBLISH, _PINGREQ, _PINGRESP = 3, 12, 13


class UnknownSuite(Exception):
    """The broker chose a cipher suite whose overhead is not known here; add it to the table."""


@dataclass(frozen=True)
class Way:
    """Bytes in one direction: of TLS handshakes, of TLS framing, of MQTT in it, and of records in that, which only a
    connection without TLS shows.
    """

    handshake: int = 0
    framing: int = 0
    application: int = 0
    records: int = 0

    @property
    def total(self) -> int:
        """What the link carried, beside TCP and IP."""
        return self.handshake + self.framing + self.application

    def __add__(self, other: Way) -> Way:
        return Way(*(getattr(self, field.name) + getattr(other, field.name) for field in fields(self)))

    def __sub__(self, other: Way) -> Way:
        return Way(*(getattr(self, field.name) - getattr(other, field.name) for field in fields(self)))


@dataclass(frozen=True)
class Both:
    """Bytes up and down, without pings; and the pings."""

    up: Way = Way()
    down: Way = Way()
    pings: int = 0
    ping_up: Way = Way()
    ping_down: Way = Way()

    def __sub__(self, other: Self) -> Both:
        return Both(
            self.up - other.up,
            self.down - other.down,
            self.pings - other.pings,
            self.ping_up - other.ping_up,
            self.ping_down - other.ping_down,
        )


class LinkCount:
    """An observer of a link (`lapel_sim.link.Observer`); `counted` may be read from any thread."""

    def __init__(self, tls: bool) -> None:
        self._tls = tls
        self._lock = threading.Lock()
        self._held: dict[tuple[int, bool], bytearray] = defaultdict(bytearray)
        self._overhead: dict[int, int] = {}
        self._failure: Exception | None = None
        self._sums = {True: Way(), False: Way()}
        self._pings = {True: Way(), False: Way()}
        self._ping_count = 0

    def __call__(self, connection: int, up: bool, piece: bytes) -> None:
        with self._lock:
            held = self._held[connection, up]
            held += piece
            try:
                while self._take_tls(connection, up, held) if self._tls else self._take_mqtt(up, held):
                    pass
            except UnknownSuite as error:
                self._failure = error
                held.clear()

    @property
    def counted(self) -> Both:
        """Everything so far. Raises UnknownSuite."""
        with self._lock:
            if self._failure is not None:
                raise self._failure
            return Both(self._sums[True], self._sums[False], self._ping_count, self._pings[True], self._pings[False])

    def _take_tls(self, connection: int, up: bool, held: bytearray) -> bool:
        """Count the next TLS record, if it is whole."""
        if len(held) < _RECORD_HEADER_BYTES:
            return False
        size = _RECORD_HEADER_BYTES + int.from_bytes(held[3:5], "big")
        if len(held) < size:
            return False
        record = bytes(held[:size])
        del held[:size]
        if record[0] != _APPLICATION:
            if record[0] == _HANDSHAKE and not up and record[_RECORD_HEADER_BYTES] == _SERVER_HELLO:
                self._choose(connection, record[_RECORD_HEADER_BYTES:])
            self._add(up, Way(handshake=size))
            return True
        framing = _RECORD_HEADER_BYTES + self._overhead[connection]
        plain = size - framing
        self._add(up, Way(framing=framing, application=plain), plain == _PING_BYTES)
        return True

    def _choose(self, connection: int, hello: bytes) -> None:
        """RFC 5246 section 7.4.1.3: header 4, version 2, random 32, session id with its length, cipher suite 2."""
        suite = int.from_bytes(hello[39 + hello[38] : 41 + hello[38]], "big")
        if connection in self._overhead:
            return  # encrypted by now: this is no hello
        if hello[4:6] != _TLS12 or suite not in _SUITES:
            raise UnknownSuite(f"cipher suite {suite:04x} of TLS {hello[4:6].hex()}")
        self._overhead[connection] = _SUITES[suite]

    def _take_mqtt(self, up: bool, held: bytearray) -> bool:
        """Count the next MQTT packet, if it is whole."""
        length = at = 0
        while True:
            at += 1
            if len(held) <= at:
                return False
            length |= (held[at] & 0x7F) << 7 * (at - 1)
            if not held[at] & 0x80:
                break
        size = 1 + at + length
        if len(held) < size:
            return False
        packet = bytes(held[:size])
        del held[:size]
        kind = packet[0] >> 4
        records = 0
        if kind == _PUBLISH:
            topic = int.from_bytes(packet[1 + at : 3 + at], "big")
            records = length - 2 - topic - (2 if packet[0] & 6 else 0)
        self._add(up, Way(application=size, records=records), kind in (_PINGREQ, _PINGRESP))
        return True

    def _add(self, up: bool, way: Way, ping: bool = False) -> None:
        sums = self._pings if ping else self._sums
        sums[up] = sums[up] + way
        self._ping_count += ping and up
