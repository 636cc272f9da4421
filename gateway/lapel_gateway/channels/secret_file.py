"""Files that hold a channel's secret: read once at the start, and only when nobody but their owner can."""

from __future__ import annotations

import os
import stat
from pathlib import Path

MAX_SECRET_FILE_BYTES = 4096
"""Far above any secret; a larger file is some other file named by mistake."""


class SecretError(Exception):
    """A secret cannot be used; the message says which file and what to do, and nothing that is in it."""


def read_secret(path: Path, what: str) -> bytes:
    """The content of a file of mode 0600, cut off after one byte more than the most; ``what`` names it in errors.

    Raises SecretError.
    """
    try:
        with path.open("rb") as file:
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
            content = file.read(MAX_SECRET_FILE_BYTES + 1)
    except OSError as error:
        raise SecretError(f"{what} {path}: {error.strerror}") from None
    if mode & 0o077:
        raise SecretError(f"{what} {path} can be read by others (mode {mode:04o}): chmod 600 {path}")
    return content


def read_lines(path: Path, what: str, form: str) -> list[str]:
    """The lines of a secret text file, without empty ones and those that begin with "#"; ``form`` says what it holds.

    Raises SecretError, also for a file that is too long, no text, or has characters that no line has.
    """
    content = read_secret(path, what)
    try:
        lines = [line.strip() for line in content.decode("utf-8").splitlines()]
    except UnicodeDecodeError:
        lines = ["\0"]
    if len(content) > MAX_SECRET_FILE_BYTES or not all(line.isprintable() for line in lines):
        raise SecretError(f"{what} {path} is not {form}")
    return [line for line in lines if line and not line.startswith("#")]


def read_login(path: Path, what: str) -> tuple[str, str]:
    """(user, password) from a file with the one in its first line and the other in its second. Raises SecretError."""
    form = "two lines of text, the user's name and the password"
    content = read_secret(path, what)
    try:
        lines = content.decode("utf-8").splitlines()
    except UnicodeDecodeError:
        lines = []
    good = len(content) <= MAX_SECRET_FILE_BYTES and len(lines) == 2 and all(lines)
    if not good or not all(line.isprintable() for line in lines):
        raise SecretError(f"{what} {path} is not {form}")
    return lines[0], lines[1]


MIN_TOKEN_CHARACTERS = 16
"""Shorter ones can be tried out."""


def read_token(path: Path) -> str:
    """The token of whoever reads the gateway's figures. Raises SecretError."""
    form = f"one line of at least {MIN_TOKEN_CHARACTERS} characters without blanks"
    lines = read_lines(path, "scrape token", form)
    if len(lines) != 1 or len(lines[0]) < MIN_TOKEN_CHARACTERS or not lines[0].isascii() or " " in lines[0]:
        raise SecretError(f"scrape token {path} is not {form}: write one with `openssl rand -hex 32`")
    return lines[0]
