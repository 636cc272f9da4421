"""WS2812 lights, all of one colour (Worldsemi WS2812B datasheet: order green, red, blue; times of its table)."""

from machine import bitstream

TYPE_CHECKING = False
if TYPE_CHECKING:
    from machine import Pin

_TIMES_NS = (400, 850, 800, 450)


class PixelLight:
    """`brightness` is of 255: a light at the shoulder of somebody is not to blind who stands before them."""

    def __init__(self, pin: "Pin", count: int = 1, brightness: int = 96) -> None:
        """`pin`: an output."""
        self._pin = pin
        self._brightness = brightness
        self._bytes = bytearray(3 * count)

    def show(self, rgb: int) -> None:
        """Show 0xRRGGBB. Interrupts are off for 30 us a light."""
        bright = self._brightness
        data = self._bytes
        for at in range(0, len(data), 3):
            data[at] = (rgb >> 8 & 0xFF) * bright // 255
            data[at + 1] = (rgb >> 16) * bright // 255
            data[at + 2] = (rgb & 0xFF) * bright // 255
        bitstream(self._pin, 0, _TIMES_NS, data)
