"""An emulated Pico as a test has it in its hands: a port, buttons, a pixel, and power.

It is to tools what a tray's `TrayBoard` is: put `port_info` where list_ports' own is looked up. The chip runs in a
process of its own, because it takes a processor whole while it works, some fifty times slower than a real one.
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any

from serial.tools.list_ports_common import ListPortInfo

from lapel_sim.tray.flash import BLOCK_BYTES, read_flash
from lapel_sim.tray.kinds import PICO_W, BoardKind

from .host import FLASH_BYTES

_END_S = 60.0
_ERASED = b"\xff"


class EmulatedPico:
    """On from the first moment, as a board that is plugged in. Use it in a `with`."""

    def __init__(self, image: Path, folder: Path, board: str, serial_number: str, kind: BoardKind = PICO_W) -> None:
        """`image`: a UF2 of MicroPython for the RP2040. `board`: the module of `lapel_device.boards` whose parts are
        soldered to it. `kind` says how large the file system of that MicroPython is.

        `said` is all that it printed, `colours` every colour that its pixel showed, `resets` how often it reset itself.
        """
        self.serial_number = serial_number
        self.said = ""
        self.colours: list[tuple[int, int, int]] = []
        self.resets = 0
        self._kind = kind
        self._flash = folder / f"{serial_number}.flash"
        self._command = [sys.executable, "-m", "lapel_sim.emulated.host", str(image), str(self._flash), board]
        self._port = ""
        self._changed = threading.Condition()
        self._process: subprocess.Popen[str] | None = None

    def __enter__(self) -> EmulatedPico:
        self.power_on()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.power_off()

    # -- power ------------------------------------------------------------------------------------------------------

    def power_on(self) -> None:
        """Plug it in. Raises RuntimeError when it has power already."""
        if self._process is not None:
            raise RuntimeError("it has power already")
        self._process = subprocess.Popen(
            self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, encoding="utf-8"
        )
        self._reader = threading.Thread(target=self._listen, args=(self._process,), name="emulated pico", daemon=True)
        self._reader.start()

    def power_off(self) -> None:
        """Unplug it, between two turns of its processor; its flash is kept. Harmless when it has no power."""
        process, self._process = self._process, None
        if process is None:
            return
        try:
            if process.poll() is None:
                self._tell(process, "off")
            process.wait(_END_S)
        finally:
            process.kill()
            process.wait()
            self._reader.join()
            for stream in (process.stdin, process.stdout):
                if stream is not None:
                    stream.close()

    def put_files(self, files: dict[str, bytes], rom: bytes = b"", rom_bytes: int = 0) -> None:
        """Format its flash and write these, while it has no power: what a technician's tools would need minutes for.

        `rom`: what its ROM partition holds, which has `rom_bytes` and lies before the file system.
        """
        from littlefs import LittleFS, UserContext

        size = self._kind.flash_bytes
        context = UserContext(size)
        made = LittleFS(
            context,
            block_size=BLOCK_BYTES,
            block_count=size // BLOCK_BYTES,
            read_size=32,  # this and the next as MicroPython's vfs.VfsLfs2 has them, for rp2's pages of 256 bytes
            prog_size=256,
            cache_size=256,
            lookahead_size=32,
            disk_version=0x0002_0000,
        )
        for path, content in files.items():
            made.makedirs(path.rpartition("/")[0] or "/", exist_ok=True)
            with made.open(path, "wb") as file:
                file.write(content)
        before = _ERASED * (FLASH_BYTES - size - rom_bytes) + rom.ljust(rom_bytes, _ERASED)
        self._flash.write_bytes(before + bytes(context.buffer))

    def files(self) -> dict[str, bytes]:
        """Every file in its flash by absolute path, while it has no power."""
        return read_flash(self._flash.read_bytes()[-self._kind.flash_bytes :])

    # -- what a tool sees -------------------------------------------------------------------------------------------

    @property
    def port(self) -> str:
        """The device file of its serial port, empty while it is not on the bus."""
        return self._port

    def port_info(self) -> ListPortInfo | None:
        """What pyserial's list_ports says of it, None while there is no port."""
        port = self._port
        if not port:
            return None
        info = ListPortInfo(port, skip_link_detection=True)
        info.vid, info.pid = self._kind.vendor_id, self._kind.product_id
        info.serial_number = self.serial_number
        info.manufacturer, info.product = self._kind.manufacturer, self._kind.product
        info.description = self._kind.product
        return info

    # -- the wearer -------------------------------------------------------------------------------------------------

    def hold(self, button: str, for_ms: int) -> None:
        """Push a button, by its name in the board's `PINS`, for so long as the board counts it."""
        if self._process is not None:
            self._tell(self._process, f"hold {button} {for_ms}")

    def wait_until(self, done: Callable[[], bool], timeout_s: float, what: str) -> None:
        """Wait for something that it says, shows or does. Raises TimeoutError with the last that it said."""
        with self._changed:
            if not self._changed.wait_for(lambda: done() or not self._alive(), timeout_s) or not done():
                raise TimeoutError(f"no {what}; the board said: {self.said[-600:]!r}")

    def wait_said(self, words: str, timeout_s: float) -> None:
        """Wait until it has ever printed these."""
        self.wait_until(lambda: words in self.said, timeout_s, repr(words))

    # -- its process ------------------------------------------------------------------------------------------------

    def _alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def _tell(self, process: subprocess.Popen[str], line: str) -> None:
        if process.stdin is not None:
            process.stdin.write(line + "\n")
            process.stdin.flush()

    def _listen(self, process: subprocess.Popen[str]) -> None:
        for line in process.stdout or ():
            with self._changed:
                self._note(json.loads(line))
                self._changed.notify_all()
        with self._changed:
            self._port = ""
            self._changed.notify_all()

    def _note(self, event: dict[str, Any]) -> None:
        kind = event["kind"]
        if kind == "port":
            self._port = event["name"]
        elif kind == "reset":
            self._port = ""
            self.resets += 1
        elif kind == "said":
            self.said += event["text"]
        elif kind == "light":
            red, green, blue = event["rgb"]
            self.colours.append((red, green, blue))
