"""The budget as Markdown, for docs/boards.md."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from lapel_tools.budget.budget import budget_of, facts, traffic_rows
from lapel_tools.budget.currents import ASSUMED, CURRENTS
from lapel_tools.budget.day import Shift
from lapel_tools.budget.figures import Figures
from lapel_tools.technician.wiring import BOARDS

TRAFFIC_TITLES = ("activity", "times", "TLS handshakes up", "TLS framing up", "MQTT up", "records up", "up", "down")


_MEASURED = """\
Bytes and processor shares were measured on {date} in the simulator: the real firmware at the board's own slowness, a
real Mosquitto over TLS with client certificates, counted on the link (without TCP and IP, which add some 4 %). Pictures
are FFmpeg's, each at the best quality that fits the frame buffer, so close to the most. The processor's share is what
the simulator's table of costs charges; MicroPython's own polling is not in it. `lapel sim budget` measures again,
`lapel device budget BOARD --shift FILE` reckons another day.
"""
_WORKED_OUT = """\
**Charge is worked out, not measured on hardware**: data sheets' currents (below) times measured times. Rows marked
{assumed} have no data sheet behind them: measure the part that you buy. A cell that is old or cold holds less.
"""


def section(figures: Figures, shift: Shift) -> str:
    """All boards: what the figures are, a day of each, the currents."""
    blocks = [
        "## A day's budget\n",
        _MEASURED.format(date=figures.date),
        _WORKED_OUT.format(assumed=ASSUMED),
        f"The day: {shift}. Wi-Fi carries it.\n",
    ]
    for board in BOARDS:
        if board in figures.boards:
            made = budget_of(board, figures, shift)
            blocks.append(f"### {board}: a day\n")
            blocks.append(table(TRAFFIC_TITLES, traffic_rows(made)))
            blocks.append(table(("what", "how much"), facts(made)))
            charges = [(found.activity, f"{found.mah:.1f}") for found in made.energy.charges]
            blocks.append(table(("charge of the day", "mAh"), charges))
    blocks.append("### Currents\n")
    rows = [(found.part, found.state, f"{found.ma:g}", found.basis, found.source) for found in CURRENTS]
    blocks.append(table(("part", "state", "mA at 3.3 V", "value", "source"), rows))
    return "\n".join(blocks)


def table(titles: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table of Markdown."""
    lines = [f"| {' | '.join(titles)} |", f"|{'---|' * len(titles)}"]
    return "\n".join([*lines, *(f"| {' | '.join(row)} |" for row in rows)]) + "\n"
