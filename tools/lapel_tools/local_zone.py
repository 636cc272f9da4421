"""The time zone of whoever types a time: named, or this machine's."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

ZoneOption = Annotated[
    str | None, typer.Option(help="Time zone of the time, such as Europe/London.", show_default="this machine's")
]

_FOLDER = "zoneinfo/"


def local_zone() -> str:
    """The name of this machine's time zone; UTC where it has none."""
    named = os.environ.get("TZ", "").lstrip(":")
    if named and not named.startswith("/"):
        return named
    target = os.path.realpath("/etc/localtime")
    if _FOLDER in target:
        return target.split(_FOLDER, 1)[1]
    try:
        return Path("/etc/timezone").read_text(encoding="ascii").strip() or "UTC"
    except (OSError, UnicodeDecodeError):
        return "UTC"
