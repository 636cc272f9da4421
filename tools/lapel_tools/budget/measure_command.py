"""``lapel sim budget``: measure again what boards' activities cost, for ``lapel device budget`` to reckon with."""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import Annotated

import typer

from lapel_gateway.brokers.broker import BrokerError
from lapel_gateway.brokers.mosquitto import find_mosquitto
from lapel_sim.device import DeviceFailed
from lapel_sim.launcher import MicroPythonMissing
from lapel_sim.world import Timeout
from lapel_tools.budget.counting import UnknownSuite
from lapel_tools.budget.figures import FIGURES_FILE, Figures, read_figures, write_figures
from lapel_tools.budget.measuring import measure_board
from lapel_tools.console import FAILED, CommandError
from lapel_tools.technician.wiring import BOARDS


def measure_budget(
    boards: Annotated[list[str] | None, typer.Argument(help="Kinds of board; all of them by default.")] = None,
    out: Annotated[Path, typer.Option(help="Where the figures go; boards not measured keep theirs.")] = FIGURES_FILE,
) -> None:
    """Measure bytes and processor time of every activity on simulated boards, some minutes each, over a real broker."""
    chosen = boards or list(BOARDS)
    for board in chosen:
        if board not in BOARDS:
            raise CommandError(f"no board is called {board!r}; there are: {', '.join(BOARDS)}")
    if find_mosquitto() is None:
        raise CommandError("there is no mosquitto on this machine: apt install mosquitto")
    try:
        known = read_figures(out).boards if out.exists() else {}
        for board in chosen:
            known = {**known, board: measure_board(board, typer.echo)}
            # After each board: what was measured is not lost with what comes after it.
            write_figures(Figures(datetime.datetime.now(datetime.UTC).date().isoformat(), known), out)
    except (MicroPythonMissing, BrokerError, ValueError) as error:
        raise CommandError(str(error)) from None
    except (Timeout, DeviceFailed, UnknownSuite) as error:
        raise CommandError(str(error), FAILED) from None
    except OSError as error:
        raise CommandError(f"{out}: {error.strerror or error}", FAILED) from None
    typer.echo(f"wrote {out}")
