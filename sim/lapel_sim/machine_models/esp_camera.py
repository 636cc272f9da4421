"""`camera.Camera` of micropython-camera-API: frames come by themselves into the driver's buffers while it is on.

A frame that was captured stays until `free_buffer`. `capture` without a frame waits for one, which on hardware holds
the whole board; `init` raises OSError when no sensor answers.
"""

from lapel_sim.chips.arducam_mega import default_frame

from .clock import clock
from .faults import Misuse
from .wiring import wiring

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable


class PixelFormat:
    """As the module numbers them."""

    RGB565 = 0
    JPEG = 4


class FrameSize:
    """As the module numbers them."""

    QVGA = 6
    VGA = 10
    SVGA = 11
    HD = 13


class GrabMode:
    """As the module numbers them."""

    WHEN_EMPTY = 0
    LATEST = 1


_SIZES = {6: (320, 240), 10: (640, 480), 11: (800, 600), 13: (1280, 720)}
_INIT_US = 40_000
_TIMEOUT_US = 4_000_000


class SensorPart:
    """An OV2640. `period_us` between frames; `hangs`: no frame ever comes."""

    def __init__(self) -> None:
        self.present = True
        self.hangs = False
        self.period_us = 40_000
        self.frame: Callable[[int, int, int], bytes] = default_frame
        self.on = False
        self.frames = 0


class Camera:
    """The driver."""

    def __init__(
        self,
        *,
        data_pins: "list[int] | tuple[int, ...]" = (),
        pclk_pin: int = -1,
        vsync_pin: int = -1,
        href_pin: int = -1,
        sda_pin: int = -1,
        scl_pin: int = -1,
        xclk_pin: int = -1,
        xclk_freq: int = 20_000_000,
        powerdown_pin: int = -1,
        reset_pin: int = -1,
        pixel_format: int = 0,
        frame_size: int = 6,
        jpeg_quality: int = 85,
        fb_count: int = 1,
        grab_mode: int = 0,
        init: bool = True,
    ) -> None:
        if len(data_pins) != 8 or min(pclk_pin, vsync_pin, href_pin, sda_pin, scl_pin, xclk_pin) < 0:
            raise ValueError("pins are missing")
        if pixel_format != PixelFormat.JPEG:
            raise Misuse("only JPEG is wanted")
        if not 0 <= jpeg_quality <= 100:
            raise ValueError("JPEG quality out of range")
        part = wiring.part("sensor")
        if not isinstance(part, SensorPart):
            raise Misuse("no sensor")
        self._part = part
        self._size = _SIZES[frame_size]
        self._latest = grab_mode == GrabMode.LATEST and fb_count > 1
        self._held = False
        self._since_us = -1
        if init:
            self.init()

    def init(self) -> None:
        clock.advance(_INIT_US)
        if not self._part.present:
            raise OSError("Camera not detected")
        if self._part.on:
            raise OSError("Camera is initialised already")
        self._part.on = True
        self._since_us = clock.now_us
        self._held = False

    def deinit(self) -> None:
        if self._since_us >= 0:
            self._part.on = False
        self._since_us = -1

    def frame_available(self) -> bool:
        self._check()
        return (
            not self._held
            and not self._part.hangs
            and self._part.present
            and clock.now_us - self._since_us >= self._part.period_us
        )

    def capture(self) -> "memoryview | None":
        self._check()
        if self._held:
            self.free_buffer()
        waited_us = 0
        while not self.frame_available():
            if waited_us > _TIMEOUT_US:
                return None
            clock.advance(1000)
            waited_us += 1000
        self._held = True
        self._since_us = clock.now_us
        self._part.frames += 1
        return memoryview(self._part.frame(self._part.frames, *self._size))

    def free_buffer(self) -> None:
        self._check()
        self._held = False

    def get_sensor_name(self) -> str:
        self._check()
        return "OV2640"

    def _check(self) -> None:
        if self._since_us < 0:
            raise OSError("Camera not initialized")
