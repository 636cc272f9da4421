"""For micropython, at a board's heap size: one segment sealed as the recorder does it, beside the bare native calls.

The bare calls are those that no sealer of SPEC section 5 can avoid, on buffers that exist already: AES-256-ECB over as
many counter blocks as the segment has, and SHA-256 over HMAC's two pads, nonce, ciphertext and inner digest. Each round
runs all of them once, so that whatever slows this machine for a while slows all alike. Prints name and numbers a line.
"""

import gc
import hashlib
import sys
import time

from cryptolib import aes

from lapel_protocol.stream import SegmentSealer, StreamKeys

_ticks_us = time.ticks_us  # type: ignore[attr-defined,unused-ignore]
_ticks_diff = time.ticks_diff  # type: ignore[attr-defined,unused-ignore]
_allocated = gc.mem_alloc  # type: ignore[attr-defined,unused-ignore]

_BATCH = 10
_PLAIN_PIECE_BYTES = 1016  # as a frame or block of sound leaves it to the sealer: several writes a segment


class Bare:
    """The native calls for one segment that is not a clip's first."""

    def __init__(self, plain_bytes: int) -> None:
        self._encrypt = aes(bytes(32), 1).encrypt
        self._blocks = memoryview(bytearray((plain_bytes + 15) & ~15))
        self._body = memoryview(bytearray(plain_bytes))
        self._pad = bytes(64)
        self._nonce = bytearray(16)

    def aes(self) -> None:
        self._encrypt(self._blocks, self._blocks)

    def sha(self) -> None:
        inner = hashlib.sha256(self._pad)
        inner.update(self._nonce)
        inner.update(self._body)
        outer = hashlib.sha256(self._pad)
        outer.update(inner.digest())
        outer.digest()


class Sealing:
    """The recorder's sealer in the middle of a clip."""

    def __init__(self) -> None:
        self._sealer = SegmentSealer()
        self._sealer.begin(bytes(8), 1, StreamKeys(bytes(32), bytes(32), b"associated"), bytes(7))
        self._piece = memoryview(bytearray(_PLAIN_PIECE_BYTES))
        self.gather()
        self.seal()

    def gather(self) -> None:
        while not self._sealer.full:
            self._sealer.write(self._piece)

    def seal(self) -> None:
        self._sealer.seal(False)

    def empty(self) -> None:
        if self._sealer.full:
            self.seal()


def nothing() -> None:
    """What goes before a work that needs no preparing."""


def main() -> None:
    """Arguments: how many rounds, bytes of plaintext in a segment.

    A figure is the median over the rounds of the mean of _BATCH calls, in nanoseconds, and bytes allocated by one call.
    """
    rounds = int(sys.argv[1])
    bare = Bare(int(sys.argv[2]))
    sealing = Sealing()
    works = (
        ("aes", nothing, bare.aes),
        ("sha", nothing, bare.sha),
        ("seal", sealing.gather, sealing.seal),
        ("gather", sealing.empty, sealing.gather),
    )
    taken = [[0] * rounds for _ in works]
    allocated = [0] * len(works)
    for turn in range(rounds):
        gc.collect()
        for i in range(len(works)):
            prepare, work = works[i][1:]
            for _ in range(_BATCH):
                prepare()
                started = _ticks_us()
                work()
                taken[i][turn] += _ticks_diff(_ticks_us(), started)
    gc.collect()
    for i in range(len(works)):
        prepare, work = works[i][1:]
        prepare()
        before = _allocated()
        work()
        allocated[i] = _allocated() - before
    bare_us = sorted(taken[0][turn] + taken[1][turn] for turn in range(rounds))
    print("bare", bare_us[rounds // 2] * 1000 // _BATCH, allocated[0] + allocated[1])
    seal_us = sorted(taken[2][turn] + taken[3][turn] for turn in range(rounds))
    print("gather_and_seal", seal_us[rounds // 2] * 1000 // _BATCH, allocated[2] + allocated[3])
    for i in range(len(works)):
        print(works[i][0], sorted(taken[i])[rounds // 2] * 1000 // _BATCH, allocated[i])
