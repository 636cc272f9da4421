"""A register-level model of the Arducam Mega camera on SPI (Arducam Mega application note, September 2023).

Modelled: the dummy byte of every read, and of the first burst after a capture; the sensor behind the FPGA, which takes
its time for settings and is to be asked whether it is idle (register 0x44); the capture flag, FIFO length and
burst; sleep and reset. Misuse is raised for settings or a capture while the sensor is not idle, for a capture before
format and resolution are set, for reading past the frame, for half a command, and for reading a register like a FIFO.
"""

from lapel_sim.machine_models.clock import clock
from lapel_sim.machine_models.faults import Misuse

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

SIZES = {1: (320, 240), 2: (640, 480), 4: (1280, 720), 6: (1600, 1200), 7: (1920, 1080), 10: (96, 96), 12: (320, 320)}
_TEST, _FRAMES, _POWER, _FIFO, _RESET, _DEVICE = 0x00, 0x01, 0x02, 0x04, 0x07, 0x0A
_FORMAT, _RESOLUTION, _QUALITY = 0x20, 0x21, 0x2A
_BURST, _SINGLE = 0x3C, 0x3D
_SENSOR, _STATE, _LENGTH, _VERSION = 0x40, 0x44, 0x45, 0x49
_SETTINGS = tuple(range(0x20, 0x36))


def default_frame(number: int, width: int, height: int) -> bytes:
    """A frame that begins and ends like a JPEG, and differs from every other."""
    body = bytes((number * 17 + at * 3) & 0x7F for at in range(4000 + number % 7 * 100))
    return b"\xff\xd8" + body + b"\xff\xd9"


class ArducamMegaChip:
    """One camera. What a test may set: `present`; `frame` makes frame n of a size; `capture_us`, `settle_us`,
    `reset_us`; `never_idle` and `never_done` hang it; `empty` leaves the FIFO empty.
    """

    max_hz = 8_000_000
    modes = ((0, 0),)

    def __init__(self, identity: int = 0x84) -> None:
        self.identity = identity
        self.present = True
        self.frame: Callable[[int, int, int], bytes] = default_frame
        self.capture_us = 66_000
        self.settle_us = 25_000
        self.reset_us = 180_000
        self.never_idle = self.never_done = self.empty = False
        self.captures = 0
        self.bursts = 0
        self.registers: dict[int, int] = {}
        self._command: list[int] = []
        self.power_on()

    def power_on(self) -> None:
        """As after power-up: awake, nothing set."""
        self.registers = {_POWER: 0x05}
        self._idle_at_us = clock.now_us + self.reset_us
        self._fifo = b""
        self._read_at = 0
        self._first_burst = False
        self._done = False
        self._due_us = -1

    @property
    def asleep(self) -> bool:
        """Whether the sensor is in its low-power state."""
        return bool(self.registers[_POWER] & 0x02)

    @property
    def _idle(self) -> bool:
        return clock.now_us >= self._idle_at_us and not self.never_idle

    # -- the bus --

    def select(self) -> None:
        """A command begins."""
        self._command = []

    def deselect(self) -> None:
        """A command ends."""
        command = self._command
        if self.present and command and (len(command) < 2 or (not command[0] & 0x80 and len(command) < 3)):
            raise Misuse("deselected within a command")
        if len(command) > 2 and command[0] == _BURST:
            self._first_burst = False

    def idle_clocks(self, byte: int) -> None:
        """Another's."""

    def exchange(self, byte: int) -> int:
        """Eight clocks."""
        if not self.present:
            return 0xFF
        command = self._command
        position = len(command)
        if position < 3:
            command.append(byte)
        if position == 0:
            return 0x00
        if command[0] & 0x80:
            if position > 1:
                raise Misuse("a register takes one byte")
            self._write(command[0] & 0x7F, byte)
            return 0x00
        if command[0] == _BURST:
            if position == 1:
                self.bursts += 1
                if self._first_burst:
                    return 0x00
            return self._next()
        if position == 1:
            return 0x00
        if position > 2:
            raise Misuse("a register gives one byte")
        return self._next() if command[0] == _SINGLE else self._read(command[0])

    def take(self, data: "bytes | bytearray | memoryview") -> int:
        """Commands are short."""
        return 0

    def give(self, into: "bytearray | memoryview", byte: int) -> int:
        """The inside of a burst."""
        command = self._command
        if not self.present or len(command) < 2 or command[0] != _BURST:
            return 0
        size = min(len(into), len(self._fifo) - self._read_at)
        into[:size] = self._fifo[self._read_at : self._read_at + size]
        self._read_at += size
        if len(command) < 3:
            command.append(byte)
        return size

    def _next(self) -> int:
        if self._read_at >= len(self._fifo):
            raise Misuse("read past the end of the frame")
        self._read_at += 1
        return self._fifo[self._read_at - 1]

    # -- registers --

    def _read(self, register: int) -> int:
        self._finish()
        if register == _SENSOR:
            return self.identity if self._idle else 0
        if register == _STATE:
            return (0x02 if self._idle else 0x01) | (0x04 if self._done else 0)
        if register in (_LENGTH, _LENGTH + 1, _LENGTH + 2):
            return len(self._fifo) >> 8 * (register - _LENGTH) & 0xFF
        if register == _VERSION:
            return 0x21
        if register in (0x41, 0x42, 0x43):
            return (23, 9, 1)[register - 0x41]
        if register in _SETTINGS:
            raise Misuse("register 0x%02x is write-only" % register)
        return self.registers.get(register, 0)

    def _write(self, register: int, value: int) -> None:
        self._finish()
        if register == _RESET and value & 0x40:
            self.power_on()
            return
        if register in _SETTINGS or register == _DEVICE:
            if not self._idle:
                raise Misuse("register 0x%02x is written while the sensor is not idle" % register)
            if self.asleep:
                raise Misuse("register 0x%02x is written while the sensor sleeps" % register)
            if register == _RESOLUTION and value & 0x7F not in SIZES:
                raise Misuse("no such resolution: %d" % value)
            self._idle_at_us = clock.now_us + self.settle_us
        elif register == _FIFO:
            self._control(value)
        elif register not in (_TEST, _FRAMES, _POWER, _RESET):
            raise Misuse("register 0x%02x is not to be written" % register)
        self.registers[register] = value

    def _control(self, value: int) -> None:
        if value & 0x01:
            self._done = False
            self._fifo = b""
        if value & 0x02:
            if not self._idle or self.asleep:
                raise Misuse("a capture while the sensor is not idle")
            if self.registers.get(_FORMAT) != 1 or _RESOLUTION not in self.registers:
                raise Misuse("a capture before format and resolution are set")
            if self._done:
                raise Misuse("a capture while the flag of the last one is set")
            self._due_us = clock.now_us + self.capture_us

    def _finish(self) -> None:
        if 0 <= self._due_us <= clock.now_us and not self.never_done:
            self._due_us = -1
            self.captures += 1
            width, height = SIZES[self.registers[_RESOLUTION] & 0x7F]
            self._fifo = b"" if self.empty else self.frame(self.captures, width, height)
            self._read_at = 0
            self._first_burst = True
            self._done = True
