"""The boards that lie on a tray: what each says of itself over USB and in MicroPython, and the size of its flash."""

from dataclasses import dataclass, replace


@dataclass(frozen=True)
class BoardKind:
    """One kind of board. `flash_bytes` is the part of the flash that MicroPython's file system has, `rom_bytes` the
    ROM partition before it, which official images lack. `heap_bytes`: code from a slot is on it, with pointers twice as
    wide as on a board.
    """

    name: str
    machine: str
    vendor_id: int
    product_id: int
    manufacturer: str
    product: str
    flash_bytes: int
    release: str = "1.28.0"
    rom_bytes: int = 0
    heap_bytes: int = 512 * 1024


_KIB = 1024

PICO_W = BoardKind(
    "pico_w",
    "Raspberry Pi Pico W with RP2040",
    0x2E8A,
    0x0005,
    "MicroPython",
    "Board in FS mode",
    848 * _KIB,
)
PICO_W_WITH_ROM = replace(PICO_W, name="pico_w_rom", rom_bytes=512 * _KIB, heap_bytes=(192 + 12) * _KIB)
"""MicroPython built with a ROM partition, which holds code that is larger here than a board's. The heap is that of the
simulated boards that execute in place (launcher.HEAP_BYTES), and 12 KiB that the stand-in's own modules take of it."""

PICO = BoardKind(
    "pico",
    "Raspberry Pi Pico with RP2040",
    0x2E8A,
    0x0005,
    "MicroPython",
    "Board in FS mode",
    1408 * _KIB,
)
PICO2_W = BoardKind(
    "pico2_w",
    "Raspberry Pi Pico 2 W with RP2350",
    0x2E8A,
    0x0005,
    "MicroPython",
    "Board in FS mode",
    2560 * _KIB,
)
ESP32S3 = BoardKind(
    "esp32s3_cam",
    "Generic ESP32S3 module with Octal-SPIRAM with ESP32S3",
    0x303A,
    0x4001,
    "Espressif Systems",
    "Espressif Device",
    6144 * _KIB,
)
KINDS = {kind.name: kind for kind in (PICO_W, PICO2_W, ESP32S3)}
