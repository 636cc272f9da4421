"""What loops_viper does, in plain Python: for CPython, and for ports without a native code emitter."""

import struct
from binascii import crc32

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable


def crypt(
    record: "bytearray | memoryview",
    value: int,
    mixed: int,
    head: int,
    size: int,
    iv: "bytes | bytearray | memoryview",
    stream: memoryview,
    encrypt: "Callable[[memoryview, memoryview], object]",
) -> None:
    """Counter mode over `size` bytes of a record, in place: from record[head + 4] on, with `head` 0 from its start.

    `encrypt` makes keystream of counter blocks in `stream`, whose length is a multiple of 16, as often as it takes.
    `value` and `mixed` are not looked at.
    """
    start = head + 4 if head else 0
    first = bytes(iv[:12])
    for at in range(0, size, len(stream) or 1):
        for i in range(0, len(stream), 16):
            stream[i : i + 12] = first
            struct.pack_into(">I", stream, i + 12, (at + i) >> 4)
        encrypt(stream, stream)
        piece = min(len(stream), size - at)
        text = memoryview(record)[start + at : start + at + piece]
        both = int.from_bytes(bytes(text), "big") ^ int.from_bytes(bytes(stream[:piece]), "big")
        text[:] = both.to_bytes(piece, "big")


def close_record(record: "bytearray | memoryview", value: int, mixed: int, head: int, end: int, tag: bytes) -> None:
    """Put the 32-byte `tag` at record[end - 32:end], and the CRC of all but its own place at record[head:head + 4].

    `value` and `mixed` are not looked at.
    """
    record[end - 32 : end] = tag
    view = memoryview(record)
    struct.pack_into(">I", record, head, crc32(view[head + 4 : end], crc32(view[:head])))
