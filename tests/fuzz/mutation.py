"""Mutating records as somebody would who knows their form and lacks their keys.

libFuzzer's own mutations seldom get past a length, a CRC or a type; these do: genuine records with one bit changed,
one field of another record, the tail of another record, or a tag under a key of the attacker's.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import atheris

from lapel_protocol.crypto import Mac
from tests.support.segments import with_check

Reseal = Callable[[bytes], bytes]

_WRONG = Mac(b"a key that no gateway and no device ever had")
_TAG_BYTES = 32
_FIELDS = (0, 1, 2, 3, 4, 12, 16, 20, 24, 28, 32, 36, 38, 40, 48, 60)
"""Where fields of records begin (SPEC sections 5 to 8)."""


def with_wrong_tag(record: bytes) -> bytes:
    """The record with a tag that a stranger computed over it; a segment with a check that fits."""
    if len(record) <= _TAG_BYTES:
        return record
    body = record[:-_TAG_BYTES]
    return with_right_crc(body + _WRONG.digest(body))


def with_right_crc(record: bytes) -> bytes:
    """A segment with the length and check that it should have; anything else as it is."""
    if len(record) < 28 + _TAG_BYTES or record[0] != 2:
        return record
    size = (len(record) - 28).to_bytes(4, "big")
    return with_check(record[:20] + size + record[24:])


class RecordMutator:
    """Mutates one record; `pieces` are genuine ones of its kind and of others."""

    def __init__(self, pieces: Sequence[bytes], reseal: Reseal = with_wrong_tag) -> None:
        self._pieces = list(pieces)
        self._reseal = reseal

    def __call__(self, data: bytes, max_size: int, seed: int) -> bytes:
        """Another record, at most `max_size` long."""
        way = seed & 15
        number = seed * 2654435761 >> 4
        if way < 6:
            return bytes(atheris.Mutate(data, max_size))
        piece = self._pieces[number % len(self._pieces)]
        number //= len(self._pieces)
        if way < 8:
            return flipped(piece, number)[:max_size]
        if way == 8:
            return self._reseal(flipped(piece, number))[:max_size]
        if way == 9:
            return self._reseal(bytes(atheris.Mutate(data, max_size)))[:max_size]
        if way == 10:
            return with_right_crc(bytes(atheris.Mutate(data, max_size)))[:max_size]
        if way == 11:
            return with_right_crc(with_field_of(data, piece, number))[:max_size]
        if way == 12:
            return self._reseal(with_field_of(data, piece, number))[:max_size]
        if way == 13:
            at = number % (len(piece) + 1)
            return (data[:at] + piece[at:])[:max_size]
        if way == 14:
            at = number % (len(data) + 1)
            return (piece[:at] + data[at:])[:max_size]
        return piece[:max_size]


class PartMutator:
    """Mutates inputs that are made of framed parts (`frames`), one part at a time or the order of the parts."""

    def __init__(self, pieces: Sequence[bytes], tags: int) -> None:
        """`pieces` are genuine payloads of parts, `tags` how many tags there are."""
        self._record = RecordMutator(pieces)
        self._pieces = list(pieces)
        self._tags = tags

    def __call__(self, data: bytes, max_size: int, seed: int) -> bytes:
        """Another input, at most `max_size` long."""
        way = seed & 7
        if way == 0:
            return bytes(atheris.Mutate(data, max_size))
        number = seed * 2654435761 >> 3
        parts = frames(data)
        piece = self._pieces[number % len(self._pieces)]
        number //= len(self._pieces)
        at = number % len(parts) if parts else 0
        tag = number // 64 % self._tags
        if way == 1 or not parts:
            parts.insert(at, (tag, piece))
        elif way == 2:
            parts[at] = (tag, parts[at][1])
        elif way == 3 and len(parts) > 1:
            parts.pop(at)
        elif way == 4:
            parts.insert(number // 7 % (len(parts) + 1), parts[at])
        else:
            parts[at] = (parts[at][0], self._record(parts[at][1], 65535, number))
        return framed(parts)[:max_size]


def frames(data: bytes) -> list[tuple[int, bytes]]:
    """[(tag, payload)] of an input: tag, 16-bit length, payload; the last may be cut."""
    parts = []
    at = 0
    while at < len(data):
        size = int.from_bytes(data[at + 1 : at + 3], "big")
        parts.append((data[at], data[at + 3 : at + 3 + size]))
        at += 3 + size
    return parts


def framed(parts: Sequence[tuple[int, bytes]]) -> bytes:
    """The input that has these parts."""
    return b"".join(bytes([tag]) + len(payload).to_bytes(2, "big") + payload for tag, payload in parts)


def flipped(data: bytes, number: int) -> bytes:
    """The bytes with one bit changed; half of the time it is one of the first 64 bytes."""
    if not data:
        return data
    at = number % len(data) if number & 1 else number % min(64, len(data))
    return data[:at] + bytes([data[at] ^ 1 << (number >> 20 & 7)]) + data[at + 1 :]


def with_field_of(data: bytes, other: bytes, number: int) -> bytes:
    """The bytes with one field of another record."""
    at = _FIELDS[number % len(_FIELDS)]
    end = at + (1, 4, 8)[number // 16 % 3]
    return data[:at] + other[at:end] + data[end:]
