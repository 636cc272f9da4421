"""The chips that Lapel's boards have: how each names itself, how MicroPython is put onto it, and how much flash it has.

Families are those of the UF2 format's own list (microsoft/uf2, uf2families.json); chip ids those of Espressif's image
header.
"""

from __future__ import annotations

from dataclasses import dataclass

from lapel_protocol.release import MAX_CONTENT_BYTES

UF2 = "uf2"
ESP = "esp"


@dataclass(frozen=True)
class Chip:
    """`word`: how MicroPython's machine text names it. `image_id`: UF2 family, or chip id of an ESP image header.

    `flash_bytes`: the most that a board of ours has; a chip with UF2 sees it from FLASH_START on. `code_bytes`: how
    much firmware its heap can take from a slot beside the work.
    """

    name: str
    word: str
    form: str
    image_id: int
    flash_bytes: int
    code_bytes: int
    drive_board_id: str = ""


FLASH_START = 0x1000_0000
"""Where an RP2040 and an RP2350 see their flash (both data sheets, section 2.2)."""

_MIB = 1 << 20

# Of a Pico W's 209 KB of heap a TLS session takes 44 and the work of a fob some 80 more; code takes a fifth more than
# its files. The others' heaps hold whatever a release may be.
RP2040 = Chip("RP2040", "RP2040", UF2, 0xE48BFF56, 2 * _MIB, 65_536, "RPI-RP2")
RP2350 = Chip("RP2350", "RP2350", UF2, 0xE48BFF59, 4 * _MIB, MAX_CONTENT_BYTES, "RP2350")
ESP32S3 = Chip("ESP32-S3", "ESP32S3", ESP, 9, 16 * _MIB, MAX_CONTENT_BYTES)
CHIPS = (RP2040, RP2350, ESP32S3)

FAMILY_NAMES = {
    RP2040.image_id: "RP2040",
    RP2350.image_id: "RP2350 (Arm)",
    0xE48BFF5A: "RP2350 (RISC-V)",
    0xE48BFF5B: "RP2350 (Arm, non-secure)",
    0xE48BFF57: "RP2 absolute",
    0xE48BFF58: "RP2 data",
    0x1C5F21B0: "ESP32",
    0xC47E5767: "ESP32-S3",
    0xBFDD4EEE: "ESP32-S2",
    0xADA52840: "nRF52840",
    0x68ED2B88: "SAMD21",
    0x55114460: "SAMD51",
}
ESP_CHIP_NAMES = {
    0: "ESP32",
    2: "ESP32-S2",
    5: "ESP32-C3",
    9: "ESP32-S3",
    12: "ESP32-C2",
    13: "ESP32-C6",
    16: "ESP32-H2",
}

# USB ids of serial ports that are not MicroPython, by (vendor, product)
ESP_ROM_USB = (0x303A, 0x1001)
"""An ESP32-S3 in its ROM loader, or running a program without USB of its own."""
BOARD_USB = ((0x2E8A, 0x0005), (0x303A, 0x4001), ESP_ROM_USB)
KNOWN_USB = {
    (0x2E8A, 0x0005): "RP2 with MicroPython",
    (0x303A, 0x4001): "ESP32-S3 with MicroPython",
    ESP_ROM_USB: "ESP32-S3, USB of the chip itself",
    (0x10C4, 0xEA60): "serial adapter CP210x",
    (0x1A86, 0x7523): "serial adapter CH340",
    (0x1A86, 0x55D3): "serial adapter CH343",
    (0x0403, 0x6001): "serial adapter FTDI",
}


def chip_named(machine: str) -> Chip | None:
    """The chip in MicroPython's machine text, "Raspberry Pi Pico W with RP2040"; None for one that is not ours."""
    return next((chip for chip in CHIPS if machine.rstrip().endswith(chip.word)), None)
