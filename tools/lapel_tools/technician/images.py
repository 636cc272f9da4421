"""Base images: the files with which MicroPython itself is put onto a board, read and judged before anything is written.

Rules that hold here:

- Whatever a file says of itself is checked against the file: block numbers, addresses, checksums, hashes, lengths.
- An image is accepted for one chip and refused for every other; a refusal says what the file is and what is wanted.
- Nothing here writes.

UF2 is Microsoft's format (github.com/microsoft/uf2); ESP images are read by esptool's own library.
"""

from __future__ import annotations

import hashlib
import re
import struct
from dataclasses import dataclass
from pathlib import Path

from .chips import CHIPS, ESP, ESP_CHIP_NAMES, FAMILY_NAMES, FLASH_START, UF2, Chip

MAX_IMAGE_BYTES = 64 << 20
"""A UF2 of a full 16 MiB flash is half of this; what is longer is no base image and is not read."""

_UF2_BLOCK = struct.Struct("<8I")
_UF2_BYTES = 512
_UF2_START = (0x0A324655, 0x9E5D5157)
_UF2_END = 0x0AB16F30
_NOT_MAIN_FLASH = 0x0000_0001
_FAMILY_PRESENT = 0x0000_2000
_PAYLOAD_BYTES = 256  # what the boot ROMs take: RP2040 data sheet section 2.8.4.2
_ABSOLUTE = 0xE48BFF57
_ERRATUM_ADDRESS = 0x10FF_FF00  # a block for RP2350-E10, which belongs to no image
_SECTOR_BYTES = 4096

_ESP_MAGIC = 0xE9
_PARTITION_TABLE_AT = 0x8000
_PARTITION = struct.Struct("<2sBBII16sI")
_PARTITION_MAGIC = b"\xaa\x50"
_PARTITION_HASH = b"\xeb\xeb"
_PARTITION_TABLE_BYTES = 0xC00
_APP = 0

_MACHINE = re.compile(rb"[\x20-\x3a\x3c-\x7e]{3,80} with (?:RP2040|RP2350|ESP32S3|ESP32S2|ESP32C3|ESP32C6|ESP32)(?=\0)")
_VERSION = re.compile(rb"v?(\d+\.\d+\.\d+(?:-[\w.]+)?) on (\d{4}-\d\d-\d\d)")


class ImageError(Exception):
    """A file is not an image for this board; the message says what it is and what is wanted."""


@dataclass(frozen=True)
class BaseImage:
    """A file that was read whole and is what it says. `end_bytes`: how far into the flash it reaches."""

    path: Path
    content: bytes
    chip: Chip
    end_bytes: int
    machine: str
    version: str

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.content).hexdigest()

    def check_for(self, chip: Chip, flash_bytes: int | None = None) -> None:
        """Raise ImageError unless it may be written to this chip, whose flash has `flash_bytes`."""
        if self.chip is not chip:
            raise ImageError(f"{self.path.name} is for {self.chip.name}; this board is an {chip.name}")
        room = chip.flash_bytes if flash_bytes is None else flash_bytes
        if self.end_bytes > room:
            raise ImageError(
                f"{self.path.name} needs {self.end_bytes // 1024} KiB of flash; this board has {room // 1024} KiB"
            )


def read_image(path: Path) -> BaseImage:
    """Read and judge a base image. Raises ImageError, which names the file and what is wrong with it."""
    try:
        size = path.stat().st_size
        if size > MAX_IMAGE_BYTES:
            raise ImageError(f"{path}: {size} bytes are no base image")
        content = path.read_bytes()
    except OSError as error:
        raise ImageError(f"{path}: {error.strerror or error}") from None
    except ValueError:  # a zero byte in it
        raise ImageError(f"{str(path)!r} is no name of a file") from None
    if len(content) >= 8 and struct.unpack_from("<2I", content) == _UF2_START:
        chip, end_bytes, flash = _read_uf2(path, content)
    elif content[:1] == bytes([_ESP_MAGIC]):
        chip, end_bytes, flash = _read_esp(path, content)
    else:
        raise ImageError(f"{path}: neither a UF2 file nor an image for an ESP32; take the .uf2 or .bin for your board")
    said = _MACHINE.search(flash)
    version = _VERSION.search(flash)
    if b"MicroPython" not in flash:
        raise ImageError(f"{path}: a program for {chip.name}, but not MicroPython")
    return BaseImage(
        path,
        content,
        chip,
        end_bytes,
        said[0].decode().strip() if said else "",
        version[1].decode() if version else "",
    )


