"""The vault's journal as the schedules read it: written a second time, so that it is not judged by itself."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator

from lapel_gateway.custody.vault_journal import Placed

_PAGE_BYTES = 4096
_HEAD_BYTES = 20
_ENTRY_BYTES = 32


def durable_frames(content: bytes, half_bytes: int) -> Iterator[Placed]:
    """What the whole frames of a journal's file say, oldest first."""
    starts = (_PAGE_BYTES, _PAGE_BYTES + half_bytes)
    halves = [list(_half(content, start, start + half_bytes)) for start in starts]
    for half in sorted(halves, key=lambda frames: frames[0][0] if frames else 0):
        for _, entries in half:
            yield from entries


def _half(content: bytes, at: int, end: int) -> Iterator[tuple[int, list[Placed]]]:
    last = None
    while at < end:
        head = content[at : at + _HEAD_BYTES]
        if len(head) < _HEAD_BYTES or head[:4] != b"LVJ1":
            return
        number, count, _ = struct.unpack(">QII", head[4:])
        body = at + _HEAD_BYTES + 4
        table = content[body : body + _ENTRY_BYTES * count]
        if zlib.crc32(head + table).to_bytes(4, "big") != content[body - 4 : body]:
            return
        if last is not None and number != last + 1:
            return
        last, data, entries = number, body + len(table), []
        for device, clip, offset, length in struct.iter_unpack(">16sIQI", table):
            entries.append(Placed(device.decode(), clip, offset, [content[data : data + length]]))
            data += length
        yield number, entries
        at += -(-(data - at) // _PAGE_BYTES) * _PAGE_BYTES
