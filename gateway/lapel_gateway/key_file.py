"""A key of 32 bytes in a file of its own: 64 hexadecimal digits, mode 0600, made where there is none."""

from __future__ import annotations

import contextlib
import os
import secrets
import stat
from collections.abc import Callable
from pathlib import Path

from lapel_gateway import durable
from lapel_gateway.keystore import KeyStoreError

KEY_BYTES = 32


def load_key(path: Path, what: str, entropy: Callable[[int], bytes] = secrets.token_bytes) -> bytes:
    """Read the key of ``what``, which is made where there is none. Raises KeyStoreError."""
    try:
        if not path.exists():
            _make_key(path, entropy(KEY_BYTES))
        mode = stat.S_IMODE(path.stat().st_mode)
        text = path.read_text(encoding="ascii").strip()
    except UnicodeDecodeError:
        mode, text = 0, ""
    except OSError as error:
        raise KeyStoreError(f"key of {what} {path}: {error.strerror}") from None
    if mode & 0o077:
        raise KeyStoreError(f"key of {what} {path} can be read by others: chmod 600 {path}")
    try:
        key = bytes.fromhex(text)
    except ValueError:
        key = b""
    if len(key) != KEY_BYTES:
        raise KeyStoreError(
            f"key of {what} {path} is damaged: restore it from its copy; where there is none, "
            "remove it: a new one is made, and what the old one sealed or signed is good no more"
        )
    return key


def _make_key(path: Path, key: bytes) -> None:
    """Write a new key as a whole; where another process was first, its key stays. Raises OSError."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    part = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
    try:
        durable.write_file(part, key.hex().encode() + b"\n", 0o600)
        with contextlib.suppress(FileExistsError):
            os.link(part, path)
    finally:
        part.unlink(missing_ok=True)
    durable.sync_folder(path.parent)
