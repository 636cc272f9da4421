"""Releases of a few small files for tests, signed by keys of the test run, and slots that hold them."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from cryptography.hazmat.primitives.asymmetric import rsa

from lapel_build.release import Target, make_release, modulus_of, new_key, slot_files
from lapel_device.slots import KEY_PATH, choose_slot

if TYPE_CHECKING:
    from lapel_device.boards.contract import Storage
    from lapel_device.slots import Running
    from lapel_protocol.releasing import Release

TARGET = Target("pico_w", "armv6m", "board")
COMMON = {f"lapel_device/part_{n}.mpy": bytes([n]) * (300 * n) for n in range(1, 4)}


@cache
def signer(which: int) -> rsa.RSAPrivateKey:
    """A firmware key of this run; another number is another signer."""
    return new_key()


def release(
    number: int, floor: int = 0, target: Target = TARGET, key: int = 0, files: dict[str, bytes] | None = None
) -> Release:
    """A release whose files are those given, or three that all have and one of its own."""
    own = {"lapel_device/version.mpy": b"number %d" % number * 90}
    return make_release(target, files or {**COMMON, **own}, number, f"0.{number}.0", floor, signer(key))


def write(storage: Storage, path: str, content: bytes) -> None:
    """Put a file there, with its folders."""
    for end, letter in enumerate(path):
        if letter == "/" and end:
            storage.mkdir(path[:end])
    file = storage.open(path, "wb")
    file.write(content)
    file.flush()
    file.close()


def put(storage: Storage, slot: int, made: Release) -> None:
    """Fill a slot."""
    for path, content in slot_files(made, slot).items():
        write(storage, path, content)


def give_key(storage: Storage, key: int = 0) -> None:
    """What a device is flashed with."""
    write(storage, KEY_PATH, modulus_of(signer(key)))


def boot(storage: Storage, lines: list[str] | None = None, target: Target = TARGET) -> Running | None:
    """What the loader would run."""
    log = [] if lines is None else lines
    return choose_slot(storage, modulus_of(signer(0)), target.hardware, target.code, log.append)
