"""CTR inner loops in viper, for MicroPython ports that have a native code emitter.

Buffers start on a word boundary: a Cortex-M0+ faults on an unaligned word access.
"""

import micropython  # type: ignore[import-not-found,unused-ignore]


@micropython.viper
def fill_counters(blocks: ptr32, iv: ptr32, start: int, count: int):  # type: ignore[name-defined,no-untyped-def] # noqa: F821
    """Write `count` 16-byte counter blocks: 12 bytes of `iv`, then the block number, big-endian."""
    w0 = iv[0]
    w1 = iv[1]
    w2 = iv[2]
    at = 0
    for n in range(start, start + count):
        blocks[at] = w0
        blocks[at + 1] = w1
        blocks[at + 2] = w2
        blocks[at + 3] = ((n & 0xFF) << 24) | ((n & 0xFF00) << 8) | ((n >> 8) & 0xFF00) | ((n >> 24) & 0xFF)
        at += 4


@micropython.viper
def xor_into(target: ptr32, source: ptr32, size: int):  # type: ignore[name-defined,no-untyped-def] # noqa: F821
    """XOR `size` bytes of `source` into `target`, both word-aligned."""
    words = size >> 2
    for i in range(words):
        target[i] = target[i] ^ source[i]
    t8 = ptr8(target)  # type: ignore[name-defined] # noqa: F821
    s8 = ptr8(source)  # type: ignore[name-defined] # noqa: F821
    for i in range(words << 2, size):
        t8[i] = t8[i] ^ s8[i]
