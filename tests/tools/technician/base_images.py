"""Makes base images for tests: whole ones of the real formats, whose parts a test then changes."""

from __future__ import annotations

import hashlib
import struct

RP2040_FAMILY = 0xE48BFF56
RP2350_FAMILY = 0xE48BFF59
ESP32S3_ID = 9
FLASH_START = 0x1000_0000

_MACHINES = {
    RP2040_FAMILY: b"Raspberry Pi Pico W with RP2040",
    RP2350_FAMILY: b"Raspberry Pi Pico 2 W with RP2350",
    ESP32S3_ID: b"Generic ESP32S3 module with Octal-SPIRAM with ESP32S3",
}


def program(machine: bytes, size: int) -> bytes:
    """Something like MicroPython's image: its words among other bytes."""
    words = b"MicroPython v1.28.0 on 2026-01-05; " + machine + b"\0" + machine + b"\0"
    filler = hashlib.sha512(machine).digest() * (size // 64 + 1)
    return (filler[:512] + words + filler)[:size]


def uf2(
    family: int = RP2040_FAMILY,
    size: int = 64 << 10,
    start: int = FLASH_START,
    content: bytes | None = None,
    erratum_block: bool = False,
) -> bytes:
    """A UF2 file. `erratum_block`: with the one in front that images for an RP2350 have."""
    if content is None:
        content = program(_MACHINES.get(family, b"Some Board with SAMD51"), size)
    pieces = [content[at : at + 256].ljust(256, b"\0") for at in range(0, len(content), 256)]
    blocks = [_block(0x10FFFF00, 0, 2, 0xE48BFF57, b"\xef" * 256)] if erratum_block else []
    blocks += [_block(start + 256 * n, n, len(pieces), family, piece) for n, piece in enumerate(pieces)]
    return b"".join(blocks)


def _block(address: int, number: int, count: int, family: int, payload: bytes) -> bytes:
    head = struct.pack("<8I", 0x0A324655, 0x9E5D5157, 0x2000, address, 256, number, count, family)
    return head + payload.ljust(476, b"\0") + struct.pack("<I", 0x0AB16F30)


def esp(chip_id: int = ESP32S3_ID, app_chip_id: int | None = None, flash_bytes: int = 8 << 20) -> bytes:
    """A whole image for an ESP32-S3: boot loader, partition table, application."""
    boot = esp_part(chip_id, b"\x5a" * 4096)
    app = esp_part(chip_id if app_chip_id is None else app_chip_id, program(_MACHINES[ESP32S3_ID], 32 << 10))
    rows = [(b"nvs", 1, 2, 0x9000, 0x6000), (b"factory", 0, 0, 0x10000, 0x1F0000)]
    rows.append((b"vfs", 1, 0x81, 0x200000, flash_bytes - 0x200000))
    table = b"".join(
        struct.pack("<2sBBII16sI", b"\xaa\x50", kind, sub, at, size, name, 0) for name, kind, sub, at, size in rows
    )
    table += b"\xeb\xeb" + b"\xff" * 14 + hashlib.md5(table, usedforsecurity=False).digest()
    return boot.ljust(0x8000, b"\xff") + table.ljust(0x8000, b"\xff") + app


def esp_part(chip_id: int, content: bytes) -> bytes:
    """One program in Espressif's format: header, one segment, checksum, hash."""
    header = struct.pack("<BBBBI", 0xE9, 1, 2, 0x3F, 0x40374000)
    header += struct.pack("<BBBBHBHH4sB", 0xEE, 0, 0, 0, chip_id, 0, 0, 0xFFFF, bytes(4), 1)
    body = header + struct.pack("<II", 0x3FC88000, len(content)) + content
    checksum = 0xEF
    for byte in content:
        checksum ^= byte
    body += bytes(15 - len(body) % 16) + bytes([checksum])
    return body + hashlib.sha256(body).digest()
