"""One board on the tray: the real MicroPython behind a pseudo-terminal, with flash, a watchdog and a cable that breaks.

Rules that hold here:

- Everything a tool sees comes from the real interpreter: raw REPL, raw paste and file operations. What ends the
  interpreter (soft reset, reset, watchdog) makes the stand-in start it again, as a board starts itself.
- The flash is a file: it holds what was written up to the moment at which the power went.
- A reset, and plugging in again, give another pseudo-terminal: a tool finds a board by its USB serial number.
- What a board says while nobody reads is dropped, as USB does, never waited for.
"""

from __future__ import annotations

import os
import select
import socket
import subprocess
import sys
import threading
import time
import tty
from pathlib import Path
from typing import Protocol

from serial.tools.list_ports_common import ListPortInfo

from .cable import Cable
from .console import Console
from .flash import read_flash
from .kinds import BoardKind

_PIECE_BYTES = 4096
_POLL_S = 0.05
_PWRON, _HARD, _WDT, _SOFT = 1, 2, 3, 5


class Surroundings(Protocol):
    """The hardware around a board's processor; see device.TrayDevice."""

    def board_starts(self) -> socket.socket:
        """MicroPython begins: its end of the wire to the world."""

    def board_stops(self, powered: bool) -> None:
        """MicroPython has ended; `powered`: not for want of power."""