def _read_uf2(path: Path, content: bytes) -> tuple[Chip, int, bytes]:
    if len(content) % _UF2_BYTES:
        raise ImageError(f"{path}: not whole; a UF2 file has blocks of {_UF2_BYTES} bytes")
    payloads: dict[int, bytes] = {}
    family = count = 0
    for number, at in enumerate(range(0, len(content), _UF2_BYTES)):
        first, second, flags, address, size, block, blocks, block_family = _UF2_BLOCK.unpack_from(content, at)
        (last,) = struct.unpack_from("<I", content, at + _UF2_BYTES - 4)
        if (first, second) != _UF2_START or last != _UF2_END:
            raise ImageError(f"{path}: damaged; block {number} is not a UF2 block")
        if not flags & _FAMILY_PRESENT:
            raise ImageError(f"{path}: does not say for which chip it is (no UF2 family)")
        if block_family == _ABSOLUTE and address == _ERRATUM_ADDRESS and not payloads:
            continue
        if not payloads:
            family, count = block_family, blocks
        if block_family != family:
            raise ImageError(f"{path}: for two chips at once, {_family(family)} and {_family(block_family)}")
        if flags & _NOT_MAIN_FLASH or size != _PAYLOAD_BYTES or address % _PAYLOAD_BYTES:
            raise ImageError(f"{path}: block {number} is not one that a {_family(family)} would write")
        if block != len(payloads) or blocks != count:
            raise ImageError(f"{path}: damaged; block {len(payloads)} of {count} is missing or in another place")
        if address in payloads:
            raise ImageError(f"{path}: damaged; two blocks for address {address:#x}")
        payloads[address] = content[at + _UF2_BLOCK.size : at + _UF2_BLOCK.size + _PAYLOAD_BYTES]
    chip = next((chip for chip in CHIPS if chip.form == UF2 and chip.image_id == family), None)
    if chip is None:
        raise ImageError(f"{path}: for {_family(family)}; Lapel's boards are {_names()}")
    if len(payloads) != count:
        raise ImageError(f"{path}: damaged; {len(payloads)} of {count} blocks are there")
    lowest, highest = min(payloads), max(payloads) + _PAYLOAD_BYTES
    if lowest != FLASH_START:
        where = "for the RAM" if lowest >= 0x2000_0000 else f"begins at {lowest:#x}"
        raise ImageError(f"{path}: {where}, not at the start of the flash: not a whole MicroPython")
    end = -(-(highest - FLASH_START) // _SECTOR_BYTES) * _SECTOR_BYTES
    _check_size(path, end, chip)
    return chip, end, b"".join(payloads[address] for address in sorted(payloads))


def _check_size(path: Path, end: int, chip: Chip) -> None:
    room = chip.flash_bytes
    if end > room:
        raise ImageError(f"{path}: needs {end // 1024} KiB of flash; {chip.name} boards have {room // 1024}")


def _family(family: int) -> str:
    return FAMILY_NAMES.get(family, f"family {family:#010x}")


def _names() -> str:
    return ", ".join(chip.name for chip in CHIPS)


def _read_esp(path: Path, content: bytes) -> tuple[Chip, int, bytes]:
    if len(content) < 24:
        raise ImageError(f"{path}: not whole")
    (chip_id,) = struct.unpack_from("<H", content, 12)
    chip = next((chip for chip in CHIPS if chip.form == ESP and chip.image_id == chip_id), None)
    if chip is None:
        name = ESP_CHIP_NAMES.get(chip_id, f"chip id {chip_id}")
        raise ImageError(f"{path}: for {name}; Lapel's boards are {_names()}")
    _check_esp_part(path, content, 0, "boot loader", chip)
    end = len(content)
    apps = 0
    for name, kind, at, size in _partitions(path, content):
        end = max(end, at + size)
        if kind == _APP and at < len(content):
            _check_esp_part(path, content[: at + size], at, name, chip)
            apps += 1
    if not apps:
        raise ImageError(f"{path}: only a part of MicroPython; take the image that is written at address 0")
    _check_size(path, end, chip)
    return chip, end, content


def _partitions(path: Path, content: bytes) -> list[tuple[str, int, int, int]]:
    """(name, kind, offset, size) of each partition. Raises ImageError."""
    table = content[_PARTITION_TABLE_AT : _PARTITION_TABLE_AT + _PARTITION_TABLE_BYTES]
    found = []
    for at in range(0, len(table) - _PARTITION.size + 1, _PARTITION.size):
        magic, kind, _subtype, offset, size, name, _flags = _PARTITION.unpack_from(table, at)
        if magic == _PARTITION_HASH:
            if table[at + 16 : at + 32] != hashlib.md5(table[:at], usedforsecurity=False).digest():
                raise ImageError(f"{path}: damaged; the partition table's checksum is wrong")
            break
        if magic != _PARTITION_MAGIC:
            break
        found.append((name.rstrip(b"\0").decode("ascii", "replace"), kind, offset, size))
    if not found:
        raise ImageError(f"{path}: has no partition table; take the image that is written at address 0")
    return found


def _check_esp_part(path: Path, content: bytes, at: int, name: str, chip: Chip) -> None:
    try:
        from esptool.bin_image import LoadFirmwareImage
        from esptool.util import FatalError
    except ModuleNotFoundError:
        raise ImageError("ESP32 images need esptool: pip install 'lapel[technician]'") from None
    part = content[at:]
    if part[:1] != bytes([_ESP_MAGIC]) or len(part) < 24:
        raise ImageError(f"{path}: damaged; there is no program in {name}")
    (chip_id,) = struct.unpack_from("<H", part, 12)
    if chip_id != chip.image_id:
        found = ESP_CHIP_NAMES.get(chip_id, f"chip id {chip_id}")
        raise ImageError(f"{path}: its {name} is for {found}, not for {chip.name}")
    try:
        image = LoadFirmwareImage(chip.word.lower(), part)
    except (FatalError, struct.error, TypeError, IndexError, OSError, RuntimeError, ValueError, AssertionError):
        raise ImageError(f"{path}: damaged; {name} is not whole") from None
    if image.checksum != image.calculate_checksum():
        raise ImageError(f"{path}: damaged; the checksum of {name} is wrong")
    if image.append_digest and image.stored_digest != image.calc_digest:
        raise ImageError(f"{path}: damaged; the hash of {name} is wrong")
