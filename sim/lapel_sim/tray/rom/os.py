"""MicroPython's `os`, with the name of the board that it runs on."""

from uos import *  # type: ignore[import-not-found,unused-ignore]  # noqa: F403
from uos import getenv  # type: ignore[import-not-found,unused-ignore]

_RELEASE = getenv("LAPEL_RELEASE")
_MACHINE = getenv("LAPEL_MACHINE")


def uname() -> "tuple[str, str, str, str, str]":
    """sysname, nodename, release, version, machine."""
    return ("tray", "tray", _RELEASE, _RELEASE, _MACHINE)


def memory_of(name: str) -> "tuple[int, int]":
    """Where the host put a part of the flash: address and size."""
    address, size = getenv(name).split(" ")
    return int(address), int(size)
