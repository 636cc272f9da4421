"""The account of a device's cellular modem: a technician's file in TOML, and what the device reads.

    apn = "iot.example"             # what the SIM's network names
    pin = "1234"                    # these three only where they are needed
    user = ""
    password = ""

Rules that hold here
- The file is a secret: mode 0600, and no message repeats what is in it.
- What is written is what every board accepts (`lapel_device.boards.modem_account`): bounds are checked here as there.
"""

from __future__ import annotations

import json
from pathlib import Path

from lapel_tools.console import CommandError

from .secret_toml import read_secret_toml

MODEM_PATH = "/modem.json"
NAMES = ("apn", "pin", "user", "password")
MAX_CHARACTERS = 63
PIN_DIGITS = range(4, 9)  # 3GPP TS 31.101 section 9.5.1


def read_account(path: Path) -> bytes:
    """The content of a device's ``/modem.json`` from a technician's file. Raises CommandError."""
    given = read_secret_toml(path, "account of a modem")
    if not {"apn"} <= set(given) <= set(NAMES) or not given["apn"]:
        raise CommandError(f"{path}: it has apn, and pin, user and password where they are needed")
    for name, value in given.items():
        if not isinstance(value, str) or len(value) > MAX_CHARACTERS or not _plain(value):
            raise CommandError(f"{path}: {name} is plain text of at most {MAX_CHARACTERS} characters without quotes")
    pin = given.get("pin", "")
    if pin and not (pin.isdecimal() and len(pin) in PIN_DIGITS):
        raise CommandError(f"{path}: pin has {PIN_DIGITS[0]} to {PIN_DIGITS[-1]} digits")
    return json.dumps({name: given.get(name, "") for name in NAMES}, separators=(",", ":")).encode()


def _plain(value: str) -> bool:
    """Whether a value may stand in an AT command."""
    return all(" " <= char <= "~" and char not in '";' for char in value)
