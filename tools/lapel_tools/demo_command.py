"""``lapel demo``: the whole system in one incident."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Annotated, Any

import typer

from lapel_tools.demo import run_demo


def demo(
    context: typer.Context,
    once: Annotated[bool, typer.Option("--once", help="End at the end, instead of keeping the gateway up.")] = False,
    out: Annotated[Path | None, typer.Option(help="Folder for everything it makes; otherwise a new one.")] = None,
) -> None:
    """Play one incident on three simulated devices, check it, and show where the clips are."""
    lapel = context.find_root().command

    def command(arguments: list[str]) -> Any:
        return lapel.main(arguments, prog_name="lapel", standalone_mode=False)

    run_demo(out or Path(tempfile.mkdtemp(prefix="lapel-demo-")), once, command)
