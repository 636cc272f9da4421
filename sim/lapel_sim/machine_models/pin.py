"""`machine.Pin`: levels, pulls, edges. Pins that a board's chip keeps for itself raise Misuse."""

from .faults import Misuse
from .wiring import wiring

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

_RP2_PINS = 30
_RP2_RADIO = (23, 24, 25, 29)
_RP2_NAMES = ("LED", "WL_GPIO0", "WL_GPIO1", "WL_GPIO2")
_ESP32S3_PINS = tuple(range(22)) + tuple(range(33, 49))
_ESP32S3_PSRAM = (35, 36, 37)


def check_pin(pin: "int | str") -> "int | str":
    """The pin, if a program may have it. ValueError where there is none, Misuse where the chip needs it itself."""
    if wiring.port == "rp2":
        if pin in _RP2_NAMES:
            return pin
        if not isinstance(pin, int) or not 0 <= pin < _RP2_PINS:
            raise ValueError("invalid pin")
        if pin in _RP2_RADIO:
            raise Misuse("GP%d belongs to the radio of a Pico W" % pin)
    else:
        if pin not in _ESP32S3_PINS:
            raise ValueError("invalid pin")
        if pin in _ESP32S3_PSRAM:
            raise Misuse("GPIO%s belongs to octal PSRAM" % pin)
    return pin


def number_of(pin: object) -> int:
    """The number of a Pin, or of what names one."""
    found = pin.id if isinstance(pin, Pin) else pin
    if not isinstance(found, int):
        raise TypeError("a pin with a number is wanted")
    check_pin(found)
    return found


class Pin:
    """A pin by its number, or on the Pico W by name for those of its radio chip."""

    IN = 0
    OUT = 1
    OPEN_DRAIN = 2
    PULL_UP = 1
    PULL_DOWN = 2
    IRQ_FALLING = 4
    IRQ_RISING = 8

    def __init__(
        self, id: "int | str | Pin", mode: int = -1, pull: "int | None" = -1, *, value: "int | None" = None
    ) -> None:
        self.id: int | str = id.id if isinstance(id, Pin) else check_pin(id)
        self._line = wiring.line(self.id)
        if mode >= 0:
            self.init(mode, pull, value=value)

    def init(self, mode: int = -1, pull: "int | None" = -1, *, value: "int | None" = None) -> None:
        line = self._line
        if pull != -1:
            line.pull = None if pull is None else int(pull == self.PULL_UP)
        if mode == self.IN:
            line.inside = None
        elif mode >= 0:
            line.inside = line.level if value is None else int(bool(value))
        line.settle()

    def value(self, x: "int | None" = None) -> "int | None":
        if x is None:
            return self._line.level
        if self._line.inside is None:
            raise Misuse("pin %s is written, but it is an input" % self.id)
        self._line.inside = int(bool(x))
        self._line.settle()
        return None

    def __call__(self, x: "int | None" = None) -> "int | None":
        return self.value(x)

    def on(self) -> None:
        self.value(1)

    def off(self) -> None:
        self.value(0)

    high = on
    low = off

    def irq(
        self, handler: "Callable[[Pin], object] | None" = None, trigger: int = 12, *, hard: "bool | None" = None
    ) -> object:
        """ESP32's has no `hard`, as its documentation says of ports that cannot."""
        if hard is not None and wiring.port == "esp32":
            raise TypeError("extra keyword arguments given")
        line = self._line
        if handler is None:
            line.handler = None
            return None

        def edge(level: int) -> None:
            if trigger & (self.IRQ_RISING if level else self.IRQ_FALLING):
                handler(self)

        line.shown = line.level
        line.handler = edge
        return self

    def __repr__(self) -> str:
        return "Pin(%s)" % self.id
