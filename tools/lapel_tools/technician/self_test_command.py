"""``lapel device selftest``."""

from __future__ import annotations

import getpass
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import sqlalchemy as sa
import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from lapel_gateway.devices.self_tests import ABSENT, FAILED, PASSED, SKIPPED, keep_self_test
from lapel_gateway.ledger import reading
from lapel_gateway.ledger.schema import device as devices
from lapel_tools import console
from lapel_tools.console import NOT_FOUND, PLAIN_WIDTH, CommandError, ConfigOption, JsonOption, now_ms, print_json, warn
from lapel_tools.site import Site, local_site

from .ports import SerialPort, is_board, named_ports, usb_ports
from .self_test_person import somebody
from .self_test_report import BoardReport
from .self_test_session import examine

_AT_ONCE = 16
_WORDS = {PASSED: "pass", FAILED: "FAIL", ABSENT: "absent", SKIPPED: "skipped"}
_STYLES = {PASSED: "green", FAILED: "bold red", ABSENT: "dim", SKIPPED: "yellow"}


def selftest(
    port: Annotated[
        list[str] | None, typer.Option("--port", help="Port or USB serial number; needed where there are several.")
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="Every board that is plugged in.")] = False,
    no_questions: Annotated[
        bool, typer.Option("--no-questions", help="Skip what needs eyes, ears and fingers; --all is then side by side.")
    ] = False,
    picture: Annotated[
        Path | None, typer.Option(help="Save the camera's picture here; with several boards a number is put behind.")
    ] = None,
    by: Annotated[str | None, typer.Option(help="Who tests; by default the name that you are logged in by.")] = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Test every part of a device on the bench, say what is wrong and what to do, and keep the report in the ledger.

    The device must lie still. It stops working meanwhile and is started
    again afterwards; the round trip to the gateway is a boot of its own,
    and consumes one of its epochs as every boot does. A device that is
    recording or has an alarm latched is left alone.

    \b
    lapel device selftest
    lapel device selftest --all --no-questions
    """
    boards = _boards(port or [], every)
    site = local_site(config)
    if site is not None:
        # Opened here, and not by several boards at once.
        _ = site.engine
    single = len(boards) == 1
    screen = Console(stderr=True)

    def work(board: SerialPort) -> BoardReport:
        person = somebody(not no_questions, "" if single else board.device)
        if not person.there or not screen.is_terminal:
            return examine(board, person, lambda device: _state_of(site, device))
        return examine(board, person, lambda device: _state_of(site, device), lambda what: warn(f"testing {what}"))

    at_once = min(len(boards), _AT_ONCE) if no_questions or not somebody(True).there else 1
    with ThreadPoolExecutor(max_workers=at_once) as pool:
        reports = list(pool.map(work, boards)) if at_once > 1 else [work(board) for board in boards]
    for report in reports:
        _keep(site, report, by or getpass.getuser())
    if as_json:
        print_json([_facts(report) for report in reports])
    else:
        for report in reports:
            _show(report)
    for report in reports:
        _save_picture(report, picture, single)
    bad = [report for report in reports if not report.passed]
    if bad:
        refused = "; ".join(f"{report.port}: {report.refused}" for report in bad if report.refused)
        raise CommandError(refused or "it did not pass: see what to do above", console.FAILED)


def _boards(names: Sequence[str], every: bool) -> list[SerialPort]:
    if names and every:
        raise CommandError("name ports, or say --all")
    if names:
        return named_ports(names)
    found = [port for port in usb_ports() if is_board(port)]
    if not found:
        raise CommandError("no boards: plug one in with a cable that carries data, or name its port", NOT_FOUND)
    if len(found) > 1 and not every:
        raise CommandError(f"which one? --port {', --port '.join(port.device for port in found)}; or --all")
    return found


def _state_of(site: Site | None, device: str) -> str | None:
    if site is None:
        return None
    with reading(site.engine) as connection:
        return connection.execute(sa.select(devices.c.state).where(devices.c.device == device)).scalar() or ""


def _save_picture(report: BoardReport, path: Path | None, single: bool) -> None:
    if path is None or not report.picture:
        return
    place = path if single else path.with_stem(f"{path.stem}-{report.device or report.serial}")
    try:
        place.write_bytes(report.picture)
    except OSError as error:
        warn(f"{report.port}: the picture is not saved: {place}: {error.strerror}")
        return
    warn(f"{report.port}: the camera's picture is in {place}")


def _keep(site: Site | None, report: BoardReport, by: str) -> None:
    """Enter a report into the ledger: under the device, if this gateway has such a device."""
    if report.refused or not report.findings:
        return
    if site is None:
        warn(f"{report.port}: the report is not kept: there is no gateway on this machine; --config names one")
        return
    known = bool(report.device) and bool(_state_of(site, report.device))
    if report.device and not known:
        warn(f"{report.port}: this gateway does not know {report.device}: the report is kept under the board's number")
    tests = [asdict(finding) for finding in report.findings]
    keep_self_test(site.engine, report.device if known else None, report.serial, tests, by, now_ms())
    report.kept = True


def _facts(report: BoardReport) -> dict[str, Any]:
    return {
        "port": report.port,
        "device": report.device,
        "hardware": report.hardware,
        "serial": report.serial,
        "passed": report.passed,
        "refused": report.refused,
        "boot": None if report.boot < 0 else report.boot,
        "kept": report.kept,
        "tests": [asdict(finding) for finding in report.findings],
    }


def _show(report: BoardReport) -> None:
    if not report.findings:
        return
    name = report.device or "not provisioned"
    table = Table("test", "", "found", "what to do", box=None, pad_edge=False, header_style="bold")
    table.title = f"{report.port}: {report.hardware} {report.serial}, {name}"
    table.title_justify = "left"
    for finding in report.findings:
        # Text of boards is shown as it is, never read as markup.
        table.add_row(
            Text(finding.name),
            Text(_WORDS[finding.outcome], style=_STYLES[finding.outcome]),
            Text(finding.found),
            Text(finding.remedy),
        )
    out = Console() if typer.get_text_stream("stdout").isatty() else Console(width=PLAIN_WIDTH, no_color=True)
    out.print(table)
    failed = [finding.name for finding in report.findings if finding.outcome == FAILED]
    out.print(Text(f"not passed: {', '.join(failed)}" if failed else "passed"))
    if report.boot >= 0:
        out.print(Text(f"the round trip consumed epoch {report.boot}; the device was started again"))
