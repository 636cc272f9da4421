"""``lapel report``: figures over a period, as tables for people, CSV and JSON.

With a user's token they come from the gateway's API; otherwise they are read from the ledger, which works on the
gateway's machine only.
"""

from __future__ import annotations

import typer

from lapel_tools.response_report import response
from lapel_tools.trial_report import trial

app = typer.Typer(help="Reports: figures over a period.", no_args_is_help=True)
app.command()(response)
app.command()(trial)
