"""The AES key that a receiving centre and this gateway share, from a file that only its owner can read."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Literal

from lapel_gateway.channels.sia_dc09.frame import KEY_BYTES
from lapel_gateway.channels.webhook import SecretError

KeyForm = Literal["hex", "raw"]

_MAX_FILE_BYTES = 256


def load_key(path: Path, form: KeyForm) -> bytes:
    """Read a key of 16, 24 or 32 bytes: ``hex`` as hexadecimal digits, ``raw`` as the bytes themselves.

    Raises SecretError, which names the file and never its content.
    """
    try:
        with path.open("rb") as file:
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
            content = file.read(_MAX_FILE_BYTES)
    except OSError as error:
        raise SecretError(f"receiver key {path}: {error.strerror}") from None
    if mode & 0o077:
        raise SecretError(f"receiver key {path} can be read by others (mode {mode:04o}): chmod 600 {path}")
    if form == "raw":
        if len(content) not in KEY_BYTES:
            raise SecretError(f"receiver key {path} is not 16, 24 or 32 bytes long; is key_form right?")
        return content
    try:
        key = bytes.fromhex(content.decode("ascii"))
    except ValueError:
        key = b""
    if len(key) not in KEY_BYTES:
        raise SecretError(f"receiver key {path} is not 32, 48 or 64 hexadecimal digits; is key_form right?")
    return key
