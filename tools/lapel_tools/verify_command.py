"""``lapel verify``: an exported clip, checked anywhere, without a gateway."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lapel_tools.console import FAILED, NOT_FOUND, CommandError, JsonOption, print_json
from lapel_tools.evidence import NotAnExport, verify_export
from lapel_tools.export_archive import unpacked

_MARKS = {True: "ok  ", False: "FAIL", None: "    "}


def verify(
    export: Annotated[
        Path, typer.Argument(help="Folder that `lapel clip export` made, or ZIP file from a clip's page.")
    ],
    head: Annotated[str | None, typer.Option(help="The clip's head (hex) as recorded elsewhere.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Check an exported clip: whole, unaltered, authentic. Status 1 if anything is wrong."""
    try:
        with unpacked(export) as folder:
            checks = verify_export(folder, head)
    except NotAnExport as error:
        raise CommandError(str(error), NOT_FOUND) from None
    except OSError as error:
        raise CommandError(f"{error.filename or export}: {error.strerror or error}", FAILED) from None
    good = all(check.ok is not False for check in checks)
    if as_json:
        facts = [{"check": check.name, "ok": check.ok, "detail": check.detail} for check in checks]
        print_json({"export": str(export), "ok": good, "checks": facts})
    else:
        for check in checks:
            typer.echo(f"{_MARKS[check.ok]}  {check.name}: {check.detail}")
        typer.echo("verified" if good else "NOT verified")
    if not good:
        raise typer.Exit(FAILED)
