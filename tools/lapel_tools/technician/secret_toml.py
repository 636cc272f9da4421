"""A technician's file with secrets, in TOML: read when nobody but its owner can, and never repeated in a message."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

from lapel_gateway.channels.secret_file import SecretError, read_secret
from lapel_tools.console import CommandError


def read_secret_toml(path: Path, what: str) -> dict[str, Any]:
    """The content of a file of mode 0600; ``what`` names it in errors. Raises CommandError."""
    try:
        return tomllib.loads(read_secret(path, what).decode("utf-8"))
    except SecretError as error:
        raise CommandError(str(error)) from None
    except RecursionError:
        raise CommandError(f"{path} is not TOML: it is nested too deep") from None
    except ValueError as error:  # TOMLDecodeError is one; a fault in UTF-8 would repeat the bytes
        where = str(error).rpartition("(at ")[2].rstrip(")") if isinstance(error, tomllib.TOMLDecodeError) else ""
        raise CommandError(f"{path} is not TOML{f' at {where}' if where else ''}") from None
