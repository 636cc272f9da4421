"""A run's figures for people."""

from __future__ import annotations

import typer

from lapel_tools.console import print_table
from lapel_tools.killing.run import Report


def _parts(counts: dict[str, int]) -> str:
    return ", ".join(f"{count} {what}" for what, count in counts.items()) or "-"


def print_report(report: Report) -> None:
    """Print the table, and every fault below it."""
    verdict = report.verdict
    rows = [
        ("seed", report.seed, ""),
        ("minutes of faults", f"{report.minutes:g}", f"{report.killed_together} times several at once"),
        ("kills", sum(report.kills.values()), _parts(report.kills)),
        ("starts of programs", sum(report.starts.values()), _parts(report.starts)),
        ("device boots", report.boots, _parts(report.done)),
        ("connections of devices", report.connections, "each a TLS handshake"),
        ("link faults", sum(report.link_faults.values()), _parts(report.link_faults)),
        ("clips", verdict.clips, f"{verdict.cut} cut by power, {verdict.deleted} deleted on the devices meanwhile"),
        ("starts refused", verdict.refused, "a header and nothing else, taken back by the device"),
        ("segments", f"{verdict.segments:,}", f"{verdict.frames:,} frames, each the camera's own"),
        ("bytes", f"{verdict.bytes:,}", "sealed, SHA-256 against the device's own medium"),
        ("alarms", verdict.alarms, f"{verdict.unfinished_alarms} more lost their power while they were raised"),
        ("MP4s", verdict.mp4s, "forwarded whole, a picture for each frame"),
        ("epochs", verdict.epochs, "boots and clips, all accounted for"),
        ("time to settle", f"{report.settle_s:.1f} s", "after the last fault"),
        ("lost", len(verdict.lost), ""),
        ("altered", len(verdict.altered), ""),
        ("other faults", len(verdict.faults), ""),
    ]
    print_table(("what", "figure", ""), rows, "nothing")
    for title, faults in (("lost", verdict.lost), ("altered", verdict.altered), ("fault", verdict.faults)):
        for fault in faults:
            typer.echo(f"{title}: {fault}")
    for end in report.ended_by_themselves:
        typer.echo(f"ended by itself: {end}")
    for kept in verdict.evidence:
        typer.echo(f"evidence: {kept}")
    if not verdict.good:
        typer.echo(f"everything of this run: {report.folder}")
