"""CTR inner loops in plain Python, for MicroPython ports without a native code emitter (such as unix on aarch64)."""

import struct


def fill_counters(blocks: bytearray, iv: bytes, start: int, count: int) -> None:
    """Write `count` 16-byte counter blocks: 12 bytes of `iv`, then the block number, big-endian."""
    head = bytes(iv[:12])
    for i in range(count):
        blocks[i * 16 : i * 16 + 12] = head
        struct.pack_into(">I", blocks, i * 16 + 12, start + i)


def xor_into(target: "bytearray | memoryview", source: "bytearray | memoryview", size: int) -> None:
    """XOR `size` bytes of `source` into `target`."""
    mixed = int.from_bytes(bytes(target[:size]), "big") ^ int.from_bytes(bytes(source[:size]), "big")
    target[:size] = mixed.to_bytes(size, "big")
