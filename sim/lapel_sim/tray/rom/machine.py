"""MicroPython's `machine`, with what a board has and a Linux process has not: resets, an identity, a watchdog.

They are asked of the stand-in outside by lines on a pipe, so that a reset really ends the process.
"""

import time

import uctypes  # type: ignore[import-not-found,unused-ignore]
from umachine import *  # type: ignore[import-not-found,unused-ignore]  # noqa: F403
from uos import getenv  # type: ignore[import-not-found,unused-ignore]

PWRON_RESET = 1
HARD_RESET = 2
WDT_RESET = 3
SOFT_RESET = 5

_pipe = open(int(getenv("LAPEL_CONTROL")), "wb")  # noqa: SIM115 - as long as the board runs
_id = bytes.fromhex(getenv("LAPEL_UNIQUE_ID"))
_cause = int(getenv("LAPEL_RESET_CAUSE"))
_raw = getenv("LAPEL_RAW_REPL") == "1"
_interrupts = uctypes.bytearray_at(int(getenv("LAPEL_INTERRUPTS")), 2)


def _ask(line: str) -> None:
    _pipe.write(line.encode() + b"\n")


def _end(line: str) -> None:
    _interrupts[0] = 1  # a board that begins anew hears no Ctrl-C
    _ask(line)
    while True:
        time.sleep(1)


def raw_repl() -> bool:
    """Whether the raw REPL follows this start: a board then leaves /main.py out."""
    return bool(_raw)


def reset() -> None:
    _end("reset")


def soft_reset() -> None:
    _end("soft")


def bootloader() -> None:
    _end("bootsel")


def reset_cause() -> int:
    return _cause


def unique_id() -> bytes:
    return _id


class WDT:
    """A watchdog that nothing but a reset stops."""

    def __init__(self, id: int = 0, timeout: int = 5000) -> None:
        _ask(f"watchdog {timeout}")

    def feed(self) -> None:
        _ask("feed")
