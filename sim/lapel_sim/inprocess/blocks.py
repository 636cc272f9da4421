"""The media below a file system, in memory: NOR flash and a card, with what a power cut leaves of them.

Rules that hold here:

- Every program, erase, write and sync is one operation of the fuse. The one that is hit is torn, and from then on the
  medium answers nothing until `power_on`: the C code above it runs into errors and cannot save anything.
- Flash has no cache. Programming clears bits, whatever stood there; a cut leaves the pages before the torn one whole,
  the torn one in any state between before and after, and the rest untouched. A torn erase leaves every bit anywhere
  between its old value and one.
- A card takes 512-byte sectors into a cache and writes each of them whole or not at all. What was not synced is lost
  from some point on ("in order", what the SD protocol promises) or lands in part and in any order ("any order": a card
  with a cache of its own, or one that lies).
"""

from __future__ import annotations

from .fuse import Fuse, PowerCut

SECTOR_BYTES = 512
PAGE_BYTES = 256  # of NOR flash
ERASE_BYTES = 4096
_ERASED = 0xFF


class MediumGone(Exception):
    """The medium has no power; what asks it is C code that does not know yet."""


class Medium:
    """A power switch, and the counting of operations that all media share."""

    def __init__(self, fuse: Fuse, size_bytes: int) -> None:
        self.fuse = fuse
        self.size_bytes = size_bytes
        self.dead = False

    def read(self, at: int, size: int) -> bytes:
        """What the device sees. Raises MediumGone."""
        raise NotImplementedError

    def write(self, at: int, content: bytes) -> None:
        """Program flash, or write whole or part sectors of a card. Raises MediumGone."""
        raise NotImplementedError

    def erase(self, at: int) -> None:
        """Erase the block of ERASE_BYTES at `at`; nothing on a card. Raises MediumGone."""
        raise NotImplementedError

    def sync(self) -> None:
        """Make what was written durable. Raises MediumGone."""
        raise NotImplementedError

    def power_on(self) -> None:
        """The power was lost, and is back: only what the medium kept is there."""
        self.dead = False

    def image(self) -> bytes:
        """What is on the medium itself, without any cache."""
        raise NotImplementedError

    def _check(self, at: int, size: int) -> None:
        if self.dead:
            raise MediumGone
        if at < 0 or size < 0 or at + size > self.size_bytes:
            raise ValueError(f"{size} bytes at {at} are outside a medium of {self.size_bytes}")


class Flash(Medium):
    """NOR flash: pages of 256 bytes, blocks of 4096."""

    def __init__(self, fuse: Fuse, size_bytes: int) -> None:
        super().__init__(fuse, size_bytes)
        self._image = bytearray([_ERASED]) * size_bytes

    def read(self, at: int, size: int) -> bytes:
        self._check(at, size)
        return bytes(self._image[at : at + size])

    def write(self, at: int, content: bytes) -> None:
        self._check(at, len(content))
        try:
            self.fuse.step(lambda: self._program(at, content), lambda: self._tear_program(at, content))
        except PowerCut:
            self.dead = True
            raise MediumGone from None

    def _program(self, at: int, content: bytes) -> None:
        old = int.from_bytes(self._image[at : at + len(content)])
        self._image[at : at + len(content)] = (old & int.from_bytes(content)).to_bytes(len(content))

    def _tear_program(self, at: int, content: bytes) -> None:
        rng = self.fuse.rng
        done = rng.randrange(len(content) + 1)
        if rng.random() < 0.5:  # bytes went in one after the other, and one of them is half programmed
            self._program(at, content[:done])
            if done < len(content):
                self._program(at + done, bytes([content[done] | rng.randrange(256)]))
            return
        # A page is programmed as a whole, in pulses: any bit of it may have arrived.
        start = max(0, done - (at + done) % PAGE_BYTES)
        self._program(at, content[:start])
        torn = content[start : start + PAGE_BYTES - (at + start) % PAGE_BYTES]
        missing = rng.randbytes(len(torn))
        self._program(at + start, bytes(byte | extra for byte, extra in zip(torn, missing, strict=True)))

    def erase(self, at: int) -> None:
        self._check(at, ERASE_BYTES)
        start = at - at % ERASE_BYTES
        try:
            self.fuse.step(lambda: self._put(start, bytes([_ERASED]) * ERASE_BYTES), lambda: self._tear_erase(start))
        except PowerCut:
            self.dead = True
            raise MediumGone from None

    def _put(self, at: int, content: bytes) -> None:
        self._image[at : at + len(content)] = content

    def _tear_erase(self, start: int) -> None:
        rng = self.fuse.rng
        old = int.from_bytes(self._image[start : start + ERASE_BYTES])
        risen = rng.getrandbits(8 * ERASE_BYTES)
        for _ in range(rng.randrange(4)):  # fewer bits, or more
            more = rng.getrandbits(8 * ERASE_BYTES)
            risen = risen & more if rng.random() < 0.5 else risen | more
        self._put(start, (old | risen).to_bytes(ERASE_BYTES))

    def sync(self) -> None:
        self._check(0, 0)

    def image(self) -> bytes:
        return bytes(self._image)


