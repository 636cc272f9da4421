"""What is soldered to the board's pins, and how a test reaches it: lines, selected chips, analogue levels.

`reset` makes an unwired board of a port ("rp2" or "esp32"). A chip on a SPI bus is known by the pins of its bus and its
chip select; whoever transfers with none of them selected clocks all of them idle, as a microSD card needs.
"""

from .clock import clock
from .faults import Misuse

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Protocol

    class SpiChip(Protocol):
        """A slave of a SPI bus."""

        @property
        def max_hz(self) -> int: ...

        @property
        def modes(self) -> tuple[tuple[int, int], ...]:
            """(polarity, phase) that it understands."""
            ...

        def select(self) -> None:
            """Chip select fell."""
            ...

        def deselect(self) -> None:
            """Chip select rose."""
            ...

        def exchange(self, byte: int) -> int:
            """Eight clocks: what the chip puts on MISO while it takes `byte` from MOSI."""
            ...

        def take(self, data: "bytes | bytearray | memoryview") -> int:
            """Take as many bytes at once as nothing can happen between; returns how many, 0 = one by one."""
            ...

        def give(self, into: "bytearray | memoryview", byte: int) -> int:
            """Give as many bytes at once as nothing can happen between, while MOSI says `byte`; returns how many."""
            ...

        def idle_clocks(self, byte: int) -> None:
            """Eight clocks while the chip is not selected."""
            ...


_PORTS = {"rp2": (1970, 1_609_459_200), "esp32": (2000, 946_684_800)}
"""Epoch, and what the real-time clock starts with: 2021-01-01 and 2000-01-01."""


class Line:
    """One wire at a pin: what the outside drives (None = nothing), what the board drives (None = input)."""

    def __init__(self) -> None:
        self.outside: int | None = None
        self.inside: int | None = None
        self.pull: int | None = None
        self.duty: tuple[int, int] = (0, 0)  # PWM: Hz, duty of 65535
        self.handler: Callable[[int], object] | None = None
        self.watchers: list[Callable[[int], object]] = []
        self.shown = 1
        self.pixels = b""  # what was last sent to WS2812s

    @property
    def level(self) -> int:
        """What a reader sees: the board's own drive, the outside's, or the pull; a floating wire is low."""
        for drive in (self.inside, self.outside, self.pull):
            if drive is not None:
                return drive
        return 0

    def settle(self) -> None:
        """Tell of a level that changed."""
        level = self.level
        if level != self.shown:
            self.shown = level
            for watcher in self.watchers:
                watcher(level)
            if self.handler is not None:
                self.handler(level)


class Wiring:
    """Everything outside of the microcontroller."""

    def __init__(self) -> None:
        self.port = "rp2"
        self.reset("rp2")

    def reset(self, port: str) -> None:
        """A board of this port with nothing connected to it, switched on now."""
        self.port = port
        clock.reset(*_PORTS[port])
        self.lines: dict[int | str, Line] = {}
        self.spi: list[tuple[tuple[int, int, int], _Selectable]] = []
        self.analogue_mv: dict[int, Callable[[], int]] = {}
        self.parts: dict[str, object] = {}
        self.resets = 0

    def line(self, pin: "int | str") -> Line:
        """The wire at a pin."""
        if pin not in self.lines:
            self.lines[pin] = Line()
        return self.lines[pin]

    def drive(self, pin: "int | str", level: "int | None") -> None:
        """Something outside pulls a pin up or down, or lets it go (None)."""
        line = self.line(pin)
        line.outside = level
        line.settle()

    def attach_spi(self, sck: int, mosi: int, miso: int, cs: int, chip: "SpiChip") -> None:
        """Solder a chip to a SPI bus."""
        selected = [0]

        def on_cs(level: int) -> None:
            if bool(level) == bool(selected[0]):
                selected[0] = 0 if level else 1
                if level:
                    chip.deselect()
                else:
                    chip.select()

        line = self.line(cs)
        line.pull = 1  # chips have one, so that nothing listens while the board boots
        line.watchers.append(on_cs)
        self.spi.append(((sck, mosi, miso), _Selectable(chip, selected)))

    def spi_chips(self, pins: "tuple[int, int, int]") -> "list[_Selectable]":
        """The chips on the bus of these pins."""
        return [chip for bus, chip in self.spi if bus == pins]

    def part(self, name: str) -> "object":
        """What a test soldered on under this name; raises Misuse when there is no such part."""
        if name not in self.parts:
            raise Misuse("the board has no %s" % name)
        return self.parts[name]


class _Selectable:
    """A chip and whether its chip select is low."""

    def __init__(self, chip: "SpiChip", selected: "list[int]") -> None:
        self.chip = chip
        self._selected = selected

    @property
    def selected(self) -> bool:
        return bool(self._selected[0])


wiring = Wiring()
"""The board's."""
