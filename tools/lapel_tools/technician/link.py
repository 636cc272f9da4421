"""A board at the other end of a serial cable: mpremote's transport, with bounds on every wait.

Rules that hold here:

- Nothing waits for ever: a port that another program holds, a board that says nothing, and one that talks nonsense end
  in a LinkError that says which, within seconds.
- What the board runs is interrupted only by `stop`; `is_idle` asks without disturbing anybody.
- A watchdog that the firmware left behind is fed between two steps; while a session lasts one is always armed where the
  board has any, so that a board whose technician went away starts itself again.
- What goes wrong on the wire is one kind of error, whatever library says it: the step can be repeated.
"""

from __future__ import annotations

import errno
import os
import struct
import termios
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import serial
from mpremote.transport import (
    TransportError,
    TransportExecError,
)
from mpremote.transport_serial import SerialTransport

from .literals import literal

READ_TIMEOUT_S = 4.0
"""For any one answer; a block of flash is erased in a tenth of it."""
WRITE_TIMEOUT_S = 4.0
STOP_TIMEOUT_S = 20.0
"""Until a running program has given way to the REPL: a TLS handshake is not interrupted before it ends, and a board
that has just been started may be busy with two of them."""
IDLE_WAIT_S = 0.7
FEED_EVERY_S = 1.0
MAX_LINE_CHARS = 200
WATCHDOG_MS = 8000
"""The longest that an RP2040's takes is 8388 ms."""

_CHUNK_BYTES = 1024
_WIRE_ERRORS = (errno.EIO, errno.ENXIO, errno.ENODEV, errno.EBADF, errno.EPIPE)
_PROMPT = b">>> "
_RAW = b"raw REPL; CTRL-B to exit\r\n>"
_SOFT_REBOOT = b"soft reboot\r\n"
_KEEP_FED = """\
from machine import Timer
try:_t=Timer(-1,mode=Timer.PERIODIC,period=2000,callback=lambda t:_w.feed())
except ValueError:_t=Timer(0,mode=Timer.PERIODIC,period=2000,callback=lambda t:_w.feed())
"""
_ARM = f"""\
import machine
try:
 _w = machine.WDT(timeout={WATCHDOG_MS})
except Exception:
 _w = None
"""


class LinkError(Exception):
    """The board cannot be talked to; the message names the port and says what to do."""


class BoardError(Exception):
    """The board refused a command: what MicroPython's exception said, in one line."""


class _Serial(SerialTransport):  # type: ignore[misc,unused-ignore]
    """mpremote's own, but that a failure to enter the raw REPL is an exception and nothing on standard output."""

    def enter_raw_repl(self, soft_reset: bool = True, timeout_overall: float = READ_TIMEOUT_S) -> None:
        self.serial.write(b"\r\x01")
        if soft_reset:
            self._expect(_RAW, timeout_overall)
            self.serial.write(b"\x04")
            self._expect(_SOFT_REBOOT, timeout_overall)
            timeout_overall = STOP_TIMEOUT_S
        # The prompt itself is left for the next command, which looks for one.
        self._expect(_RAW[:-1], timeout_overall)
        self.in_raw_repl = True

    def eval(self, expression: str, parse: bool = True) -> Any:
        printed = self.exec(f"print(repr({expression}))" if parse else f"print({expression})").strip()
        return literal(printed.decode()) if parse else printed

    def _expect(self, ending: bytes, timeout_s: float) -> None:
        if not self.read_until(1, ending, timeout=timeout_s, timeout_overall=timeout_s).endswith(ending):
            raise TransportError("could not enter raw repl")


