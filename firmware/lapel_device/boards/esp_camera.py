"""The OV2640 of ESP32-S3 boards as the contract's `Camera`, through micropython-camera-API's module `camera`.

Rules that hold here:

- The module's own buffers are used, in PSRAM: a frame is not copied, and is valid until the next `capture`.
- Nothing waits in place for a frame: `capture` asks whether one is there, and yields. Only `start` holds the processor,
  for as long as the module takes to find its sensor; it is called once a clip.
- Whatever the module raises is OSError here.
"""

import asyncio
from time import ticks_diff, ticks_ms  # type: ignore[attr-defined,unused-ignore]

from camera import Camera, FrameSize, GrabMode, PixelFormat

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_EIO = 5
_ENODEV = 19
_EINVAL = 22
_ETIMEDOUT = 110
_TIMEOUT_MS = 1000
_LOOK_S = 0.01
_BUFFERS = 2
_CLOCK_HZ = 20_000_000


class EspCamera:
    """One camera. `sensor` is its name, empty until it was started; `broken` counts frames that were no JPEG."""

    def __init__(self, pins: "dict[str, Any]", max_frame_bytes: int, quality: int = 60) -> None:
        """`pins`: the module's own keywords (data_pins, pclk_pin ...). `quality`: 0 to 100."""
        self._pins = pins
        self._max_frame_bytes = max_frame_bytes
        self._quality = quality
        self._camera: Camera | None = None
        self._width = 0
        self._height = 0
        self._empty = memoryview(b"")
        self.sensor = ""
        self.broken = 0

    def start(self, width: int, height: int) -> None:
        """Power up for JPEG of this size. Raises OSError: ENODEV when there is no sensor, EINVAL for the size."""
        self.stop()
        name = {(320, 240): "QVGA", (640, 480): "VGA", (800, 600): "SVGA", (1280, 720): "HD"}.get((width, height), "")
        if not name:
            raise OSError(_EINVAL)
        camera = None
        try:
            camera = Camera(
                **self._pins,
                xclk_freq=_CLOCK_HZ,
                pixel_format=PixelFormat.JPEG,
                frame_size=getattr(FrameSize, name),
                jpeg_quality=self._quality,
                fb_count=_BUFFERS,
                grab_mode=GrabMode.LATEST,
                init=False,
            )
            camera.init()
            self.sensor = camera.get_sensor_name()
        except (OSError, RuntimeError, ValueError, MemoryError):
            if camera is not None:
                self._let_go(camera)
            raise OSError(_ENODEV)
        self._camera = camera
        self._width = width
        self._height = height

    def stop(self) -> None:
        """Power down. Harmless when already stopped."""
        if self._camera is not None:
            self._let_go(self._camera)
            self._camera = None

    def _let_go(self, camera: Camera) -> None:
        try:
            camera.deinit()
        except (OSError, RuntimeError):
            return

    async def capture(self) -> "tuple[memoryview, int, int, int]":
        """The next frame; see contract.Camera. Raises OSError: ETIMEDOUT no frame came, EIO it was no JPEG."""
        camera = self._camera
        if camera is None:
            raise OSError(_ENODEV)
        since = ticks_ms()
        try:
            camera.free_buffer()
            while not camera.frame_available():
                if ticks_diff(ticks_ms(), since) > _TIMEOUT_MS:
                    raise OSError(_ETIMEDOUT)
                await asyncio.sleep(_LOOK_S)
            captured: Any = ticks_ms()
            found = camera.capture()
        except RuntimeError:
            raise OSError(_EIO)
        if not found:
            raise OSError(_EIO)
        frame = memoryview(found)
        if len(frame) > self._max_frame_bytes:
            return self._empty, captured, self._width, self._height
        if len(frame) < 4 or frame[0] != 0xFF or frame[1] != 0xD8:
            self.broken += 1
            raise OSError(_EIO)
        return frame, captured, self._width, self._height
