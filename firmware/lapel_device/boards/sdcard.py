"""A microSD card on SPI, as a MicroPython block device (SD Physical Layer Simplified Specification 6.00, chapter 7).

The RP2 port has no SD support, and this serves every chip. Rules that hold here:

- Every command and block carries its CRC, and the card is told to check (CMD59): a bad contact is an error, not data.
- What the card says wrongly is asked again twice; then it is OSError, and the card is to be brought up anew.
- Nothing waits without an end. A block that was handed over is being written while the processor goes on; whoever comes
  next waits for it, for at most the 500 ms that section 4.6.2.2 allows a card. Usual cards take a few.
- Bringing a card up takes up to a second. `begin` does it in steps of a few milliseconds.
- Reading and writing make no buffers.
"""

from time import ticks_diff, ticks_ms  # type: ignore[attr-defined,unused-ignore]

import micropython

TYPE_CHECKING = False
if TYPE_CHECKING:
    from machine import SPI, Pin
    from micropython import ptr8  # type: ignore[attr-defined,unused-ignore]

    Writable = bytearray | memoryview

BLOCK_BYTES = 512

_EIO = 5
_ENODEV = 19
_EROFS = 30
_ETIMEDOUT = 110

_SLOW_HZ = 400_000  # section 4.2.1, until the card is ready
_WAKE_BYTES = 10  # 80 clocks, section 6.4.1 wants 74
_INIT_MS = 1000  # section 4.2.3
_READ_MS = 100  # section 4.6.2.1
_WRITE_MS = 500  # section 4.6.2.2
_RESPONSE_BYTES = 8  # N_CR, section 7.5.4
_TRIES = 3

_IDLE = 0x01  # R1, section 7.3.2.1
_ILLEGAL = 0x04
_VOLTAGE_AND_PATTERN = 0x1AA  # CMD8, section 7.3.1.4
_HIGH_CAPACITY = 0x40000000  # ACMD41 HCS, OCR CCS
_TOKEN = 0xFE  # section 7.3.3.2
_TOKEN_MULTIPLE = 0xFC
_TOKEN_STOP = 0xFD

_STEP_WAKE = 0
_STEP_START = 1
_STEP_READY = 2

_SYNC = 3  # operations of MicroPython's block devices
_COUNT = 4
_SIZE = 5
_ERASE = 6


@micropython.viper
def _crc16(data: ptr8, size: int) -> int:
    """CRC16 of section 4.5, without a table."""
    crc = 0
    at = 0
    while at < size:
        crc = ((crc >> 8) | (crc << 8)) & 0xFFFF
        crc ^= data[at]
        crc ^= (crc & 0xFF) >> 4
        crc ^= (crc << 12) & 0xFFFF
        crc ^= (crc & 0xFF) << 5
        at += 1
    return crc


def _crc7(data: bytearray) -> int:
    """CRC7 of a command's first five bytes, with the end bit."""
    crc = 0
    for at in range(5):
        byte = data[at]
        for _ in range(8):
            crc <<= 1
            if (crc ^ byte) & 0x80:
                crc ^= 0x09
            byte = byte << 1 & 0xFF
        crc &= 0x7F
    return crc << 1 | 1


