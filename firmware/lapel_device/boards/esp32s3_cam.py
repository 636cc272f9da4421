"""A body camera on an ESP32-S3 camera board with OV2640 and 8 MB of PSRAM (pins of the Freenove ESP32-S3-WROOM CAM).

Its own microSD slot has no chip select; a microSD breakout is wired to the free pins and the slot stays empty.

`BOARD`, `PINS` and `PROFILE` are data that tools read, too; a pin is (number, bus, where its wire goes).
"""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .contract import Board

BOARD = {
    "name": "esp32s3_cam",
    "hardware_id": "lapel-esp32s3_cam-1",
    "chip": "esp32s3",
    "micropython": "FREENOVE_ESP32S3_CAM",
    "flash_bytes": 8 * 1024 * 1024,
    "parts": ("OV2640", "microSD", "INMP441", "WS2812", "vibration motor", "buzzer"),
    "battery_divider": (100, 100),
    "battery_mah": 1200,
    "battery_minutes": 240,
    "microphone_buffer_bytes": 16384,
}

PINS: "dict[str, tuple[int | str, str, str]]" = {
    "record_button": (42, "GPIO", "RECORD button to ground"),
    "alarm_button": (3, "GPIO", "ALARM button to ground"),
    "light": (48, "GPIO", "on the board: WS2812"),
    "vibration": (46, "PWM", "motor transistor, with a pull-down"),
    "buzzer": (2, "PWM", "buzzer transistor"),
    "battery": (1, "ADC1", "middle of the divider, 100k to the cell and 100k to ground"),
    "card_sck": (39, "SPI2 SCK", "microSD CLK"),
    "card_mosi": (38, "SPI2 MOSI", "microSD CMD (DI)"),
    "card_miso": (40, "SPI2 MISO", "microSD DAT0 (DO)"),
    "card_cs": (41, "GPIO", "microSD DAT3 (CS)"),
    "microphone_sck": (21, "I2S0 SCK", "INMP441 SCK"),
    "microphone_ws": (47, "I2S0 WS", "INMP441 WS"),
    "microphone_sd": (14, "I2S0 SD", "INMP441 SD, its L/R to ground"),
    "camera_sda": (4, "SCCB SDA", "on the board: OV2640 SIOD"),
    "camera_scl": (5, "SCCB SCL", "on the board: OV2640 SIOC"),
    "camera_vsync": (6, "DVP", "on the board: OV2640 VSYNC"),
    "camera_href": (7, "DVP", "on the board: OV2640 HREF"),
    "camera_pclk": (13, "DVP", "on the board: OV2640 PCLK"),
    "camera_xclk": (15, "DVP", "on the board: OV2640 XCLK"),
    "camera_d0": (11, "DVP", "on the board: OV2640 Y2"),
    "camera_d1": (9, "DVP", "on the board: OV2640 Y3"),
    "camera_d2": (8, "DVP", "on the board: OV2640 Y4"),
    "camera_d3": (10, "DVP", "on the board: OV2640 Y5"),
    "camera_d4": (12, "DVP", "on the board: OV2640 Y6"),
    "camera_d5": (18, "DVP", "on the board: OV2640 Y7"),
    "camera_d6": (17, "DVP", "on the board: OV2640 Y8"),
    "camera_d7": (16, "DVP", "on the board: OV2640 Y9"),
}

PROFILE = {
    "max_frame_bytes": 32768,
    "frame_width": 640,
    "frame_height": 480,
    "frame_interval_ms": 100,
    "audio_rate_hz": 16000,
    "audio_block_bytes": 3200,
    "chunk_segments": 1,
    "window_bytes": 16384,
    "storage_reserve_bytes": 1048576,
    "sync_segments": 8,
}


def board() -> "Board":
    """The board, its parts set up."""
    from .assembly import MachineBoard

    return MachineBoard(BOARD, PINS, PROFILE)
