"""The camera module of micropython-camera-API builds for ESP32, as far as Lapel uses it."""

class PixelFormat:
    JPEG: int

class FrameSize:
    QVGA: int
    VGA: int
    SVGA: int
    HD: int

class GrabMode:
    WHEN_EMPTY: int
    LATEST: int

class Camera:
    def __init__(
        self,
        *,
        data_pins: tuple[int, ...] | list[int] = ...,
        pclk_pin: int = ...,
        vsync_pin: int = ...,
        href_pin: int = ...,
        sda_pin: int = ...,
        scl_pin: int = ...,
        xclk_pin: int = ...,
        xclk_freq: int = ...,
        powerdown_pin: int = ...,
        reset_pin: int = ...,
        pixel_format: int = ...,
        frame_size: int = ...,
        jpeg_quality: int = ...,
        fb_count: int = ...,
        grab_mode: int = ...,
        init: bool = ...,
    ) -> None: ...
    def init(self) -> None: ...
    def deinit(self) -> None: ...
    def frame_available(self) -> bool: ...
    def capture(self) -> memoryview | bytes | None: ...
    def free_buffer(self) -> None: ...
    def get_sensor_name(self) -> str: ...
