"""A world's device whose processor is a board on the tray: its firmware lies in that board's flash.

Buttons, light, camera, card, key sectors and radio are the world's, as for every other simulated device; MicroPython,
its REPL, the loader and both slots are the tray board's. A start of MicroPython is a boot for the world.
"""

from __future__ import annotations

import socket
import threading
from pathlib import Path

from lapel_build.compiler import package_sources
from lapel_build.release import slot_sources
from lapel_sim.device import SimDevice
from lapel_sim.power import PowerLost
from lapel_sim.server import FileTasks, RequestServer
from lapel_sim.world import World

from .board import TrayBoard
from .kinds import PICO_W, BoardKind

HARDWARE = "tray"
"""The hardware id that releases for such devices have."""


def firmware_sources() -> dict[str, bytes]:
    """Every source of a slot for such a device: the firmware, and the simulated board as its drivers."""
    board = {name: path.read_bytes() for name, path in package_sources("lapel_sim", "board")}
    return {**slot_sources(), **board}


class TrayDevice(SimDevice):
    """Made by `World.add_device(…, make=TrayDevice)`; `place` puts it onto a tray."""

    board: TrayBoard

    def place(self, folder: Path, serial_number: str, kind: BoardKind = PICO_W) -> TrayBoard:
        """Plug its board in, which starts it."""
        self._load_senses()
        self.board = TrayBoard(folder, kind, serial_number, world=self)
        return self.board

    # -- what the tray board asks -----------------------------------------------------------------------------------

    def board_starts(self) -> socket.socket:
        """MicroPython begins: the board's end of the wire."""
        self._join()
        with self._switching:
            self._kind = "power"
            self.boots += 1
            self._power_up(HARDWARE)
            ours, theirs = socket.socketpair()
        server = RequestServer(self.bench, self._options())
        self._threads = [threading.Thread(target=self._answer, args=(server, ours), name=f"{self.name}-requests")]
        self._threads[0].daemon = True
        self._threads[0].start()
        return theirs

    def board_stops(self, powered: bool) -> None:
        """MicroPython has ended; `powered`: the card finishes what it has, as in a reset."""
        self.power.cut("the board stops", before=self.disk.sync if powered else None)

    def _answer(self, server: RequestServer, connection: socket.socket) -> None:
        try:
            server.run(connection)
        except PowerLost:
            return

    # -- what the world asks ----------------------------------------------------------------------------------------

    @property
    def running(self) -> bool:
        return self.power.on

    def power_on(self, module: str | None = None, arguments: tuple[str, ...] = ()) -> None:
        """Give it power. Raises RuntimeError when it has some already."""
        if self.power.on:
            raise RuntimeError(f"{self.name} is switched on already")
        self.board.plug()

    def do_files(self, tasks: FileTasks, timeout_s: float = 60.0) -> dict[str, bytes]:
        """Work on the files of its card, on a board of the world's own, while this one is off."""
        results = super().do_files(tasks, timeout_s)
        self._process = None
        return results

    def console_tail(self, lines: int = 15) -> str:
        """The last lines that the device printed."""
        return "\n".join(bytes(self.board.said).decode("utf-8", "replace").splitlines()[-lines:])

    def console_has(self, text: str) -> bool:
        """Whether it ever printed this."""
        return self.board.has_said(text.encode())

    def _kill(self) -> None:
        if self._process is not None:  # file work
            super()._kill()
        elif hasattr(self, "board"):
            self.board.lose_power()

    def _feed(self) -> bool:
        self.board.feed(self.hardware.watchdog_ms)
        return False

    def _reset(self) -> None:
        self.board.ask_reset()

    def close(self) -> None:
        """Take it off the tray and let go of its images."""
        if hasattr(self, "board"):
            self.board.close()
        super().close()


def add_tray_device(world: World, name: str, heap_bytes: int | None = None) -> TrayDevice:
    """A device of a world that waits to be placed on a tray."""
    device = world.add_device(name, heap_bytes=heap_bytes, make=TrayDevice)
    if not isinstance(device, TrayDevice):
        raise TypeError("the world made another device")
    return device