class SdCard:
    """One card. `blocks` is its size, 0 while it is not `ready`; `name` and `serial` are the card's own (CID)."""

    def __init__(self, spi: "SPI", cs: "Pin", baudrate: int = 20_000_000) -> None:
        """`cs`: an output that is high. `baudrate`: the most that the wiring bears, up to 25 MHz (section 6.6.6)."""
        self._spi = spi
        self._cs = cs
        self._baudrate = baudrate
        self._byte = bytearray(1)
        self._command = bytearray(6)
        self._scratch = bytearray(16)
        self._tail = bytearray(2)
        self._step = _STEP_WAKE
        self._since = ticks_ms()
        self._second = False
        self._by_block = False
        self._writing = False
        self.blocks = 0
        self.name = ""
        self.serial = 0
        self.write_protected = False
        self.faults = 0

    # -- bringing it up ---------------------------------------------------------------------------------------------

    @property
    def ready(self) -> bool:
        """Whether blocks can be read."""
        return self._step == _STEP_READY

    @property
    def capacity(self) -> int:
        """Bytes, 0 while the card is not ready."""
        return self.blocks * BLOCK_BYTES

    def begin(self) -> bool:
        """Go on with bringing the card up; True when it is ready, else call again soon. Raises OSError: no card."""
        try:
            if self._step == _STEP_WAKE:
                self._wake()
            elif self._step == _STEP_START:
                self._start()
        except OSError:
            self._fail()
            raise
        return self._step == _STEP_READY

    def _wake(self) -> None:
        """Into SPI mode (section 7.2.1), and which generation it is (section 7.2.1, figure 7-2)."""
        self.blocks = 0
        self._spi.init(baudrate=_SLOW_HZ, polarity=0, phase=0)
        self._cs.value(1)
        for _ in range(_WAKE_BYTES):
            self._spi.write(b"\xff")
        self._cs.value(0)
        self._spi.readinto(self._byte, 0xFF)
        self._close()
        if not self._byte[0]:  # it still writes what it was given before the processor was reset
            if ticks_diff(ticks_ms(), self._since) > _INIT_MS:
                raise OSError(_ETIMEDOUT)
            return
        if self._send(0, 0) != _IDLE and self._send(0, 0) != _IDLE:  # it may have been talking when we were reset
            raise OSError(_ENODEV)
        answer = self._send(8, _VOLTAGE_AND_PATTERN, 4)
        self._second = not answer & _ILLEGAL
        if self._second and (answer != _IDLE or self._scratch[2] & 0xF != 1 or self._scratch[3] != 0xAA):
            raise OSError(_EIO)
        self._expect(59, 1, _IDLE)
        self._since = ticks_ms()
        self._step = _STEP_START

    def _start(self) -> None:
        """One ACMD41; when the card is through with it, what it is."""
        self._expect(55, 0, _IDLE)
        if self._send(41, _HIGH_CAPACITY if self._second else 0) & _IDLE:
            if ticks_diff(ticks_ms(), self._since) > _INIT_MS:
                raise OSError(_ETIMEDOUT)
            return
        self._expect(58, 0, 0, 4)
        self._by_block = bool(self._scratch[0] & 0x40)
        self._spi.init(baudrate=self._baudrate)
        if not self._by_block:
            self._expect(16, BLOCK_BYTES, 0)
        self._register(9)
        self._read_csd(self._scratch)
        self._register(10)
        self.name = "".join([chr(byte) for byte in self._scratch[3:8] if 0x20 < byte < 0x7F])
        self.serial = int.from_bytes(self._scratch[9:13], "big")
        self._step = _STEP_READY

    def _read_csd(self, csd: bytearray) -> None:
        """Size and write protection; sections 5.3.2 and 5.3.3."""
        if csd[0] >> 6:
            self.blocks = (((csd[7] & 0x3F) << 16 | csd[8] << 8 | csd[9]) + 1) << 10
        else:
            size = (csd[6] & 3) << 10 | csd[7] << 2 | csd[8] >> 6
            shift = ((csd[9] & 3) << 1 | csd[10] >> 7) + 2 + (csd[5] & 0xF) - 9
            self.blocks = (size + 1) << shift
        self.write_protected = bool(csd[14] & 0x30)

    def _register(self, command: int) -> None:
        """CSD (9) or CID (10) into the scratch buffer."""
        self._open(command, 0)
        try:
            self._take(self._scratch)
        finally:
            self._close()

    def _fail(self) -> None:
        """Whatever the card thinks now, it is begun with anew."""
        self._cs.value(1)
        self._step = _STEP_WAKE
        self._since = ticks_ms()
        self._writing = False
        self.blocks = 0
        self.faults += 1

    # -- the block device -------------------------------------------------------------------------------------------

    def readblocks(self, block: int, buffer: "Writable", offset: int = 0) -> None:
        """Fill `buffer` with whole blocks: littlefs is given 512 as its read and program size. Raises OSError."""
        if offset or len(buffer) % BLOCK_BYTES:
            raise OSError(_EIO)
        self._repeat(self._read, block, memoryview(buffer))

    def writeblocks(self, block: int, buffer: "Writable", offset: int = 0) -> None:
        """Write whole blocks; the last of them may still be on its way into the card until `ioctl` syncs. OSError."""
        if offset or len(buffer) % BLOCK_BYTES:
            raise OSError(_EIO)
        if self.write_protected:
            raise OSError(_EROFS)
        self._repeat(self._write, block, memoryview(buffer))

    def ioctl(self, operation: int, argument: int) -> "int | None":
        """MicroPython's: 1 to 3 init, deinit, sync; 4 and 5 size; 6 erase, which a card does itself. Raises OSError."""
        if operation == _COUNT:
            return self.blocks
        if operation == _SIZE:
            return BLOCK_BYTES
        if operation == _ERASE:
            return 0
        if operation == _SYNC and self._writing:
            self.sync()
        return 0

    def sync(self) -> None:
        """Wait until the card has written what it was given, and ask whether it has. Raises OSError."""
        if not self.ready:
            raise OSError(_ENODEV)
        try:
            self._cs.value(0)
            self._wait_idle(_WRITE_MS)
            self._close()
            if self._send(13, 0, 1) or self._scratch[0]:  # SEND_STATUS, section 7.3.2.3
                raise OSError(_EIO)
        except OSError:
            self._fail()
            raise
        self._writing = False

    def _repeat(self, transfer: "object", block: int, view: memoryview) -> None:
        if not self.ready:
            raise OSError(_ENODEV)
        if block < 0 or block + len(view) // BLOCK_BYTES > self.blocks:
            raise OSError(_EIO)
        for left in range(_TRIES - 1, -1, -1):
            try:
                transfer(block, view)  # type: ignore[operator]
                return
            except OSError as error:
                self.faults += 1
                if not left or error.args[0] != _EIO:
                    self._fail()
                    raise

    def _read(self, block: int, view: memoryview) -> None:
        count = len(view) // BLOCK_BYTES
        self._open(17 if count == 1 else 18, block if self._by_block else block * BLOCK_BYTES)
        try:
            try:
                if count == 1:
                    self._take(view)
                else:
                    for index in range(count):
                        self._take(view[index * BLOCK_BYTES : (index + 1) * BLOCK_BYTES])
            finally:
                if count > 1:
                    self._stop_read()
        finally:
            self._close()

    def _write(self, block: int, view: memoryview) -> None:
        count = len(view) // BLOCK_BYTES
        self._open(24 if count == 1 else 25, block if self._by_block else block * BLOCK_BYTES)
        self._writing = True
        try:
            if count == 1:
                self._give(_TOKEN, view)
                return
            try:
                for index in range(count):
                    self._wait_idle(_WRITE_MS)
                    self._give(_TOKEN_MULTIPLE, view[index * BLOCK_BYTES : (index + 1) * BLOCK_BYTES])
            finally:
                self._stop_write()
        finally:
            self._close()

    def _stop_write(self) -> None:
        """The stop token of a multiple write (section 7.2.4), once the card can take it."""
        self._wait_idle(_WRITE_MS)
        self._byte[0] = _TOKEN_STOP
        self._spi.write(self._byte)
        self._spi.write(b"\xff")

    def _stop_read(self) -> None:
        """CMD12; a byte is to be dropped before its response (section 7.2.3)."""
        self._put_command(12, 0)
        self._spi.write(b"\xff")
        self._answer()
        self._wait_idle(_READ_MS)

    # -- one block --------------------------------------------------------------------------------------------------

    def _take(self, view: "Writable") -> None:
        """A data block after its start token. Raises OSError: EIO for a wrong CRC or an error token, ETIMEDOUT."""
        byte = self._byte
        since = ticks_ms()
        while True:
            self._spi.readinto(byte, 0xFF)
            if byte[0] != 0xFF:
                break
            if ticks_diff(ticks_ms(), since) > _READ_MS:
                raise OSError(_ETIMEDOUT)
        if byte[0] != _TOKEN:
            raise OSError(_EIO)
        self._spi.readinto(view, 0xFF)
        self._spi.readinto(self._tail, 0xFF)
        if _crc16(view, len(view)) != self._tail[0] << 8 | self._tail[1]:
            raise OSError(_EIO)

    def _give(self, token: int, view: memoryview) -> None:
        """A data block with its CRC, and the card's word that it has it (section 7.3.3.1). Raises OSError."""
        crc = _crc16(view, BLOCK_BYTES)
        self._tail[0] = crc >> 8
        self._tail[1] = crc & 0xFF
        self._spi.write(b"\xff")
        self._byte[0] = token
        self._spi.write(self._byte)
        self._spi.write(view)
        self._spi.write(self._tail)
        for _ in range(_RESPONSE_BYTES):
            self._spi.readinto(self._byte, 0xFF)
            if self._byte[0] & 0x11 == 0x01:
                break
        else:
            raise OSError(_ENODEV)
        if self._byte[0] & 0x1F != 0x05:
            raise OSError(_EIO)

    # -- commands ---------------------------------------------------------------------------------------------------

    def _open(self, command: int, argument: int) -> None:
        """Select the card, wait for an earlier write and send a command whose data follows. Raises OSError."""
        self._cs.value(0)
        try:
            self._wait_idle(_WRITE_MS)
            self._writing = False
            self._put_command(command, argument)
            answer = self._answer()
        except OSError:
            self._close()
            raise
        if answer:
            self._close()
            raise OSError(_ENODEV if answer & _IDLE else _EIO)

    def _send(self, command: int, argument: int, more: int = 0) -> int:
        """R1 of a command by itself, with `more` bytes after it in the scratch buffer. Raises OSError: no answer."""
        self._cs.value(0)
        try:
            self._spi.write(b"\xff")
            self._put_command(command, argument)
            answer = self._answer()
            if more and not answer & _ILLEGAL:
                self._spi.readinto(memoryview(self._scratch)[:more], 0xFF)
        finally:
            self._close()
        return answer

    def _expect(self, command: int, argument: int, wanted: int, more: int = 0) -> None:
        if self._send(command, argument, more) != wanted:
            raise OSError(_EIO)

    def _put_command(self, command: int, argument: int) -> None:
        frame = self._command
        frame[0] = 0x40 | command
        frame[1] = argument >> 24 & 0xFF
        frame[2] = argument >> 16 & 0xFF
        frame[3] = argument >> 8 & 0xFF
        frame[4] = argument & 0xFF
        frame[5] = _crc7(frame)
        self._spi.write(frame)

    def _answer(self) -> int:
        for _ in range(_RESPONSE_BYTES + 1):
            self._spi.readinto(self._byte, 0xFF)
            if not self._byte[0] & 0x80:
                return self._byte[0]
        raise OSError(_ENODEV)

    def _wait_idle(self, limit_ms: int) -> None:
        """Until the card is not busy. Raises OSError(ETIMEDOUT)."""
        since = ticks_ms()
        while True:
            self._spi.readinto(self._byte, 0xFF)
            if self._byte[0] == 0xFF:
                return
            if ticks_diff(ticks_ms(), since) > limit_ms:
                raise OSError(_ETIMEDOUT)

    def _close(self) -> None:
        """Let the card go; eight clocks more make it let go of MISO (section 7.5.1)."""
        self._cs.value(1)
        self._spi.write(b"\xff")
