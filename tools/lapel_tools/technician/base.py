"""Putting MicroPython itself onto a board: a UF2 file onto the drive of a board in BOOTSEL, an ESP32-S3 by esptool.

Rules that hold here:

- The image was judged before; here the board is asked what it is, and only an image for it, that fits, is written.
- Afterwards the board is found again: it comes back with another port, or another name for it.
"""

from __future__ import annotations

import re
import subprocess
import sys
import time
from collections.abc import Callable, Sequence

from .chips import ESP32S3, UF2
from .condition import read_condition
from .drives import BootDrive, find_drives, write_drive
from .images import BaseImage, ImageError
from .link import BoardError, BoardLink, LinkError
from .ports import SerialPort, usb_ports

RETURN_TIMEOUT_S = 30.0
"""Until a board with new MicroPython shows its port; making its file system takes some seconds the first time."""
DRIVE_TIMEOUT_S = 20.0
ASK_TIMEOUT_S = 60
WRITE_TIMEOUT_S = 600
_BAUD = 460800
_POLL_S = 0.2
_CONNECTED = re.compile(r"^Connected to (\S+) on ", re.MULTILINE)
_FLASH_SIZE = re.compile(r"flash size: (\d+)(KB|MB)", re.IGNORECASE)
_UNITS = {"KB": 1 << 10, "MB": 1 << 20}

Say = Callable[[str], None]


class BaseError(Exception):
    """A base image could not be written; the message says whether anything was, and what to do."""


def put_base(
    board: SerialPort | BootDrive, image: BaseImage, erase: bool, say: Say, even_busy: bool = False
) -> SerialPort:
    """Write an image and wait for the board; its port then. Raises BaseError, ImageError, DriveError, LinkError.

    `even_busy`: also onto a device that has an alarm latched or was recording, and with `erase` onto one that holds
    clips.
    """
    before = usb_ports()
    if isinstance(board, BootDrive):
        image.check_for(board.chip)
        say(f"writing {image.path.name} to {board.folder}")
        write_drive(board, image)
        return _returned(before, None)
    if image.chip.form == UF2:
        drive = enter_bootsel(board, image, even_busy)
        say(f"writing {image.path.name} to {drive.folder}")
        before = usb_ports()
        write_drive(drive, image)
        return _returned(before, None)
    if not board.in_rom and not even_busy:
        _refuse_a_device_in_use(board, erase)
    say(f"asking the chip at {board.device}")
    image.check_for(ESP32S3, esp_flash_bytes(board))
    say(f"writing {image.path.name} to {board.device}, which takes a minute")
    write_esp(board, image, erase)
    return _returned(before, board)


def _refuse_a_device_in_use(port: SerialPort, erase: bool) -> None:
    """Ask what runs at a port, if anything does, whether it may be written over. Raises BaseError."""
    with BoardLink(port.device) as link:
        try:
            link.stop(fresh=False)
            condition = read_condition(link)
        except (LinkError, BoardError):
            return  # no MicroPython answers: a board that was never flashed
        found = list(condition.objections)
        if erase and condition.unsent:
            found.append(f"it holds {condition.unsent} clips that the gateway does not have")
        link.reset()
    if found:
        raise _in_use(port, found)


def _in_use(port: SerialPort, reasons: Sequence[str]) -> BaseError:
    return BaseError(
        f"{port.device}: {' and '.join(reasons)}; it was started again, and is left alone without --even-busy"
    )


def enter_bootsel(port: SerialPort, image: BaseImage, even_busy: bool = False) -> BootDrive:
    """Send a board that runs MicroPython into BOOTSEL. Raises BaseError, ImageError and LinkError."""
    before = {drive.folder for drive in find_drives()}
    with BoardLink(port.device) as link:
        link.stop(fresh=False)
        try:
            condition = read_condition(link)
            if condition.objections and not even_busy:
                link.reset()
                raise _in_use(port, condition.objections)
            machine = str(link.ask("import os\nprint(repr(os.uname()[4]))"))
        except BoardError as error:
            raise BaseError(f"{port.device}: MicroPython does not say what board this is ({error})") from None
        if not machine.endswith(image.chip.word):
            link.reset()
            raise ImageError(f"{image.path.name} is for {image.chip.name}; this board is a {machine}")
        link.enter_boot_loader()
    end = time.monotonic() + DRIVE_TIMEOUT_S
    while time.monotonic() < end:
        new = [drive for drive in find_drives() if drive.folder not in before]
        if new:
            return new[0]
        time.sleep(_POLL_S)
    raise BaseError("the board is in BOOTSEL, but no drive was mounted: mount it and name its folder instead of a port")


def esp_flash_bytes(port: SerialPort) -> int:
    """How much flash an ESP32-S3 has, asked of its ROM loader. Raises BaseError, also for another chip."""
    # The chip is detected here, because esptool takes the word of whoever names one.
    said = _esptool(port, "auto", ["flash-id"], ASK_TIMEOUT_S, "nothing was written")
    chip = _CONNECTED.search(said)
    if chip is None or chip[1] != ESP32S3.name:
        name = chip[1] if chip is not None else "one that esptool does not name"
        raise BaseError(f"{port.device}: the chip there is {name}, not {ESP32S3.name}; nothing was written")
    found = _FLASH_SIZE.search(said)
    if found is None:
        raise BaseError(f"{port.device}: esptool does not say how much flash there is; nothing was written")
    return int(found[1]) * _UNITS[found[2].upper()]


def write_esp(port: SerialPort, image: BaseImage, erase: bool) -> None:
    """Write an ESP image at address 0, which esptool reads back by its hash. Raises BaseError."""
    command = ["write-flash", *(["--erase-all"] if erase else []), "0x0", str(image.path)]
    _esptool(port, "esp32s3", command, WRITE_TIMEOUT_S, "the board has no whole MicroPython now: write it again")


def _esptool(port: SerialPort, chip: str, command: Sequence[str], timeout_s: float, otherwise: str) -> str:
    whole = [sys.executable, "-m", "esptool", "--chip", chip, "--port", port.device, "--baud", str(_BAUD), *command]
    try:
        done = subprocess.run(whole, capture_output=True, text=True, timeout=timeout_s, stdin=subprocess.DEVNULL)
    except subprocess.TimeoutExpired:
        raise BaseError(f"{port.device}: esptool does not come to an end; {otherwise}") from None
    if done.returncode:
        lines = [line.strip() for line in (done.stdout + done.stderr).splitlines() if line.strip()]
        wrong = next((line for line in lines if "error" in line.lower()), lines[-1] if lines else "it says nothing")
        raise BaseError(f"{port.device}: esptool: {wrong}; {otherwise}")
    return done.stdout


def _returned(before: Sequence[SerialPort], same: SerialPort | None) -> SerialPort:
    """The port that is new, or the same one where an adapter keeps it."""
    end = time.monotonic() + RETURN_TIMEOUT_S
    known = {(port.device, port.serial_number, port.usb) for port in before}
    while time.monotonic() < end:
        now = usb_ports()
        new = [port for port in now if (port.device, port.serial_number, port.usb) not in known]
        if new:
            return new[0]
        if same is not None and (same in now or same.usb is None) and _answers(same):
            return same
        time.sleep(_POLL_S)
    raise BaseError("MicroPython is on the board, but it shows no port: plug it in anew and flash it by its port")


def _answers(port: SerialPort) -> bool:
    try:
        with BoardLink(port.device) as link:
            return link.is_idle()
    except LinkError:
        return False