class TrayBoard:
    """A board that is plugged in and running until `unplug` or `close`."""

    def __init__(
        self,
        folder: Path,
        kind: BoardKind,
        serial_number: str,
        world: Surroundings | None = None,
    ) -> None:
        """`serial_number`: hexadecimal; the USB serial number, and what machine.unique_id() gives.

        `world`: the hardware around it, for firmware that works with some. `resets` says how it started again, `said`
        holds all that it ever printed, whoever was there to read it.
        """
        self.kind = kind
        self.serial_number = serial_number
        self.flash = folder / f"{serial_number}.flash"
        self.cable = Cable()
        self.resets: list[str] = []
        self.said = bytearray()
        self._lock = threading.RLock()
        self._console: Console | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._pty: tuple[int, int] | None = None
        self._watchdog_s = 0.0
        self._fed = 0.0
        self._world = world
        self._asked = ""
        self._powerless = False
        self._closed = False
        self._bootsel = False
        if not self.flash.exists():
            self.flash.write_bytes(b"\xff" * (kind.rom_bytes + kind.flash_bytes))
        self.plug()
        self._thread = threading.Thread(target=self._carry, name=f"tray {serial_number}", daemon=True)
        self._thread.start()

    # -- what is done to it -----------------------------------------------------------------------------------------

    @property
    def port(self) -> str | None:
        """The device file of its serial port, None while it is not plugged in."""
        with self._lock:
            return os.ttyname(self._pty[1]) if self._pty else None

    def has_said(self, words: bytes) -> bool:
        """Whether it ever printed these."""
        return words in self.said

    @property
    def bootsel(self) -> bool:
        """Whether the program on it sent it to its boot loader."""
        return self._bootsel

    def port_info(self) -> ListPortInfo | None:
        """What pyserial's list_ports says of it, None while there is no port."""
        port = self.port
        if port is None:
            return None
        info = ListPortInfo(port, skip_link_detection=True)
        info.vid, info.pid = self.kind.vendor_id, self.kind.product_id
        info.serial_number = self.serial_number
        info.manufacturer, info.product = self.kind.manufacturer, self.kind.product
        info.description = self.kind.product
        info.hwid = f"USB VID:PID={info.vid:04X}:{info.pid:04X} SER={self.serial_number}"
        return info

    def plug(self) -> None:
        """Put the cable in; a board without power starts."""
        with self._lock:
            self.cable.mend()
            self._bootsel = False
            if self._pty is None:
                self._open_port()
            if self._process is None:
                self._start(_PWRON, raw=False)

    def unplug(self, powered: bool = False) -> None:
        """Pull the cable out; `powered`: it goes on running from its battery."""
        with self._lock:
            self._close_port()
            if not powered:
                self._stop(powered=False)

    # -- what the world around it does; without a lock, because the world has locks of its own ----------------------

    def lose_power(self) -> None:
        """Its power is gone at this moment."""
        process = self._process
        if process is not None:
            self._powerless = True
            process.kill()

    def feed(self, timeout_ms: int) -> None:
        """The firmware feeds a watchdog that lies in the world."""
        self._fed = time.monotonic()
        self._watchdog_s = timeout_ms / 1000

    def ask_reset(self) -> None:
        """The firmware resets the board by way of the world."""
        self._asked = "reset"

    def files(self) -> dict[str, bytes]:
        """Every file in its flash by absolute path, read by another littlefs than the one that wrote it.

        Only while it has no power.
        """
        return read_flash(self.flash.read_bytes()[self.kind.rom_bytes :])

    def close(self) -> None:
        """Take it off the tray."""
        with self._lock:
            self._closed = True
            self.unplug()
        self._thread.join()

    # -- power, terminal --------------------------------------------------------------------------------------------

    def _open_port(self) -> None:
        master, slave = os.openpty()
        tty.setraw(slave)
        os.set_blocking(master, False)
        self._pty = (master, slave)

    def _close_port(self) -> None:
        if self._pty is not None:
            for descriptor in self._pty:
                os.close(descriptor)
            self._pty = None

    def _start(self, cause: int, raw: bool) -> None:
        self._console = Console(raw)
        if cause != _SOFT:  # a soft reset leaves the watchdog running
            self._watchdog_s = 0.0
        self._asked = ""
        self._powerless = False
        environment = {
            "PATH": os.environ["PATH"],
            "LAPEL_CONTROL": str(self._console.control_out),
            "LAPEL_UNIQUE_ID": self.serial_number,
            "LAPEL_RESET_CAUSE": str(cause),
            "LAPEL_RAW_REPL": "1" if raw else "0",
            "LAPEL_RELEASE": self.kind.release,
            "LAPEL_MACHINE": self.kind.machine,
        }
        sizes = (str(self.kind.heap_bytes), str(self.kind.rom_bytes))
        command = [sys.executable, "-m", "lapel_sim.tray.host", str(self.flash), *sizes]
        if self._world is None:
            self._process = self._console.start(command, environment)
            return
        with self._world.board_starts() as wire:
            environment["LAPEL_WORLD"] = str(wire.fileno())
            self._process = self._console.start(command, environment, wire.fileno())

    def _stop(self, powered: bool = True) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None
            if self._world is not None:
                self._world.board_stops(powered)
        if self._console is not None:
            self._console.close()
            self._console = None

    def _restart(self, cause: int, name: str) -> None:
        """Start MicroPython again; a soft reset keeps the port, and the REPL in the mode it was in."""
        console = self._console
        raw = console is not None and console.raw and cause == _SOFT
        left = b"" if console is None else console.rest()
        self._stop()
        self.resets.append(name)
        if cause == _SOFT:
            self._say(left + b"MPY: soft reboot\r\n")
        elif self._pty is not None:
            self._close_port()
            self._open_port()
        self._start(cause, raw)

    # -- carrying bytes ---------------------------------------------------------------------------------------------

    def _carry(self) -> None:
        while not self._closed:
            with self._lock:
                watched = [self._pty[0]] if self._pty else []
                if self._console is not None:
                    watched += [self._console.terminal, self._console.control]
            ready = self._wait(watched)
            with self._lock:
                if not self._closed:
                    self._turn(ready)

    def _wait(self, watched: list[int]) -> set[int]:
        try:
            return set(select.select(watched, [], [], _POLL_S)[0])
        except (OSError, ValueError):
            return set()  # closed meanwhile by another thread

    def _turn(self, ready: set[int]) -> None:
        if self._pty is not None and self._pty[0] in ready:
            self._from_tool(self._pty[0])
        console = self._console
        if console is None:
            return
        if console.control in ready:
            for line in console.control_lines():
                self._controlled(line)
        if self._console is console and console.terminal in ready:
            content, ended = console.said()
            self._say(content)
            if ended and self._powerless:
                self.unplug()
            elif ended:
                self._restart(_SOFT, "soft")
        if self._asked:
            self._restart(_HARD, self._asked)
        if self._watchdog_s and time.monotonic() - self._fed > self._watchdog_s:
            self._restart(_WDT, "watchdog")

    def _from_tool(self, terminal: int) -> None:
        try:
            content = os.read(terminal, _PIECE_BYTES)
        except OSError:
            return
        passed, answer = self.cable.to_board(content)
        if self._console is not None:
            self._console.type(passed)
        if answer:
            self._say(answer)
        self._after_carrying()

    def _say(self, content: bytes) -> None:
        """Give output to whoever has the port open; what does not fit is lost."""
        self.said += content
        content = self.cable.from_board(content)
        end = time.monotonic() + 1.0
        while content and self._pty is not None and time.monotonic() < end:
            try:
                content = content[os.write(self._pty[0], content) :]
            except BlockingIOError:
                select.select([], [self._pty[0]], [], _POLL_S)
            except OSError:
                break
        self._after_carrying()

    def _after_carrying(self) -> None:
        if self.cable.broken:
            self.unplug(powered=not self.cable.takes_power)

    def _controlled(self, line: str) -> None:
        word, _, number = line.partition(" ")
        if word == "watchdog":
            self._watchdog_s = int(number) / 1000
            self._fed = time.monotonic()
        elif word == "feed":
            self._fed = time.monotonic()
        elif word == "soft":
            self._restart(_SOFT, "soft")
        elif word == "reset":
            self._restart(_HARD, "reset")
        elif word == "bootsel":
            self._bootsel = True
            self.unplug()
