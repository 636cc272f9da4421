"""The AES key that a receiving centre and this gateway share, from a file that only its owner can read."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from lapel_gateway.channels.secret_file import SecretError, read_secret
from lapel_gateway.channels.sia_dc09.frame import KEY_BYTES

KeyForm = Literal["hex", "raw"]


def load_key(path: Path, form: KeyForm) -> bytes:
    """Read a key of 16, 24 or 32 bytes: ``hex`` as hexadecimal digits, ``raw`` as the bytes themselves.

    Raises SecretError, which names the file and never its content.
    """
    content = read_secret(path, "receiver key")
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
