"""Fleets of 500, 2,000 and 5,000 devices on one gateway and one Mosquitto: processor, memory, and how soon they settle.

Each fleet is switched on within seconds, held while its heartbeats and alarms are answered, and loses its broker to a
kill. Fleet, broker and gateway share this machine. The largest is held a second time over mutual TLS, where every
device shows a certificate of its own and every reconnection is a full handshake.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from bench.report import Report
from lapel_sim.fleet.fleet import Load
from lapel_sim.fleet.tally import percentile
from lapel_tools.fleet_command import play
from lapel_tools.fleet_run import SETTLE_S, Plan, Result

SIZES = (500, 2_000, 5_000)
QUICK_SIZES = (200,)
HOLD_S = 45.0
"""One heartbeat of every device and a half."""

_QUICK_HOLD_S = 5.0
_NEVER_S = 1e6

_PLAIN_A_SECOND = 500
_TLS_A_SECOND = 200
"""How fast devices are switched on; with TLS half of each handshake's cost is the fleet's, on the same two cores."""


def measure(report: Report) -> None:
    """Every size by plain TCP, the largest by TLS too."""
    sizes = QUICK_SIZES if report.quick else SIZES
    for devices in sizes:
        _one(report, devices, tls=False)
    _one(report, sizes[-1], tls=True)


def _one(report: Report, devices: int, *, tls: bool) -> None:
    report.group("fleet", f"{devices:,} devices, {'mutual TLS 1.2' if tls else 'plain TCP'}")
    hold_s = _QUICK_HOLD_S if report.quick else HOLD_S
    load = Load(alarms_per_minute=120, clips_per_minute=60, clip_segments=16)
    over_s = max(2.0, devices / _TLS_A_SECOND if tls else devices / _PLAIN_A_SECOND)
    # Devices come back within half a minute, for which a short run has no time.
    plan = Plan(load, hold_s=hold_s, over_s=over_s, restart_after_s=None if report.quick else hold_s)
    with tempfile.TemporaryDirectory(prefix="lapel-fleet-", dir=Path.cwd()) as folder:
        _tell(report, play(Path(folder) / "site", devices, plan, tls=tls, quiet=True))


def _tell(report: Report, result: Result) -> None:
    tally = result.tally
    report.at_most("settled after the start", _or_never(result.settled_s), "s", SETTLE_S)
    if result.restarted:
        peak = f"at most {result.restart_peak_connects} attempts to connect in a second"
        report.at_most("settled after the broker's restart", _or_never(result.restart_settled_s), "s", SETTLE_S, peak)
    for name, usage in result.usages.items():
        report.figure(f"{name}: processor while held", 100 * result.holding.get(name, 0.0), "% of one")
        report.figure(f"{name}: memory at its highest", usage.peak_mib, "MiB")
    report.figure("hello to welcome, p99", percentile(tally.hello_ms, 0.99), "ms", "every storm of hellos included")
    answers = f"{len(tally.heartbeat_ms)} answers"
    report.figure("heartbeat to its answer, p99", percentile(tally.heartbeat_ms, 0.99), "ms", answers)
    pressed = f"{tally.counts['alarms']} alarms, any absence of the broker included"
    report.figure("press to receipt, p50", percentile(tally.alarm_ms, 0.5), "ms", pressed)
    report.figure("press to receipt, p99", percentile(tally.alarm_ms, 0.99), "ms")
    lost = [what for what, ok in result.verdicts() if not ok]
    report.at_most("verdicts that failed", len(lost), "", 0, "; ".join(lost))


def _or_never(seconds: float | None) -> float:
    return _NEVER_S if seconds is None else seconds