class Card(Medium):
    """A card with a cache of sectors. `any_order`: what was not synced may also land in part and out of order."""

    def __init__(self, fuse: Fuse, size_bytes: int, any_order: bool) -> None:
        super().__init__(fuse, size_bytes)
        self._image = bytearray(size_bytes)
        self._any_order = any_order
        self._cache: dict[int, bytes] = {}
        self._unsynced: list[tuple[int, bytes]] = []  # (sector, content), in the order of writing

    def read(self, at: int, size: int) -> bytes:
        self._check(at, size)
        if not self._cache:
            return bytes(self._image[at : at + size])
        first = at // SECTOR_BYTES
        end = (at + size + SECTOR_BYTES - 1) // SECTOR_BYTES
        content = b"".join(self._sector(sector) for sector in range(first, end))
        return content[at - first * SECTOR_BYTES :][:size]

    def _sector(self, sector: int) -> bytes:
        cached = self._cache.get(sector)
        start = sector * SECTOR_BYTES
        return bytes(self._image[start : start + SECTOR_BYTES]) if cached is None else cached

    def write(self, at: int, content: bytes) -> None:
        self._check(at, len(content))
        before = at % SECTOR_BYTES
        after = -(at + len(content)) % SECTOR_BYTES
        first = at // SECTOR_BYTES
        if before:
            content = self._sector(first)[:before] + content
        if after:
            content += self._sector(first + len(content) // SECTOR_BYTES)[SECTOR_BYTES - after :]
        sectors = [
            (first + start // SECTOR_BYTES, content[start : start + SECTOR_BYTES])
            for start in range(0, len(content), SECTOR_BYTES)
        ]
        self._step(sectors)

    def _step(self, sectors: list[tuple[int, bytes]]) -> None:
        def take() -> None:
            self._unsynced += sectors
            self._cache.update(sectors)

        def tear() -> None:
            self._unsynced += sectors[: self.fuse.rng.randrange(len(sectors) + 1)]

        try:
            self.fuse.step(take, tear)
        except PowerCut:
            self.dead = True
            raise MediumGone from None

    def erase(self, at: int) -> None:
        """A card has no erase that its user can see."""
        self._check(at, 0)

    def sync(self) -> None:
        self._check(0, 0)
        try:
            self.fuse.step(self._settle_all, lambda: None)  # what the cut leaves of it is power_on's to decide
        except PowerCut:
            self.dead = True
            raise MediumGone from None

    def _settle_all(self) -> None:
        self._keep(self._unsynced)
        self._unsynced = []
        self._cache = {}

    def _keep(self, sectors: list[tuple[int, bytes]]) -> None:
        for sector, content in sectors:
            start = sector * SECTOR_BYTES
            self._image[start : start + SECTOR_BYTES] = content

    def power_on(self) -> None:
        super().power_on()
        rng = self.fuse.rng
        if self._any_order and rng.random() < 0.5:
            share = rng.random()
            kept = [write for write in self._unsynced if rng.random() < share]
        else:
            kept = self._unsynced[: rng.randrange(len(self._unsynced) + 1)]
        self._keep(kept)
        self._unsynced = []
        self._cache = {}

    def image(self) -> bytes:
        return bytes(self._image)
