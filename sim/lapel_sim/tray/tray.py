"""The boards on one bench, and what pyserial's list_ports would say of them."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType

from serial.tools.list_ports_common import ListPortInfo

from .board import TrayBoard
from .kinds import PICO_W, BoardKind


class Tray:
    """Boards of a folder, which holds their flash. Put `comports` where list_ports' own is looked up."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.boards: list[TrayBoard] = []

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
        return [info for board in self.boards if (info := board.port_info()) is not None]

    def close(self) -> None:
        """Take every board off."""
        for board in self.boards:
            board.close()
