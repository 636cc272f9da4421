"""A bus-level model of an SD memory card in SPI mode (SD Physical Layer Simplified Specification 6.00, chapter 7).

Modelled: the 74 clocks and CMD0 that bring it into SPI mode, CMD8 and the two generations, ACMD41 that takes its time,
standard and high capacity, CSD and CID, CRC7 and CRC16 once CMD59 wants them, single and multiple blocks both ways with
their tokens, busy times. What the specification forbids raises Misuse: a command while busy or without its idle byte, a
clock above 400 kHz before the card is ready, a token where none may be, anything but 0xFF while the card talks.

Not modelled: erase commands, locking, and CMD23.
"""

from lapel_sim.machine_models.clock import clock
from lapel_sim.machine_models.faults import Misuse

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

BLOCK = 512
_IDLE = 0x01
_ILLEGAL = 0x04
_BAD_CRC = 0x08
_ADDRESS = 0x20
_PARAMETER = 0x40
_ACCEPTED, _REFUSED_CRC, _REFUSED_WRITE = 0x05, 0x0B, 0x0D
_SLOW_HZ, _FAST_HZ = 400_000, 25_000_000


def _crc16_table() -> "list[int]":
    table = []
    for byte in range(256):
        crc = byte << 8
        for _ in range(8):
            crc = (crc << 1 ^ (0x1021 if crc & 0x8000 else 0)) & 0xFFFF
        table.append(crc)
    return table


_TABLE = _crc16_table()


def crc16(data: "bytes | bytearray | memoryview") -> int:
    """CRC16 of a data block (section 4.5): x^16 + x^12 + x^5 + 1, beginning with zero."""
    crc = 0
    for byte in data:
        crc = (crc << 8 & 0xFFFF) ^ _TABLE[crc >> 8 ^ byte]
    return crc


def crc7(data: "bytes | bytearray | memoryview") -> int:
    """CRC7 of a command (section 4.5) with its end bit: x^7 + x^3 + 1."""
    crc = 0
    for byte in data:
        for bit in range(7, -1, -1):
            crc = crc << 1 ^ (0x09 if (crc >> 6 ^ byte >> bit) & 1 else 0)
        crc &= 0x7F
    return crc << 1 | 1


def _bits(fields: "tuple[tuple[int, int, int], ...]") -> bytes:
    """A register of 16 bytes from (highest bit, lowest bit, value), its CRC7 put at the end."""
    value = 0
    for high, low, number in fields:
        value |= (number & ((1 << high - low + 1) - 1)) << low
    body = value.to_bytes(16, "big")[:15]
    return body + bytes((crc7(body),))


