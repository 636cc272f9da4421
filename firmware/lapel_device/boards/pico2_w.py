"""A body camera on the Raspberry Pi Pico 2 W (RP2350, 520 kB of RAM), wired like that on a Pico W.

`BOARD`, `PINS` and `PROFILE` are data that tools read, too.
"""

from .pico_w import PINS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .contract import Board

BOARD = {
    "name": "pico2_w",
    "hardware_id": "lapel-pico2_w-1",
    "chip": "rp2350",
    "micropython": "RPI_PICO2_W",
    "flash_bytes": 4 * 1024 * 1024,
    "parts": ("Arducam Mega", "microSD", "INMP441", "WS2812", "vibration motor", "buzzer", "LIS3DH", "GNSS", "modem"),
    "battery_divider": (100, 100),
    "battery_mah": 1200,
    "battery_minutes": 480,
    "microphone_buffer_bytes": 16384,
}

PROFILE = {
    "max_frame_bytes": 16384,
    "frame_width": 640,
    "frame_height": 480,
    "frame_interval_ms": 333,
    "audio_rate_hz": 16000,
    "audio_block_bytes": 3200,
    "chunk_segments": 1,
    "window_bytes": 16384,
    "storage_reserve_bytes": 1048576,
    "sync_segments": 4,
}


def board() -> "Board":
    """The board, its parts set up."""
    from .assembly import MachineBoard

    return MachineBoard(BOARD, PINS, PROFILE)
