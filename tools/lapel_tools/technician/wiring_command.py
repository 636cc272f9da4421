"""``lapel device wiring``: where each wire of a board goes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from lapel_tools.console import FAILED, CommandError, JsonOption, print_json, print_table
from lapel_tools.technician.wiring import drawing, facts, markdown, wires

Board = Literal["pico_w", "pico2_w", "esp32s3_cam", "fob_pico_w", "fob_esp32s3"]


def wiring(
    board: Annotated[Board, typer.Argument(help="The kind of board.")],
    out: Annotated[Path | None, typer.Option(help="Write a picture (.svg), or the table (.md), to this file.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Show which pin of a board goes to which part, as its drivers have it; or draw it."""
    if out is not None:
        made = {".svg": drawing, ".md": markdown}.get(out.suffix)
        if made is None:
            raise CommandError(f"{out}: the name of a picture ends in .svg, that of a table in .md")
        try:
            out.write_text(made(board), encoding="utf-8")
        except OSError as error:
            raise CommandError(f"{out}: {error.strerror}", FAILED) from None
        typer.echo(f"wrote {out}")
        return
    shown = wires(board)
    if as_json:
        print_json([{**vars(wire), "on_board": wire.on_board} for wire in shown])
        return
    print_table(
        ("part", "pin", "header", "bus", "goes to"),
        [(wire.part, wire.pin, wire.header or None, wire.bus, wire.goes_to) for wire in shown],
        f"{board} has no pins",
    )
    parts = facts(board)["parts"]
    if isinstance(parts, tuple):
        typer.echo(f"parts: {', '.join(parts)}")
