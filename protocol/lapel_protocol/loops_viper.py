"""Inner loops of sealing in viper, for MicroPython ports that have a native code emitter: counter mode and CRC-32.

Buffers start on a word boundary: a Cortex-M0+ faults on an unaligned word access. Words are little-endian, as on every
port with this emitter. The order of arguments and locals matters: the first few live in registers.
"""

import sys

import micropython  # type: ignore[import-not-found,unused-ignore]

from .crc_table import CRC_TABLE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from micropython import ptr8, ptr32  # viper's own types


@micropython.viper
def _astray(data: ptr8) -> int:
    """How far from a word boundary `data` lies, in bytes."""
    return int(data) & 3


# x86-64, where MicroPython runs on Linux, reads a word from anywhere. On a board a table that the image happens to have
# put between words is copied, which costs 4 KiB of heap.
_crc_table = bytearray(CRC_TABLE) if sys.platform != "linux" and _astray(CRC_TABLE) else CRC_TABLE


@micropython.viper
def crypt(record: ptr32, value: int, mixed: int, head: int, size: int, iv: ptr32, stream, encrypt):  # type: ignore[no-untyped-def]
    """Counter mode over `size` bytes of a record, in place, with the CRC-32 in the same pass.

    With `head` (a multiple of 4) the text begins at record[head + 4], and the CRC of record[:head] and the text is left
    in the word between, for `close_record`. With 0 the text begins at once and no CRC is left anywhere.

    `encrypt` makes keystream of counter blocks in `stream`, whose length is a multiple of 16, as often as it takes.
    `value` and `mixed` are 0: the first three arguments live in registers, and the loop needs these there.
    """
    table = int(ptr32(_crc_table))
    blocks = ptr32(stream)
    first = int(blocks)
    stop = first + int(len(stream))  # noqa: RUF046 - viper's integer
    crc = record
    value = -1
    if head:
        end = int(record) + head
        while int(record) < end:
            value ^= record[0]
            mixed = ptr32(((value << 2) & 1020) + table)[768]
            mixed ^= ptr32(((value >> 6) & 1020) + table)[512]
            mixed ^= ptr32(((value >> 14) & 1020) + table)[256]
            value = mixed ^ ptr32(((value >> 22) & 1020) + table)[0]
            record = ptr32(int(record) + 4)
        crc = record
        record = ptr32(int(record) + 4)
    number = 0
    while int(blocks) < stop:
        blocks[0] = iv[0]
        blocks[1] = iv[1]
        blocks[2] = iv[2]
        # The block number, big-endian; a record has at most 256 blocks.
        blocks[3] = (number & 255) << 24 | (number & 0xFF00) << 8
        number += 1
        blocks = ptr32(int(blocks) + 16)
    while size > 0:
        encrypt(stream, stream)
        blocks = ptr32(first)
        size -= stop - first
        tail = 0
        if size < 0:
            tail = size & 15
            stop += size & ~15
        while int(blocks) < stop:
            end = int(record) + 16
            while int(record) < end:
                record[0] = record[0] ^ blocks[0]
                value ^= record[0]
                mixed = ptr32(((value << 2) & 1020) + table)[768]
                mixed ^= ptr32(((value >> 6) & 1020) + table)[512]
                mixed ^= ptr32(((value >> 14) & 1020) + table)[256]
                value = mixed ^ ptr32(((value >> 22) & 1020) + table)[0]
                record = ptr32(int(record) + 4)
                blocks = ptr32(int(blocks) + 4)
            blocks = ptr32(int(blocks) - 16)
            # Counter blocks for the next piece, should there be one: here they cost next to nothing.
            blocks[0] = iv[0]
            blocks[1] = iv[1]
            blocks[2] = iv[2]
            blocks[3] = (number & 255) << 24 | (number & 0xFF00) << 8
            number += 1
            blocks = ptr32(int(blocks) + 16)
        text = ptr8(int(record))
        key = ptr8(int(blocks))
        for i in range(tail):
            mixed = text[i] ^ key[i]
            text[i] = mixed
            value = ptr32((((value ^ mixed) << 2) & 1020) + table)[0] ^ (value >> 8) & 0xFFFFFF
        blocks = ptr32(first)
    if head:
        crc[0] = value


@micropython.viper
def close_record(record: ptr32, value: int, mixed: int, head: int, end: int, tag: ptr8):  # type: ignore[no-untyped-def]
    """Put the 32-byte `tag` at record[end - 32:end], and the CRC of all, begun by `crypt`, at `head`.

    `value` and `mixed` are 0, as for `crypt`.
    """
    table = int(ptr32(_crc_table))
    first = int(record)
    value = record[head >> 2]
    out = ptr8(first + end - 32)
    for i in range(32):
        out[i] = tag[i]
    if end & 3:
        for i in range(32):
            value = ptr32((((value ^ tag[i]) << 2) & 1020) + table)[0] ^ (value >> 8) & 0xFFFFFF
    else:
        stop = first + end
        record = ptr32(stop - 32)
        while int(record) < stop:
            value ^= record[0]
            mixed = ptr32(((value << 2) & 1020) + table)[768]
            mixed ^= ptr32(((value >> 6) & 1020) + table)[512]
            mixed ^= ptr32(((value >> 14) & 1020) + table)[256]
            value = mixed ^ ptr32(((value >> 22) & 1020) + table)[0]
            record = ptr32(int(record) + 4)
    value ^= -1
    out = ptr8(first + head)
    for i in range(4):
        out[i] = value >> (24 - 8 * i)