class SdCardChip:
    """A card of `blocks` blocks of 512 bytes. Unwritten blocks read as zeros.

    What a test may set at any time: `present`; `write_protected`; `busy_us` after each written block; `init_us` of
    ACMD41; `read_us` until data comes; counters of what goes wrong next: `bad_reads` (CRC), `failed_reads` (an error
    token), `bad_writes` (the card finds a wrong CRC), `failed_writes` (it cannot write); `hangs`: it stays busy for
    ever from the next write on; `silent`: it takes no command; `bad_status`: a write failed after it was accepted.
    `gone_after`: pulled out so many bytes from now.
    """

    modes = ((0, 0), (1, 1))

    def __init__(self, blocks: int, high_capacity: bool = True, version: int = 2) -> None:
        self.blocks = blocks
        self.high_capacity = high_capacity
        self.version = version
        self.content: dict[int, bytes] = {}
        self.present = True
        self.write_protected = False
        self.busy_us = 800
        self.init_us = 120_000
        self.read_us = 300
        self.bad_reads = self.failed_reads = self.bad_writes = self.failed_writes = 0
        self.hangs = self.silent = self.bad_status = False
        self.gone_after = -1
        self.commands: list[int] = []
        self.on_written: Callable[[], object] | None = None
        self.power_on()

    def power_on(self) -> None:
        """As when it is put into its slot."""
        self._clocks = 0
        self._spi_mode = False
        self._idle = True
        self._checks = False
        self._application = False
        self._ready_at_us = -1
        self._command = bytearray()
        self._end_talk()
        self._busy_until_us = 0
        self._gap = True

    def _end_talk(self) -> None:
        self._out: list[int] = []
        self._data: bytes | None = None
        self._data_at_us = 0
        self._reading_on = -1  # the block that follows in a multiple read
        self._writing = -1  # the block that is written next
        self._multiple = False
        self._taking: bytearray | None = None
        self._block_length = BLOCK

    @property
    def max_hz(self) -> int:
        """Identification is slow (section 4.2.1)."""
        return _SLOW_HZ if self._idle else _FAST_HZ

    # -- the bus --

    def select(self) -> None:
        """Chip select fell."""
        self._command = bytearray()

    def deselect(self) -> None:
        """Chip select rose: whatever was being said is over, a write that goes on inside is not."""
        if self._taking is not None and self.present and len(self._taking):
            raise Misuse("deselected within a data block")
        if self.present and (self._reading_on >= 0 or (self._writing >= 0 and self._multiple)):
            raise Misuse("deselected within a multiple transfer that was not stopped")
        self._out = []
        self._data = None
        self._writing = -1
        self._gap = True

    def idle_clocks(self, byte: int) -> None:
        """Clocks without select; MOSI must be high while the card wakes up (section 6.4.1)."""
        self._clocks = self._clocks + 8 if byte == 0xFF else 0

    def exchange(self, byte: int) -> int:
        """Eight clocks."""
        if self.gone_after >= 0:
            if self.gone_after == 0:
                self.present = False
            self.gone_after -= 1
        if not self.present:
            return 0xFF
        busy = clock.now_us < self._busy_until_us
        shown = self._shown(busy)
        self._take(byte, busy)
        return shown

    def take(self, data: "bytes | bytearray | memoryview") -> int:
        """The inside of a data block, all but its last byte."""
        if self._taking is None or self.gone_after >= 0 or not self.present or self._out:
            return 0
        size = min(len(data), BLOCK + 1 - len(self._taking))
        self._taking.extend(data[:size])
        return size

    def give(self, into: "bytearray | memoryview", byte: int) -> int:
        """What lies ready."""
        if byte != 0xFF or self.gone_after >= 0 or not self.present:
            return 0
        size = min(len(into), len(self._out))
        if size:
            into[:size] = bytes(self._out[:size])
            self._out = self._out[size:]
            self._gap = True
        return size

    def _shown(self, busy: bool) -> int:
        if self._out:
            return self._out.pop(0)
        if busy:
            return 0x00
        if self._data is not None and clock.now_us >= self._data_at_us:
            data = self._data
            self._data = None
            if self.failed_reads:
                self.failed_reads -= 1
                self._reading_on = -1
                return 0x04  # card ECC failed (section 7.3.3.3)
            crc = crc16(data)
            if self.bad_reads:
                self.bad_reads -= 1
                crc ^= 0x0100
            self._out = list(data + bytes((crc >> 8, crc & 0xFF)))
            if self._reading_on >= 0:
                self._prepare(self._reading_on)
                self._reading_on += 1
            return 0xFE
        return 0xFF

    def _prepare(self, block: int) -> None:
        self._data = self.content.get(block, bytes(BLOCK))
        self._data_at_us = clock.now_us + self.read_us

    def _take(self, byte: int, busy: bool) -> None:
        if self._taking is not None:
            self._collect(byte)
        elif self._command:
            self._command.append(byte)
            if len(self._command) == 6:
                command, self._command = self._command, bytearray()
                self._execute(command)
        elif byte == 0xFF:
            self._gap = True
        elif busy:
            raise Misuse("0x%02x while the card is busy" % byte)
        elif self._writing >= 0 and byte in (0xFE, 0xFC, 0xFD):
            self._token(byte)
        elif byte & 0xC0 != 0x40:
            raise Misuse("0x%02x is neither a command nor idle" % byte)
        elif self._out and self._reading_on < 0:
            raise Misuse("a command while the card answers")
        elif not self._gap:
            raise Misuse("a command without an idle byte before it")
        else:
            self._command.append(byte)

    # -- commands --

    def _execute(self, command: bytearray) -> None:
        index = command[0] & 0x3F
        argument = int.from_bytes(command[1:5], "big")
        good = command[5] == crc7(command[:5])
        self._gap = False
        if not self._spi_mode:
            if index != 0 or not good or self._clocks < 74:
                return  # still in SD mode: it does not hear
            self._spi_mode = True
        if self.silent:
            return
        self.commands.append(index)
        if (self._checks or index in (0, 8)) and not good:
            self._answer(_BAD_CRC)
            return
        if self._reading_on >= 0 and index != 12:
            raise Misuse("CMD%d within a multiple read" % index)
        application, self._application = self._application, False
        if index == 0:
            self._idle = True
            self._checks = False
            self._ready_at_us = -1
            self._end_talk()
            self._answer(0)
        elif index == 8 and self.version == 2:
            self._answer(0, bytes((0, 0, argument >> 8 & 0xF, argument & 0xFF)))
        elif index == 55:
            self._application = True
            self._answer(0)
        elif index == 41 and application:
            self._initialise(argument)
        elif index == 58:
            ocr = 0x00FF8000 | (0 if self._idle else 0x80000000)
            ocr |= 0x40000000 if self.high_capacity and not self._idle else 0
            self._answer(0, ocr.to_bytes(4, "big"))
        elif index == 59:
            self._checks = bool(argument & 1)
            self._answer(0)
        elif self._idle:
            self._answer(_ILLEGAL)
        else:
            self._transfer(index, argument)

    def _initialise(self, argument: int) -> None:
        if self._ready_at_us < 0:
            self._ready_at_us = clock.now_us + self.init_us
        if clock.now_us >= self._ready_at_us and (argument & 0x40000000 or not self.high_capacity):
            self._idle = False
        self._answer(0)

    def _transfer(self, index: int, argument: int) -> None:
        if index in (9, 10):
            self._answer(0)
            self._data = self._csd() if index == 9 else self._cid()
            self._data_at_us = clock.now_us
        elif index == 13:
            self._answer(0, bytes((0x04 if self.bad_status else 0,)))
        elif index == 16:
            self._block_length = argument
            self._answer(0 if argument == BLOCK else _PARAMETER)
        elif index == 12:
            self._reading_on = -1
            self._data = None
            self._out = [0x7F, 0xFF, 0x00]  # a stuff byte before the response (section 7.2.4)
            self._busy_until_us = clock.now_us + 50
        elif index in (17, 18, 24, 25):
            self._open(index, argument)
        else:
            self._answer(_ILLEGAL)

    def _open(self, index: int, argument: int) -> None:
        if not self.high_capacity and argument % BLOCK:
            self._answer(_ADDRESS)
            return
        block = argument if self.high_capacity else argument // BLOCK
        if block >= self.blocks:
            self._answer(_PARAMETER)
            return
        self._answer(0)
        if index in (17, 18):
            self._prepare(block)
            self._reading_on = block + 1 if index == 18 else -1
        else:
            self._writing = block
            self._multiple = index == 25

    def _answer(self, flags: int, more: bytes = b"") -> None:
        flags |= _IDLE if self._idle else 0
        self._out = [0xFF, flags]
        if not flags & ~_IDLE:
            self._out.extend(more)

    # -- writing --

    def _token(self, byte: int) -> None:
        if self._out:
            raise Misuse("a token before the card has answered")
        if not self._gap:
            raise Misuse("a token without an idle byte before it")
        if byte == 0xFD:
            if not self._multiple:
                raise Misuse("a stop token in a single write")
            self._writing = -1
            self._multiple = False
            self._out = [0xFF]
            self._busy_until_us = clock.now_us + self.busy_us
            self._gap = False
        elif byte != (0xFC if self._multiple else 0xFE):
            raise Misuse("the other kind of write has token 0x%02x" % byte)
        else:
            self._taking = bytearray()

    def _collect(self, byte: int) -> None:
        taking = self._taking
        if taking is None:
            return
        taking.append(byte)
        if len(taking) < BLOCK + 2:
            return
        self._taking = None
        self._gap = False
        data = bytes(taking[:BLOCK])
        if self.bad_writes or (self._checks and crc16(data) != taking[BLOCK] << 8 | taking[BLOCK + 1]):
            self.bad_writes = max(0, self.bad_writes - 1)
            self._out = [_REFUSED_CRC | 0xE0]
        elif self.failed_writes or self.write_protected or self._writing >= self.blocks:
            self.failed_writes = max(0, self.failed_writes - 1)
            self._out = [_REFUSED_WRITE | 0xE0]
        else:
            self.content[self._writing] = data
            self._writing += 1
            self._out = [_ACCEPTED | 0xE0]
            if self.on_written is not None:
                self.on_written()
        self._busy_until_us = clock.now_us + (1 << 40 if self.hangs else self.busy_us)
        if not self._multiple:
            self._writing = -1

    # -- registers --

    def _csd(self) -> bytes:
        protect = (12, 12, int(self.write_protected))
        if self.high_capacity:
            size = self.blocks // 1024 - 1
            return _bits(((127, 126, 1), (103, 96, 0x32), (95, 84, 0x5B5), (83, 80, 9), (69, 48, size), protect))
        shift = 0
        while self.blocks >> shift + 2 > 4096:
            shift += 1
        size = (self.blocks >> shift + 2) - 1
        return _bits(
            ((103, 96, 0x32), (95, 84, 0x5B5), (83, 80, 9), (73, 62, size), (49, 47, shift), (25, 22, 9), protect)
        )

    def _cid(self) -> bytes:
        name = int.from_bytes(b"LPL16", "big")
        return _bits(((127, 120, 0x03), (119, 104, 0x5344), (103, 64, name), (63, 56, 0x10), (55, 24, 0x12345678)))
