"""An alarm fob on the Raspberry Pi Pico W: no camera, no microphone; journal and settings in its own flash.

`BOARD`, `PINS` and `PROFILE` are data that tools read, too; a pin is (number, bus, where its wire goes).
"""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .contract import Board

BOARD = {
    "name": "fob_pico_w",
    "hardware_id": "lapel-fob_pico_w-1",
    "chip": "rp2040",
    "micropython": "RPI_PICO_W",
    "flash_bytes": 2 * 1024 * 1024,
    "parts": ("WS2812", "vibration motor", "buzzer", "LIS3DH", "GNSS", "modem"),
    "battery_divider": (100, 100),
    "battery_mah": 800,
    "battery_minutes": 1440,
}

PINS: "dict[str, tuple[int | str, str, str]]" = {
    "record_button": (2, "GPIO", "RECORD button to ground"),
    "alarm_button": (3, "GPIO", "ALARM button to ground"),
    "tamper": (15, "GPIO", "case switch to ground, closed while the case is"),
    "light": (6, "GPIO", "WS2812 DIN"),
    "vibration": (7, "PWM", "motor transistor"),
    "buzzer": (14, "PWM", "buzzer transistor"),
    "battery": (26, "ADC0", "middle of the divider, 100k to the cell and 100k to ground"),
    "usb_power": ("WL_GPIO2", "GPIO", "on the board: VBUS"),
    "motion_sda": (4, "I2C0 SDA", "LIS3DH SDA"),
    "motion_scl": (5, "I2C0 SCL", "LIS3DH SCL"),
    "gnss_tx": (8, "UART1 TX", "GNSS RX"),
    "gnss_rx": (9, "UART1 RX", "GNSS TX"),
    "gnss_power": (28, "GPIO", "GNSS enable"),
    "modem_tx": (0, "UART0 TX", "modem RXD"),
    "modem_rx": (1, "UART0 RX", "modem TXD"),
    "modem_power": (27, "GPIO", "modem enable"),
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
