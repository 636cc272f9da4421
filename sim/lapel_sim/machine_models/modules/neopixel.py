"""MicroPython's `neopixel`, over `machine.bitstream`."""

from lapel_sim.machine_models.pin import Pin
from lapel_sim.machine_models.system import bitstream


class NeoPixel:
    """A chain of `n` lights, three bytes each, in the order green, red, blue."""

    def __init__(self, pin: Pin, n: int) -> None:
        self.pin = pin
        self.n = n
        self.buf = bytearray(3 * n)
        pin.init(Pin.OUT)

    def __setitem__(self, index: int, colour: "tuple[int, int, int]") -> None:
        self.buf[3 * index] = colour[1]
        self.buf[3 * index + 1] = colour[0]
        self.buf[3 * index + 2] = colour[2]

    def write(self) -> None:
        bitstream(self.pin, 0, (400, 850, 800, 450), self.buf)
