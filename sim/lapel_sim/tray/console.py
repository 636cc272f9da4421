"""The terminal inside a tray board, at which MicroPython sits, and the pipe on which it asks for resets.

The terminal is as a board's: no echo, no line editing, Ctrl-C interrupts. It is another one than the tool's, which can
go away while the board runs on.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import select
import signal
import subprocess
import termios

_BANNER = re.compile(rb'(?:Micro[^\r\n]*\r\nType "help\(\)" for more information\.\r\n)>>> $')
_FRIENDLY = b'Type "help()" for more information.\r\n>>> '
_RAW = b"raw REPL; CTRL-B to exit\r\n>"
_CTRL_A = b"\x01"
_KEPT_BYTES = 64
_PIECE_BYTES = 4096


class Console:
    """One run of the interpreter. `raw`: it shall come up in the raw REPL, as after a soft reset in it."""

    def __init__(self, raw: bool) -> None:
        self.terminal, self._inside = os.openpty()
        _make_boardlike(self._inside)
        self.control, self.control_out = os.pipe()
        os.set_blocking(self.control, False)
        os.set_blocking(self.terminal, False)
        self._entering_raw = raw
        self._held = b""
        self._lines = b""
        self._tail = _RAW if raw else _FRIENDLY
        self.raw = raw

    def start(self, command: list[str], environment: dict[str, str], *descriptors: int) -> subprocess.Popen[bytes]:
        """Start the interpreter with this terminal as its own, and give it `descriptors` too."""
        inside = self._inside

        def take_terminal() -> None:
            fcntl.ioctl(inside, termios.TIOCSCTTY, 0)
            # Until MicroPython takes Ctrl-C for itself it is lost, as on a board that is still starting.
            signal.signal(signal.SIGINT, signal.SIG_IGN)

        process = subprocess.Popen(
            command,
            stdin=inside,
            stdout=inside,
            stderr=inside,
            env=environment,
            cwd="/",
            pass_fds=(self.control_out, inside, *descriptors),
            start_new_session=True,
            preexec_fn=take_terminal,
        )
        os.close(inside)
        os.close(self.control_out)
        self._inside = self.control_out = -1
        return process

    def type(self, content: bytes) -> None:
        """Give the interpreter what a tool wrote; what it never takes is lost."""
        while content:
            try:
                content = content[os.write(self.terminal, content) :]
            except BlockingIOError:
                if not select.select([], [self.terminal], [], 1.0)[1]:
                    return
            except OSError:
                return

    def said(self) -> tuple[bytes, bool]:
        """What the interpreter wrote since, and whether it has ended."""
        try:
            content = os.read(self.terminal, _PIECE_BYTES)
        except BlockingIOError:
            return b"", False
        except OSError:
            content = b""
        if not content:
            return self.rest(), True
        if self._entering_raw:
            self._held += content
            if _BANNER.search(self._held):
                # A board that comes up in the raw REPL greets with nothing before.
                content = _BANNER.sub(b"", self._held)
                self._held = b""
                self._entering_raw = False
                self.type(_CTRL_A)
            else:
                content = b""
        seen = self._tail + content
        if seen.rfind(_RAW) != seen.rfind(_FRIENDLY):
            self.raw = seen.rfind(_RAW) > seen.rfind(_FRIENDLY)
        self._tail = seen[-_KEPT_BYTES:]
        return content, False

    def rest(self) -> bytes:
        """What was held back, and what is still unread, once."""
        held, self._held = self._held, b""
        with contextlib.suppress(OSError):
            held += os.read(self.terminal, _PIECE_BYTES)
        return held

    def control_lines(self) -> list[str]:
        """What was asked on the pipe since."""
        with contextlib.suppress(OSError):
            self._lines += os.read(self.control, _PIECE_BYTES)
        *lines, self._lines = self._lines.split(b"\n")
        return [line.decode() for line in lines]

    def close(self) -> None:
        """After the process has ended."""
        for descriptor in (self.terminal, self.control, self._inside, self.control_out):
            if descriptor >= 0:
                os.close(descriptor)


def _make_boardlike(terminal: int) -> None:
    attributes = termios.tcgetattr(terminal)
    attributes[0] = 0
    attributes[1] &= ~termios.OPOST
    attributes[3] = termios.ISIG | termios.NOFLSH
    characters = attributes[6]
    for index in range(len(characters)):
        characters[index] = b"\0"
    characters[termios.VINTR] = b"\x03"
    characters[termios.VMIN] = b"\x01"
    termios.tcsetattr(terminal, termios.TCSANOW, attributes)
