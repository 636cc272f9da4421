"""Inner loops of sealing in viper, for MicroPython ports that have a native code emitter.

Buffers start on a word boundary: a Cortex-M0+ faults on an unaligned word access. Words are little-endian, as on every
port with this emitter. The order of arguments and locals matters: the first three live in registers.
"""

import micropython  # type: ignore[import-not-found,unused-ignore]

TYPE_CHECKING = False
if TYPE_CHECKING:
    from micropython import ptr8, ptr32  # viper's own types


@micropython.viper
def crypt(text: ptr32, blocks: ptr32, iv: ptr32, size: int, stream, encrypt):  # type: ignore[no-untyped-def]
    """Counter mode over the `size` bytes of `text`, in place.

    `encrypt` makes keystream of counter blocks in `stream`, whose length is a multiple of 16, as often as it takes.
    `blocks` is `stream` once more: an argument because those come first.
    """
    first = int(blocks)
    length = int(len(stream))  # noqa: RUF046 - viper's integer
    number = 0
    while size > 0:
        blocks = ptr32(first)
        stop = first + length
        while int(blocks) < stop:
            blocks[0] = iv[0]
            blocks[1] = iv[1]
            blocks[2] = iv[2]
            blocks[3] = number
            number += 0x01000000  # one more, big-endian: a segment has at most 256 blocks
            blocks = ptr32(int(blocks) + 16)
        encrypt(stream, stream)
        blocks = ptr32(first)
        size -= length
        if size < 0:
            stop += size & ~15
        while int(blocks) < stop:
            text[0] = text[0] ^ blocks[0]
            text[1] = text[1] ^ blocks[1]
            text[2] = text[2] ^ blocks[2]
            text[3] = text[3] ^ blocks[3]
            text = ptr32(int(text) + 16)
            blocks = ptr32(int(blocks) + 16)
    rest = ptr8(int(text))
    key = ptr8(int(blocks))
    for i in range(size & 15):
        rest[i] = rest[i] ^ key[i]


@micropython.viper
def gather(source: ptr32, target: ptr32, stop: int):  # type: ignore[no-untyped-def]
    """Fill the first `stop` bytes of `target`, a multiple of 4, with the word at each multiple of 64 of `source`."""
    stop += int(target)
    while int(target) < stop:
        target[0] = source[0]
        source = ptr32(int(source) + 64)
        target = ptr32(int(target) + 4)
