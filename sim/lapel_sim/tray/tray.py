"""The boards on one bench, and what pyserial's list_ports would say of them."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType

from serial.tools.list_ports_common import ListPortInfo

from .board import TrayBoard
from .bootsel import BootselDrive
from .esp_rom import EspRom
from .kinds import PICO_W, BoardKind


class Tray:
    """Boards of a folder, which holds their flash. Put `comports` where list_ports' own is looked up, and
    `mounted_folders` where the technician's tools look for drives."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.boards: list[TrayBoard] = []
        self._drives: dict[str, BootselDrive] = {}
        self._roms: list[EspRom] = []

    def __enter__(self) -> Tray:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def add(self, kind: BoardKind = PICO_W) -> TrayBoard:
        """Plug in one more board; its serial number follows from its place."""
        board = TrayBoard(self._folder, kind, f"e6614c311b7a{len(self.boards) + 1:04x}")
        self.boards.append(board)
        return board

    def comports(self) -> list[ListPortInfo]:
        """What is plugged in now."""
        found = [info for board in self.boards if (info := board.port_info()) is not None]
        return found + [rom.port_info() for rom in self._roms if not rom.done.is_set()]

    def mounted_folders(self) -> list[Path]:
        """Where the drives of the boards in BOOTSEL are mounted."""
        for board in self.boards:
            if board.bootsel and board.serial_number not in self._drives:
                self.hold_bootsel(board)
        return [drive.folder for drive in self._drives.values() if not drive.left.is_set()]

    def hold_bootsel(self, board: TrayBoard) -> BootselDrive:
        """Plug a board in with its BOOTSEL button held; with a new image it starts and shows its port."""
        board.unplug()
        chip = board.kind.machine.rsplit(" ", 1)[1]
        drive = BootselDrive(self._folder / f"{board.serial_number}.drive", chip, board.plug)
        self._drives[board.serial_number] = drive
        return drive

    def hold_boot(self, board: TrayBoard) -> EspRom:
        """Plug an ESP32-S3 in with its BOOT button held; with a new image it starts and shows its own port."""
        board.unplug()
        rom = EspRom(when_done=board.plug)
        self._roms.append(rom)
        return rom

    def close(self) -> None:
        """Take every board off."""
        for board in self.boards:
            board.close()
        for drive in self._drives.values():
            drive.close()
        for rom in self._roms:
            rom.close()
