"""``lapel device budget``: what a day costs a board, in bytes and in charge."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from lapel_tools.budget.budget import Budget, as_json, budget_of, facts, rate, size, traffic_rows
from lapel_tools.budget.day import read_shift
from lapel_tools.budget.figures import FIGURES_FILE, read_figures
from lapel_tools.budget.page import TRAFFIC_TITLES, section
from lapel_tools.console import FAILED, CommandError, JsonOption, print_json, print_table

Board = Literal["pico_w", "pico2_w", "esp32s3_cam", "fob_pico_w", "fob_esp32s3"]


def budget(
    board: Annotated[
        Board | None, typer.Argument(help="The kind of board; otherwise all of them, a line each.")
    ] = None,
    shift: Annotated[Path | None, typer.Option(help="The day, as TOML: hours, visits, recording_minutes ...")] = None,
    changes: Annotated[list[str] | None, typer.Option("--set", help="NAME=VALUE of the day, again and again.")] = None,
    figures: Annotated[Path, typer.Option(help="Measured figures, from `lapel sim budget`.")] = FIGURES_FILE,
    out: Annotated[Path | None, typer.Option(help="Write the page's section (.md) of all boards to this file.")] = None,
    as_json_: JsonOption = False,
) -> None:
    """Show bytes, uplink, processor and battery of a day: measured bytes, data sheets' currents."""
    day = read_shift(shift, changes or ())
    try:
        measured = read_figures(figures)
    except ValueError as error:
        raise CommandError(str(error)) from None
    except OSError as error:
        raise CommandError(f"{figures}: {error.strerror}: measure with lapel sim budget") from None
    if board is not None and board not in measured.boards:
        raise CommandError(f"{figures} has no figures of {board}: lapel sim budget {board}")
    if out is not None:
        _write(out, section(measured, day))
        return
    made = [budget_of(name, measured, day) for name in ([board] if board else measured.boards)]
    if as_json_:
        found = [as_json(one) for one in made]
        print_json(found[0] if board else found)
    elif board:
        _show(made[0])
    else:
        _compare(made)


def _show(made: Budget) -> None:
    typer.echo(f"{made.board}: {made.shift}")
    typer.echo(
        f"bytes measured on {made.date} in the simulator; charge from data sheets' currents, not measured on hardware"
    )
    typer.echo()
    print_table(TRAFFIC_TITLES, traffic_rows(made), "")
    typer.echo()
    print_table(("what", "how much"), facts(made), "")
    typer.echo()
    print_table(
        ("charge of the day", "mAh"), [(found.activity, f"{found.mah:.1f}") for found in made.energy.charges], ""
    )


def _compare(made: list[Budget]) -> None:
    rows = []
    for one in made:
        uplink = one.traffic.uplink
        rows.append(
            (
                one.board,
                size(one.traffic.up),
                size(one.traffic.down),
                rate(uplink.typical_bits_per_s) if uplink is not None else None,
                f"{one.energy.mah:.0f} of {one.energy.battery_mah} mAh",
                f"{one.energy.hours:.1f} h",
            )
        )
    titles = ("board", "up", "down", "uplink that keeps up", "charge", "lasts")
    print_table(titles, sorted(rows), "nothing was measured: lapel sim budget")


def _write(out: Path, text: str) -> None:
    if out.suffix != ".md":
        raise CommandError(f"{out}: the name of a page ends in .md")
    try:
        out.write_text(text, encoding="utf-8")
    except OSError as error:
        raise CommandError(f"{out}: {error.strerror}", FAILED) from None
    typer.echo(f"wrote {out}")
