"""Raw NOR-flash sectors in an image file: erase sets every bit, program clears bits, a power cut tears either in the
middle.
"""

import random
from pathlib import Path

SECTOR_BYTES = 4096
_ERASED = 0xFF


class SectorFlash:
    """`count` sectors of 4096 bytes; every completed operation is durable. Ranges are checked, not trusted:
    ValueError.
    """

    def __init__(self, path: Path, count: int) -> None:
        self.path = path
        self.count = count
        size = count * SECTOR_BYTES
        if path.exists():
            self._image = bytearray(path.read_bytes())
            if len(self._image) != size:
                raise ValueError(f"{path} has {len(self._image)} bytes, {size} expected")
        else:
            self._image = bytearray([_ERASED]) * size
            path.write_bytes(self._image)
        self._file = path.open("r+b", buffering=0)
        self.erases = [0] * count

    def _start(self, index: int, offset: int, size: int) -> int:
        if not (0 <= index < self.count and offset >= 0 and offset + size <= SECTOR_BYTES):
            raise ValueError(f"sector {index} offset {offset} size {size} is outside the flash")
        return index * SECTOR_BYTES + offset

    def read(self, index: int, offset: int, size: int) -> bytes:
        start = self._start(index, offset, size)
        return bytes(self._image[start : start + size])

    def erase(self, index: int) -> None:
        start = self._start(index, 0, SECTOR_BYTES)
        self.erases[index] += 1
        self._store(start, bytes([_ERASED]) * SECTOR_BYTES)

    def program(self, index: int, offset: int, data: bytes) -> None:
        """Each stored byte becomes old AND new: what was cleared stays cleared until an erase."""
        start = self._start(index, offset, len(data))
        self._store(
            start, bytes(old & new for old, new in zip(self._image[start : start + len(data)], data, strict=True))
        )

    def tear_erase(self, index: int, rng: random.Random) -> None:
        """An erase cut short: a random part of the zero bits has come back to one, anywhere in the sector."""
        start = self._start(index, 0, SECTOR_BYTES)
        share = rng.random()
        torn = bytes(byte | self._mask(rng, share) for byte in self._image[start : start + SECTOR_BYTES])
        self._store(start, torn)

    def tear_program(self, index: int, offset: int, data: bytes, rng: random.Random) -> None:
        """A program cut short: a prefix is written, the byte after it has only some of its bits cleared."""
        start = self._start(index, offset, len(data))
        done = rng.randrange(len(data) + 1)
        self.program(index, offset, data[:done])
        if done < len(data):
            at = start + done
            self._store(at, bytes([self._image[at] & (data[done] | self._mask(rng, rng.random()))]))

    @staticmethod
    def _mask(rng: random.Random, share: float) -> int:
        return sum(1 << bit for bit in range(8) if rng.random() < share)

    def _store(self, start: int, content: bytes) -> None:
        self._image[start : start + len(content)] = content
        self._file.seek(start)
        self._file.write(content)

    def load(self, image: bytes) -> None:
        """Replace everything, as a programmer's cable does."""
        if len(image) != len(self._image):
            raise ValueError(f"an image of {len(image)} bytes for {len(self._image)} bytes of flash")
        self._store(0, image)

    def image(self) -> bytes:
        return bytes(self._image)

    def close(self) -> None:
        self._file.close()
