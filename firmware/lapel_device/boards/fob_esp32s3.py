"""An alarm fob on an ESP32-S3 development board (ESP32-S3-DevKitC-1): no camera, no microphone.

`BOARD`, `PINS` and `PROFILE` are data that tools read, too; a pin is (number, bus, where its wire goes).
"""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .contract import Board

BOARD = {
    "name": "fob_esp32s3",
    "hardware_id": "lapel-fob_esp32s3-1",
    "chip": "esp32s3",
    "micropython": "ESP32_GENERIC_S3",
    "flash_bytes": 8 * 1024 * 1024,
    "parts": ("WS2812", "vibration motor", "buzzer", "LIS3DH", "GNSS", "modem"),
    "battery_divider": (100, 100),
    "battery_mah": 800,
    "battery_minutes": 720,
}

PINS: "dict[str, tuple[int | str, str, str]]" = {
    "record_button": (4, "GPIO", "RECORD button to ground"),
    "alarm_button": (5, "GPIO", "ALARM button to ground"),
    "tamper": (6, "GPIO", "case switch to ground, closed while the case is"),
    "light": (48, "GPIO", "on the board: WS2812"),
    "vibration": (7, "PWM", "motor transistor"),
    "buzzer": (15, "PWM", "buzzer transistor"),
    "battery": (1, "ADC1", "middle of the divider, 100k to the cell and 100k to ground"),
    "motion_sda": (8, "I2C0 SDA", "LIS3DH SDA"),
    "motion_scl": (9, "I2C0 SCL", "LIS3DH SCL"),
    "gnss_tx": (17, "UART1 TX", "GNSS RX"),
    "gnss_rx": (18, "UART1 RX", "GNSS TX"),
    "gnss_power": (16, "GPIO", "GNSS enable"),
    "modem_tx": (10, "UART2 TX", "modem RXD"),
    "modem_rx": (11, "UART2 RX", "modem TXD"),
    "modem_power": (12, "GPIO", "modem enable"),
}

PROFILE = {
    "max_frame_bytes": 256,
    "frame_width": 0,
    "frame_height": 0,
    "frame_interval_ms": 1000,
    "audio_rate_hz": 0,
    "audio_block_bytes": 320,
    "chunk_segments": 1,
    "window_bytes": 16384,
    "storage_reserve_bytes": 131072,
    "sync_segments": 4,
}


def board() -> "Board":
    """The board, its parts set up."""
    from .assembly import MachineBoard

    return MachineBoard(BOARD, PINS, PROFILE)