class BoardLink:
    """One session with one board. Use it in a `with`; leaving it only closes the port."""

    def __init__(self, port: str) -> None:
        """Open the port, which interrupts nothing. Raises LinkError.

        `guards` may be set to False for a board whose program has not begun a watchdog: none is begun then.
        """
        self.port = port
        self.guards = True
        self._fed = 0.0
        self._armed = False
        try:
            self._transport = _Serial(port, timeout=READ_TIMEOUT_S)
        except (TransportError, OSError, ValueError):
            raise LinkError(_why_closed(port)) from None
        self._transport.serial.write_timeout = WRITE_TIMEOUT_S

    def __enter__(self) -> BoardLink:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Give the port back, whatever state the board is in."""
        with suppress(OSError, TransportError):
            self._transport.close()

    # -- getting hold of it -----------------------------------------------------------------------------------------

    def is_idle(self) -> bool:
        """Whether MicroPython waits at its prompt. Asked with a key that a running program does not notice."""
        with self._guarded("does not answer"):
            line = self._transport.serial
            line.timeout = 0.05
            try:
                line.write(b"\r\x02")
                heard = b""
                end = time.monotonic() + IDLE_WAIT_S
                while time.monotonic() < end:
                    heard += line.read(max(1, line.in_waiting))
                    if heard.endswith(_PROMPT):
                        return True
                return False
            finally:
                line.timeout = READ_TIMEOUT_S

    def stop(self, fresh: bool = True) -> None:
        """Interrupt whatever runs and enter the raw REPL; `fresh`: with an empty heap, boot.py run, main.py not.

        Raises LinkError when no REPL comes up.
        """
        with self._guarded("says nothing that MicroPython would: unplug it, plug it in and try again"):
            end = time.monotonic() + STOP_TIMEOUT_S
            while True:
                try:
                    self._interrupt(end)
                    self._enter(fresh)
                    return
                except TransportExecError:
                    raise
                except TransportError:
                    # A board that starts itself again just after it showed its prompt never heard the rest.
                    if time.monotonic() >= end:
                        raise

    def _enter(self, fresh: bool) -> None:
        self._transport.enter_raw_repl(soft_reset=False)
        self._arm()
        if fresh:
            self._transport.enter_raw_repl(soft_reset=True)
            self._arm()

    def _interrupt(self, end: float) -> None:
        line = self._transport.serial
        line.timeout = 0.1
        try:
            heard = b""
            while time.monotonic() < end:
                # Ctrl-C ends a program, a half-typed line and a paste that a lost session left; Ctrl-B the raw REPL.
                line.write(b"\r\x03\x03\r\x02")
                pause = time.monotonic() + 0.5
                while time.monotonic() < pause:
                    said = line.read(max(1, line.in_waiting))
                    heard = (heard + said)[-1024:]
                    # One that says more has answered an earlier key; only a quiet one waits for the next.
                    if not said and heard.endswith(_PROMPT):
                        return
            raise TransportError("no prompt")
        finally:
            line.timeout = READ_TIMEOUT_S

    def _arm(self) -> None:
        """Have the watchdog run, so that it can be fed, and so that a board left alone comes back by itself."""
        self._armed = False
        if not self.guards:
            self._transport.exec("_w = None")
            return
        self._transport.exec(_ARM)
        self._armed = bool(self._transport.eval("_w is not None"))
        self._fed = time.monotonic()

    def feed(self) -> None:
        """Put off the watchdog; call it at least every few seconds while a session lasts. Raises LinkError."""
        if self._armed and time.monotonic() - self._fed >= FEED_EVERY_S:
            with self._guarded("went away"):
                self._transport.exec("_w.feed()")
            self._fed = time.monotonic()

    def reset(self) -> None:
        """Let the board start as after switching it on; its port goes away for a moment. The session is over."""
        self._leave("import machine\nmachine.reset()")

    def enter_boot_loader(self) -> None:
        """Let the board wait for a base image, where MicroPython can do that. The session is over."""
        self._leave("import machine\nmachine.bootloader()")

    def _leave(self, code: str) -> None:
        with suppress(LinkError, BoardError), self._guarded("went away"):
            self._transport.exec_raw_no_follow(code)
            self._transport.read_until(1, b"\x04", timeout=0.3)
        self.close()

    def restart(self, endings: tuple[bytes, ...], timeout_s: float) -> list[str]:
        """Start what is installed, by a soft reset; the lines it says until one has an ending word in it, or until the
        time is over. The port stays open. Raises LinkError.
        """
        with self._guarded("went away"):
            line = self._transport.serial
            if self._armed:
                self._transport.exec("_w.feed()")
            self._armed = False
            line.write(b"\r\x02")
            self._transport.read_until(1, _PROMPT, timeout=READ_TIMEOUT_S)
            line.write(b"\x04")
        return self.listen(endings, timeout_s)

    def listen(self, endings: tuple[bytes, ...], timeout_s: float) -> list[str]:
        """The lines that the board says until one has an ending word in it, or until the time is over.

        Raises LinkError.
        """
        heard = b""
        with self._guarded("went away"):
            line = self._transport.serial
            line.timeout = 0.1
            try:
                end = time.monotonic() + timeout_s
                while time.monotonic() < end:
                    heard += line.read(max(1, line.in_waiting))
                    whole = heard[: heard.rfind(b"\n") + 1]
                    if any(word in whole for word in endings):
                        break
            finally:
                line.timeout = READ_TIMEOUT_S
        return printable(heard)

    def leave_raw(self) -> bool:
        """Give a person the prompt; False where the watchdog will soon take it away. Raises LinkError."""
        fed = not self._armed
        with suppress(BoardError):
            if self._armed:
                self.run(_KEEP_FED)
                fed = True
        with self._guarded("went away"):
            self._transport.exit_raw_repl()
            self._transport.read_until(1, _PROMPT, timeout=READ_TIMEOUT_S)
        return fed

    def lines(self, end: float | None) -> Iterator[str]:
        """What the board prints, a line at a time, until the monotonic time `end`. Raises LinkError."""
        heard = b""
        line = self._transport.serial
        line.timeout = 0.1
        while end is None or time.monotonic() < end:
            with self._guarded("went away"):
                heard += line.read(max(1, line.in_waiting))
            *whole, heard = heard.split(b"\n")
            if len(heard) > MAX_LINE_CHARS:
                whole.append(heard)
                heard = b""
            for one in whole:
                yield from printable(one)

    # -- what is done on it -----------------------------------------------------------------------------------------

    def run(self, code: str) -> bytes:
        """Run MicroPython code; what it printed. Raises LinkError, and BoardError when it raised."""
        self.feed()
        with self._guarded("went away"):
            return bytes(self._transport.exec(code))

    def ask(self, code: str) -> Any:
        """Run code that prints one literal; that literal. Raises LinkError and BoardError."""
        printed = self.run(code)
        try:
            return literal(printed.decode().strip())
        except (ValueError, SyntaxError, UnicodeDecodeError, MemoryError, RecursionError):
            raise LinkError(f"{self.port}: the board answers with what nobody asked for") from None

    def ask_lines(self, code: str) -> list[Any]:
        """Run code that prints a literal on each line; those literals. Raises LinkError and BoardError."""
        printed = self.run(code)
        try:
            return [literal(line) for line in printed.decode().splitlines() if line.strip()]
        except (ValueError, SyntaxError, UnicodeDecodeError, MemoryError, RecursionError):
            raise LinkError(f"{self.port}: the board answers with what nobody asked for") from None

    def read_file(self, path: str) -> bytes | None:
        """A file's content, None when there is none. Raises LinkError, BoardError."""
        self.feed()
        with self._guarded("went away"):
            try:
                return bytes(self._transport.fs_readfile(path, chunk_size=_CHUNK_BYTES))
            except FileNotFoundError:
                return None

    def write_file(self, path: str, content: bytes, progress: Callable[[int], None] | None = None) -> None:
        """Write a file as it is; `progress` is told how many bytes were added. Raises LinkError, BoardError."""
        told = 0

        def written(so_far: int, _size: int) -> None:
            nonlocal told
            self.feed()
            if progress is not None:
                progress(so_far - told)
            told = so_far

        self.feed()
        with self._guarded("went away"):
            self._transport.fs_writefile(path, content, chunk_size=_CHUNK_BYTES, progress_callback=written)

    def hash_file(self, path: str) -> bytes | None:
        """SHA-256 of a file as the board reads it back, None when there is none. Raises LinkError, BoardError."""
        self.feed()
        with self._guarded("went away"):
            try:
                return bytes(self._transport.fs_hashfile(path, "sha256", chunk_size=_CHUNK_BYTES))
            except FileNotFoundError:
                return None

    @contextmanager
    def _guarded(self, otherwise: str) -> Iterator[None]:
        try:
            yield
        except TransportExecError as error:
            raise BoardError(_last_line(error.error_output)) from None
        except OSError as error:
            if isinstance(error, serial.SerialException) or error.errno in _WIRE_ERRORS:
                raise LinkError(f"{self.port}: the board {otherwise}") from None
            # mpremote makes an OSError of a board's; its text is the path.
            raise BoardError(f"{os.strerror(error.errno or errno.EIO)}: {error.strerror}") from None
        except (TransportError, termios.error, struct.error, ValueError, SyntaxError, IndexError, TypeError):
            raise LinkError(f"{self.port}: the board {otherwise}") from None


def printable(heard: bytes) -> list[str]:
    """What a board said, as lines that can be shown: nothing in them moves a cursor or changes a terminal."""
    text = heard.decode("utf-8", "replace")
    return ["".join(c if c.isprintable() else "?" for c in line)[:MAX_LINE_CHARS] for line in text.splitlines()]


def _last_line(text: str) -> str:
    lines = [line for line in text.strip().splitlines() if line.strip()]
    return printable(lines[-1].strip().encode())[0] if lines else "an exception without a word"


def _why_closed(port: str) -> str:
    if not os.path.exists(port):
        return f"{port}: there is no such port; see `lapel device ports`"
    if not os.access(port, os.R_OK | os.W_OK):
        return f"{port}: you may not use it; add yourself to the group that owns it (often dialout) and log in again"
    return f"{port}: another program uses it; close that (a terminal, an editor) and try again"
