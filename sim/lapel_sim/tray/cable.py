"""The cable between a tool and a board: whole, broken at the n-th byte, deaf and dumb, or talking nonsense."""

from __future__ import annotations

import random
import threading

WHOLE = "whole"
SILENT = "silent"
"""Nothing arrives and nothing is answered, as with a board that hangs."""
GARBAGE = "garbage"
"""Whatever is said is answered with noise, as at a wrong baud rate."""


class Cable:
    """Counts what passes, and breaks where it is told to. Safe to use from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._noise = random.Random(1)
        self.mode = WHOLE
        self.to_board_bytes = 0
        self.from_board_bytes = 0
        self._lost = b""
        self.mend()

    @property
    def counts(self) -> tuple[int, int]:
        """Bytes that passed so far: from the board, to the board."""
        return self.from_board_bytes, self.to_board_bytes

    def mend(self) -> None:
        """Whole again; the counts go on."""
        with self._lock:
            self.broken = False
            self.takes_power = False
            self._break_to_board: int | None = None
            self._break_from_board: int | None = None

    def break_at(self, byte: int, towards_board: bool, takes_power: bool) -> None:
        """Break when `byte` more bytes have passed in that direction; `takes_power`: the board is fed by this cable."""
        with self._lock:
            self.takes_power = takes_power
            if towards_board:
                self._break_to_board = self.to_board_bytes + byte
            else:
                self._break_from_board = self.from_board_bytes + byte

    def lose_next(self, key: bytes) -> None:
        """The next piece with this key in it does not reach the board, as where it starts again at that moment."""
        with self._lock:
            self._lost = key

    def to_board(self, content: bytes) -> tuple[bytes, bytes]:
        """What of `content` reaches the board, and what the cable itself answers."""
        with self._lock:
            if self.mode == SILENT:
                return b"", b""
            if self.mode == GARBAGE:
                return b"", self._noise.randbytes(len(content))
            if self._lost and self._lost in content:
                self._lost = b""
                return b"", b""
            if self._break_to_board is not None and self.to_board_bytes + len(content) >= self._break_to_board:
                content = content[: self._break_to_board - self.to_board_bytes]
                self.broken = True
            self.to_board_bytes += len(content)
            return content, b""

    def from_board(self, content: bytes) -> bytes:
        """What of `content` reaches the tool."""
        with self._lock:
            if self.mode == SILENT:
                return b""
            if self._break_from_board is not None and self.from_board_bytes + len(content) >= self._break_from_board:
                content = content[: self._break_from_board - self.from_board_bytes]
                self.broken = True
            self.from_board_bytes += len(content)
            return content
