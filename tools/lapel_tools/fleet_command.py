"""``lapel fleet``: thousands of protocol-true devices against a gateway of their own, and what they cost."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import structlog
import typer

from lapel_sim.fleet.fleet import Load
from lapel_sim.fleet.tally import percentile
from lapel_tools.console import FAILED, CommandError, JsonOption, print_json, print_table
from lapel_tools.fleet_run import Plan, Result, make_fleet, responder, run_fleet
from lapel_tools.load_site import LoadSite


def fleet(
    devices: Annotated[int, typer.Option(min=1, max=60_000, help="How many.")] = 500,
    seconds: Annotated[float, typer.Option(min=1, help="How long they are held once all are welcomed.")] = 60.0,
    over: Annotated[float, typer.Option(min=0, help="Seconds over which they are switched on; 0: at once.")] = 10.0,
    heartbeat: Annotated[int, typer.Option(min=5, max=3600, help="Seconds between a device's heartbeats.")] = 30,
    alarms_per_minute: Annotated[float, typer.Option(min=0, help="Of all devices together.")] = 60.0,
    clips_per_minute: Annotated[float, typer.Option(min=0, help="Of all devices together.")] = 60.0,
    clip_kib: Annotated[int, typer.Option(min=4, max=65_536, help="Size of a clip.")] = 64,
    restart_broker_after: Annotated[
        float | None, typer.Option(min=0, help="Kill Mosquitto after so many seconds, and start it again.")
    ] = None,
    away: Annotated[float, typer.Option(min=0, help="Seconds for which the broker is gone then.")] = 1.0,
    tls: Annotated[bool, typer.Option("--tls", help="Mutual TLS, a certificate for each device.")] = False,
    out: Annotated[Path | None, typer.Option(help="New folder for the installation, kept; otherwise none.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Hold a fleet of simulated devices on a gateway and a Mosquitto of their own, and say what it cost.

    The devices are the protocol, not the firmware: hello, heartbeats, alarms until their receipt, clips within credit
    until custody, back-off with jitter. Without --tls they connect by plain TCP on loopback. Status 1 when anything
    was lost or did not settle in time.
    """
    plan = Plan(
        Load(alarms_per_minute, clips_per_minute, max(1, clip_kib // 4)),
        hold_s=seconds,
        over_s=over,
        restart_after_s=restart_broker_after,
        away_s=away,
    )
    with _folder(out) as folder:
        result = play(folder, devices, plan, tls=tls, heartbeat_s=heartbeat, quiet=as_json)
    if as_json:
        print_json(result.facts())
    else:
        show(result)
    if not all(ok for _, ok in result.verdicts()):
        raise typer.Exit(FAILED)


def play(folder: Path, devices: int, plan: Plan, *, tls: bool, heartbeat_s: int = 30, quiet: bool = False) -> Result:
    """Make an installation in ``folder``, run a fleet of so many devices on it, and end it."""
    began = time.monotonic()

    def tell(text: str) -> None:
        if not quiet:
            typer.echo(f"{time.monotonic() - began:7.1f}  {text}", err=True)

    # Every alarm that the responder answers would be a line.
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(40))
    with LoadSite(folder, tls=tls) as site:
        packages = site.provision(devices)
        tell(f"{devices} devices provisioned, {'a certificate each' if tls else 'plain TCP on loopback'}")
        site.start()
        members = make_fleet(site, packages, heartbeat_s)
        tell("broker and gateway run")
        with responder(site):
            return asyncio.run(run_fleet(site, members, plan, tell))


def show(result: Result) -> None:
    """The figures as a table, then the verdicts."""
    tally, counts = result.tally, result.tally.counts
    rows: list[tuple[str, object, str]] = [
        ("devices", result.devices, "mutual TLS 1.2" if result.tls else "plain TCP"),
        ("connections made", counts["connections"], f"at most {tally.peak_connects} attempts in a second"),
        ("hellos sent", counts["hellos"], _waits(tally.hello_ms, "welcome")),
        ("heartbeats sent", counts["heartbeats"], _waits(tally.heartbeat_ms, f"{len(tally.heartbeat_ms)} answers")),
        ("alarms pressed", counts["alarms"], f"{result.ledger_alarms} in the ledger"),
        ("alarms receipted", counts["alarms_receipted"], _waits(tally.alarm_ms, "press to receipt")),
        ("alarms resolved", counts["alarms_resolved"], "shown by the device"),
        ("clips recorded", counts["clips"], f"{result.ledger_clips} held"),
        ("clips receipted", counts["clips_receipted"], f"{counts['clip_bytes'] / 1e6:.1f} MB by their heads"),
        ("commands refused", sum(tally.refused.values()), _listed(tally.refused)),
        ("connections lost", sum(tally.drops.values()), _listed(tally.drops)),
        ("settled after start", _seconds(result.settled_s), "every device welcomed and in contact"),
    ]
    if result.restarted:
        peak = f"at most {result.restart_peak_connects} attempts in a second"
        rows.append(("settled after restart", _seconds(result.restart_settled_s), peak))
    for name, usage in result.usages.items():
        held = f"{result.holding.get(name, 0.0):.0%} of a core while held"
        rows.append((name, f"{usage.cpu_s:.1f} s", f"{held}, {usage.peak_mib:.0f} MiB at most"))
    print_table(("what", "figure", "more"), rows, "nothing")
    for what, ok in result.verdicts():
        typer.echo(f"{'ok    ' if ok else 'FAILED'}  {what}")


@contextlib.contextmanager
def _folder(out: Path | None) -> Iterator[Path]:
    if out is not None:
        if out.exists():
            raise CommandError(f"{out} exists: name a new folder")
        out.mkdir(parents=True)
        yield out
        return
    folder = Path(tempfile.mkdtemp(prefix="lapel-fleet-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _waits(values: list[float], what: str) -> str:
    if not values:
        return ""
    p50, p99 = percentile(values, 0.5), percentile(values, 0.99)
    return f"{what}: p50 {p50:.0f} ms, p99 {p99:.0f} ms, max {max(values):.0f} ms"


def _seconds(value: float | None) -> str:
    return "never" if value is None else f"{value:.1f} s"


def _listed(counts: dict[str, int]) -> str:
    return ", ".join(f"{count} {name}" for name, count in sorted(counts.items(), key=lambda item: -item[1])[:4])
