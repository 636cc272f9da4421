"""The key store over every power cut: each operation of each step, torn in many patterns, and then cut again.

Patterns are not drawn but listed: for a program every number of whole bytes with what the next byte may be, and any
bits of the whole image; for an erase none, few, half, most and all of the bits, in all and in parts of the sector.
LAPEL_SECTOR_CUTS=20 makes so many second cuts for every first one.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable

import pytest

from lapel_device.keystore import MARK_BOOT, MARK_CLIP, KeyStore, provision_sectors
from lapel_protocol.keys import EpochKeys, chain_next

SECOND_CUTS = int(os.environ.get("LAPEL_SECTOR_CUTS", "1"))
SECTOR_BYTES = 4096
STEPS = (MARK_BOOT, MARK_CLIP, MARK_CLIP, MARK_BOOT, MARK_CLIP)
CK_0 = bytes(range(32))
P_0 = bytes(range(100, 132))

# (what the sector holds, what is being written or None for an erase) -> what a cut leaves
Pattern = Callable[[bytes, bytes | None], bytes]


class PowerCut(BaseException):
    """The power is gone."""


def _masked(mask: bytes) -> Pattern:
    """Only the bits in `mask`, repeated, have changed yet."""

    def torn(old: bytes, new: bytes | None) -> bytes:
        size = len(old)
        reach = int.from_bytes((mask * (size // len(mask) + 1))[:size])
        was = int.from_bytes(old)
        goal = int.from_bytes(b"\xff" * size if new is None else new)
        return ((was & ~reach) | (goal & reach)).to_bytes(size)

    return torn


def _after(share: float, half: int) -> Pattern:
    """So much of it is done, and of the next byte the bits in `half`."""

    def torn(old: bytes, new: bytes | None) -> bytes:
        goal = b"\xff" * len(old) if new is None else new
        # A program is short, an erase is not: the same share falls everywhere into the one and on pages in the other.
        done = round(share * len(old))
        part = goal[:done]
        if done < len(old):
            part += bytes([(old[done] & ~half) | (goal[done] & half)])
        return part + old[len(part) :]

    return torn


def _noise(seed: int, density: int) -> Pattern:
    def torn(old: bytes, new: bytes | None) -> bytes:
        rng = random.Random(f"{seed} {len(old)}")
        mask = int.from_bytes(rng.randbytes(len(old)))
        for _ in range(abs(density)):
            more = int.from_bytes(rng.randbytes(len(old)))
            mask = mask & more if density < 0 else mask | more
        return _masked(mask.to_bytes(len(old)))(old, new)

    return torn


PATTERNS: list[Pattern] = [
    _masked(b"\0"),
    _masked(b"\xff"),
    *(_masked(bytes([1 << bit])) for bit in range(8)),
    *(_masked(bytes([255 ^ 1 << bit])) for bit in range(8)),
    _masked(b"\xff\x00"),
    _masked(b"\x00\xff"),
    *(_masked(b"\x00" * at + b"\xff" * 16 + b"\x00" * (112 - at)) for at in range(0, 112, 16)),
    *(_after(step / 54, half) for step in range(54) for half in (0x00, 0x0F, 0xF0)),
    *(_noise(seed, density) for seed in range(6) for density in (-4, -2, 0, 2, 4)),
]


class Sectors:
    """Two sectors; the `cut_at`-th operation from now leaves what `pattern` says. Bits only fall but by an erase."""

    count = 2
    size_bytes = SECTOR_BYTES

    def __init__(self) -> None:
        self.data = [bytearray(b"\xff" * SECTOR_BYTES) for _ in range(2)]
        self.operations = 0
        self.cut_at = -1
        self.pattern = PATTERNS[0]

    def copy(self) -> Sectors:
        fresh = Sectors()
        fresh.data = [sector[:] for sector in self.data]
        return fresh

    def arm(self, cut_at: int, pattern: Pattern) -> None:
        self.operations = 0
        self.cut_at = cut_at
        self.pattern = pattern

    def read(self, index: int, offset: int, buffer: bytearray | memoryview) -> None:
        buffer[:] = self.data[index][offset : offset + len(buffer)]

    def erase(self, index: int) -> None:
        cut = self._is_cut()
        self.data[index][:] = self.pattern(bytes(self.data[index]), None) if cut else b"\xff" * SECTOR_BYTES
        if cut:
            raise PowerCut

    def program(self, index: int, offset: int, data: bytes | bytearray | memoryview) -> None:
        cut = self._is_cut()
        old = bytes(self.data[index][offset : offset + len(data)])
        new = (int.from_bytes(old) & int.from_bytes(data)).to_bytes(len(old))
        self.data[index][offset : offset + len(data)] = self.pattern(old, new) if cut else new
        if cut:
            raise PowerCut

    def _is_cut(self) -> bool:
        self.operations += 1
        return self.operations - 1 == self.cut_at


KEYS = [CK_0]
while len(KEYS) < 16:
    KEYS.append(chain_next(KEYS[-1]))
AUTHS = [EpochKeys(key).clip_auth for key in KEYS]


class Device:
    """What was handed out over all cuts, and everything secret that was in the sectors before."""

    def __init__(self, sectors: Sectors, used: list[int], pools: set[bytes]) -> None:
        self.sectors = sectors
        self.used = used
        self.pools = pools

    def copy(self) -> Device:
        return Device(self.sectors.copy(), list(self.used), set(self.pools))

    def live(self, steps: tuple[int, ...]) -> bool:
        """Boot and take the steps; False when the power went."""
        try:
            store = KeyStore(self.sectors)
            store.load()
            self._check(store)
            for mark in steps:
                epoch = store.step(mark, bytes([len(self.used)]) * 32, len(self.used))
                assert epoch.number not in self.used, "an epoch is handed out twice"
                assert epoch.keys.clip_auth == AUTHS[epoch.number]
                self.used.append(epoch.number)
                self.pools.add(epoch.pool)
                self._check(store)
                if mark == MARK_CLIP:
                    store.started()
        except PowerCut:
            return False
        return True

    def _check(self, store: KeyStore) -> None:
        assert all(store.epoch > used for used in self.used), "an epoch that was handed out is the next one"
        # What is erased holds nothing; the rest is short.
        flash = b"|".join(bytes(sector).rstrip(b"\xff") for sector in self.sectors.data)
        for key in KEYS[: store.epoch]:
            assert key[:8] not in flash, "an earlier chain key is in a sector"
            assert key[-8:] not in flash, "an earlier chain key is in a sector"
        for pool in self.pools:
            assert pool[:8] not in flash, "the pool of a used epoch is in a sector"


def provisioned() -> Device:
    sectors = Sectors()
    provision_sectors(sectors, CK_0, P_0)
    sectors.operations = 0
    return Device(sectors, [], set())


def after(steps: int) -> Device:
    device = provisioned()
    assert device.live(STEPS[:steps])
    return device


def test_every_cut_leaves_an_epoch_that_was_never_used_and_no_earlier_key(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Every operation of a boot and its steps, and every operation of the boot and step after it."""
    rng = random.Random(1)
    firsts = seconds = 0
    whole = provisioned()
    assert whole.live(STEPS)
    operations = whole.sectors.operations
    for cut_at in range(operations):
        for pattern in PATTERNS:
            device = provisioned()
            device.sectors.arm(cut_at, pattern)
            assert not device.live(STEPS)
            firsts += 1
            for _ in range(SECOND_CUTS):
                again = device.copy()
                again.sectors.arm(rng.randrange(16), rng.choice(PATTERNS))
                if not again.live((MARK_CLIP, MARK_CLIP)):
                    seconds += 1
                again.sectors.arm(-1, pattern)
                assert again.live((MARK_BOOT, MARK_CLIP))
            device.sectors.arm(-1, pattern)
            assert device.live((MARK_BOOT, MARK_CLIP))
    with capsys.disabled():
        print(f"\nkey sectors: {firsts} first cuts in {operations} operations, {seconds} second cuts")  # noqa: T201
    assert firsts == operations * len(PATTERNS)


def test_a_ratchet_without_the_zeroing_before_the_erase_is_found_to_leave_a_key() -> None:
    """The patterns find what they are there for."""

    class Careless(KeyStore):
        def wipe(self, index: int) -> None:
            self._sectors.erase(index)

    found = 0
    for pattern in PATTERNS:
        device = after(0)
        store = Careless(device.sectors)
        store.load()
        store.step(MARK_BOOT, bytes(32), 0)
        device.sectors.arm(2, pattern)  # begin, image, erase
        try:
            store.step(MARK_CLIP, bytes(32), 0)
        except PowerCut:
            flash = bytes(device.sectors.data[0]) + bytes(device.sectors.data[1])
            found += KEYS[1] in flash
    assert found
