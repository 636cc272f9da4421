"""The image of a new device's key sectors, made by the firmware's own code on flash in memory (SPEC section 4.2)."""

from lapel_device.keystore import provision_sectors

SECTOR_BYTES = 4096
SECTOR_COUNT = 2
_ERASED = 0xFF


class _MemorySectors:
    """NOR flash in memory: erasing sets every bit, programming clears bits."""

    count = SECTOR_COUNT
    size_bytes = SECTOR_BYTES

    def __init__(self) -> None:
        self.image = bytearray([_ERASED]) * (SECTOR_COUNT * SECTOR_BYTES)

    def read(self, index: int, offset: int, buffer: bytearray | memoryview) -> None:
        start = index * SECTOR_BYTES + offset
        buffer[:] = self.image[start : start + len(buffer)]

    def erase(self, index: int) -> None:
        self.image[index * SECTOR_BYTES : (index + 1) * SECTOR_BYTES] = bytes([_ERASED]) * SECTOR_BYTES

    def program(self, index: int, offset: int, data: bytes | bytearray | memoryview) -> None:
        start = index * SECTOR_BYTES + offset
        for at, value in enumerate(bytes(data), start):
            self.image[at] &= value


def key_sectors_image(chain_key: bytes, pool: bytes) -> bytes:
    """All sectors of a device that starts from CK(0) and P(0), 32 bytes each. The image is a secret."""
    flash = _MemorySectors()
    provision_sectors(flash, chain_key, pool)
    return bytes(flash.image)
