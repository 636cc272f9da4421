"""An ESP32-S3 in its ROM loader behind a pseudo-terminal: as much of Espressif's serial protocol as esptool needs.

The protocol is that of esptool's documentation, "Serial Protocol": SLIP frames, commands with a checksum, answers with
a value and a status. The flash stub that esptool uploads is not run; the stand-in greets as it does and speaks its
part of the protocol from then on. Registers hold what was written to them, but for the flash chip's own.
"""

from __future__ import annotations

import hashlib
import os
import select
import struct
import threading
import tty
import zlib
from collections.abc import Callable

from serial.tools.list_ports_common import ListPortInfo

_END, _ESC, _ESC_END, _ESC_ESC = 0xC0, 0xDB, 0xDC, 0xDD
_SYNC, _WRITE_REG, _READ_REG = 0x08, 0x09, 0x0A
_MEM_END, _MEM_DATA = 0x06, 0x07
_SECURITY_INFO = 0x14
_FLASH_BEGIN, _FLASH_DATA, _DEFLATE_BEGIN, _DEFLATE_DATA, _MD5 = 0x02, 0x03, 0x10, 0x11, 0x13
_ERASE_FLASH, _ERASE_REGION, _READ_FLASH = 0xD0, 0xD1, 0xD2
_ROM_SYNC = 0x20120707  # by its value in the answer esptool tells the ROM from a stub
_GREETING = b"OHAI"
_MAGIC_REGISTER = 0x40001000
_SPI_COMMAND = 0x60002000
_SPI_DATA = 0x60002058
_SPI_USER2 = 0x60002020
_READ_ID = 0x9F
_POLL_S = 0.05
_PIECE_BYTES = 8192


class EspRom:
    """`flash` is what a tool has written, 0xFF elsewhere; `writes` counts commands that change it.

    `done` is set when what was written was read back by its hash: the chip then starts it.
    """

    def __init__(
        self, chip_id: int = 9, flash_bytes: int = 8 << 20, when_done: Callable[[], None] | None = None
    ) -> None:
        """`chip_id`: as in an image header, 9 for an ESP32-S3. `flash_bytes`: a power of two.

        `when_done`: called when an image is on it.
        """
        self.flash = bytearray(b"\xff" * flash_bytes)
        self.writes = 0
        self.erased = False
        self.commands: list[int] = []
        self.done = threading.Event()
        self._when_done = when_done
        self._chip_id = chip_id
        self._stub = False
        self._registers: dict[int, int] = {}
        self._at = 0
        self._inflate = zlib.decompressobj()
        self._master, self._slave = os.openpty()
        tty.setraw(self._slave)
        self.port = os.ttyname(self._slave)
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._serve, name="esp rom", daemon=True)
        self._thread.start()

    def port_info(self) -> ListPortInfo:
        """What list_ports says of the USB that is in the chip."""
        info = ListPortInfo(self.port, skip_link_detection=True)
        info.vid, info.pid, info.serial_number = 0x303A, 0x1001, "7C:DF:A1:00:00:01"
        info.product = info.description = "USB JTAG/serial debug unit"
        return info

    def close(self) -> None:
        """Unplug it."""
        self._closed.set()
        self._thread.join()
        os.close(self._master)
        os.close(self._slave)

    def _serve(self) -> None:
        frame = bytearray()
        inside = escaped = False
        while not self._closed.is_set():
            if not select.select([self._master], [], [], _POLL_S)[0]:
                continue
            for byte in os.read(self._master, _PIECE_BYTES):
                if byte == _END:
                    if inside and frame:
                        self._handle(bytes(frame))
                    inside = not (inside and frame)
                    frame.clear()
                elif not inside:
                    continue
                elif escaped:
                    frame.append({_ESC_END: _END, _ESC_ESC: _ESC}.get(byte, byte))
                    escaped = False
                elif byte == _ESC:
                    escaped = True
                else:
                    frame.append(byte)

    def _handle(self, frame: bytes) -> None:
        if len(frame) < 8 or frame[0] != 0:
            return
        command, data = frame[1], frame[8:]
        self.commands.append(command)
        if command == _SYNC:
            for _ in range(8):
                self._answer(command, 0 if self._stub else _ROM_SYNC)
        elif command == _READ_REG:
            self._answer(command, self._register(struct.unpack_from("<I", data)[0]))
        elif command == _WRITE_REG:
            for at in range(0, len(data) - 15, 16):
                address, value, _, _ = struct.unpack_from("<4I", data, at)
                self._registers[address] = value
            self._answer(command)
        elif command == _SECURITY_INFO:
            # flags, key purposes, chip id, api version
            self._answer(command, 0, struct.pack("<IB7sII", 0, 0, bytes(7), self._chip_id, 0))
        elif command == _MEM_END:
            self._answer(command)
            self._stub = True
            self._send(_GREETING)
        else:
            self._flash_command(command, data)

    def _flash_command(self, command: int, data: bytes) -> None:
        body = b""
        if command in (_FLASH_BEGIN, _DEFLATE_BEGIN):
            self._at = struct.unpack_from("<4I", data)[3]
            self._inflate = zlib.decompressobj()
        elif command in (_FLASH_DATA, _DEFLATE_DATA):
            content = data[16:]
            self._write(self._inflate.decompress(content) if command == _DEFLATE_DATA else content)
        elif command == _MD5:
            at, size = struct.unpack_from("<2I", data)
            digest = hashlib.md5(self.flash[at : at + size], usedforsecurity=False)
            body = digest.digest() if self._stub else digest.hexdigest().encode()
        elif command in (_ERASE_FLASH, _ERASE_REGION):
            self.writes += 1
            self.erased = True
            self.flash[:] = b"\xff" * len(self.flash)
        self._answer(command, 0, body)
        if command == _MD5 and self.writes and not self.done.is_set():
            self.done.set()
            if self._when_done is not None:
                self._when_done()

    def _write(self, content: bytes) -> None:
        self.writes += 1
        content = content[: max(0, len(self.flash) - self._at)]
        self.flash[self._at : self._at + len(content)] = content
        self._at += len(content)

    def _register(self, address: int) -> int:
        if address == _SPI_COMMAND:
            return 0  # whatever was asked of the flash chip is done
        if address == _SPI_DATA and self._registers.get(_SPI_USER2, 0) & 0xFF == _READ_ID:
            return 0x40C8 | (len(self.flash).bit_length() - 1) << 16  # a GigaDevice chip of this size
        if address == _MAGIC_REGISTER:
            return 0x9
        return self._registers.get(address, 0)

    def _answer(self, command: int, value: int = 0, body: bytes = b"") -> None:
        body += bytes(2 if self._stub else 4)  # status: good
        self._send(struct.pack("<BBHI", 1, command, len(body), value) + body)

    def _send(self, content: bytes) -> None:
        escaped = content.replace(b"\xdb", b"\xdb\xdd").replace(b"\xc0", b"\xdb\xdc")
        os.write(self._master, b"\xc0" + escaped + b"\xc0")
