"""What loops_viper does, in plain Python: for MicroPython ports without a native code emitter."""

import struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable


def crypt(
    text: "bytearray | memoryview",
    blocks: memoryview,
    iv: "bytes | bytearray | memoryview",
    size: int,
    stream: memoryview,
    encrypt: "Callable[[memoryview, memoryview], object]",
) -> None:
    """Counter mode over the `size` bytes of `text`, in place.

    `encrypt` makes keystream of counter blocks in `stream`, whose length is a multiple of 16, as often as it takes.
    `blocks` is not looked at.
    """
    first = bytes(iv[:12])
    for at in range(0, size, len(stream) or 1):
        for i in range(0, len(stream), 16):
            stream[i : i + 12] = first
            struct.pack_into(">I", stream, i + 12, (at + i) >> 4)
        encrypt(stream, stream)
        piece = min(len(stream), size - at)
        part = memoryview(text)[at : at + piece]
        both = int.from_bytes(bytes(part), "big") ^ int.from_bytes(bytes(stream[:piece]), "big")
        part[:] = both.to_bytes(piece, "big")


def gather(source: "bytes | bytearray | memoryview", target: memoryview, stop: int) -> None:
    """Fill the first `stop` bytes of `target`, a multiple of 4, with the word at each multiple of 64 of `source`."""
    for at in range(0, stop, 4):
        target[at : at + 4] = source[16 * at : 16 * at + 4]
